"""A run of a contestant that stays: the daemon, for which everything is well until a tenth of the roles drifts.

What must stay true: what it takes is counted from the moment that tells it to look, and nothing that it still does for it
afterwards is left out of the calls.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter

from servers import free_port

PATIENCE_SECONDS = 300
POLL_SECONDS = 0.002

# How long nothing may be called for all calls to have been made.
QUIET_SECONDS = 1.0


def measured(contestant, run, server, fleet, environment, home):
    """Starts it with nothing to do, has the roles drift, and saves the settings, which makes it look. What that took, until
    it has told the last of the drifted roles; what it said meanwhile; and the policies as they were before."""
    server.seed(fleet, is_sound=True)
    log = run.output / "log"
    port = free_port()
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(word) for word in [*contestant.command(run), "--health-listen", port]],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=environment,
            cwd=home,
        )
    try:
        with log.open("rb") as said:
            told = Told(process, said)
            told.until(lambda: is_ready(port))
            quiet(server)
            server.seed(fleet)
            before = server.policies()
            told.read()
            told.forget()
            cpu = cpu_seconds(process.pid)
            begun = time.monotonic()
            fleet.save_settings()
            told.until(lambda: told.events[contestant.tells[run.task]] == len(fleet.drift))
            wall = time.monotonic() - begun
            cpu = cpu_seconds(process.pid) - cpu
            quiet(server)
            peak = peak_megabytes(process.pid)
            told.read()
    finally:
        process.terminate()
        status = process.wait()
    took = {"status": status, "wall_seconds": wall, "cpu_seconds": cpu, "peak_megabytes": peak}
    return took, told.text, before


class Told:
    """What a process has said since it was last forgotten, by whole lines."""

    def __init__(self, process, log):
        self.process = process
        self.log = log
        self.rest = b""
        self.forget()

    def read(self):
        lines, end, self.rest = (self.rest + self.log.read()).rpartition(b"\n")
        more = (lines + end).decode()
        self.text += more
        self.events.update(json.loads(line)["event"] for line in more.splitlines())

    def forget(self):
        self.text = ""
        self.events = Counter()

    def until(self, is_so):
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit(f"error: what was waited for was not told:\n{self.text[-3000:]}")
            time.sleep(POLL_SECONDS)
            self.read()


def is_ready(port):
    """Whether manifests are in force and a first pass is done."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_SECONDS) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def quiet(server):
    """Waits until nothing is called any more."""
    calls, since = server.calls(), time.monotonic()
    end = since + PATIENCE_SECONDS
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(QUIET_SECONDS / 10)
        newer = server.calls()
        if newer != calls:
            calls, since = newer, time.monotonic()
        if since > end:
            sys.exit("error: it calls for ever")


def cpu_seconds(pid):
    """Of all threads of a process, by its clock (see clock_getcpuclockid, whose sum this is): to the microsecond, which
    /proc is not."""
    return time.clock_gettime((~pid << 3) | 2)


def peak_megabytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6
