"""Lesson 03's widget: what the reduction ratios cost, and what is left to look at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.analysis import Cost, StageCost, cost
from segformer_edu.analysis.attention_maps import attentions_of
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.plots.style import BLUE, INK, PALE, PAPER, SEQUENTIAL
from segformer_edu.segformer import SegFormer
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
)
from segformer_edu.widgets.words import percent, pixels, plural, short

CONFIG = SegFormerConfig.named("b0")
SIZES = ((512, 512), (384, 512), (500, 300), (250, 250), (124, 124), (64, 64))
RATIOS = (1, 2, 4, 8, 16)
PERCENTS = tuple(range(0, 101, 5))
SIDE, TOP, HEIGHT = 272, 62, 400  # of a photograph's panel, where it begins, of the whole picture
TASK = (
    "Find the cheapest ratios with which every token of every stage is seen by some key and every "
    "query still has 100 keys to look at, for a photograph of 384 × 512. If you have time, do it "
    "for 500 × 300: what does it cost there, and what would you do to the photograph instead?"
)
HONESTY = (
    "Hatched: seen by no key of this stage. Untrained B0 (seed 0): first block of the stage, mean "
    "of its heads; a key is the mean of r × r tokens."
)


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders; positions are percentages of the photograph's height and width."""

    size: tuple[int, int] = choice("Height × width", SIZES, (512, 512), pixels)
    stage: int = choice("Stage shown", (1, 2, 3, 4), 1)
    down: int = choice("Query, from the top", PERCENTS, 20, percent)
    across: int = choice("Query, from the left", PERCENTS, 45, percent)
    ratio_1: int = choice("Ratio r of stage 1", RATIOS, 8)
    ratio_2: int = choice("Ratio r of stage 2", RATIOS, 4)
    ratio_3: int = choice("Ratio r of stage 3", RATIOS, 2)
    ratio_4: int = choice("Ratio r of stage 4", RATIOS, 1)

    @property
    def ratios(self) -> tuple[int, ...]:
        return self.ratio_1, self.ratio_2, self.ratio_3, self.ratio_4


@cache
def bill(size: tuple[int, int], ratios: tuple[int, ...]) -> Cost:
    return cost(CONFIG.replace(reduction_ratios=ratios), size)


# What the model sees: computed once for each photograph, stage and ratio.


@cache
def photograph(size: tuple[int, int]) -> np.ndarray:
    """The sample photograph, cropped and resized to `size`, `(H, W, 3)` uint8."""
    return np.array(ImageOps.fit(Image.fromarray(sample_photo()), size[::-1]))


@cache
def photograph_file(size: tuple[int, int]) -> bytes:
    """The same, no larger than it is shown, for a `Raster`."""
    photo = Image.fromarray(photograph(size))
    photo.thumbnail((SIDE, SIDE))
    return jpeg(np.array(photo))


@cache
def model() -> SegFormer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SegFormer(CONFIG).eval()


@cache
def stage_inputs(size: tuple[int, int]) -> list[Tensor]:
    """The input of the first attention of each stage, `(1, H_i, W_i, C_i)`, in a model with the
    published ratios.
    """
    inputs: list[Tensor] = []
    first = [attentions_of(stage)[0] for stage in model().encoder.stages]
    hooks = [
        attention.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
        for attention in first
    ]
    with torch.no_grad():
        model().encoder(normalize(photograph(size)))
    for hook in hooks:
        hook.remove()
    return inputs


@cache
@torch.no_grad()
def keys_of(size: tuple[int, int], stage: int, ratio: int) -> tuple[Tensor, Tensor]:
    """Queries `(1, heads, N, d)` and keys `(1, heads, n, d)` of a stage's first attention.

    One set of weights has to serve every ratio, so a key is made from the mean of its r×r tokens;
    a trained model learns that merge for the one ratio it is trained with.
    """
    attention = attentions_of(model().encoder.stages[stage - 1])[0]
    x = stage_inputs(size)[stage - 1]
    merged = F.avg_pool2d(x.permute(0, 3, 1, 2), ratio).permute(0, 2, 3, 1)
    return attention.heads(attention.query(x)), attention.heads(attention.key(merged))


def attention_of(
    size: tuple[int, int], stage: int, ratio: int, query: tuple[int, int]
) -> np.ndarray:
    """The weights of one query, mean of the heads, `(h, w)`: softmax(q kᵀ / √d) of eq. 1."""
    queries, keys = keys_of(size, stage, ratio)
    geometry = bill(size, CONFIG.reduction_ratios).stages[stage - 1].size
    q = queries[:, :, query[0] * geometry[1] + query[1], None]  # (1, heads, 1, d)
    weights = (q @ keys.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
    return weights.mean(1).reshape(geometry[0] // ratio, geometry[1] // ratio).numpy()


def draw(state: State) -> Picture:
    """The picture of a state.

    Raises:
        ValueError: ratios that leave a stage without a key.
    """
    chosen, full = bill(state.size, state.ratios), bill(state.size, (1, 1, 1, 1))
    stage = chosen.stages[state.stage - 1]
    query = token_at(stage.size, state.down, state.across)
    weights = attention_of(state.size, state.stage, stage.reduction_ratio, query)

    left, right, bars = 4, SIDE + 24, 2 * SIDE + 48
    return Picture(
        HEIGHT,
        [
            Text(left, 20, finding(state, stage), 15, bold=True),
            Text(left, 50, f"One key for each cell: {pixels(stage.key_size)} keys"),
            *photograph_with_keys(left, state, stage, query),
            Text(right, 50, f"What the query attends to: {weights.size:,} weights"),
            *attention_panel(right, state, stage, query, weights),
            *bar_chart(bars, rows_of(state, chosen, full)),
            *stage_list(bars, state, chosen),
            Text(left, HEIGHT - 8, HONESTY, 11),
        ],
        finding(state, stage),
        description(state, stage, query, weights, chosen, full),
        table_of(state, chosen, full),
    )


class SpatialReduction(Explorer):
    """Reduction ratios, the grid of keys they leave, the attention of one query, and the bill."""

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {photograph_file: ["size"], stage_inputs: ["size"]}


# Panels.


def cells(stage: StageCost, scale: tuple[float, float]) -> tuple[float, float]:
    """Height and width of a key's cell, for tokens of height and width `scale`."""
    return stage.reduction_ratio * scale[0], stage.reduction_ratio * scale[1]


def token_scale(state: State, stage: StageCost) -> tuple[tuple[float, float], tuple[float, float]]:
    """The panel's height and width, and a token's."""
    largest = max(state.size)
    panel = state.size[0] / largest * SIDE, state.size[1] / largest * SIDE
    return panel, (panel[0] / stage.size[0], panel[1] / stage.size[1])


def photograph_with_keys(
    x: float, state: State, stage: StageCost, query: tuple[int, int]
) -> list[Shape]:
    (height, width), token = token_scale(state, stage)
    cell = cells(stage, token)
    thickness = min(1.0, min(cell) / 6)
    return [
        Raster(x, TOP, width, height, photograph_file(state.size)),
        *unseen(x, state, stage),
        Lines(grid(x, TOP, *stage.key_size, cell), PAPER, thickness),
        *marker(x, token, query),
    ]


def attention_panel(
    x: float, state: State, stage: StageCost, query: tuple[int, int], weights: np.ndarray
) -> list[Shape]:
    (height, width), token = token_scale(state, stage)
    cell = cells(stage, token)
    seen = stage.key_size[1] * cell[1], stage.key_size[0] * cell[0]
    low, high, even = (
        f"{value:#.2g}" for value in (weights.min(), weights.max(), 1 / weights.size)
    )
    return [
        Rectangle(x, TOP, width, height, PALE),
        *unseen(x, state, stage),
        Raster(x, TOP, *seen, heat_map(weights, SEQUENTIAL), map_=True),
        *marker(x, token, query),
        Text(x, TOP + SIDE + 18, f"dark {low}, bright {high}; all alike: {even}", 11),
    ]


def unseen(x: float, state: State, stage: StageCost) -> list[Shape]:
    """The rows and columns past the last whole window, hatched."""
    (height, width), token = token_scale(state, stage)
    cell = cells(stage, token)
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


# The bill.

Row = tuple[str, int, int, str]  # what, with the chosen ratios, with r = 1 throughout, unit


def rows_of(state: State, chosen: Cost, full: Cost) -> list[Row]:
    """The bars: each quantity with the chosen ratios and with r = 1."""
    now, then = chosen.stages[state.stage - 1], full.stages[state.stage - 1]
    here = f"stage {state.stage}"
    entries, all_entries = (
        sum(stage.attention_entries for stage in each.stages) for each in (chosen, full)
    )
    return [
        (f"tokens, so queries, of {here}", now.tokens, then.tokens, ""),
        (f"keys for each query of {here}", now.keys, then.keys, ""),
        ("multiply-adds, encoder", chosen.encoder_multiply_adds, full.encoder_multiply_adds, ""),
        ("memory of all attention weights", 4 * entries, 4 * all_entries, "B"),
        (
            "peak memory, weights never stored",
            chosen.peak_activation_bytes,
            full.peak_activation_bytes,
            "B",
        ),
    ]


def bar_chart(x: float, rows: list[Row]) -> list[Shape]:
    shapes: list[Shape] = []
    for index, (label, now, then, unit) in enumerate(rows):
        y, longest = 50 + 41 * index, max(now, then)
        shapes += [
            Text(x, y, label),
            Rectangle(x, y + 6, 100 * then / longest, 12, PALE),
            Rectangle(x, y + 8, max(1, 100 * now / longest), 8, BLUE),
            Text(x + 108, y + 17, f"{short(now, unit)} of {short(then, unit)}"),
        ]
    return shapes


def stage_list(x: float, state: State, chosen: Cost) -> list[Shape]:
    shapes: list[Shape] = [Text(x, 266, "keys, and tokens that they see", bold=True)]
    for number, stage in enumerate(chosen.stages, start=1):
        line = f"stage {number}, r = {stage.reduction_ratio}: {stage.keys:,}, {share(stage)}"
        shapes.append(Text(x, 266 + 18 * number, line, bold=number == state.stage))
    total = (
        100
        * chosen.encoder_multiply_adds
        / bill(state.size, CONFIG.reduction_ratios).encoder_multiply_adds
    )
    shapes.append(Text(x, 360, f"{total:.0f} % of the cost with r = 8, 4, 2, 1"))
    return shapes


def table_of(state: State, chosen: Cost, full: Cost) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("quantity", "with these ratios", "with r = 1")]
    rows += [
        (label, f"{now:,} {unit}".strip(), f"{then:,} {unit}".strip())
        for label, now, then, unit in rows_of(state, chosen, full)
    ]
    for number, (now, then) in enumerate(zip(chosen.stages, full.stages, strict=True), start=1):
        rows.append((f"keys of stage {number}", f"{now.keys:,}", f"{then.keys:,}"))
        rows.append((f"tokens of stage {number} that a key sees", share(now), share(then)))
    return rows


# Words.


def finding(state: State, stage: StageCost) -> str:
    return (
        f"Stage {state.stage}, r = {stage.reduction_ratio}: {stage.tokens:,} queries share "
        f"{plural(stage.keys, 'key')}, made from {share(stage)} of the tokens."
    )


def description(
    state: State,
    stage: StageCost,
    query: tuple[int, int],
    weights: np.ndarray,
    chosen: Cost,
    full: Cost,
) -> str:
    top = np.unravel_index(weights.argmax(), weights.shape)
    part = 100 * chosen.encoder_multiply_adds / full.encoder_multiply_adds
    return (
        f"A photograph of {pixels(state.size)} pixels under a grid of {pixels(stage.key_size)} "
        f"keys. The query is token ({query[0]}, {query[1]}) of {pixels(stage.size)}; it attends "
        f"most to key ({top[0]}, {top[1]}), with {weights.max():#.2g} where all alike would be "
        f"{1 / weights.size:#.2g}. The encoder costs {short(chosen.encoder_multiply_adds)} "
        f"multiply-adds, {part:.0f} % of what r = 1 costs."
    )


def share(stage: StageCost) -> str:
    """The share of the tokens that some key sees; 100 % only where it is all of them."""
    seen = 100 * stage.share_of_tokens_seen
    return f"{seen:.1f} %" if seen < 100 else "100 %"
