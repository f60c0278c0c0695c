"""Lesson 04's widget: how far position has travelled from the border of a flat map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from segformer_edu.analysis.position import (
    MAX_DEPTH,
    PADDING_MODES,
    PaddingMode,
    flat_map_deviations,
    travelled,
)
from segformer_edu.plots.style import BLUE, INK, PALE, SEQUENTIAL
from segformer_edu.widgets.explorer import Choices, Explorer, choice
from segformer_edu.widgets.picture import (
    Lines,
    Picture,
    Raster,
    Rectangle,
    Shape,
    Text,
    grid,
    hatch,
    heat_map,
)
from segformer_edu.widgets.words import plural

KERNELS = (1, 3, 5, 7)
DEPTHS = tuple(range(MAX_DEPTH + 1))
SIDES = (8, 12, 16, 20)
FAINTEST = 14  # how many powers of ten the scale reaches below the middle token's norm
SIDE, TOP, HEIGHT = 340, 62, 446  # of the map, where it begins, of the whole picture
CHART, BARS = 400, 220  # where the bars begin, and how long the longest is
TASK = (
    "Take 16 × 16 tokens. How many blocks does it take until no token inside is like the middle "
    "one? Get there with 3. Does attention get there sooner? Last, look for a padding other than "
    "zeros that reveals any position at all."
)
NOTE = (
    "×: the middle token. Hatched: no difference from it that float64 can show. Random weights, "
    "the same in every state."
)


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders."""

    padding: PaddingMode = choice("Padding", PADDING_MODES, "zeros")
    kernel: int = choice("Kernel k: k × k tokens", KERNELS, 3)
    depth: int = choice("Blocks", DEPTHS, 3)
    side: int = choice("Map: tokens a side", SIDES, 16)
    attention: bool = choice(
        "Attention between", (False, True), False, lambda there: "yes" if there else "no"
    )


def draw(state: State) -> Picture:
    """The picture of a state."""
    maps = flat_map_deviations(state.padding, state.kernel, state.side, state.attention)
    tokens = maps[state.depth]
    return Picture(
        HEIGHT,
        [
            Text(4, 20, finding(state, tokens), 15, bold=True),
            Text(4, 50, "How far each token of a flat map is from the middle one"),
            *token_panel(4, state, tokens),
            Text(CHART, 50, "The same along the middle row, border to middle (logarithmic)"),
            *profile(CHART, state, tokens),
            Text(4, HEIGHT - 8, NOTE, 11),
        ],
        finding(state, tokens),
        description(state, tokens),
        table_of(state, tokens),
    )


class Position(Explorer):
    """Padding, kernel, depth, size and attention; how far the border of a flat map is felt."""

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {flat_map_deviations: ["padding", "kernel", "side", "attention"]}


# Panels.


def token_panel(x: float, state: State, tokens: np.ndarray) -> list[Shape]:
    """The map, in powers of ten; tokens equal to the middle one are hatched."""
    cell = SIDE / state.side
    powers = np.log10(np.maximum(tokens, 10.0**-FAINTEST)) + FAINTEST
    shapes: list[Shape] = [Rectangle(x, TOP, SIDE, SIDE, PALE)]
    if tokens.any():
        shapes.append(Raster(x, TOP, SIDE, SIDE, heat_map(powers, SEQUENTIAL), map_=True))
    reach = travelled(tokens > 0)
    if 2 * reach < state.side:
        left, size = x + reach * cell, SIDE - 2 * reach * cell
        shapes.append(Rectangle(left, TOP + reach * cell, size, size, PALE))
        shapes.append(Lines(hatch(left, TOP + reach * cell, size, size), INK, 0.6))
    shapes.append(Lines(grid(x, TOP, state.side, state.side, (cell, cell)), PALE, 0.5))
    left, top = (start + state.side // 2 * cell for start in (x, TOP))
    shapes.append(Rectangle(left, top, cell, cell, PALE))
    shapes.append(Text(left + cell / 2, top + cell / 2 + 5, "×", 14, anchor="middle"))
    return shapes


def profile(x: float, state: State, tokens: np.ndarray) -> list[Shape]:
    """A bar for each ring; its length counts powers of ten."""
    values = along_middle(tokens)
    step = min(24.0, (SIDE - 60) / len(values))
    shapes: list[Shape] = []
    for ring, value in enumerate(values, start=1):
        y = TOP + step * (ring - 1)
        length = BARS * max(math.log10(value) / FAINTEST + 1, 0.02) if value else 0
        if value:
            shapes.append(Rectangle(x + 60, y + 2, length, step - 4, BLUE))
        shapes.append(Text(x, y + step / 2 + 4, f"ring {ring}", min(11, step)))
        shapes.append(Text(x + 68 + length, y + step / 2 + 4, shown(value), min(11, step)))
    y = TOP + step * len(values) + 26
    for line in (
        f"blocks × ⌊k/2⌋ = {state.depth} × {state.kernel // 2} = "
        f"{state.depth * (state.kernel // 2)} rings within reach",
        f"{travelled(tokens > 0)} of {len(values)} rings know of the border",
        f"{knowing(tokens)} of {tokens.size} tokens know of the border",
    ):
        shapes.append(Text(x, y, line))
        y += 19
    return shapes


def along_middle(tokens: np.ndarray) -> list[float]:
    """The deviation in each ring, from the border inward, along the middle row."""
    half = len(tokens) // 2
    return [float(value) for value in tokens[half - 1, :half]]


def knowing(tokens: np.ndarray) -> int:
    """Tokens in rings that the border has reached."""
    return tokens.size - max(len(tokens) - 2 * travelled(tokens > 0), 0) ** 2


# Words.


def shown(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value else "nothing"


def finding(state: State, tokens: np.ndarray) -> str:
    reach, half = travelled(tokens > 0), state.side // 2
    blocks = plural(state.depth, "block")
    if reach == 0:
        return f"After {blocks} no token knows where the border is."
    if reach == half:
        return f"After {blocks} every token knows of the border, {half} rings inward."
    return f"After {blocks} the border is known {reach} of {half} rings inward."


def description(state: State, tokens: np.ndarray) -> str:
    values = along_middle(tokens)
    return (
        f"A flat map of {state.side} × {state.side} tokens after {state.depth} blocks with a "
        f"{state.kernel} × {state.kernel} convolution (padding: {state.padding}) and "
        f"{'' if state.attention else 'no '}attention. {knowing(tokens)} of {tokens.size} tokens "
        f"differ from those in the middle. In the middle row the token at the border differs by "
        f"{shown(values[0])}, the innermost by {shown(values[-1])}."
    )


def table_of(state: State, tokens: np.ndarray) -> list[tuple[str, ...]]:
    return [
        ("quantity", "value"),
        ("rings within reach", f"{state.depth * (state.kernel // 2)}"),
        ("rings that know of the border", f"{travelled(tokens > 0)}"),
        ("tokens that know of the border", f"{knowing(tokens)}"),
        *((f"ring {ring}", shown(each)) for ring, each in enumerate(along_middle(tokens), 1)),
    ]
