"""Makes of the runs a table, a picture and the raw figures, and says which goals were reached.

What must stay true: a goal is judged by the figures alone, and one that was missed is told like one that was reached.
"""

import csv
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from statistics import median

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as pyplot

from contestants import ALL, CHECK, EACH_OF_OURS, REPAIR

# Asks who one is, and is no call to IAM.
OF_STS = "GetCallerIdentity"

DOING = {CHECK: "finding the drift", REPAIR: "finding and repairing it"}
PLATFORM = {"ec2": "an AWS managed policy attached", "ecs": "no managed policy attached"}


def machine(controller):
    """Lines that say when, where and with what this was measured."""
    versions = ["boto3", "ansible-core", "ansible", "c7n", "moto"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in versions)
    version = subprocess.run([controller, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return [f"{datetime.date.today()}, {where}; {version} ({commit}), {versions}."]


def write(runs, where, about):
    where.mkdir(parents=True, exist_ok=True)
    (where / "raw.json").write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    write_csv(runs, where / "raw.csv")
    medians = summed_up(runs)
    (where / "table.md").write_text(text(medians, about), encoding="utf-8")
    draw(medians, where / "picture.svg")


def write_csv(runs, file):
    operations = sorted({operation for run in runs for operation in run["calls"]})
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out, lineterminator="\n")
        plain = [name for name in runs[0] if name != "calls"]
        rows.writerow(plain + operations)
        for run in runs:
            figures = [f"{value:.6f}" if isinstance(value, float) else value for value in map(run.get, plain)]
            rows.writerow(figures + [run["calls"].get(operation, 0) for operation in operations])


def summed_up(runs):
    """The medians of the repeats, by (server, platform, task, roles, contestant)."""
    repeats = {}
    for run in runs:
        key = (run["server"], run["platform"], run["task"], run["roles"], run["contestant"])
        repeats.setdefault(key, []).append(run)
    medians = {}
    for key, same in repeats.items():
        figures = {name: median(run[name] for run in same) for name in ("wall_seconds", "cpu_seconds", "peak_megabytes")}
        # Whoever calls now more, now less, is shown with the run that called most.
        most = max((run["calls"] for run in same), key=lambda calls: sum(calls.values()))
        walls = [run["wall_seconds"] for run in same]
        medians[key] = {
            **figures,
            "calls": most,
            "iam_calls": sum(count for operation, count in most.items() if operation != OF_STS),
            "repeats": len(same),
            "least_wall": min(walls),
            "most_wall": max(walls),
            "found": same[0]["found"],
            "drifted": same[0]["drifted"],
        }
    return medians


def text(medians, about):
    lines = ["# Measured side by side", "", *about, "", "Written by `benches/side_by_side/run`; [what it means](README.md).", ""]
    lines += ["![calls and time against the number of roles](picture.svg)", "", "## Goals", ""]
    judgements = list(goals(medians))
    for name in EACH_OF_OURS:
        rows = [f"| {' | '.join(goal)} |" for whose, *goal in judgements if whose == name]
        if rows:
            lines += [f"**{name}**", "", "| where | goal | measured | |", "|---|---|---|---|", *rows, ""]
    lines.pop()
    parts = sorted({key[:3] for key in medians}, key=lambda part: (part[1], part[0], part[2]))
    for server, of, task in parts:
        lines += ["", f"## {server}, {DOING[task]}; roles with {PLATFORM[of]}", ""]
        lines += ["| roles | | wall | CPU | peak memory | calls |", "|---:|---|---:|---:|---:|---|"]
        for key, figures in ranked(medians, (server, of, task)):
            lines.append(row(key, figures))
    return "\n".join(lines) + "\n"


def ranked(medians, part):
    order = [contestant.name for contestant in ALL]
    chosen = [(key, figures) for key, figures in medians.items() if key[:3] == part]
    return sorted(chosen, key=lambda item: (item[0][3], order.index(item[0][4])))


def row(key, figures):
    name = f"**{key[4]}**" if key[4] in EACH_OF_OURS else key[4]
    if figures["found"] < figures["drifted"]:
        name += f" (finds {figures['found']} of {figures['drifted']})"
    wall = f"{seconds(figures['wall_seconds'])} ({seconds(figures['least_wall'])} to {seconds(figures['most_wall'])})"
    calls = ", ".join(f"{operation} {count:,}" for operation, count in figures["calls"].items())
    peak = f"{figures['peak_megabytes']:.0f} MB"
    return f"| {key[3]:,} | {name} | {wall} | {seconds(figures['cpu_seconds'])} | {peak} | {calls} |"


def seconds(value):
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:.1f} s"


BUT_FOR_THE_CANARY = "reached, but for the canary's read-back"


def verdict(is_reached):
    return "reached" if is_reached else "**missed**"


def goals(medians):
    """Each goal of the comparison: whose, where, what, what was measured, and what that comes to."""
    parts = sorted({key[:4] for key in medians}, key=lambda part: (part[2], part[3], part[1], part[0]))
    for part in parts:
        server, of, task, roles = part
        everyone = {key[4]: figures for key, figures in medians.items() if key[:4] == part}
        each_of_ours = {name: everyone.pop(name) for name in EACH_OF_OURS if name in everyone}
        # Who finds but a part of the drift is no measure for those who find all of it.
        others = {name: figures for name, figures in everyone.items() if figures["found"] == figures["drifted"]}
        for name, ours in each_of_ours.items() if others else ():
            where = f"{server}, {roles:,} roles, {PLATFORM[of]}"
            for goal in judged(task, roles, ours, others):
                yield name, where, *goal


def judged(task, roles, ours, others):
    def best(figure):
        return min(others.items(), key=lambda item: item[1][figure])

    name, fewest = best("iam_calls")
    repairs = ours["drifted"] if task == REPAIR else 0
    allowed = fewest["iam_calls"] + repairs
    too_many = ours["iam_calls"] - allowed
    told = f"{ours['iam_calls']:,} against {fewest['iam_calls']:,} ({name})"
    if too_many > 0:
        told += f": {too_many} too many"
    goal = "checking: no more calls" if task == CHECK else "repairing: one confirming read more for each repair"
    # Of several writes the first is made alone and read back, as the guards want it: a read of all repairs together.
    is_canary = repairs > 1 and too_many == 1
    yield goal, told, BUT_FOR_THE_CANARY if is_canary else verdict(too_many <= 0)

    if roles == 1000:
        name, leanest = best("cpu_seconds")
        times = leanest["cpu_seconds"] / ours["cpu_seconds"]
        told = f"{seconds(ours['cpu_seconds'])} against {seconds(leanest['cpu_seconds'])} ({name}): 1/{times:.1f}"
        yield f"CPU of {DOING[task]}: at most a fifth of the leanest", told, verdict(times >= 5)
    name, fastest = best("wall_seconds")
    told = f"{seconds(ours['wall_seconds'])} against {seconds(fastest['wall_seconds'])} ({name})"
    yield f"wall time of {DOING[task]}: below all", told, verdict(ours["wall_seconds"] < fastest["wall_seconds"])


COLOURS = ["#0b6e4f", "#4cb28f", "#1f4e8c", "#7fa8d9", "#d95f02", "#7570b3", "#c2185b", "#6d6d6d"]
MARKERS = ["o", "P", "h", "X", "s", "D", "^", "v"]


def draw(medians, file):
    """Calls and time against the number of roles, for the roles with a managed policy attached."""
    matplotlib.rcParams.update({"svg.hashsalt": "side by side", "svg.fonttype": "none", "font.size": 9})
    parts = [(server, task) for server in ("moto", "sandbox") for task in (CHECK, REPAIR)]
    parts = [part for part in parts if any((key[0], key[2]) == part for key in medians)]
    figure, axes = pyplot.subplots(2, len(parts), figsize=(3.1 * len(parts), 6.2), sharex=True, sharey="row", squeeze=False)
    shown = {}
    for column, (server, task) in enumerate(parts):
        for line, (figure_name, title) in enumerate([("iam_calls", "calls to IAM"), ("wall_seconds", "wall time, seconds")]):
            axis = axes[line][column]
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
            axis.grid(True, which="major", color="#dddddd", linewidth=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
            if line == 0:
                axis.set_title(f"{server}, {DOING[task]}", fontsize=9)
            else:
                axis.set_xlabel("roles")
            if column == 0:
                axis.set_ylabel(title)
            for number, contestant in enumerate(ALL):
                points = sorted(
                    (key[3], figures[figure_name])
                    for key, figures in medians.items()
                    if key[:3] == (server, "ec2", task) and key[4] == contestant.name
                )
                if not points:
                    continue
                (shown[contestant.name],) = axis.plot(
                    *zip(*points),
                    color=COLOURS[number],
                    marker=MARKERS[number],
                    markersize=5,
                    linewidth=2.4 if contestant.name in EACH_OF_OURS else 1.2,
                    zorder=3 if contestant.name in EACH_OF_OURS else 2,
                    label=contestant.name,
                )
    sizes = sorted({key[3] for key in medians})
    for axis in axes[-1]:
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
    names = [contestant.name for contestant in ALL if contestant.name in shown]
    figure.legend([shown[name] for name in names], names, loc="lower center", ncols=3, frameon=False)
    figure.suptitle("A tenth of the roles has drifted (less is better)", fontsize=10)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
