"""Runs a command, and writes what it took: `measured.py RESULT LOG COMMAND...`.

A process of its own, and a small one, because the kernel counts what was resident before `exec` to the command's peak.
"""

import json
import os
import sys
import time

result, log, *command = sys.argv[1:]
said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
onto = [(os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
begun = time.monotonic()
child = os.posix_spawnp(command[0], command, os.environ, file_actions=onto)
_, status, usage = os.wait4(child, 0)
wall = time.monotonic() - begun
with open(result, "w", encoding="utf-8") as file:
    json.dump(
        {
            "status": os.waitstatus_to_exitcode(status),
            "wall_seconds": wall,
            # Of the command and of all its children that it has waited for; the peak is that of the largest of them.
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_megabytes": usage.ru_maxrss * 1024 / 1e6,
        },
        file,
    )
