"""The account that every contestant finds: N roles that are as they should be, but for a tenth.

The documents that the roles should have are those that `ssm-role-controller render` prints for the manifests, so all
contestants want the same.
"""

import json
import subprocess

ACCOUNT = "111122223333"
POLICY = "SessionManagerPermissions"
OTHER_POLICY = "ApplicationAccess"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CORE = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"

PREFERENCES = [
    {},
    {"kmsKeyId": KEY},
    {"s3BucketName": "audit-sessions", "s3KeyPrefix": "servers"},
    {"cloudWatchLogGroupName": "/ssm/sessions", "s3EncryptionEnabled": False},
    {"kmsKeyId": KEY, "s3BucketName": "audit-sessions", "cloudWatchLogGroupName": "/ssm/sessions"},
]

KINDS = ("missing", "narrowed", "widened")


def role_name(number):
    return f"application-server-{number:05}"


def application_policy(role):
    """What the application on the server needs: nobody's business here, and in every page."""

    def allow(sid, actions, resource):
        return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}

    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                allow("ReadConfiguration", ["ssm:GetParameter", "ssm:GetParametersByPath"], f"arn:aws:ssm:*:{ACCOUNT}:parameter/{role}/*"),
                allow("Queue", ["sqs:ReceiveMessage", "sqs:DeleteMessage"], f"arn:aws:sqs:*:{ACCOUNT}:{role}"),
                allow("Assets", ["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::example-assets/{role}/*"),
            ],
        }
    )


def drifted(document, kind):
    """What is left of a document after somebody tampered with it; nothing where the policy is to be missing."""
    document = json.loads(json.dumps(document))
    match kind:
        case "missing":
            return None
        case "narrowed":
            document["Statement"][0]["Action"] = document["Statement"][0]["Action"][:-1]
        case "widened":
            document["Statement"].append({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"})
    return document


class Fleet:
    """So many roles of a platform: `ec2` (an AWS managed policy attached, and an instance profile) or `ecs` (neither)."""

    def __init__(self, roles, platform, directory, controller):
        self.platform = platform
        self.names = [role_name(number) for number in range(roles)]
        # One of every ten roles has drifted, in each of the ways alike, and not always of the same manifest.
        tens = range(roles // 10)
        self.drift = {role_name(ten * 10 + ten % 10): KINDS[ten % len(KINDS)] for ten in tens}
        self.config = directory / "config"
        self.config.mkdir(parents=True)
        # JSON is YAML.
        manifests = [self.manifest(number, preferences) for number, preferences in enumerate(PREFERENCES)]
        text = "".join(f"---\n{json.dumps(manifest, indent=1)}\n" for manifest in manifests if manifest)
        (self.config / "fleet.yaml").write_text(text, encoding="utf-8")
        self.saves = 0
        self.save_settings()
        rendered = subprocess.run(
            [controller, "render", "--config", self.config], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        self.wanted = {each["role"]: each["document"] for each in json.loads(rendered)}
        self.seed = [self.role(name, self.drift.get(name)) for name in self.names]
        self.sound = [self.role(name, None) for name in self.names]

    def save_settings(self):
        """Saves the controller's settings: the same every time, but another text, so that whoever watches it looks again."""
        self.saves += 1
        settings = {
            "apiVersion": "ssm-role-controller.dev/v1alpha1",
            "kind": "ControllerConfiguration",
            "metadata": {"name": "controller", "annotations": {"saved": str(self.saves)}},
            "spec": {
                # A tenth of 5,000 roles is more than the guards let pass of themselves.
                "guards": {"maxChangesPerHour": len(self.names)},
                # Whoever watches looks when it is told to, and not in between.
                "resyncInterval": "24h",
            },
        }
        saved = self.config / "settings.saved"
        saved.write_text(json.dumps(settings, indent=1), encoding="utf-8")
        saved.rename(self.config / "settings.yaml")

    def manifest(self, number, preferences):
        roles = self.names[number :: len(PREFERENCES)]
        if not roles:
            return None
        return {
            "apiVersion": "ssm-role-controller.dev/v1alpha1",
            "kind": "SessionManagerPermissions",
            "metadata": {"name": f"fleet-{number}"},
            "spec": {
                "accountId": ACCOUNT,
                "platform": self.platform,
                "sessionPreferences": preferences,
                "roles": roles,
            },
        }

    def role(self, name, drift):
        is_server = self.platform == "ec2"
        service = "ec2.amazonaws.com" if is_server else "ecs-tasks.amazonaws.com"
        trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        document = self.wanted[name]
        if drift is not None:
            document = drifted(document, drift)
        policies = [{"name": OTHER_POLICY, "document": application_policy(name)}]
        if document is not None:
            policies.append({"name": POLICY, "document": json.dumps(document)})
        return {
            "name": name,
            "trust": json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
            "tags": [
                {"key": "Name", "value": name},
                {"key": "environment", "value": "production"},
                {"key": "team", "value": "platform"},
            ],
            "policies": policies,
            "attached": [CORE] if is_server else [],
            "instance_profiles": [name] if is_server else [],
        }
