"""The two servers: moto behind its counter, and the controller's own sandbox. Both take the same control path."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from fleet import ACCOUNT

HERE = Path(__file__).parent

# The sandbox reads no larger body.
ROLES_AT_ONCE = 200

PATIENCE_SECONDS = 60


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A process that plays IAM, for as long as it is held as a context."""

    def __init__(self, name, controller, environment):
        self.name = name
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        if name == "moto":
            command = [sys.executable, HERE / "counted_moto.py", "--port", str(port)]
            environment = environment | {"MOTO_ACCOUNT_ID": ACCOUNT, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
        else:
            command = [controller, "sandbox", "--listen", f"127.0.0.1:{port}"]
        self.command = [str(word) for word in command]
        self.environment = environment

    def __enter__(self):
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command, stdin=quiet, stdout=quiet, stderr=quiet, env=self.environment)
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.control("GET", "calls")
                break
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > until or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
        # Those of the sandbox's own play.
        for role in self.control("GET", "roles")["roles"]:
            self.control("DELETE", f"roles/{role['name']}")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def control(self, method, what, body=None):
        request = urllib.request.Request(f"{self.url}/_sandbox/{what}", method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)

    def seed(self, fleet, is_sound=False):
        """Gives every role its policies as they are before a repair, or as they should be, and forgets the calls."""
        roles = fleet.sound if is_sound else fleet.seed
        for first in range(0, len(roles), ROLES_AT_ONCE):
            self.control("POST", "roles", {"roles": roles[first : first + ROLES_AT_ONCE]})
        self.control("DELETE", "calls")

    def calls(self):
        """How often each operation was called."""
        counts = self.control("GET", "calls")["counts"]
        return {operation: count["calls"] for operation, count in sorted(counts.items()) if count["calls"]}

    def policies(self):
        """The inline policies of every role, by name."""
        return {
            role["name"]: {policy["name"]: json.loads(policy["document"]) for policy in role["policies"]}
            for role in self.control("GET", "roles")["roles"]
        }
