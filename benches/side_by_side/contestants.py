"""Who is compared: how each is started, and how what it has found is read from what it says.

What must stay true: each is started as a person would start it, with its own defaults; nothing is set to make it slower.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from fleet import ACCOUNT

HERE = Path(__file__).parent / "contestants"
BIN = Path(sys.executable).parent

# What one is asked to do.
CHECK, REPAIR = "check", "repair"


@dataclass(frozen=True)
class Run:
    """One start of a contestant."""

    task: str
    controller: Path
    config: Path
    # The documents that the roles should have, as a JSON file: by role; and the same as Ansible's variables.
    wanted: Path
    variables: Path
    # Where it may leave files.
    output: Path


@dataclass(frozen=True)
class Contestant:
    name: str
    command: Callable[[Run], list]
    # The roles that it said have drifted.
    found: Callable[[Run, str], set]
    # The status with which it ends where it has found drift.
    statuses: dict
    tasks: tuple = (CHECK, REPAIR)
    servers: tuple = ("moto", "sandbox")
    most_roles: int = 1_000_000
    # The kinds of drift that it can see at all.
    sees: tuple = ("missing", "narrowed", "widened")
    # Of one that stays (`resident.py`): the event by which it tells each role that it has found, or repaired.
    tells: dict | None = None


def daemon(run):
    command = [run.controller, "run", "--log-format", "json", "--config", run.config]
    return command + ["--observe"] * (run.task == CHECK)


def once(run):
    if run.task == CHECK:
        return [run.controller, "plan", "-o", "json", "--config", run.config]
    return [run.controller, "apply", "--config", run.config]


def unpaced(command):
    return lambda run: command(run) + ["--requests-per-second", "100000"]


def told(event, said):
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return {each["role"] for each in events if each["event"] == event}


DAEMON_TELLS = {CHECK: "drift.detected", REPAIR: "drift.repaired"}


def found_by_daemon(run, said):
    return told(DAEMON_TELLS[run.task], said)


def found_at_once(run, said):
    if run.task == REPAIR:
        return told(DAEMON_TELLS[REPAIR], said)
    steps = json.loads(said)["steps"]
    return {step["role"] for step in steps if step["drift"] not in (None, "cosmetic")}


def script(name):
    def command(run):
        return [sys.executable, HERE / name, run.wanted, *(["repair"] if run.task == REPAIR else [])]

    return command


def ansible(run):
    command = [BIN / "ansible-playbook", "-i", "localhost,", "-e", f"@{run.variables}", HERE / "ansible.json"]
    return command + ["--check"] * (run.task == CHECK)


def custodian(run):
    return [BIN / "custodian", "run", "--cache-period", "0", "--output-dir", run.output, HERE / "custodian.json"]


def found_by_custodian(run, _said):
    found = (run.output / "without-ours" / "resources.json").read_text(encoding="utf-8")
    return {role["RoleName"] for role in json.loads(found)}


def lines(_run, said):
    return set(said.split())


def changed(_run, said):
    return set(re.findall(r"^changed: \[localhost\] => \(item=(\S+)\)", said, re.MULTILINE))


# The daemon; and the commands that look or repair once, which start with knowing nothing.
OURS = "ssm-role-controller run"
OURS_ONCE = "ssm-role-controller plan, apply"
# The same where nothing is spared: moto and the sandbox take more than IAM would.
PACE_LIFTED = ", pace lifted"
EACH_OF_OURS = (OURS, OURS + PACE_LIFTED, OURS_ONCE, OURS_ONCE + PACE_LIFTED)

ALL = [
    Contestant(OURS, daemon, found_by_daemon, {CHECK: 0, REPAIR: 0}, tells=DAEMON_TELLS),
    Contestant(OURS + PACE_LIFTED, unpaced(daemon), found_by_daemon, {REPAIR: 0}, tasks=(REPAIR,), tells=DAEMON_TELLS),
    Contestant(OURS_ONCE, once, found_at_once, {CHECK: 2, REPAIR: 0}),
    Contestant(OURS_ONCE + PACE_LIFTED, unpaced(once), found_at_once, {REPAIR: 0}, tasks=(REPAIR,)),
    Contestant("boto3, bulk read", script("boto3_bulk.py"), lines, {CHECK: 0, REPAIR: 0}),
    Contestant("boto3, role by role", script("boto3_loop.py"), lines, {CHECK: 0, REPAIR: 0}),
    Contestant("Ansible amazon.aws.iam_policy", ansible, changed, {CHECK: 0, REPAIR: 0}, most_roles=100),
    Contestant(
        "Cloud Custodian",
        custodian,
        found_by_custodian,
        {CHECK: 0},
        tasks=(CHECK,),
        # The sandbox knows no ListRoles.
        servers=("moto",),
        most_roles=1000,
        # No filter of its looks into inline policies: it sees which are there.
        sees=("missing",),
    ),
]


def environment(home, url):
    """What a contestant finds in its environment: credentials, an endpoint, and nothing of this machine's user."""
    return {
        "HOME": str(home),
        "PATH": f"{BIN}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
    }
