"""Measure what each trick of the model gains: with all of them, and without each in turn.

python -m benchmarks.tricks            # their table in README.md
python -m benchmarks.tricks --quick    # a round of small images that writes nothing
"""

from __future__ import annotations

from statistics import median

from tqdm import tqdm

from benchmarks.contenders import OURS
from benchmarks.job import Job
from benchmarks.readme import asked, fill
from benchmarks.report import markdown
from benchmarks.runs import processor, run
from benchmarks.without import TRICKS
from segformer_edu.doctor import cores

TASKS = {"forward": "Forward pass", "training": "Training step"}


def main() -> None:
    options = asked(
        "tricks", __doc__, "one short round at 128×128", rounds=5, each="each process runs"
    )
    size, repeats = (128, 2) if options.quick else (512, 20)
    lines = table(measure(options.rounds, size, repeats))
    print(lines)
    if not options.quick:
        where = f"SegFormer-B0, {size}×{size} pixels; {processor()}, {cores()} cores"
        fill("tricks", f"\n{lines}\n{where}; rounds: {options.rounds}.\n")


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
        ["without", *(f"{heading}, times as long" for heading in TASKS.values())],
        ["---", *("---:" for _ in TASKS)],
    ]
    for trick in TRICKS:
        cells = []
        for task in TASKS:
            pairs = zip(times[task, trick], times[task, OURS], strict=True)
            ratios = sorted(without / ours for without, ours in pairs)
            cells.append(f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        lines.append([trick, *cells])
    return markdown(lines)


if __name__ == "__main__":
    main()
