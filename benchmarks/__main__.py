"""Measure every contender in turn, each in a process of its own, and write the results.

python -m benchmarks            # results.json, the table in README.md and speed.svg
python -m benchmarks --quick    # a round of small images that writes nothing
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.contender import CONTENDERS, Job
from segformer_edu.doctor import cores
from segformer_edu.plots.style import BLUE, GREY, new_figure, styled
from tools.machines import busy

HERE = Path(__file__).parent
LIBRARIES = ("torch", "transformers", "onnxruntime", "openvino")
BEGIN, END = "<!-- results -->", "<!-- end of results -->"

EVERYBODY = tuple(CONTENDERS)
OURS, FOLDED, SDPA, EAGER, *_ = EVERYBODY


@dataclass(frozen=True)
class Task:
    """A task of contender.py: its heading, its unit, who takes part, whether on GPUs too, whether
    other programs keep every core busy meanwhile, and whether waiting threads give up their core.
    """

    heading: str
    unit: str
    contenders: tuple[str, ...]
    on_cuda: bool = True
    busy: bool = False
    yielding: bool = True


TASKS = {
    "forward": Task("Forward pass", "ms", EVERYBODY),
    "forward, busy": Task("Forward, all cores busy", "ms", EVERYBODY, on_cuda=False, busy=True),
    "forward, busy, spinning": Task(
        "… without GOMP_SPINCOUNT", "ms", (OURS,), on_cuda=False, busy=True, yielding=False
    ),
    "predict": Task("Labels at full size", "ms", (OURS, FOLDED, SDPA, EAGER)),
    "training": Task("Training step", "ms", (OURS, SDPA, EAGER)),
    "forward memory": Task("Forward, peak memory", "MB", EVERYBODY),
    "training memory": Task("Training, peak memory", "MB", (OURS, SDPA, EAGER)),
    "import": Task("Import, over torch", "ms", (OURS, SDPA), on_cuda=False),
}


def main() -> None:
    options = parse()
    measured = measure(options)
    rows = summarize(measured)
    results = {"machine": machine(options), "results": rows, "rounds": measured}
    print("\n".join(table(rows, device) for device in devices_of(rows)))
    if options.output is None:
        return
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(
        json.dumps(results, indent=1) + "\n", encoding="utf-8"
    )
    with matplotlib.rc_context({"svg.hashsalt": "speed"}):  # the same file from the same numbers
        picture(rows).savefig(options.output / "speed.svg", metadata={"Date": None})
    readme = options.output / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else f"{BEGIN}\n{END}\n"
    readme.write_text(filled(text, report(results)), encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round at 128×128")
    parser.add_argument("--rounds", type=int, help="how often each process runs (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender (2)")
    parser.add_argument("--contenders", nargs="+", choices=EVERYBODY, default=EVERYBODY)
    parser.add_argument("--output", type=Path, help="folder for the results (benchmarks)")
    options = parser.parse_args()
    options.size, options.repeats = (128, 2) if options.quick else (512, 10)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if options.output is None and not options.quick:
        options.output = HERE
    return options


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run every job `rounds` times, the contenders in turn: A B C, A B C, …"""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            task="export",
            contender=SDPA,
            device="cpu",
            size=options.size,
            repeats=options.repeats,
            threads=options.threads,
            exported=str(Path(folder) / "segformer.onnx"),
        )
        if set(options.contenders) & {"ONNX Runtime", "OpenVINO"}:
            run(job)
        jobs = [
            replace(job, task=name, contender=contender, device=device)
            for device in devices
            for name, task in TASKS.items()
            for contender in task.contenders
            if contender in options.contenders and (device == "cpu" or on_cuda(task, contender))
        ]
        measured = []
        with tqdm(total=options.rounds * len(jobs), unit="process") as progress:
            for number in range(options.rounds):
                for job in jobs:
                    progress.set_postfix_str(f"{job.device}, {job.task}: {job.contender}")
                    who = {"device": job.device, "task": job.task, "contender": job.contender}
                    measured.append({**who, "round": number, "values": run(job)})
                    progress.update()
    return measured


def on_cuda(task: Task, contender: str) -> bool:
    return task.on_cuda and contender not in ("ONNX Runtime", "OpenVINO")


def run(job: Job) -> list[float]:
    """The numbers of one job, from a process of its own."""
    threads, task = str(job.threads), TASKS.get(job.task)
    settings = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if task is None or task.yielding:
        settings["GOMP_SPINCOUNT"] = "1000"
    inherited = {name: x for name, x in os.environ.items() if name != "GOMP_SPINCOUNT"}
    with busy(cores() if task and task.busy else 0):
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.contender", json.dumps(asdict(job))],
            cwd=HERE.parent,
            env=inherited | settings,
            capture_output=True,
            encoding="utf-8",
        )
    if child.returncode:
        sys.exit(
            f"{job.contender} failed at {job.task}:\n{child.stderr[-2000:]}\n"
            f"If a package is missing: pip install --editable '.[bench]'"
        )
    return json.loads(child.stdout.splitlines()[-1])


def summarize(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median, minimum and ratio of each contender at each task.

    The median is that of the rounds' medians; the ratio is over the first contender of the task in
    the same round, so that a machine that slows down slows both.
    """
    rounds: dict[tuple[str, str], dict[str, list[list[float]]]] = {}
    for entry in measured:
        of_task = rounds.setdefault((entry["device"], entry["task"]), {})
        if entry["values"]:
            of_task.setdefault(entry["contender"], []).append(entry["values"])
    rows = []
    for (device, task), of_task in rounds.items():
        for contender, values in of_task.items():
            medians = [median(x) for x in values]
            first = [median(x) for x in next(iter(of_task.values()))]
            rows.append(
                {
                    "device": device,
                    "task": task,
                    "contender": contender,
                    "unit": TASKS[task].unit,
                    "median": round(median(medians), 2),
                    "min": round(min(map(min, values)), 2),
                    "ratio": round(median(x / y for x, y in zip(medians, first, strict=True)), 2),
                }
            )
    return rows


def devices_of(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["device"] for row in rows))


def table(rows: list[dict[str, Any]], device: str) -> str:
    """A Markdown table: a line per contender, a column per task, "median (min) ratio" per cell."""
    cells = {
        (row["contender"], row["task"]): f"{row['median']:.0f} ({row['min']:.0f}) ×{row['ratio']}"
        for row in rows
        if row["device"] == device
    }
    tasks = [name for name in TASKS if any(task == name for _, task in cells)]
    lines = [
        [f"{device}", *(f"{TASKS[task].heading}, {TASKS[task].unit}" for task in tasks)],
        ["---", *("---:" for _ in tasks)],
    ]
    for contender in dict.fromkeys(contender for contender, _ in cells):
        lines.append([contender, *(cells.get((contender, task), "–") for task in tasks)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def report(results: dict[str, Any]) -> str:
    """The text between the markers of README.md."""
    rows, where = results["results"], results["machine"]
    libraries = ", ".join(f"{name} {number}" for name, number in where["libraries"].items())
    tables = "\n".join(table(rows, device) for device in devices_of(rows))
    return (
        f"![{finding(rows)}. The table below has the numbers.](speed.svg)\n\n{tables}\n"
        f"SegFormer-B0, {where['size']}×{where['size']} pixels, float32, "
        f"threads: {where['threads']}, rounds: {where['rounds']}. {where['processor']}; "
        f"{where['system']}, Python {where['python']}; {libraries}.\n"
    )


def filled(text: str, results: str, begin: str = BEGIN, end: str = END) -> str:
    """The text with everything between the markers replaced."""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{results}{end}{after}"


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Where and how it was measured."""
    devices = [processor()]
    if torch.cuda.is_available():
        devices.append(torch.cuda.get_device_name())
    return {
        "processor": ", ".join(devices),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES if find_spec(name)},
        "size": options.size,
        "threads": options.threads,
        "rounds": options.rounds,
        "repeats": options.repeats,
    }


def processor() -> str:
    """The processor's name as it is sold, and its family, which virtual machines do not change."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.findall(
            r"^(cpu family|model name)\s*:\s*(.*)$", information.read_text(encoding="utf-8"), re.M
        )
        facts = dict(found)
        if len(facts) == 2:
            return f"{facts['model name']}, family {facts['cpu family']}"
    return platform.processor()


def finding(rows: list[dict[str, Any]]) -> str:
    """The result in a sentence, from the first device's forward pass."""
    forward = [row for row in rows if row["task"] == "forward" and row["device"] == "cpu"]
    first, *others = forward
    ratios = [f"{row['contender']} {row['ratio']} times as long" for row in others]
    return "; ".join(
        [f"{first['contender']} takes {first['median']:.0f} ms for a forward pass", *ratios]
    )


@styled
def picture(rows: list[dict[str, Any]]) -> Figure:
    """A panel per task, a bar per contender, on the CPU."""
    rows = [row for row in rows if row["device"] == "cpu"]
    contenders = list(dict.fromkeys(row["contender"] for row in rows))[::-1]  # the first on top
    slowest = max(row["ratio"] for row in rows if row["task"] == "forward")
    finding = f"One forward pass: the slowest takes {slowest:.1f} times as long as this package"
    figure = new_figure(4.6, finding)
    compared = {name: task for name, task in TASKS.items() if len(task.contenders) > 1}
    axes = figure.subplots(2, -(-len(compared) // 2), sharey=True, squeeze=False).flat
    for ax in axes[len(compared) :]:
        ax.axis("off")
    for ax, (name, task) in zip(axes, compared.items(), strict=False):
        bars = {row["contender"]: row["median"] for row in rows if row["task"] == name}
        heights = [bars.get(contender, 0) for contender in contenders]
        colors = [BLUE if "edu" in contender else GREY for contender in contenders]
        drawn = ax.barh(contenders, heights, color=colors)
        ax.bar_label(drawn, [f"{height:.0f}" if height else "–" for height in heights], padding=3)
        ax.set_title(f"{task.heading}, {task.unit}")
        ax.set_xlim(0, 1.25 * max(heights, default=1))
        ax.set_xticks([])
        ax.tick_params(left=False)
        ax.spines[["bottom", "left"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
