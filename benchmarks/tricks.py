"""Measure what each trick of the model gains: with all of them, and without each in turn.

python -m benchmarks.tricks         # the table in README.md
python -m benchmarks.tricks --quick # a round of small images that writes nothing
"""

from __future__ import annotations

import argparse
from statistics import median

from tqdm import tqdm

from benchmarks.__main__ import HERE
from benchmarks.contenders import OURS
from benchmarks.job import Job
from benchmarks.report import filled
from benchmarks.runs import processor, run
from benchmarks.without import TRICKS
from segformer_edu.doctor import cores

BEGIN, END = "<!-- tricks -->", "<!-- end of tricks -->"
TASKS = {"forward": "Forward pass", "training": "Training step"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tricks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round at 128×128")
    parser.add_argument("--rounds", type=int, default=5, help="how often each process runs (5)")
    options = parser.parse_args()
    rounds, size, repeats = (1, 128, 2) if options.quick else (options.rounds, 512, 20)
    lines = table(measure(rounds, size, repeats))
    print(lines)
    if not options.quick:
        where = (
            f"SegFormer-B0, {size}×{size} pixels; {processor()}, {cores()} cores; rounds: {rounds}."
        )
        readme = HERE / "README.md"
        text = filled(readme.read_text(encoding="utf-8"), f"\n{lines}\n{where}\n", BEGIN, END)
        readme.write_text(text, encoding="utf-8")


def measure(rounds: int, size: int, repeats: int) -> dict[tuple[str, str], list[float]]:
    """Median milliseconds of each round by task and contender, the contenders in turn."""
    times: dict[tuple[str, str], list[float]] = {}
    contenders = (OURS, *TRICKS)
    with tqdm(total=rounds * len(TASKS) * len(contenders), unit="process") as progress:
        for _ in range(rounds):
            for task in TASKS:
                batch = 2 if task == "training" else 1
                for contender in contenders:
                    job = Job(
                        task, contender, size=size, repeats=repeats, threads=cores(), batch=batch
                    )
                    times.setdefault((task, contender), []).append(median(run(job)))
                    progress.update()
    return times


def table(times: dict[tuple[str, str], list[float]]) -> str:
    """A Markdown table: without each trick, the time over that of the model in the same round; the
    median of the rounds, and the least and largest.
    """
    lines = [
        f"| without | {' | '.join(f'{heading}, times as long' for heading in TASKS.values())} |",
        f"| --- | {' | '.join('---:' for _ in TASKS)} |",
    ]
    for trick in TRICKS:
        cells = []
        for task in TASKS:
            pairs = zip(times[task, trick], times[task, OURS], strict=True)
            ratios = sorted(without / ours for without, ours in pairs)
            cells.append(f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        lines.append(f"| {trick} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
