"""Status documents (docs/status.schema.json) for the page to show. Run with a directory, it writes all of them there.

Times are relative to now, since the page shows them so."""

import json
import pathlib
import sys
import time

POLICY = "SessionManagerPermissions"
KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MESSAGES = ("Allow ssmmessages:CreateControlChannel, ssmmessages:CreateDataChannel, ssmmessages:OpenControlChannel, "
            "ssmmessages:OpenDataChannel on *")
BUCKET = "Allow s3:GetEncryptionConfiguration on *"

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def ago(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


def condition(kind, status, reason, message, since):
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(since)}


DRIFTS = {
    "missing": ("Missing", "the policy is missing"),
    "narrowed": ("Narrowed", "the policy grants less than the manifest asks for"),
    "widened": ("Widened", "the policy grants more than the manifest asks for"),
    "altered": ("Altered", "the policy grants something else than the manifest asks for"),
}


def role(name, *, manifest="web-fleet", drift=None, action="none", reason=None, message=None, detail=None, hint=None,
         diff=(), session=("True", "Ready", "nothing that IAM tells stands in the way of a session"), synced=None,
         since=2 * HOUR, session_since=None, **others):
    word, words = DRIFTS.get(drift, ("InSync", "the policy is as the manifest asks for"))
    if synced is None:
        why = f"; {reason}: {message}" if reason else ""
        synced = ("False" if drift in DRIFTS else "True", word, words + (why if drift in DRIFTS else ""))
    return {
        "role": name, "policy": POLICY, "manifest": manifest, "selector": None, "state": "present", "mode": "enforce",
        "action": action, "drift": drift, "reason": reason, "message": message, "detail": detail, "hint": hint,
        "diff": [{"change": change, "text": text} for change, text in diff],
        "conditions": [condition("Synced", *synced, since),
                       condition("SessionReady", *session, since if session_since is None else session_since)],
        **others,
    }


def account(number, roles, state="Kept", **others):
    return {"account": number, "state": state, "message": None, "hint": None, "suspended": False,
            "lastCompletePassAt": ago(20), "held": None, "roles": roles, **others}


def status(accounts, faults=(), controller=None, **manifests):
    return {
        "version": 1, "takenAt": ago(0),
        "controller": {"version": "0.1.0", "startedAt": ago(9 * DAY), "shard": None, "observeOnly": False,
                       "suspended": False, "isLeader": True, **(controller or {})},
        "manifests": {"inForce": 4, "changedAt": ago(5 * HOUR), "faultCount": len(faults),
                      "faults": list(faults), **manifests},
        "accounts": accounts,
    }


def calm():
    """312 roles in sync."""
    names = [f"web-{number:03}" for number in range(160)], [f"worker-{number:03}" for number in range(152)]
    return status([account("111122223333", [role(name) for name in names[0]]),
                   account("444455556666", [role(name, manifest="workers") for name in names[1]])])


def empty():
    """A daemon that has just begun, without a manifest."""
    return status([], inForce=0, changedAt=None)


NO_PROFILE = ("False", "NoInstanceProfile", "instance profile: no instance profile holds the role")
NO_SESSION = ("False", "ChannelsDenied", "ssmmessages:CreateControlChannel: no policy of the role grants it; and 3 more")
DENIED = ("False", "ChannelsDenied", "ssmmessages:OpenControlChannel: denied by statement 1 (Shut) of inline policy "
          "SessionManagerPermissions; and 1 more")
UNKNOWN = ("Unknown", "Unknown", "the role could not be read, so nothing is concluded and nothing is written")


def night():
    """What somebody on call may find: a handful of accounts, and some of everything."""
    production = [
        role("web-server", drift="missing", action="put", since=40, session=NO_SESSION,
             diff=[("lost", MESSAGES), ("lost", BUCKET)]),
        role("bastion", drift="altered", action="blocked", reason="DeniesPresent", since=3 * HOUR, session=DENIED,
             message="the live policy holds a Deny: somebody shut this door on purpose",
             detail="Deny ssmmessages:* on * in statement 1 (Shut)",
             hint="if the Deny is no longer wanted, remove it from the policy by hand; the controller takes over from there",
             diff=[("gained", "Deny ssmmessages:* on *"), ("lost", f"Allow kms:Decrypt on {KEY}")]),
        role("batch-worker", manifest="workers", mode="observe", drift="widened", reason="ObserveMode", since=26 * HOUR,
             message="drift is told, not repaired (observe)",
             hint="set mode: enforce in the manifest to have it repaired",
             diff=[("gained", "Allow s3:GetObject, s3:ListBucket on arn:aws:s3:::payroll/*"),
                   ("gained", "Allow ssmmessages:* on *")]),
        role("reports", since=6 * DAY, session=NO_PROFILE, session_since=50 * MINUTE,
             hint="put the role into an instance profile, and give that to the instances"),
        *[role("shared", manifest=manifest, action="blocked", reason="Conflict", since=2 * DAY,
               synced=("Unknown", "Conflict", "manifests ask for differing things of this policy"),
               message="manifests ask for differing things of this policy", detail="web-fleet and workers",
               hint="let only one manifest name or select this role for this policyName (`exclude` takes a role out of a "
                    "selector), or let them agree")
          for manifest in ["web-fleet", "workers", "workers"]],
        role("legacy-api", drift="cosmetic", since=9 * DAY),
        role("billing", reason="SuspendTag", since=2 * DAY,
             message="the role carries the tag ssm-role-controller.dev/suspend: drift is told, nothing is written",
             hint="remove the tag from the role to have it repaired again"),
        *[role(f"web-{number:02}", selector="path begins with /fleet/, name like web-*", since=9 * DAY)
          for number in range(1, 35)],
    ]
    held = [role(f"edge-{place}", manifest="edge", drift="narrowed", action="blocked", reason="GuardHeld", since=12 * MINUTE,
                 message="the whole plan is beyond what spec.guards of the ControllerConfiguration allow within an hour: it is held",
                 detail="37 changes planned, 0 made within the hour, 20 allowed (maxChangesPerHour)",
                 hint="look at it with `plan`; if it is meant, carry it out with `apply --approve` and the plan's digest, or raise spec.guards",
                 diff=[("lost", f"Allow kms:Decrypt on {KEY}")])
            for place in ["ams", "cdg", "fra", "gru", "hkg", "iad", "jfk", "lhr", "mad", "nrt", "ord", "sin"]]
    excess = "37 changes planned, 0 made within the hour, 20 allowed (maxChangesPerHour)"
    unread = [role(f"tenant-{number}", manifest="tenants", action="blocked", reason="Unknown", synced=UNKNOWN, session=UNKNOWN,
                   message=UNKNOWN[2], hint="see what IAM said; the next pass tries again", since=25 * MINUTE)
              for number in range(1, 4)]
    return status(
        [
            account("111122223333", production),
            account("222233334444", held, lastCompletePassAt=ago(35), held={
                "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "excess": excess,
                "hint": "look at it with `plan`; if it is meant, carry it out with `apply --approve` and the plan's digest, or raise spec.guards"}),
            account("444455556666", unread, "NotEntered", lastCompletePassAt=ago(31 * MINUTE),
                    message="account 444455556666 cannot be entered, so nothing is concluded and nothing is written there: "
                            "STS denied sts:AssumeRole (AccessDenied)",
                    hint="see that arn:aws:iam::444455556666:role/ssm-role-controller exists, that its trust policy admits "
                         "the controller's own role with this external id, and that this one may sts:AssumeRole it"),
            account("555566667777", [role(f"build-{number}", manifest="workers") for number in range(1, 9)],
                    suspended=True),
            account("777788889999", [], "Entering", message="its credentials are being asked for", lastCompletePassAt=None),
        ],
        [{"file": "config/edge.yaml", "line": 7, "column": 12, "path": "spec.sessionPreferences.kmsKeyId",
          "message": "an alias is no key: IAM policies name keys by their ARN",
          "hint": "write the key's ARN, such as arn:aws:kms:eu-west-1:222233334444:key/1234abcd-…", "lastGoodInForce": True}],
        {"shard": "0/3"})


MARKUP = "<img src=x onerror=document.title='owned'>"
CLOSING = "</script><script>document.title='owned'</script>"
TURNED = "\u202egnp.exe\u2066\u200b"
STYLE = "<style>*{display:none}</style>"
LINK = "<a href='javascript:document.title=\"owned\"'>javascript:alert(1)</a>"


def hostile():
    """Markup, direction overrides and sheer length in every text that comes from elsewhere."""
    long = "a" * 20_000
    bad = role("web", manifest=MARKUP, drift="altered", action="blocked", reason="DeniesPresent", message=CLOSING,
               detail=f"{TURNED} {LINK}", hint=STYLE, selector=MARKUP, session=("False", "ChannelsDenied", LINK),
               diff=[("gained", f"Allow {MARKUP} on {TURNED}"), ("lost", CLOSING), ("gained", long), ("lost", "\x00\x07\r\x1b[31m")])
    bad["policy"] = "+=,.@-"
    return status(
        [account("111122223333", [bad, role("Web"), role("constructor"), role("__proto__")]),
         account("222233334444", [], "NotEntered", message=MARKUP + TURNED, hint=CLOSING),
         account("333344445555", [], held={"digest": "0" * 64, "excess": MARKUP, "hint": LINK})],
        [{"file": f"config/{MARKUP}.yaml", "line": 1, "column": 1, "path": STYLE, "message": CLOSING + TURNED, "hint": LINK,
          "lastGoodInForce": False}])


def fleet(size=5_000, accounts=25):
    """Many roles; one in fifty drifted, one in a hundred without a session."""
    made = []
    for number in range(size):
        if number % 50 == 0:
            made.append(role(f"role-{number:04}", drift="narrowed", action="put", diff=[("lost", MESSAGES)], session=NO_SESSION if number % 100 == 0 else ("Unknown", "NotRead", "only the policy itself was read")))
        else:
            made.append(role(f"role-{number:04}", manifest=f"fleet-{number % 40}"))
    share = size // accounts
    return status([account(f"{100000000000 + number}", made[number * share:(number + 1) * share]) for number in range(accounts)])


def faulty():
    """5,000 faults at once, and every role in trouble of its own."""
    faults = [{"file": f"config/{number}.yaml", "line": number + 1, "column": 1, "path": "spec.roles", "message": f"fault {number}",
               "hint": None, "lastGoodInForce": number % 2 == 0} for number in range(5_000)]
    roles = [role(f"role-{number:04}", action="blocked", reason="RefusedByIam", message=f"IAM refused request {number}",
                  synced=("Unknown", "RefusedByIam", "IAM refused the request")) for number in range(5_000)]
    return status([account("111122223333", roles)], faults, inForce=0)


def switched_off():
    """The kill switch is on, on a standby that may only observe."""
    gone = role("web", drift="missing", reason="Suspended", session=NO_SESSION, diff=[("lost", MESSAGES)],
                message="the kill switch is on (suspend: true in the ControllerConfiguration): drift is told, nothing is written",
                hint="set suspend: false in the ControllerConfiguration to have it repaired")
    return status([account("111122223333", [gone])],
                  controller={"suspended": True, "observeOnly": True, "isLeader": False})


ALL = {made.__name__: made for made in [calm, empty, night, hostile, fleet, faulty, switched_off]}

if __name__ == "__main__":
    for name, make in ALL.items():
        (pathlib.Path(sys.argv[1]) / f"{name}.json").write_text(json.dumps(make()))
