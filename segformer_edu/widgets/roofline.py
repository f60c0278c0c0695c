"""Lesson 10's widget: the least time that a SegFormer can take on a machine, and the clock's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from segformer_edu.analysis.roofline import Ceilings, Work, measured_ceilings, work_of
from segformer_edu.analysis.timing import seconds_of_parts
from segformer_edu.config import SegFormerConfig
from segformer_edu.plots.style import BLUE, GREY, INK, ORANGE, PALE, digits
from segformer_edu.segformer import SegFormer
from segformer_edu.widgets.explorer import Choices, Explorer, choice
from segformer_edu.widgets.picture import Lines, Picture, Rectangle, Shape, Text
from segformer_edu.widgets.words import pixels

MODELS = ("b0", "b1", "b2", "b3", "b4", "b5")
SIDES = (64, 128, 256, 512, 1024, 2048)  # pixels
CLASSES = 150
PARTS = ("stage 1", "stage 2", "stage 3", "stage 4", "decoder")
HERE = "this one"
MEASURED_HERE = (("b0", 128), ("b0", 256), ("b0", 512))  # as the widget is made
TABLE = Path(__file__).with_suffix(".json")  # written by python -m benchmarks.roofline
CHANGES = {
    "as it is": (1, 1),
    "arithmetic twice as fast": (2, 1),
    "memory twice as fast": (1, 2),
    "both": (2, 2),
}
LEFT, RULER, TOP, STEP = 100, 610, 92, 46  # where bars begin, their length, first row, each row
HEIGHT = TOP + STEP * len(PARTS) + 44
TASK = (
    "Move the machine from AMD EPYC to the same without AVX-512: which of its two ceilings differs "
    "more? For B0 at 512 × 512, which parts gain from a memory that is twice as fast? "
    "At which size does the clock lie furthest above the floor, and why?"
)


class Machine(NamedTuple):
    """A machine that was measured, one thread.

    Attributes:
        name: on the slider.
        ceilings: what it does at most.
        seconds: model and side → part → seconds.
    """

    name: str
    ceilings: Ceilings
    seconds: Mapping[tuple[str, int], Mapping[str, float]]


def machine_from(row: Mapping[str, Any]) -> Machine:
    """A machine as the table holds it."""
    seconds = {(each["model"], each["side"]): each["seconds"] for each in row["measured"]}
    return Machine(row["name"], Ceilings(**row["ceilings"]), seconds)


ELSEWHERE = {
    row["name"]: machine_from(row) for row in json.loads(TABLE.read_text(encoding="utf-8"))
}


def config_of(model: str) -> SegFormerConfig:
    return SegFormerConfig.named(model, num_classes=CLASSES)


@torch.no_grad()
def seconds_of(model: str, side: int) -> dict[str, float]:
    """What the clock says of a model with random weights, for one picture."""
    made = SegFormer(config_of(model)).eval()
    return seconds_of_parts(made, torch.zeros(1, 3, side, side))


@cache
def here() -> Machine:
    """This machine, measured once, with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = {(model, side): seconds_of(model, side) for model, side in MEASURED_HERE}
        return Machine(HERE, measured_ceilings(), seconds)
    finally:
        torch.set_num_threads(threads)


@cache
def works(model: str, side: int) -> list[tuple[Work, int]]:
    """The operations of a model; of equal ones, how many."""
    return list(Counter(work_of(config_of(model), (side, side))).items())


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders."""

    model: str = choice("Model", MODELS, "b0", str.upper)
    side: int = choice("Picture, pixels a side", SIDES, 512)
    machine: str = choice("Machine", (*ELSEWHERE, HERE), next(iter(ELSEWHERE)))
    change: str = choice("If it were", tuple(CHANGES), "as it is")


class Floor(NamedTuple):
    """The least time of a part, by what limits its operations, and the clock's, if it was read."""

    arithmetic: float
    moving: float
    clock: float | None

    @property
    def least(self) -> float:
        return self.arithmetic + self.moving


def changed(ceilings: Ceilings, change: str) -> Ceilings:
    """The ceilings of a machine that computes, or moves numbers, twice as fast."""
    arithmetic, memory = CHANGES[change]
    return Ceilings(
        ceilings.operations * arithmetic, ceilings.memory * memory, ceilings.cache * memory
    )


def floors(
    model: str, side: int, ceilings: Ceilings, clock: Mapping[str, float]
) -> dict[str, Floor]:
    """Milliseconds of each part, from the ceilings of a machine.

    Args:
        model: of MODELS.
        side: of the picture.
        ceilings: of the machine.
        clock: part → seconds that were measured; empty if none were.
    """
    arithmetic, moving = dict.fromkeys(PARTS, 0.0), dict.fromkeys(PARTS, 0.0)
    for work, count in works(model, side):
        longer = moving if work.moving(ceilings) > work.arithmetic(ceilings) else arithmetic
        longer[work.part] += 1000 * count * work.least(ceilings)
    return {
        part: Floor(arithmetic[part], moving[part], 1000 * clock[part] if clock else None)
        for part in PARTS
    }


def draw(state: State) -> Picture:
    """The picture of a state."""
    machine = here() if state.machine == HERE else ELSEWHERE[state.machine]
    return picture(state, machine)


def picture(state: State, machine: Machine) -> Picture:
    """The picture of a state on a machine, whatever the state calls it."""
    ceilings = changed(machine.ceilings, state.change)
    known = state.change == "as it is"
    clock = machine.seconds.get((state.model, state.side), {}) if known else {}
    rows = floors(state.model, state.side, ceilings, clock)
    finding, total = title(state, rows), summed(rows)
    return Picture(
        HEIGHT,
        [
            Text(4, 20, finding, 15, bold=True),
            Text(4, 46, roof_words(ceilings)),
            *legend(bool(clock)),
            *bars(rows),
        ],
        finding,
        description(rows, ceilings),
        [
            ("part", "floor, ms", "of it arithmetic", "of it moving", "clock, ms"),
            *((part, *cells(floor)) for part, floor in rows.items()),
            ("in all", *cells(total)),
        ],
    )


class Roofline(Explorer):
    """A model, the size of its picture and a machine; its floor part by part, and the clock."""

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {here: [], works: ["model", "side"]}

    def __init__(self) -> None:
        super().__init__()
        self.sliders["machine"].value = HERE


def summed(rows: Mapping[str, Floor]) -> Floor:
    """All parts together."""
    clocks = [floor.clock for floor in rows.values() if floor.clock is not None]
    arithmetic = sum(floor.arithmetic for floor in rows.values())
    moving = sum(floor.moving for floor in rows.values())
    return Floor(arithmetic, moving, sum(clocks) if clocks else None)


def legend(clocked: bool) -> list[Shape]:
    kinds = [(BLUE, "floor, limited by arithmetic"), (ORANGE, "floor, limited by moving")]
    kinds += [(GREY, "the clock")] if clocked else []
    shapes: list[Shape] = []
    for index, (color, label) in enumerate(kinds):
        x = LEFT + 230 * index
        shapes += [Rectangle(x, 62, 14, 12, color), Text(x + 20, 72, label)]
    return shapes


def bars(rows: Mapping[str, Floor]) -> list[Shape]:
    """For each part its floor, and below it the clock."""
    longest = max(max(floor.least, floor.clock or 0) for floor in rows.values())
    bottom = TOP + STEP * len(rows)
    shapes: list[Shape] = [Lines([(LEFT, TOP - 6, LEFT, bottom)], PALE)]
    for index, (part, floor) in enumerate(rows.items()):
        y, scale = TOP + STEP * index, RULER / longest
        split = scale * floor.arithmetic
        shapes += [
            Text(LEFT - 8, y + 20, part, anchor="end"),
            Rectangle(LEFT, y, split, 15, BLUE),
            Rectangle(LEFT + split, y, scale * floor.moving, 15, ORANGE),
            Text(LEFT + scale * floor.least + 6, y + 12, f"{digits(floor.least)} ms", halo=3),
        ]
        if floor.clock is not None:
            end = scale * floor.clock
            words = f"{digits(floor.clock)} ms, {floor.clock / floor.least:.1f} times"
            shapes.append(Rectangle(LEFT, y + 18, end, 15, GREY))
            shapes.append(Text(min(LEFT + end + 6, 725), y + 30, words, fill=INK, halo=3))
    return [*shapes, Text(LEFT, bottom + 24, "milliseconds of one core for one picture", 11)]


# Words.


def title(state: State, rows: Mapping[str, Floor]) -> str:
    total = summed(rows)
    what = f"{state.model.upper()} at {pixels((state.side, state.side))}"
    floor = f"{what}: its floor is {digits(total.least)} ms"
    if total.clock is None:
        return f"{floor}; no clock was read for this."
    return f"{floor}; the clock says {digits(total.clock)}, {total.clock / total.least:.1f} times."


def roof_words(ceilings: Ceilings) -> str:
    return (
        f"At most {ceilings.operations / 1e9:.0f} billion operations and "
        f"{ceilings.memory / 1e9:.0f} GB moved in a second: both take as long at "
        f"{ceilings.ridge:.1f} operations a byte."
    )


def description(rows: Mapping[str, Floor], ceilings: Ceilings) -> str:
    parts = "; ".join(
        f"{part} {digits(floor.least)} ms, {100 * floor.moving / floor.least:.0f} % of it moving"
        + ("" if floor.clock is None else f", clock {digits(floor.clock)} ms")
        for part, floor in rows.items()
    )
    return f"{roof_words(ceilings)} Bars of the least time of each part: {parts}."


def cells(floor: Floor) -> tuple[str, ...]:
    return (
        *map(digits, (floor.least, floor.arithmetic, floor.moving)),
        "not read" if floor.clock is None else digits(floor.clock),
    )
