"""Measures contestants side by side: `bench.py --help`; `run` sets up what it needs."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import report
import resident
from contestants import ALL, CHECK, EACH_OF_OURS, REPAIR, Run, environment
from fleet import POLICY, Fleet
from servers import Server

HERE = Path(__file__).parent

# Whoever takes longer than this for one run need not be measured so often.
SLOW_SECONDS = 20


def main():
    arguments = parsed()
    repeats = f"Medians of {arguments.repeats} runs, of {arguments.slow_repeats} where one took more than {SLOW_SECONDS} s."
    about = [*report.machine(arguments.controller), repeats, *filter(None, [arguments.note])]
    with tempfile.TemporaryDirectory() as directory:
        runs = measured(arguments, Path(directory))
    report.write(runs, arguments.results, about)


def parsed():
    parser = argparse.ArgumentParser(prog="benches/side_by_side/run", description=__doc__.split(":")[0])
    parser.add_argument("--roles", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the median is shown")
    parser.add_argument("--slow-repeats", type=int, default=3, help=f"of those that take more than {SLOW_SECONDS} s")
    parser.add_argument("--servers", nargs="+", choices=["moto", "sandbox"], default=["moto", "sandbox"])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="contestants, by the beginning of the name")
    parser.add_argument("--results", type=Path, default=HERE, help="where table, picture and raw figures go")
    parser.add_argument("--note", default="", help="a sentence about the circumstances, for the table")
    parser.add_argument("--controller", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(arguments, directory):
    """Every run, in the order in which they were made: the contestants take turns."""
    runs = []
    home = directory / "home"
    home.mkdir()
    # The first round is for what is compiled, cached and loaded once only.
    for roles in [10, *arguments.roles]:
        fleets = {
            platform: Fleet(roles, platform, directory / f"{platform}-{roles}", arguments.controller)
            for platform in ("ec2", "ecs")
        }
        for server_name in arguments.servers:
            for platform, fleet in fleets.items():
                with Server(server_name, arguments.controller, environment(home, "")) as server:
                    for run in rounds(arguments, directory, home, server, platform, fleet):
                        if roles != 10:
                            runs.append(run)
    return runs


def rounds(arguments, directory, home, server, platform, fleet):
    wanted = directory / "wanted.json"
    wanted.write_text(json.dumps(fleet.wanted), encoding="utf-8")
    variables = directory / "variables.json"
    variables.write_text(json.dumps({"wanted": fleet.wanted}), encoding="utf-8")
    repeats = 1 if len(fleet.names) == 10 else arguments.repeats
    slow = set()
    for repeat in range(repeats):
        for contestant in competing(arguments, server, platform, fleet):
            for task in contestant.tasks:
                if (contestant.name, task) in slow and repeat >= arguments.slow_repeats:
                    continue
                output = directory / "output"
                shutil.rmtree(output, ignore_errors=True)
                output.mkdir()
                run = Run(task, arguments.controller, fleet.config, wanted, variables, output)
                took = once(contestant, run, home, server, fleet)
                if took["wall_seconds"] > SLOW_SECONDS:
                    slow.add((contestant.name, task))
                told = f"{server.name}, {len(fleet.names)} roles ({platform}), {task}, {contestant.name}"
                print(f"{told}: {took['wall_seconds']:.2f} s", file=sys.stderr)
                yield {
                    "server": server.name,
                    "roles": len(fleet.names),
                    "platform": platform,
                    "task": task,
                    "contestant": contestant.name,
                    "repeat": repeat,
                    **took,
                }


def competing(arguments, server, platform, fleet):
    chosen = tuple(arguments.only)
    for contestant in ALL:
        is_chosen = not chosen or contestant.name.startswith(chosen)
        # Roles without managed policies are for the one question of what these cost whom.
        is_asked = platform == "ec2" or contestant.name.startswith((*EACH_OF_OURS, "boto3, bulk"))
        if is_chosen and is_asked and server.name in contestant.servers and len(fleet.names) <= contestant.most_roles:
            yield contestant


def once(contestant, run, home, server, fleet):
    """One run from the same state as all others: what it took, after it was seen to have done what it was asked to do."""
    variables = environment(home, server.url)
    measuring = resident.measured if contestant.tells else started
    took, said, before = measuring(contestant, run, server, fleet, variables, home)
    calls = server.calls()
    after = server.policies()

    def insist(is_so, what):
        if not is_so:
            sys.exit(f"error: {contestant.name}, {run.task}, {len(fleet.names)} roles, {server.name}: {what}\n{said[-3000:]}")

    status = took.pop("status")
    insist(status == contestant.statuses[run.task], f"it ended with status {status}")
    should_find = {role for role, kind in fleet.drift.items() if kind in contestant.sees}
    found = contestant.found(run, said)
    insist(found == should_find, f"it found {len(found)} drifted roles, of {len(should_find)}")
    # From outside, whatever it said of itself.
    drifted = {role for role, policies in after.items() if policies.get(POLICY) != fleet.wanted[role]}
    insist(drifted == (set() if run.task == REPAIR else set(fleet.drift)), f"{len(drifted)} roles are drifted afterwards")
    for role in before:
        before[role].pop(POLICY, None)
        after[role].pop(POLICY, None)
    insist(before == after, "it changed what nobody asked it to")
    return took | {"calls": calls, "found": len(found), "drifted": len(fleet.drift)}


def started(contestant, run, server, fleet, variables, home):
    """From the start of its process to the end: what that took, what it said, and the policies as they were before."""
    server.seed(fleet)
    before = server.policies()
    result, log = run.output / "result.json", run.output / "log"
    # Isolated and without `site`, so that it is as small as can be.
    measuring = [sys.executable, "-I", "-S", HERE / "measured.py", result, log]
    command = [str(word) for word in [*measuring, *contestant.command(run)]]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=variables, cwd=home)
    return json.loads(result.read_text(encoding="utf-8")), log.read_text(encoding="utf-8"), before


if __name__ == "__main__":
    main()
