"""Measure the torch contenders on a GPU: forward, training step, memory, CUDA graphs, 16 bits.

python -m benchmarks.gpu                          # gpu.json and the GPU's tables in README.md
python -m benchmarks.gpu --quick --device cpu     # the same code on a CPU; writes nothing

Without a GPU it says so, with exit code 2. A table that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.contenders import COMPILED, OURS, OURS_GRAPH, SDPA, SDPA_COMPILED, SDPA_GRAPH
from benchmarks.job import Job
from benchmarks.readme import HERE, fill
from benchmarks.report import case_table, summarize
from benchmarks.runs import machine, measure

CONTENDERS = (OURS, COMPILED, OURS_GRAPH, SDPA, SDPA_COMPILED, SDPA_GRAPH)
SLOW = (COMPILED, SDPA_COMPILED)  # minutes for a first pass
DTYPES = ("float32", "bfloat16", "float16")
HEADINGS = {
    "forward": "Forward pass, ms",
    "training": "Training step, ms",
    "forward memory": "Forward, peak memory, MB",
    "training memory": "Training, peak memory, MB",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument(
        "--quick", action="store_true", help="B0 at 64² alone, once; writes nothing"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often each process runs (1)")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as well: minutes")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(
            "There is no GPU that torch can use: python -m benchmarks measures CPUs.",
            file=sys.stderr,
        )
        return 2
    planned = jobs(options.device, options.quick, options.compiled)
    log = None if options.quick else HERE / "unfinished.gpu.json"
    measured = measure(planned, options.rounds, threads=2, log=log)
    rows = summarize(measured)
    where = machine(threads=2)
    tables = report(rows, where)
    print(tables)
    if log:
        results = {"machine": where, "rounds": options.rounds, "results": rows}
        (HERE / "gpu.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        fill("gpu", tables)
        log.unlink()
    return 0


def jobs(device: str, quick: bool, compiled: bool) -> list[Job]:
    """B0 to B5 at 512² and 2048²; three precisions and training where a table of one model will do.

    A CUDA graph needs a GPU, so on the CPU it is left out.
    """
    contenders = [x for x in CONTENDERS if compiled or x not in SLOW]
    if device == "cpu":
        contenders = [x for x in contenders if x not in (OURS_GRAPH, SDPA_GRAPH)]
    start = Job("forward", OURS, device, size=64 if quick else 512, repeats=2 if quick else 30)
    models = ["b0"] if quick else [f"b{number}" for number in range(6)]
    sizes = [start.size] if quick else [512, 2048]
    cases = [
        replace(start, model=model, size=size, dtype=dtype)
        for model in models
        for size in sizes
        for dtype in (DTYPES if model in ("b0", "b2") else ("bfloat16",))
        if device == "cuda" or dtype != "float16"
    ]
    learning = [
        replace(start, task=task, model=model, batch=2, repeats=10)
        for task in ("training", "training memory")
        for model in models
    ]
    memory = [replace(case, task="forward memory") for case in cases if case.dtype == "float32"]
    plain = [x for x in contenders if x in (OURS, SDPA)]
    return [
        *(replace(case, contender=each) for case in cases for each in contenders),
        *(replace(case, contender=each) for case in [*memory, *learning] for each in plain),
    ]


def report(rows: Sequence[dict], where: dict) -> str:
    """A table for each task, and where it was measured."""
    tables = [
        case_table(rows, task, heading)
        for task, heading in HEADINGS.items()
        if any(row["task"] == task for row in rows)
    ]
    libraries = ", ".join(f"{name} {number}" for name, number in where["libraries"].items())
    return "\n".join([*tables, f"{where['processor']}; Python {where['python']}; {libraries}.\n"])


if __name__ == "__main__":
    sys.exit(main())
