"""Measure every contender in turn, each in a process of its own, and write the results.

python -m benchmarks            # results.json, the tables in README.md and speed.svg
python -m benchmarks --quick    # a round of small images that writes nothing

A table that was interrupted goes on where it was, if versions and machine are the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

from benchmarks.plan import EVERYBODY, TASKS, jobs
from benchmarks.readme import HERE, filled, markers
from benchmarks.report import (
    forward_table,
    picture,
    report,
    scene_of,
    sentences,
    summarize,
    table,
)
from benchmarks.runs import machine, measure


def main() -> None:
    options = parse()
    log = options.output / "unfinished.json" if options.output else None
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    planned = jobs(options.contenders, options.tasks, options.quick)
    measured = measure(planned, options.rounds, options.threads, log)
    rows = summarize(measured)
    print(table(scene_of(rows)), forward_table(rows), *sentences(rows), sep="\n")
    if options.output is None:
        return
    where = machine(options.threads)
    results = {"machine": where, "rounds": options.rounds, "results": rows, "measured": measured}
    (options.output / "results.json").write_text(
        json.dumps(results, indent=1) + "\n", encoding="utf-8"
    )
    with matplotlib.rc_context({"svg.hashsalt": "speed"}):  # the same file from the same numbers
        picture(rows).savefig(options.output / "speed.svg", metadata={"Date": None})
    readme = options.output / "README.md"
    begin, end = markers("results")
    text = readme.read_text(encoding="utf-8") if readme.exists() else f"{begin}\n{end}\n"
    readme.write_text(filled(text, "results", report(results)), encoding="utf-8")
    (options.output / "unfinished.json").unlink()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="an eighth of every size, once")
    parser.add_argument("--rounds", type=int, help="how often each process runs (2)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contender (2)")
    parser.add_argument("--contenders", nargs="+", choices=EVERYBODY, default=EVERYBODY)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=tuple(TASKS))
    parser.add_argument("--output", type=Path, help="folder for the results (benchmarks)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 2)
    if options.output is None and not options.quick:
        options.output = HERE
    return options


if __name__ == "__main__":
    main()
