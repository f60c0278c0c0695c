"""Lesson 01's widget: kernel, stride and padding, and what they make of a photograph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageOps

from segformer_edu.analysis.patches import PatchRow
from segformer_edu.data.photos import sample_photo
from segformer_edu.plots.style import (
    INK,
    PALE,
    PALE_ORANGE,
    PAPER,
    PATCH_AND_NEIGHBOURS,
    SEQUENTIAL,
)
from segformer_edu.widgets.explorer import Choices, Explorer, choice
from segformer_edu.widgets.picture import (
    Lines,
    Picture,
    Raster,
    Rectangle,
    Segment,
    Shape,
    Text,
    frame,
    hatch,
    heat_map,
    jpeg,
)
from segformer_edu.widgets.words import pixels, plural

SIZES = ((32, 32), (33, 47), (50, 30), (64, 64), (128, 128), (256, 256))
KERNELS = (1, 2, 3, 4, 5, 7, 8, 16)
STRIDES = (1, 2, 3, 4, 5, 7, 8, 16)
PADDINGS = (0, 1, 2, 3, 4, 8)
SIDE, TOP, HEIGHT = 280, 62, 400  # of a photograph's panel, where it begins, of the whole picture
CLOSEST = 5  # units between the outlines of two patches; closer ones would blur
TASK = (
    "Cut 32 × 32 pixels into 8 × 8 tokens so that neighbours share exactly 3 pixels. Then keep the "
    "kernel and the stride, take 33 × 47, and lower the padding until some pixel is lost. "
    "Where is it?"
)


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders."""

    size: tuple[int, int] = choice("Photograph, height × width", SIZES, (32, 32), pixels)
    kernel: int = choice("Kernel K: side of a patch", KERNELS, 4)
    stride: int = choice("Stride S: patch to patch", STRIDES, 4)
    padding: int = choice("Padding P: zeros around", PADDINGS, 0)

    @property
    def rows(self) -> tuple[PatchRow, PatchRow]:
        """The patches down and across."""
        down, across = (
            PatchRow(side, self.kernel, self.stride, self.padding) for side in self.size
        )
        return down, across


@cache
def photograph_file(size: tuple[int, int]) -> bytes:
    """The face of the sample photograph in so many pixels, each large enough to be seen."""
    face = Image.fromarray(sample_photo()).crop((128, 0, 328, 200))
    small = ImageOps.fit(face, size[::-1])
    scale = max(1, SIDE // max(size))
    return jpeg(np.array(small.resize((size[1] * scale, size[0] * scale), Image.Resampling.BOX)))


def draw(state: State) -> Picture:
    """The picture of a state.

    Raises:
        ValueError: patches that do not fit, or that could hold nothing but padding.
    """
    counts = coverage(state)
    hatched = "Hatched: what neighbouring patches share" if state.kernel > state.stride else ""
    left, right, words = 4, SIDE + 20, 2 * SIDE + 42
    return Picture(
        HEIGHT,
        [
            Text(left, 20, finding(state), 15, bold=True),
            Text(left, 50, hatched or "The patches on the photograph", 11),
            *photograph_with_patches(left, state),
            Text(right, 50, "In how many patches each pixel lies", 11),
            *coverage_panel(right, state, counts),
            *arithmetic(words, state, counts),
        ],
        finding(state),
        description(state, counts),
        table_of(state, counts),
    )


class Patches(Explorer):
    """Kernel, stride, padding and image size; patches on a photograph, overlap and coverage."""

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {photograph_file: ["size"]}


def coverage(state: State) -> np.ndarray:
    """In how many patches each pixel lies, `(H, W)`: rows and columns are independent."""
    down, across = state.rows
    return down.coverage[:, None] * across.coverage


# Panels.


def scale_of(state: State) -> float:
    """Units for each pixel; the padding has its place in the panel too."""
    return SIDE / (max(state.size) + 2 * state.padding)


def photograph_with_patches(x: float, state: State) -> list[Shape]:
    unit, (height, width) = scale_of(state), state.size
    around = 2 * state.padding
    shapes: list[Shape] = [
        Rectangle(x, TOP, unit * (width + around), unit * (height + around), PALE),
        Raster(
            x + unit * state.padding,
            TOP + unit * state.padding,
            unit * width,
            unit * height,
            photograph_file(state.size),
        ),
    ]
    if unit * state.stride >= CLOSEST:
        shapes.append(Lines(outlines(x, state), PAPER, 0.6))
    return shapes + neighbours(x, state)


def outlines(x: float, state: State) -> list[Segment]:
    """The four sides of every patch, row by row and column by column."""
    unit, (down, across) = scale_of(state), state.rows
    tops, lefts = (unit * (row.starts + state.padding) for row in (down, across))
    size = unit * state.kernel
    bottom, right = TOP + tops[-1] + size, x + lefts[-1] + size
    if state.kernel >= state.stride:  # patches touch: whole lines serve
        rows = sorted({*tops, *(tops + size)})
        columns = sorted({*lefts, *(lefts + size)})
        return [(x, TOP + y, right, TOP + y) for y in rows] + [
            (x + column, TOP, x + column, bottom) for column in columns
        ]
    corners = [(x + left, TOP + top) for top in tops for left in lefts]
    return [
        side
        for a, b in corners
        for side in (
            (a, b, a + size, b),
            (a, b + size, a + size, b + size),
            (a, b, a, b + size),
            (a + size, b, a + size, b + size),
        )
    ]


def neighbours(x: float, state: State) -> list[Shape]:
    """A patch near the middle, the next to its right and the next below, and what they share."""
    unit, (down, across) = scale_of(state), state.rows
    size, step, shared = (unit * each for each in (state.kernel, state.stride, down.shared))
    left = x + step * ((across.count - 1) // 2)
    top = TOP + step * ((down.count - 1) // 2)
    placed, common = [(left, top)], []
    if across.count > 1:
        placed.append((left + step, top))
        common.append((left + step, top, shared, size))
    if down.count > 1:
        placed.append((left, top + step))
        common.append((left, top + step, size, shared))
    shapes: list[Shape] = [
        Lines(hatch(*area, gap=5), PAPER, 1.2) for area in common if min(area[2:]) > 0
    ]
    for (a, b), color in reversed(list(zip(placed, PATCH_AND_NEIGHBOURS, strict=False))):
        shapes += frame(a, b, size, size, color, around=INK, thickness=(3.5, 2))
    return shapes


def coverage_panel(x: float, state: State, counts: np.ndarray) -> list[Shape]:
    unit, (height, width) = scale_of(state), state.size
    place = x + unit * state.padding, TOP + unit * state.padding, unit * width, unit * height
    least, most = counts.min(), counts.max()
    if least == most:
        shapes: list[Shape] = [Rectangle(*place, PALE_ORANGE, INK)]
    else:
        heat = heat_map(counts, SEQUENTIAL)
        shapes = [Raster(*place, heat, map_=True), Rectangle(*place, stroke=INK)]
    scale = f"{least} everywhere" if least == most else f"dark {least}, bright {most}"
    return [*shapes, Text(x, TOP + SIDE + 18, scale, 11)]


def arithmetic(x: float, state: State, counts: np.ndarray) -> list[Shape]:
    """The output size worked out, and what it comes to."""
    down, across = state.rows
    lines = [("Tokens down and across", True)]
    lines += [(f"{worked_out(state, row)}", False) for row in (down, across)]
    lines += [
        ("", False),
        ("Neighbours", True),
        (overlap(state), False),
        ("", False),
        ("Each pixel lies in", True),
        (f"{counts.mean():.2f} patches, on average", False),
        (f"{seen(counts)} lie in at least one", False),
        ("", False),
        ("A patch of 3 colours holds", True),
        (f"3 · {state.kernel}² = {3 * state.kernel**2:,} numbers", False),
    ]
    return [
        Text(x, 74 + 19 * index, line, 11, bold=bold) for index, (line, bold) in enumerate(lines)
    ]


# Words.


def worked_out(state: State, row: PatchRow) -> str:
    inside = f"({row.length} + 2·{state.padding} − {state.kernel}) / {state.stride}"
    return f"⌊{inside}⌋ + 1 = {row.count}"


def overlap(state: State) -> str:
    gap = state.stride - state.kernel
    if gap > 0:
        return f"leave a gap of {gap} px"
    return f"share {-gap} px" if gap else "touch, and share nothing"


def seen(counts: np.ndarray) -> str:
    """The share of the pixels in some patch; 100 % only where it is all of them."""
    share = (counts > 0).mean()
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"


def finding(state: State) -> str:
    down, across = state.rows
    tokens = plural(down.count * across.count, "token")
    return (
        f"{pixels(state.size)} pixels become {down.count} × {across.count} = {tokens}; "
        f"neighbours {overlap(state)}."
    )


def description(state: State, counts: np.ndarray) -> str:
    least, most = counts.min(), counts.max()
    step = "pixel" if state.stride == 1 else f"{state.stride} pixels"
    return (
        f"A face of {pixels(state.size)} pixels is cut into patches of {state.kernel} × "
        f"{state.kernel} pixels. A patch begins every {step}, and the padding around the face is "
        f"{state.padding} wide. A pixel lies in "
        f"{least if least == most else f'{least} to {most}'} of the patches, {counts.mean():.2f} "
        f"on average, and {seen(counts)} of the pixels lie in at least one."
    )


def table_of(state: State, counts: np.ndarray) -> list[tuple[str, ...]]:
    down, across = state.rows
    return [
        ("quantity", "value"),
        ("tokens down", worked_out(state, down)),
        ("tokens across", worked_out(state, across)),
        ("tokens", f"{down.count * across.count:,}"),
        ("neighbouring patches", overlap(state)),
        ("numbers in a patch of 3 colours", f"{3 * state.kernel**2:,}"),
        ("patches over a pixel, least", f"{counts.min()}"),
        ("patches over a pixel, most", f"{counts.max()}"),
        ("patches over a pixel, mean", f"{counts.mean():.2f}"),
        ("pixels in at least one patch", seen(counts)),
    ]
