"""Numbers into rows, tables, sentences and a picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from benchmarks.contenders import OURS, SDPA
from benchmarks.floors import bytes_moved, multiply_adds
from benchmarks.job import Job
from benchmarks.plan import ELSEWHERE, LABELS, LARGE, MACHINE, NANO, SCENE, TASKS
from segformer_edu.analysis.timing import fitted_exponent
from segformer_edu.plots.style import BLUE, GREY, digits, new_figure, styled

CASE = ("device", "task", "model", "size", "batch", "dtype")  # what contenders are compared at

Row = dict[str, Any]


def summarize(measured: Sequence[Row]) -> list[Row]:
    """Median, minimum and ratio of each contender in each case.

    The median is that of the rounds' medians; the ratio is over the first contender of the case in
    the same round, so that a machine that slows down slows both. With it come its extremes.
    """
    cases: dict[tuple, dict[str, dict[int, list[float]]]] = {}
    for entry in measured:
        of_case = cases.setdefault(tuple(entry[name] for name in CASE), {})
        if entry["values"]:
            of_case.setdefault(entry["contender"], {})[entry["round"]] = entry["values"]
    rows = []
    for case, of_case in cases.items():
        for contender, rounds in of_case.items():
            first = next(iter(of_case.values()))
            ratios = [median(rounds[x]) / median(first[x]) for x in rounds if x in first]
            rows.append(
                dict(zip(CASE, case, strict=True))
                | {
                    "contender": contender,
                    "unit": TASKS[case[1]].unit,
                    "median": round(median(map(median, rounds.values())), 2),
                    "min": round(min(map(min, rounds.values())), 2),
                    "max": round(max(map(max, rounds.values())), 2),
                    "ratio": round(median(ratios), 2) if ratios else None,
                    "ratios": [round(min(ratios), 2), round(max(ratios), 2)] if ratios else None,
                }
            )
    return rows


def of(rows: Sequence[Row], job: Job, *names: str) -> list[Row]:
    """The rows of a job's case, as far as these of its fields go."""
    return [row for row in rows if all(row[name] == getattr(job, name) for name in names)]


def scene_of(rows: Sequence[Row]) -> list[Row]:
    """The rows of the first table: all tasks on B0 in float32, at the size that comes first."""
    known = of(rows, SCENE, "model", "dtype")
    return [row for row in known if row["size"] == known[0]["size"] and row["batch"] <= 2]


def cell(row: Row) -> str:
    return f"{row['median']:.0f} ({row['min']:.0f}) ×{row['ratio']}"


def table(rows: Sequence[Row]) -> str:
    """A line per contender, a column per task, "median (least) ×ratio" per cell."""
    cells = {
        (row["contender"], row["task"]): cell(row) for row in rows if row["contender"] != MACHINE
    }
    tasks = [name for name in TASKS if any(task == name for _, task in cells)]
    lines = [
        [rows[0]["device"], *(f"{TASKS[task].heading}, {TASKS[task].unit}" for task in tasks)],
        ["---", *("---:" for _ in tasks)],
    ]
    for contender in dict.fromkeys(contender for contender, _ in cells):
        lines.append([contender, *(cells.get((contender, task), "–") for task in tasks)])
    return markdown(lines)


def case_table(
    rows: Sequence[Row],
    task: str,
    heading: str,
    contenders: Collection[str] = (),
    beside: Any = None,
) -> str:
    """A line per model and size, a column per contender.

    Args:
        rows: of all tasks.
        task: the one to show.
        heading: of the first column.
        contenders: those to show; all if empty.
        beside: headings of more columns, and the function that fills them from a job and our row.
    """
    shown = [row for row in rows if row["task"] == task]
    names = [x for x in dict.fromkeys(row["contender"] for row in shown) if x in (contenders or x)]
    headings, fill = beside or ([], lambda job, ours: [])
    lines = [[heading, *names, *headings], ["---", *("---:" for _ in [*names, *headings])]]
    for job in dict.fromkeys(job_of(row) for row in shown):
        here = {row["contender"]: row for row in shown if job_of(row) == job}
        cells = [cell(here[x]) if x in here else "–" for x in names]
        lines.append([job.case, *cells, *fill(job, here.get(OURS))])
    return markdown(lines)


def forward_table(rows: Sequence[Row]) -> str:
    """Each contender's forward pass at every model and size, and the two floors beside it."""
    contenders = {each for _, taking_part in ELSEWHERE for each in taking_part}
    headings = ["arithmetic floor, ms", "bandwidth floor, ms", "ours over it"]
    beside = headings, lambda job, ours: floors(rows, job, ours)
    return case_table(rows, "forward", "Forward pass, ms", contenders, beside)


def job_of(row: Row) -> Job:
    """The job of a row, as far as it is the case of a forward pass."""
    return Job("forward", "", row["device"], row["model"], row["size"], row["batch"], row["dtype"])


def floors(rows: Sequence[Row], job: Job, ours: Row | None) -> list[str]:
    """Milliseconds that multiplying, and moving, must take; and ours over the larger one."""
    rates = {
        row["task"]: row["max"]
        for row in rows
        if row["contender"] == MACHINE and (row["task"] == "bandwidth" or row["dtype"] == job.dtype)
    }
    if len(rates) < 2:
        return ["–", "–", "–"]
    least = [
        multiply_adds(job) / 1e6 / rates["arithmetic rate"],
        bytes_moved(job) / 1e6 / rates["bandwidth"],
    ]
    over = f"×{ours['median'] / max(least):.1f}" if ours else "–"
    return [*(f"{each:.1f}" for each in least), over]


def sentences(rows: Sequence[Row]) -> list[str]:
    """What the tables do not say: rates, growth with the image, memory, images a second."""
    said = []
    for row in (row for row in rows if row["contender"] == MACHINE):
        kind = f" in {row['dtype']}" if row["task"] == "arithmetic rate" else ""
        said.append(f"{TASKS[row['task']].heading}{kind}: {row['max']:.0f} {row['unit']} at best.")
    ours = [
        row
        for row in of(rows, SCENE, "task", "model", "batch", "dtype")
        if row["contender"] == OURS
    ]
    if len(ours) > 1:
        ours.sort(key=lambda row: row["size"])
        pixels = [row["size"] ** 2 for row in ours]
        measured = fitted_exponent(pixels, [row["median"] for row in ours])
        theory = fitted_exponent(pixels, [multiply_adds(job_of(row)) for row in ours])
        said.append(
            f"From {ours[0]['size']}² to {ours[-1]['size']}² pixels the time of our forward pass "
            f"grows with the pixels to the power {measured:.2f}, the multiply-adds to {theory:.2f}."
        )
    for row in of(rows, LARGE, "task"):
        if row["size"] > rows[0]["size"]:
            said.append(f"{row['size']}²: {row['contender']} adds {row['median']:.0f} MB at most.")
    for row in of(rows, LABELS, "task", "model"):
        said.append(
            f"Labels of a street scene of {row['size']}² by the trained nano: {row['contender']} "
            f"{digits(row['median'])} ms ×{row['ratio']}."
        )
    for row in of(rows, NANO, "task", "model"):
        said.append(
            f"A training step of nano on {row['batch']} images of {row['size']}²: "
            f"{1e3 * row['batch'] / row['median']:.0f} images a second."
        )
    return said


def markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def report(results: Row) -> str:
    """The text between the markers of README.md."""
    rows, where = results["results"], results["machine"]
    libraries = ", ".join(f"{name} {number}" for name, number in where["libraries"].items())
    listed = "\n".join(f"- {each}" for each in sentences(rows))
    return (
        f"![{finding(rows)}. The table below has the numbers.](speed.svg)\n\n"
        f"{table(scene_of(rows))}\n{forward_table(rows)}\n{listed}\n\n"
        f"The first table: SegFormer-B0, {scene_of(rows)[0]['size']}², float32. "
        f"Threads: {where['threads']}, rounds: {results['rounds']}. {where['processor']}; "
        f"{where['system']}, Python {where['python']}; {libraries}.\n"
    )


def finding(rows: Sequence[Row]) -> str:
    """The result in a sentence, from the forward pass."""
    first, *others = of(scene_of(rows), SCENE, "task", "batch")
    ratios = [f"{row['contender']} {row['ratio']} times as long" for row in others]
    return "; ".join(
        [f"{first['contender']} takes {first['median']:.0f} ms for a forward pass", *ratios]
    )


@styled
def picture(rows: Sequence[Row]) -> Figure:
    """A panel per task, a bar per contender, on the first table's images."""
    rows = [row for row in scene_of(rows) if row["contender"] != MACHINE]
    contenders = list(dict.fromkeys(row["contender"] for row in rows))[::-1]  # the first on top
    ratio = next((row["ratio"] for row in of(rows, SCENE, "task") if row["contender"] == SDPA), 1.0)
    figure = new_figure(6.4, f"One forward pass: transformers take {ratio:.1f} times as long")
    compared = {
        name: task
        for name, task in TASKS.items()
        if len(task.contenders) > 1 and task.model == SCENE.model
    }
    axes = figure.subplots(2, -(-len(compared) // 2), sharey=True, squeeze=False).flat
    for ax in axes[len(compared) :]:
        ax.axis("off")
    for ax, (name, task) in zip(axes, compared.items(), strict=False):
        bars = {row["contender"]: row["median"] for row in rows if row["task"] == name}
        heights = [bars.get(contender, 0) for contender in contenders]
        colors = [BLUE if "edu" in contender else GREY for contender in contenders]
        drawn = ax.barh(contenders, heights, color=colors)
        labels = [digits(height) if height else "–" for height in heights]
        ax.bar_label(drawn, labels, padding=3)
        ax.set_title(f"{task.heading}, {task.unit}")
        ax.set_xlim(0, 1.25 * max(heights, default=1) or 1)
        ax.set_xticks([])
        ax.tick_params(left=False)
        ax.spines[["bottom", "left"]].set_visible(False)
    return figure
