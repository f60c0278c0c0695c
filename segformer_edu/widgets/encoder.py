"""Lesson 06's widget: an encoder of your own design, and its bill beside those of B0 to B5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from segformer_edu.analysis import Cost, cost
from segformer_edu.config import LARGE, SMALL, SegFormerConfig
from segformer_edu.plots.style import BLUE, GREY, INK, PALE
from segformer_edu.widgets.explorer import Choices, Explorer, choice
from segformer_edu.widgets.picture import Lines, Picture, Rectangle, Shape, Text, frame
from segformer_edu.widgets.words import short

PUBLISHED = ("b0", "b1", "b2", "b3", "b4", "b5")
HEIGHT, RIGHT = 372, 452  # of the picture; where the map of sizes begins
PLOT = (510, 300, 96, 316)  # left edge, width, top and bottom of the map of sizes
PARAMETERS, MULTIPLY_ADDS = (3e5, 3e8), (1e8, 1e13)  # what its axes span: every design
TASK = (
    "Begin with B0 and watch parameters, multiply-adds and memory. Which three sliders change the "
    "first two and leave the memory as it is? Which one changes only the last two? Which one "
    "changes none of the three? To go further, build the network with the most blocks that has no "
    "more parameters and no more multiply-adds than B1 at 512 × 512. What did the depth cost you?"
)

Four = tuple[int, int, int, int]


def listed(values: tuple[int, ...]) -> str:
    """How a slider shows one value per stage."""
    return ", ".join(map(str, values))


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders."""

    embed_dims: Four = choice(
        "Dims of the stages",
        ((16, 32, 64, 128), SMALL, (48, 96, 192, 384), LARGE),
        SMALL,
        listed,
    )
    depths: Four = choice(
        "Depths",
        ((1, 1, 1, 1), (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 18, 3), (3, 8, 27, 3), (3, 6, 40, 3)),
        (2, 2, 2, 2),
        listed,
    )
    num_heads: Four = choice(
        "Heads", ((1, 2, 4, 8), (1, 2, 5, 8), (2, 4, 8, 16), (3, 6, 12, 24)), (1, 2, 5, 8), listed
    )
    reduction_ratios: Four = choice(
        "Ratios r",
        ((1, 1, 1, 1), (4, 2, 1, 1), (8, 4, 2, 1), (16, 8, 4, 2), (64, 16, 4, 1)),
        (8, 4, 2, 1),
        listed,
    )
    mlp_ratios: Four = choice(
        "Expansion of Mix-FFN",
        ((2, 2, 2, 2), (4, 4, 4, 4), (8, 8, 4, 4)),
        (4, 4, 4, 4),
        listed,
    )
    decoder_dim: int = choice("Width of the decoder", (64, 128, 256, 512, 768), 256)
    side: int = choice("Photograph, pixels a side", (224, 384, 512, 640, 768, 1024), 512)

    @property
    def config(self) -> SegFormerConfig:
        """The config of this design; a ValueError where heads do not divide dims."""
        return SegFormerConfig(
            embed_dims=self.embed_dims,
            depths=self.depths,
            num_heads=self.num_heads,
            reduction_ratios=self.reduction_ratios,
            mlp_ratios=self.mlp_ratios,
            decoder_dim=self.decoder_dim,
        )


def draw(state: State) -> Picture:
    """The picture of a state.

    Raises:
        ValueError: a combination that no SegFormer can have.
    """
    bill = cost(state.config, (state.side, state.side))
    return Picture(
        HEIGHT,
        [
            Text(4, 20, finding(state, bill), 15, bold=True),
            *stage_table(state, bill),
            *totals(bill),
            *size_map(state, bill),
        ],
        finding(state, bill),
        description(state, bill),
        table_of(state, bill),
    )


class Pyramid(Explorer):
    """Dims, depths, heads and ratios of an encoder, and what they cost, beside B0 to B5."""

    first, draw, task = State(), staticmethod(draw), TASK


@cache
def published(side: int) -> dict[str, Cost]:
    """The bills of B0 to B5 for a photograph of that side."""
    return {name: cost(SegFormerConfig.named(name), (side, side)) for name in PUBLISHED}


def twins(state: State) -> list[str]:
    """The published variants that have this very design."""
    return [name for name in PUBLISHED if SegFormerConfig.named(name) == state.config]


# Panels.

COLUMNS = ("stage", "tokens", "channels", "heads of", "keys", "blocks", "parameters", "mult.-adds")
ENDS = (34, 90, 148, 203, 256, 302, 376, 440)  # where each column of the table ends


def stage_table(state: State, bill: Cost) -> list[Shape]:
    """The numbers of each stage, and its share of the encoder's parameters and work as bars."""
    shapes: list[Shape] = [
        Text(x, 60, name, 11, anchor="end", fill=GREY)
        for x, name in zip(ENDS, COLUMNS, strict=True)
    ]
    for index, row in enumerate(stage_rows(state, bill)):
        y, stage = 84 + 44 * index, bill.stages[index]
        shapes += [
            Text(x, y, text, bold=not place, anchor="end")
            for place, (x, text) in enumerate(zip(ENDS, row, strict=True))
        ]
        shares = (
            stage.parameters / bill.encoder_parameters,
            stage.multiply_adds / bill.encoder_multiply_adds,
        )
        for left, width, share in zip((310, 382), (66, 58), shares, strict=True):
            shapes += [
                Rectangle(left, y + 6, width, 7, PALE),
                Rectangle(left, y + 6, width * share, 7, BLUE),
            ]
    return shapes


def stage_rows(state: State, bill: Cost) -> list[tuple[str, ...]]:
    """One row of text for each stage, in the order of COLUMNS."""
    sizes = zip(bill.stages, state.embed_dims, state.num_heads, state.depths, strict=True)
    return [
        (
            str(number),
            f"{stage.tokens:,}",
            str(dim),
            f"{heads} × {dim // heads}",
            f"{stage.keys:,}",
            str(depth),
            short(stage.parameters),
            short(stage.multiply_adds),
        )
        for number, (stage, dim, heads, depth) in enumerate(sizes, start=1)
    ]


def totals(bill: Cost) -> list[Shape]:
    """Encoder, decoder, sum and memory."""
    lines = [
        ("encoder", short(bill.encoder_parameters), short(bill.encoder_multiply_adds)),
        ("decoder", short(bill.decoder.parameters), short(bill.decoder.reference_multiply_adds)),
        ("together", short(bill.parameters), short(bill.reference_multiply_adds)),
    ]
    shapes: list[Shape] = [Lines([(4, 250, 440, 250)], PALE)]
    for index, (name, *numbers) in enumerate(lines):
        y = 272 + 20 * index
        bold = name == "together"
        shapes.append(Text(4, y, name, bold=bold))
        for x, text in zip(ENDS[-2:], numbers, strict=True):
            shapes.append(Text(x, y, text, bold=bold, anchor="end"))
    memory = f"peak memory of one forward pass, float32: {megabytes(bill)}"
    return [*shapes, Text(4, 342, memory), Text(4, 362, HONESTY, 11, fill=GREY)]


HONESTY = "Multiply-adds: decoder as the paper writes it. Memory: as this package computes it."


def place(bill: Cost) -> tuple[float, float]:
    """Where a bill stands on the map of sizes; each axis is logarithmic."""
    left, width, top, bottom = PLOT
    right, up = (
        along(bill.parameters, *PARAMETERS),
        along(bill.reference_multiply_adds, *MULTIPLY_ADDS),
    )
    return left + width * right, bottom - (bottom - top) * up


def along(value: float, low: float, high: float) -> float:
    """How far a value stands along a logarithmic axis: 0 at low, 1 at high."""
    return math.log(value / low) / math.log(high / low)


def decades(low: float, high: float) -> list[int]:
    """The powers of ten from low to high."""
    return [10**power for power in range(20) if low <= 10**power <= high]


def size_map(state: State, bill: Cost) -> list[Shape]:
    """Parameters to the right, multiply-adds upwards: B0 to B5, and the reader's own."""
    left, width, top, bottom = PLOT
    shapes: list[Shape] = [
        Text(RIGHT, 60, f"multiply-adds at {state.side} × {state.side}", 11, fill=GREY),
        Text(left + width, bottom + 36, "parameters", 11, anchor="end", fill=GREY),
    ]
    for power in decades(*MULTIPLY_ADDS):
        y = bottom - (bottom - top) * along(power, *MULTIPLY_ADDS)
        shapes += [
            Lines([(left, y, left + width, y)], PALE),
            Text(left - 6, y + 4, short(power), 11, anchor="end"),
        ]
    for power in decades(*PARAMETERS):
        x = left + width * along(power, *PARAMETERS)
        shapes += [
            Lines([(x, top, x, bottom)], PALE),
            Text(x, bottom + 17, short(power), 11, anchor="middle"),
        ]
    for name, other in published(state.side).items():
        x, y = place(other)
        name_y = y + (33 if name == "b4" else 19)  # B3 and B5 stand close to it
        shapes += [
            Rectangle(x - 4, y - 4, 8, 8, GREY),
            Text(x, name_y, name.upper(), 11, anchor="middle", fill=INK),
        ]
    x, y = place(bill)
    return [
        *shapes,
        *frame(x - 7, y - 7, 14, 14, BLUE, thickness=(5, 3)),
        Text(x - 11, y - 11, "yours", bold=True, anchor="end", fill=BLUE),
    ]


def table_of(state: State, bill: Cost) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("quantity", "value")]
    for row in stage_rows(state, bill):
        rows += [
            (f"stage {row[0]}: {name}", text)
            for name, text in zip(COLUMNS[1:], row[1:], strict=True)
        ]
    rows += [
        ("parameters", f"{bill.parameters:,}"),
        ("parameters of the encoder", f"{bill.encoder_parameters:,}"),
        ("multiply-adds", f"{bill.reference_multiply_adds:,}"),
        ("multiply-adds of the encoder", f"{bill.encoder_multiply_adds:,}"),
        ("peak memory, bytes", f"{bill.peak_activation_bytes:,}"),
    ]
    return rows


# Words.


def finding(state: State, bill: Cost) -> str:
    who = " and ".join(name.upper() for name in twins(state)) or "Yours"
    blocks = sum(state.depths)
    return (
        f"{who}: {blocks} blocks, {short(bill.parameters)} parameters, "
        f"{short(bill.reference_multiply_adds)} multiply-adds, {megabytes(bill)}."
    )


def description(state: State, bill: Cost) -> str:
    tokens = ", ".join(f"{stage.tokens:,}" for stage in bill.stages)
    return (
        f"A photograph of {state.side} × {state.side} pixels: {tokens} tokens in the four stages, "
        f"of {listed(state.embed_dims)} channels. The encoder has {short(bill.encoder_parameters)} "
        f"parameters and {short(bill.encoder_multiply_adds)} multiply-adds. {nearest(state, bill)}"
    )


def nearest(state: State, bill: Cost) -> str:
    """Where the design stands among the published ones, in words."""
    smaller, larger = (
        [
            name.upper()
            for name, other in published(state.side).items()
            if sign * other.parameters < sign * bill.parameters
            and sign * other.reference_multiply_adds < sign * bill.reference_multiply_adds
        ]
        for sign in (1, -1)
    )
    words = [f"Larger and dearer than {', '.join(smaller)}."] if smaller else []
    words += [f"Smaller and cheaper than {', '.join(larger)}."] if larger else []
    return " ".join(words) or "No published variant is smaller and cheaper, or larger and dearer."


def megabytes(bill: Cost) -> str:
    return f"{bill.peak_activation_bytes / 1e6:.0f} MB"
