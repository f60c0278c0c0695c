"""Lesson 05's widget: which blocks survive, the paths of a batch through them, the work saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch

from segformer_edu.analysis.depth import surviving_blocks
from segformer_edu.plots.style import BLUE, GREY, INK, ORANGE, PALE
from segformer_edu.stochastic_depth import MODES, RULES, DropPath, drop_rates
from segformer_edu.widgets.explorer import Choices, Explorer, choice
from segformer_edu.widgets.picture import Lines, Picture, Rectangle, Segment, Shape, Text
from segformer_edu.widgets.words import plural

DEPTHS = (1, 2, 4, 8, 12, 24, 52)
RATES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BATCHES = (1, 2, 4, 8, 16)
LEFT, WIDE = 66, 470  # where the blocks begin, and how much room they have
CHART, BARS = 596, 200  # where the law is drawn, and how wide
TASK = (
    "For 4 blocks, find the smallest rate that leaves out a quarter of the blocks on average, "
    "under each of the two rules. Which rule can leave out block 1? Then draw one gate for the "
    "batch: how many different networks do its 8 samples train at once?"
)
NOTE = (
    "One gate per block, as in the paper; a block of SegFormer has two. 100 % is the time of all "
    "blocks; a further part of section 7 times one branch."
)


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders."""

    depth: int = choice("Blocks L", DEPTHS, 8)
    rate: float = choice("Drop rate of the last block", RATES, 0.5)
    rule: str = choice("Rule", RULES, "linspace")
    mode: str = choice("One gate for each", MODES, "sample")
    batch: int = choice("Samples in the batch", BATCHES, 8)
    draw: int = choice("Draw", tuple(range(1, 9)), 1)


def draw(state: State) -> Picture:
    """The picture of a state."""
    survival = [1 - rate for rate in drop_rates(state.rate, state.depth, state.rule)]
    law, kept = surviving_blocks(survival), gates(state)
    height = max(164 + row_height(state) * state.batch, 320) + 26
    return Picture(
        height,
        [
            Text(4, 20, finding(state, survival), 15, bold=True),
            Text(4, 50, f"Probability that a block survives: {shown(survival)}"),
            *probability_bars(survival),
            Text(4, 151, f"Which way each sample goes: {kept.sum()} of {kept.size} blocks run"),
            *ways(state, kept),
            Text(CHART, 50, "How many blocks survive"),
            *law_chart(law, kept),
            *numbers(state, survival, law, kept),
            Text(4, height - 8, NOTE, 11),
        ],
        finding(state, survival),
        description(state, survival, kept),
        table_of(state, survival, law, kept),
    )


class StochasticDepth(Explorer):
    """Depth, rate, rule and mode; the paths of a batch through the blocks; the work saved."""

    first, draw, task = State(), staticmethod(draw), TASK


@cache
def gates(state: State) -> np.ndarray:
    """Which blocks each sample goes through, `(batch, depth)` bool, as `DropPath` draws them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(state.draw)
        rates = drop_rates(state.rate, state.depth, state.rule)
        drawn = [DropPath(rate, state.mode).kept(state.batch) for rate in rates]
    return torch.stack(drawn, dim=1).numpy()


def row_height(state: State) -> float:
    return min(26.0, 260 / state.batch)


# Panels.


def probability_bars(survival: Sequence[float]) -> list[Shape]:
    """A bar per block, blue up to the probability that the block survives."""
    cell = WIDE / len(survival)
    shapes: list[Shape] = []
    for block, p in enumerate(survival):
        x, width = LEFT + block * cell, max(cell - 3, 2)
        shapes += [
            Rectangle(x, 60, width, 56, PALE),
            Rectangle(x, 60 + 56 * (1 - p), width, 56 * p, BLUE),
        ]
    ends = [Text(4, 70, "100 %", 11), Text(4, 116, "0 %", 11), Text(LEFT, 129, "block 1", 11)]
    if len(survival) > 1:
        ends.append(Text(LEFT + WIDE, 129, f"block {len(survival)}", 11, anchor="end"))
    return shapes + ends


def ways(state: State, kept: np.ndarray) -> list[Shape]:
    """A row per sample: a line through the blocks that run, and past those that are left out."""
    cell, row = WIDE / state.depth, row_height(state)
    shapes: list[Shape] = []
    for sample, through in enumerate(kept):
        middle = 162 + row * (sample + 0.5)
        past = middle - 0.32 * row
        boxes: dict[bool, list[Segment]] = {True: [], False: []}
        edges = [LEFT - 12, *(LEFT + cell * block for block in range(state.depth + 1))]
        edges.append(LEFT + WIDE + 8)
        heights = [middle, *(middle if runs else past for runs in through), middle]
        for x, runs in zip(edges[1:], through, strict=False):
            centre = middle + 0.075 * row
            boxes[bool(runs)].append((x, centre, x + max(cell - 3, 2), centre))
        line = [(x1, y, x2, y) for (x1, x2), y in zip(pairwise(edges), heights, strict=True)]
        for x, (y1, y2) in zip(edges[1:-1], pairwise(heights), strict=True):
            if y1 != y2:
                line.append((x, y1, x, y2))
        for runs, fill in ((True, BLUE), (False, PALE)):  # thick lines: fewer shapes are faster
            shapes.append(Lines(boxes[runs], fill, 0.55 * row))
        shapes.append(Lines(line, INK, 1.5))
        shapes.append(Text(4, middle + 4, f"{sample + 1}", 11))
        count = f"{through.sum()}"
        shapes.append(Text(LEFT + WIDE + 14, middle + 4, count, 11))
    return shapes


def law_chart(law: np.ndarray, kept: np.ndarray) -> list[Shape]:
    """The law of the number of surviving blocks, as bars; each sample drawn, as a dot below."""
    first, last = np.flatnonzero(law > 5e-4)[[0, -1]]
    first, last = min(first, kept.sum(1).min()), max(last, kept.sum(1).max())
    cell = BARS / (last - first + 1)
    shapes: list[Shape] = []
    for count in range(first, last + 1):
        height = 90 * law[count] / law.max()
        x = CHART + (count - first) * cell
        shapes.append(Rectangle(x, 150 - height, max(cell - 1, 1), height, BLUE))
        drawn = int((kept.sum(axis=1) == count).sum())
        if drawn:
            shapes.append(Rectangle(x, 153, max(cell - 1, 1), 5, ORANGE))
    shapes += [
        Lines([(CHART, 151, CHART + BARS, 151)], GREY, 1),
        Text(CHART, 172, str(first), 11),
        Text(CHART + BARS, 172, str(last), 11, anchor="end"),
        Text(CHART + BARS / 2, 172, "orange: drawn here", 11, anchor="middle"),
    ]
    return shapes


def numbers(
    state: State, survival: Sequence[float], law: np.ndarray, kept: np.ndarray
) -> list[Shape]:
    rows = [f"{what}: {value}" for what, value in table_of(state, survival, law, kept)[1:8]]
    return [Text(CHART, 200 + 19 * number, row) for number, row in enumerate(rows)]


def table_of(
    state: State, survival: Sequence[float], law: np.ndarray, kept: np.ndarray
) -> list[tuple[str, str]]:
    """The numbers in the picture, which shows the first seven as text too."""
    rows = [
        ("quantity", "value"),
        ("expected depth", f"{sum(survival):.2f} of {state.depth}"),
        ("expected time", f"{percent(sum(survival) / state.depth)} at best"),
        ("time of this draw", f"{percent(kept.mean())} at best"),
        ("time with a mask", "100 %, always"),
        ("all blocks survive", percent(law[-1])),
        ("none survives", percent(law[0])),
        ("different networks", f"{len(np.unique(kept, axis=0))} in this batch"),
    ]
    for sample, through in enumerate(kept, start=1):
        blocks = ", ".join(map(str, np.flatnonzero(through) + 1)) or "no block"
        rows.append((f"sample {sample} goes through", blocks))
    return rows


# Words.


def finding(state: State, survival: Sequence[float]) -> str:
    average = f"{sum(survival):.2f} survive on average"
    return f"Of {plural(state.depth, 'block')}, {average}; one gate for each {state.mode}."


def description(state: State, survival: Sequence[float], kept: np.ndarray) -> str:
    counts = kept.sum(axis=1)
    depths = " to ".join(dict.fromkeys((f"{counts.min()}", f"{counts.max()}")))
    samples = f"{state.batch} sample" + ("s go" if state.batch > 1 else " goes")
    return (
        f"Rule {state.rule}, rate {state.rate:g}: blocks survive with {shown(survival)}. In draw "
        f"{state.draw} the {samples} through {depths} blocks; different networks: "
        f"{len(np.unique(kept, axis=0))}. Skipping saves {percent(1 - kept.mean())} of the work, "
        f"a mask nothing."
    )


def shown(survival: Sequence[float]) -> str:
    """The first and the last probability."""
    ends = dict.fromkeys((percent(survival[0]), percent(survival[-1])))
    return " … ".join(ends)


def percent(share: float) -> str:
    """A share as a percentage; 0 and 100 only where it is none and all."""
    if 0 < share < 5e-4:
        return "under 0.1 %"
    if 1 > share > 1 - 5e-4:
        return "over 99.9 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")
