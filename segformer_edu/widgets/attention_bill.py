"""Lesson 02's widget: the memory that one layer's attention matrices take, and a machine's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from segformer_edu.data.photos import sample_photo
from segformer_edu.doctor import main_memory
from segformer_edu.plots.style import BLUE, INK, PALE, PAPER, VERMILLION
from segformer_edu.widgets.explorer import Choices, Explorer, choice
from segformer_edu.widgets.picture import Lines, Picture, Raster, Rectangle, Shape, Text, grid, jpeg
from segformer_edu.widgets.words import plural

SIDES = (64, 128, 224, 256, 384, 512, 768, 1024, 1536, 2048)  # pixels; every patch divides them
PATCHES = (1, 2, 4, 8, 16, 32)
HEADS = (1, 2, 4, 5, 8, 12, 16)
MEMORIES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048)  # GiB
FLOAT_BYTES = 4  # float32
HEAD_CHANNELS = 64  # of ViT-Base, and of SegFormer B1 to B5 in every stage
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
PHOTO, TOP, HEIGHT = 256, 62, 356  # side of the photograph, where it begins, of the whole picture
LEFT, RULER = 300, 400  # where the ruler begins, and its length
SMALLEST, LARGEST = 14, 52  # ends of the ruler, powers of two: 16 KiB to 4 PiB
TASK = (
    "Patch size 4 and one head would be stage 1 of SegFormer B1 without any reduction. Find the "
    "largest image for which all bars end before your machine's memory does. Then double the "
    "side of the image: by how much do tokens and matrix grow, and which patch size brings back "
    "the old bill?"
)


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders."""

    side: int = choice("Image, pixels a side", SIDES, 512)
    patch: int = choice("Patch, pixels a side", PATCHES, 4)
    heads: int = choice("Heads", HEADS, 1)
    memory: int = choice("Memory, GiB", MEMORIES, 16)

    @property
    def tokens(self) -> int:
        return (self.side // self.patch) ** 2

    @property
    def entries(self) -> int:
        """Of one layer: a matrix of N² for each head."""
        return self.heads * self.tokens**2

    @property
    def matrix_bytes(self) -> int:
        return FLOAT_BYTES * self.entries

    @property
    def fused_bytes(self) -> int:
        """Queries, keys, values and output: the data of the fused kernel."""
        return 4 * FLOAT_BYTES * self.heads * self.tokens * HEAD_CHANNELS

    @property
    def memory_bytes(self) -> int:
        return self.memory * 2**30


Row = tuple[str, int]  # what, and its bytes


def rows_of(state: State) -> list[Row]:
    """The bars."""
    return [
        (
            f"the fused kernel's inputs and output, {HEAD_CHANNELS} channels a head",
            state.fused_bytes,
        ),
        ("the attention matrix of one head", state.matrix_bytes // state.heads),
        (f"the matrices of one layer, {plural(state.heads, 'head')}", state.matrix_bytes),
        ("scores and softmax side by side, as in plain code", 2 * state.matrix_bytes),
    ]


def draw(state: State) -> Picture:
    """The picture of a state."""
    cells = state.side // state.patch
    return Picture(
        HEIGHT,
        [
            Text(4, 20, finding(state), 15, bold=True),
            Text(4, 50, f"{cells} × {cells} tokens"),
            *photograph_with_tokens(state),
            Text(LEFT, 50, f"N = ({state.side} / {state.patch})² = {state.tokens:,} tokens"),
            Text(LEFT, 68, f"heads × N² = {state.heads} × {state.tokens:,}² = {state.entries:,}"),
            *ruler(state),
            *bars(state),
        ],
        finding(state),
        description(state),
        [
            ("quantity", "value", "against the memory"),
            ("tokens N", f"{state.tokens:,}", ""),
            ("entries, heads × N²", f"{state.entries:,}", ""),
            *(
                (label, binary(size), f"{share(state, size)} {state.memory} GiB")
                for label, size in rows_of(state)
            ),
        ],
    )


class AttentionBill(Explorer):
    """Image size, patch size and heads; tokens, matrix and memory, against the reader's own."""

    first, draw, task = State(), staticmethod(draw), TASK

    def __init__(self) -> None:
        super().__init__()
        self.sliders["memory"].value = nearest_memory(main_memory())


def nearest_memory(size: int | None) -> int:
    """The slider's value that is the fewest doublings away; its default if nothing is known."""
    if size is None:
        return State().memory
    return min(MEMORIES, key=lambda memory: abs(math.log2(memory * 2**30 / size)))


@cache
def photograph_file() -> bytes:
    return jpeg(np.array(Image.fromarray(sample_photo()).resize((PHOTO, PHOTO))))


def photograph_with_tokens(state: State) -> list[Shape]:
    cells = state.side // state.patch
    cell = PHOTO / cells
    shapes: list[Shape] = [Raster(4, TOP, PHOTO, PHOTO, photograph_file())]
    if cell < 3:
        return [*shapes, Text(4, TOP + PHOTO + 18, "(tokens too small to be drawn)", 11)]
    return [*shapes, Lines(grid(4, TOP, cells, cells, (cell, cell)), PAPER, min(1, cell / 6))]


def place(size: int) -> float:
    """How far along the ruler a number of bytes stands; each doubling is the same step."""
    step = RULER / (LARGEST - SMALLEST)
    return step * min(max(math.log2(size) - SMALLEST, 0), LARGEST - SMALLEST)


def ruler(state: State) -> list[Shape]:
    """Powers of 1024, and the line past which nothing fits."""
    bottom = TOP + 250
    memory = LEFT + place(state.memory_bytes)
    units = [(LEFT + place(2**power), f"1 {UNITS[power // 10]}") for power in (20, 30, 40, 50)]
    return [
        Lines([(x, 86, x, bottom) for x, _ in units], PALE),
        *(Text(x, bottom + 15, name, 11, anchor="middle") for x, name in units),
        Lines([(memory, 86, memory, bottom + 20)], INK, 2),
        Text(memory, bottom + 33, f"memory: {state.memory} GiB", 11, bold=True, anchor="middle"),
    ]


def bars(state: State) -> list[Shape]:
    shapes: list[Shape] = []
    for index, (label, size) in enumerate(rows_of(state)):
        y, fits = 104 + 54 * index, size <= state.memory_bytes
        words = binary(size) if fits else f"{binary(size)}: too large"
        end = LEFT + max(2.0, place(size))
        shapes += [
            Text(LEFT, y, label, halo=3),
            Rectangle(LEFT, y + 7, end - LEFT, 14, BLUE if fits else VERMILLION),
            Text(end + 6, y + 19, words, bold=not fits, halo=3),
        ]
    return shapes


# Words.


def finding(state: State) -> str:
    return (
        f"{state.tokens:,} tokens, {plural(state.heads, 'head')}: "
        f"matrices of {binary(state.matrix_bytes)}, {share(state, state.matrix_bytes)} "
        f"{state.memory} GiB."
    )


def description(state: State) -> str:
    doubled = 2 * state.matrix_bytes
    verdict = "fits" if doubled <= state.memory_bytes else "does not fit"
    return (
        f"A photograph of {state.side} × {state.side} pixels in patches of {state.patch} × "
        f"{state.patch}: {state.tokens:,} tokens, {state.entries:,} entries in the attention "
        f"matrices of one layer. Scores and softmax side by side take {binary(doubled)}, which "
        f"{verdict} into {state.memory} GiB. The data of the fused kernel take "
        f"{binary(state.fused_bytes)}."
    )


def binary(size: int) -> str:
    """A number of bytes in three digits: 1.5 GiB, 64 KiB."""
    power = min(int(math.log2(size)) // 10, len(UNITS) - 1)
    value = size / 1024**power
    return f"{value:.3g} {UNITS[power]}" if value < 1000 else f"{value:,.0f} {UNITS[power]}"


def share(state: State, size: int) -> str:
    """A size against the memory, before its name: 6.2 % of, 256 times."""
    part = size / state.memory_bytes
    if part > 1:
        return f"{part:,.3g} times" if part < 1000 else f"{part:,.0f} times"
    return f"{100 * part:.3g} % of" if part >= 0.0001 else "under 0.01 % of"
