"""Lesson 03's widget: a trained model at any reduction ratios, their cost and what they change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from segformer_edu.analysis import Cost, StageCost, cost
from segformer_edu.analysis.attention_maps import attentions_of
from segformer_edu.analysis.pareto import pareto_front
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES, scene
from segformer_edu.plots.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    PAPER,
    SEQUENTIAL,
    VERMILLION,
    class_colors,
)
from segformer_edu.segformer import SegFormer
from segformer_edu.training.every_ratio import RATIOS
from segformer_edu.widgets.explorer import Choices, Explorer, choice, token_at
from segformer_edu.widgets.picture import (
    Lines,
    Picture,
    Raster,
    Rectangle,
    Shape,
    Text,
    frame,
    grid,
    hatch,
    heat_map,
    jpeg,
    paletted,
)
from segformer_edu.widgets.words import percent, pixels, plural, short

Size = tuple[int, int]
Ratios = tuple[int, ...]

CONFIG = SegFormerConfig.named(
    "nano",
    num_classes=len(CLASSES),
    class_names=CLASSES,
    drop_path_rate=0.0,
    decoder_dropout=0.0,
)
OWN, FULL = CONFIG.reduction_ratios, (1, 1, 1, 1)
SIZES = ((256, 256), (128, 128), (124, 100))
SCENES, SEED = (0, 1, 2), 2026  # of a seed that nobody trained with
HEADS = tuple(
    (stage, head)
    for stage, heads in enumerate(CONFIG.num_heads, start=1)
    for head in (range(1, 2) if heads == 1 else range(heads + 1))  # 0: the mean of all
)
PERCENTS = tuple(range(0, 101, 5))
SIDE, GAP, LEFT, TOP = 202, 8, 4, 62  # of a panel, between panels, where they begin
CHART, CHART_TOP, WIDE, HIGH = 508, 346, 322, 112  # what is below them
NOW_RIGHT, NOW_WRONG, STILL_WRONG = 253, 254, 255  # beside the classes, in a map of changes
MARKS = {NOW_RIGHT: BLUE, NOW_WRONG: VERMILLION, STILL_WRONG: INK}
MIOUS = Path(__file__).with_suffix(".npz")  # written by experiments/every_ratio.py
TASK = (
    "Find the cheapest ratios of all. What do they cost, in multiply-adds, in mIoU and in changed "
    "pixels? How many keys does each stage have left? Then choose 124 × 100: which stages leave "
    "tokens out, and at which ratios do they no longer?"
)
HONESTY = (
    "nano, trained at every ratio; attention of the last block of the stage. mIoU: of the same "
    "100 unseen scenes for each dot."
)


def of_head(attention: tuple[int, int]) -> str:
    stage, head = attention
    heads = CONFIG.num_heads[stage - 1]
    which = "its one head" if heads == 1 else f"head {head} of {heads}" if head else "mean of heads"
    return f"stage {stage}, {which}"


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders; positions are percentages of the scene's height and width."""

    ratio_1: int = choice("Ratio r of stage 1", RATIOS[0], 8)
    ratio_2: int = choice("Ratio r of stage 2", RATIOS[1], 4)
    ratio_3: int = choice("Ratio r of stage 3", RATIOS[2], 2)
    ratio_4: int = choice("Ratio r of stage 4", RATIOS[3], 1)
    attention: tuple[int, int] = choice("Attention of", HEADS, (1, 1), of_head)
    down: int = choice("Query, from the top", PERCENTS, 60, percent)
    across: int = choice("Query, from the left", PERCENTS, 40, percent)
    scene: int = choice("Unseen scene", SCENES, 0, lambda number: str(number + 1))
    size: Size = choice("Height × width", SIZES, (256, 256), pixels)

    @property
    def ratios(self) -> Ratios:
        return self.ratio_1, self.ratio_2, self.ratio_3, self.ratio_4

    @property
    def stage(self) -> int:
        return self.attention[0]


@cache
def bill(size: Size, ratios: Ratios) -> Cost:
    return cost(CONFIG.replace(reduction_ratios=ratios), size)


# What was measured: every combination of ratios, on the scenes of experiments/every_ratio.py.


def measured_at(size: Size) -> Size:
    """The size itself, or the smaller one that was measured."""
    return size if size[0] == size[1] else (128, 128)


@cache
def scores(size: Size) -> dict[Ratios, float]:
    """mIoU at each combination of ratios."""
    with np.load(MIOUS) as file:
        mious = file[str(measured_at(size)[0])]
    return dict(zip(product(*RATIOS), mious.tolist(), strict=True))


def work(size: Size, ratios: Ratios) -> int:
    """Multiply-adds where mIoU was measured."""
    return bill(measured_at(size), ratios).multiply_adds


@cache
def points(size: Size) -> dict[Ratios, tuple[float, float]]:
    """Where each combination lies in the chart, from 0 to 1: multiply-adds, on a logarithmic axis,
    and mIoU, from the top.
    """
    works = {each: math.log(work(size, each)) for each in scores(size)}
    least, most = min(works.values()), max(works.values())
    low, high = axis(size)
    return {
        each: ((works[each] - least) / (most - least), (high - miou) / (high - low))
        for each, miou in scores(size).items()
    }


def axis(size: Size) -> tuple[float, float]:
    """From which mIoU to which the chart goes: a hundredth, wherever the scores lie in it."""
    low = math.floor(500 * min(scores(size).values())) / 500
    return low, low + 0.01


@cache
def front(size: Size) -> list[Ratios]:
    """The combinations than which none is both cheaper and better, from the cheapest."""
    choices = list(scores(size))
    found = pareto_front([work(size, each) for each in choices], list(scores(size).values()))
    return [choices[index] for index in found]


# What the model sees.


@cache
def unseen_scene(number: int, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """An unseen scene and its labels, `(H, W, 3)` and `(H, W)` uint8."""
    return scene(SEED, size, number)


@cache
def scene_file(number: int, size: Size) -> bytes:
    return jpeg(unseen_scene(number, size)[0])


@cache
def stages(ratio: int) -> list[nn.Module]:
    """The stages of the model that have this r, or the largest that they were trained with."""
    ratios = tuple(min(ratio, most) for *_, most in RATIOS)
    config = CONFIG.replace(reduction_ratios=ratios)
    return list(SegFormer.from_pretrained("nano", config=config).eval().encoder.stages)


@cache
def nano() -> SegFormer:
    return SegFormer.from_pretrained("nano").eval()


def model(ratios: Ratios) -> SegFormer:
    """The model of these ratios; valid until it is asked for others, because all but the reductions
    is the same at every ratio, so only stages are exchanged.
    """
    chosen = [stages(ratio)[index] for index, ratio in enumerate(ratios)]
    nano().encoder.stages = nn.ModuleList(chosen)
    return nano()


class Pass(NamedTuple):
    """What one pass of the model leaves.

    Attributes:
        labels: of each pixel, `(H, W)` uint8.
        queries: of the last attention of each stage, `(heads, N, d)`.
        keys: the same, `(heads, n, d)`.
    """

    labels: np.ndarray
    queries: list[Tensor]
    keys: list[Tensor]


@lru_cache(maxsize=32)
@torch.no_grad()
def run(number: int, size: Size, ratios: Ratios) -> Pass:
    """The model of these ratios on a scene."""
    chosen = model(ratios)
    found: list[tuple[Tensor, Tensor]] = []
    hooks = [
        attentions_of(stage)[-1].register_forward_pre_hook(
            lambda attention, given: found.append(attention.queries_keys_values(*given)[:2])
        )
        for stage in chosen.encoder.stages
    ]
    labels = chosen.predict(normalize(unseen_scene(number, size)[0]))[0]
    for hook in hooks:
        hook.remove()
    queries, keys = ([each[0] for each in part] for part in zip(*found, strict=True))
    return Pass(labels.numpy().astype(np.uint8), queries, keys)


@cache
def own_labels(number: int, size: Size) -> np.ndarray:
    """What nano says at its own ratios."""
    return run(number, size, OWN).labels


def weights_of(state: State) -> np.ndarray:
    """What one query attends to, `(h, w)`: softmax(q kᵀ / √d) of eq. 1, of a head or of all."""
    stage, head = state.attention
    seen = run(state.scene, state.size, state.ratios)
    geometry = bill(state.size, state.ratios).stages[stage - 1]
    row, column = token_at(geometry.size, state.down, state.across)
    queries, keys = seen.queries[stage - 1], seen.keys[stage - 1]  # (heads, N, d), (heads, n, d)
    q = queries[:, row * geometry.size[1] + column, None]  # (heads, 1, d)
    weights = (q @ keys.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)[:, 0]
    shown = weights[head - 1] if head else weights.mean(0)
    return shown.reshape(geometry.key_size).numpy()


@cache
def change_colors() -> np.ndarray:
    """The true classes pale, and the marks, for `paletted`."""
    colors = (0.35 * class_colors(256) + 0.65 * 255).round().astype(np.uint8)
    for mark, color in MARKS.items():
        colors[mark] = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return colors


class Changes(NamedTuple):
    """Pixels whose label is another one than at nano's own ratios, as shares of all."""

    all: float
    now_right: float
    now_wrong: float
    right: float  # all that are right at these ratios


def changes(state: State) -> tuple[np.ndarray, Changes]:
    """For each pixel its true class, or what a change has made of it; and how many there are."""
    _, true = unseen_scene(state.scene, state.size)
    now, before = run(state.scene, state.size, state.ratios).labels, own_labels(*place(state))
    changed = now != before
    better, worse = changed & (now == true), changed & (before == true)
    marks = np.where(changed, STILL_WRONG, true)
    marks[better], marks[worse] = NOW_RIGHT, NOW_WRONG
    shares = [float(each.mean()) for each in (changed, better, worse, now == true)]
    return marks.astype(np.uint8), Changes(*shares)


def place(state: State) -> tuple[int, Size]:
    return state.scene, state.size


def draw(state: State) -> Picture:
    """The picture of a state."""
    chosen, full = bill(state.size, state.ratios), bill(state.size, FULL)
    stage = chosen.stages[state.stage - 1]
    query = token_at(stage.size, state.down, state.across)
    weights = weights_of(state)
    marks, found = changes(state)
    labels = paletted(run(*place(state), state.ratios).labels, class_colors(256))
    even = 1 / weights.size
    first, second, third, fourth = (LEFT + index * (SIDE + GAP) for index in range(4))
    under = TOP + SIDE + 16
    return Picture(
        CHART_TOP + HIGH + 64,
        [
            Text(LEFT, 20, finding(state), 15, bold=True),
            Text(first, 50, f"stage {state.stage}: {pixels(stage.key_size)} keys, one a cell", 11),
            *scene_with_keys(first, state, stage, query),
            Text(second, 50, of_head(state.attention), 11),
            *attention_panel(second, state, stage, query, weights),
            Text(first, under, "blue: the query", 11),
            Text(first, under + 14, "hatched: in no key of the stage", 11),
            Text(second, under, f"dark {weights.min():#.2g}, bright {weights.max():#.2g}", 11),
            Text(second, under + 14, f"all alike: {even:#.2g}", 11),
            Text(third, 50, f"what it says: {hundredths(found.right)} right", 11),
            *label_panel(third, state, labels),
            Text(fourth, 50, f"changed against r = {listed(OWN)}: {hundredths(found.all)}", 11),
            *label_panel(fourth, state, paletted(marks, change_colors())),
            *legend(fourth, under),
            *class_names(under + 34),
            *stage_list(state, chosen),
            *bar_chart(rows_of(chosen, full)),
            *chart(state),
            Text(LEFT, CHART_TOP + HIGH + 56, HONESTY, 11),
        ],
        finding(state),
        description(state, stage, query, weights, found, chosen, full),
        table_of(state, found, chosen, full),
    )


class SpatialReduction(Explorer):
    """Reduction ratios, the keys they leave, what a query attends to, what the model says, and how
    well it does for how much.
    """

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {
        stages: ["ratio_1"],
        scene_file: ["scene", "size"],
        own_labels: ["scene", "size"],
        points: ["size"],
    }


# Panels.


def listed(ratios: Ratios) -> str:
    return ", ".join(map(str, ratios))


def panel(state: State) -> tuple[float, float]:
    """Height and width of a panel, in the scene's proportions."""
    largest = max(state.size)
    return state.size[0] / largest * SIDE, state.size[1] / largest * SIDE


def token_scale(state: State, stage: StageCost) -> tuple[float, float]:
    """Height and width of a token in a panel."""
    height, width = panel(state)
    return height / stage.size[0], width / stage.size[1]


def cells(state: State, stage: StageCost) -> tuple[float, float]:
    """Height and width of a key's cell in a panel."""
    height, width = token_scale(state, stage)
    return stage.reduction_ratio * height, stage.reduction_ratio * width


def scene_with_keys(
    x: float, state: State, stage: StageCost, query: tuple[int, int]
) -> list[Shape]:
    height, width = panel(state)
    cell = cells(state, stage)
    return [
        Raster(x, TOP, width, height, scene_file(*place(state))),
        *unseen(x, state, stage),
        Lines(grid(x, TOP, *stage.key_size, cell), PAPER, min(1.0, min(cell) / 6)),
        *marker(x, token_scale(state, stage), query),
    ]


def attention_panel(
    x: float, state: State, stage: StageCost, query: tuple[int, int], weights: np.ndarray
) -> list[Shape]:
    height, width = panel(state)
    cell = cells(state, stage)
    seen = stage.key_size[1] * cell[1], stage.key_size[0] * cell[0]
    return [
        Rectangle(x, TOP, width, height, PALE),
        *unseen(x, state, stage),
        Raster(x, TOP, *seen, heat_map(weights, SEQUENTIAL), map_=True),
        *marker(x, token_scale(state, stage), query),
    ]


def label_panel(x: float, state: State, file: bytes) -> list[Shape]:
    height, width = panel(state)
    return [
        Raster(x, TOP, width, height, file, map_=True),
        Rectangle(x, TOP, width, height, stroke=GREY),
    ]


def unseen(x: float, state: State, stage: StageCost) -> list[Shape]:
    """The rows and columns past the last whole window, hatched."""
    height, width = panel(state)
    cell = cells(state, stage)
    seen_height, seen_width = stage.key_size[0] * cell[0], stage.key_size[1] * cell[1]
    margins = [
        (x, TOP + seen_height, width, height - seen_height),
        (x + seen_width, TOP, width - seen_width, seen_height),
    ]
    shapes: list[Shape] = []
    for margin in margins:
        if min(margin[2:]) > 0.01:
            shapes += [Rectangle(*margin, PAPER), Lines(hatch(*margin), INK, 1)]
    return shapes


def marker(x: float, token: tuple[float, float], query: tuple[int, int]) -> list[Shape]:
    """A frame around the query's token, or a dot on it where the token is too small for a frame."""
    height, width = token
    top, left = TOP + query[0] * height, x + query[1] * width
    if min(token) >= 8:
        return frame(left - 1, top - 1, width + 2, height + 2, BLUE)
    middle = left + width / 2, top + height / 2
    return [
        Rectangle(middle[0] - side / 2, middle[1] - side / 2, side, side, fill)
        for side, fill in ((7, PAPER), (4.5, BLUE))
    ]


def legend(x: float, y: float) -> Iterator[Shape]:
    """What the marks of changed pixels mean."""
    words = ("now right", "now wrong", "still wrong")
    for left, color, text in zip((x, x + 66, x + 136), MARKS.values(), words, strict=True):
        yield Rectangle(left, y - 8, 8, 8, color)
        yield Text(left + 11, y, text, 10)
    yield Text(x, y + 14, "pale: the true labels", 11)


def class_names(y: float) -> Iterator[Shape]:
    colors = class_colors(len(CLASSES))
    for index, (name, color) in enumerate(zip(CLASSES, colors, strict=True)):
        x = LEFT + index * (SIDE + GAP) / 2
        fill = "#" + "".join(f"{value:02X}" for value in color)
        yield Rectangle(x, y - 9, 9, 9, fill, stroke=INK, thickness=0.5)
        yield Text(x + 13, y, name, 11)


# The bill.

Row = tuple[str, int, int, str]  # what, with the chosen ratios, with r = 1 throughout, unit


def rows_of(chosen: Cost, full: Cost) -> list[Row]:
    """The bars: each quantity with the chosen ratios and with r = 1."""
    entries, all_entries = (
        sum(stage.attention_entries for stage in each.stages) for each in (chosen, full)
    )
    return [
        ("multiply-adds", chosen.multiply_adds, full.multiply_adds, ""),
        ("attention weights, if stored", 4 * entries, 4 * all_entries, "B"),
    ]


def bar_chart(rows: list[Row]) -> Iterator[Shape]:
    for index, (label, now, then, unit) in enumerate(rows):
        y, longest = CHART_TOP + 88 + 28 * index, max(now, then)
        yield Text(LEFT, y, label)
        yield Rectangle(LEFT + 188, y - 10, 100 * then / longest, 12, PALE)
        yield Rectangle(LEFT + 188, y - 8, max(1, 100 * now / longest), 8, BLUE)
        yield Text(LEFT + 296, y, f"{short(now, unit)} of {short(then, unit)}")


def stage_list(state: State, chosen: Cost) -> Iterator[Shape]:
    for number, stage in enumerate(chosen.stages, start=1):
        line = (
            f"stage {number}, r = {stage.reduction_ratio}: {stage.tokens:,} tokens, "
            f"{plural(stage.keys, 'key')} made of {share(stage)} of them"
        )
        y = CHART_TOP - 16 + 19 * number
        yield Text(LEFT, y, line, bold=number == state.stage)


def chart(state: State) -> Iterator[Shape]:
    """Every combination of ratios as a dot: mIoU over multiply-adds, on the size measured."""
    size = state.size
    low, high = axis(size)

    def at(ratios: Ratios) -> tuple[float, float]:
        x, y = points(size)[ratios]
        return CHART + 6 + (WIDE - 12) * x, CHART_TOP + HIGH * y

    def dot(ratios: Ratios, side: float, color: str) -> Iterator[Shape]:
        x, y = at(ratios)
        for each, fill in ((side + 3, PAPER), (side, color)):
            yield Rectangle(x - each / 2, y - each / 2, each, each, fill)

    caption = f"mIoU of all {len(points(size))} combinations, {pixels(measured_at(size))} pixels"
    yield Text(CHART, CHART_TOP - 12, caption)
    yield Rectangle(CHART, CHART_TOP, WIDE, HIGH, stroke=PALE)
    for miou in np.linspace(low, high, 3):
        y = CHART_TOP + HIGH * (high - miou) / (high - low)
        yield Lines([(CHART, y, CHART + WIDE, y)], PALE)
        yield Text(CHART - 6, y + 4, f"{miou:.3f}", 11, anchor="end")
    yield Lines([(x - 1.5, y, x + 1.5, y) for x, y in map(at, points(size))], GREY, 3)
    yield Lines([(*here, *there) for here, there in pairwise(map(at, front(size)))], ORANGE, 2)
    yield from dot(OWN, 8, VERMILLION)
    yield from dot(state.ratios, 8, BLUE)
    y = CHART_TOP + HIGH + 15
    for x, ratios, anchor in ((CHART, front(size)[0], "start"), (CHART + WIDE, FULL, "end")):
        yield Text(x, y, short(work(size, ratios)), 11, anchor=anchor)
    yield Text(CHART + WIDE / 2, y, "multiply-adds, log", 11, anchor="middle")
    key = ((BLUE, "these"), (VERMILLION, f"nano's own, {listed(OWN)}"), (ORANGE, "Pareto front"))
    for (color, text), left in zip(key, (0, 62, 222), strict=True):
        x, y = CHART + left, CHART_TOP + HIGH + 36
        yield Rectangle(x, y - 8, 8, 8, color)
        yield Text(x + 12, y, text, 11)


def table_of(state: State, found: Changes, chosen: Cost, full: Cost) -> list[tuple[str, ...]]:
    measured = scores(state.size)
    rows: list[tuple[str, ...]] = [("quantity", "with these ratios", "with r = 1")]
    mious = (f"{measured[ratios]:.4f}" for ratios in (state.ratios, FULL))
    rows.append((f"mIoU on 100 unseen scenes, {pixels(measured_at(state.size))}", *mious))
    rows += [
        (label, f"{now:,} {unit}".strip(), f"{then:,} {unit}".strip())
        for label, now, then, unit in rows_of(chosen, full)
    ]
    for number, (now, then) in enumerate(zip(chosen.stages, full.stages, strict=True), start=1):
        rows.append((f"queries of stage {number}", f"{now.tokens:,}", f"{then.tokens:,}"))
        rows.append((f"keys of stage {number}", f"{now.keys:,}", f"{then.keys:,}"))
        rows.append((f"tokens of stage {number} that a key sees", share(now), share(then)))
    return rows


# Words.


def finding(state: State) -> str:
    """How good the ratios are, and for how much: both at the size that was measured."""
    part = work(state.size, state.ratios) / work(state.size, FULL)
    return (
        f"r = {listed(state.ratios)}: mIoU {scores(state.size)[state.ratios]:.3f} on unseen "
        f"scenes of {pixels(measured_at(state.size))}, for {100 * part:.0f} % of the cost of r = 1."
    )


def description(
    state: State,
    stage: StageCost,
    query: tuple[int, int],
    weights: np.ndarray,
    found: Changes,
    chosen: Cost,
    full: Cost,
) -> str:
    top = np.unravel_index(weights.argmax(), weights.shape)
    part = 100 * chosen.multiply_adds / full.multiply_adds
    low, high = (f(scores(state.size).values()) for f in (min, max))
    all_, better, worse, right = map(hundredths, found)
    return (
        f"Unseen scene {state.scene + 1}, {pixels(state.size)} pixels, under a grid of "
        f"{pixels(stage.key_size)} keys. The query is token ({query[0]}, {query[1]}) of "
        f"{pixels(stage.size)}; in {of_head(state.attention)}, it attends most to key ({top[0]}, "
        f"{top[1]}), with {weights.max():#.2g} where all alike would be {1 / weights.size:#.2g}. "
        f"The model labels {right} of the pixels rightly; {all_} are labelled otherwise than with "
        f"r = {listed(OWN)}: {better} are right now and {worse} wrong. It takes "
        f"{short(chosen.multiply_adds)} multiply-adds, {part:.0f} % of what r = 1 takes. All "
        f"combinations have an mIoU from {low:.3f} to {high:.3f}."
    )


def share(stage: StageCost) -> str:
    """The share of the tokens that some key sees; 100 % only where it is all of them."""
    seen = stage.share_of_tokens_seen
    return hundredths(seen) if seen < 1 else "100 %"


def hundredths(share: float) -> str:
    return f"{100 * share:.1f} %"
