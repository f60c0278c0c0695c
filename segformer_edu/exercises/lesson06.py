"""Exercises of lesson 06, the encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, exercise
from segformer_edu.stochastic_depth import drop_rates

Map = Callable[[Tensor], Tensor]
Stage = tuple[Map, Sequence[nn.Module], Map]  # a patch embedding, blocks, a norm


def listed(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with lists of numbers in place of tensors or arrays."""

    def numbers(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return [numbers(part) for part in value]
        return value.tolist() if isinstance(value, Tensor | np.ndarray) else value

    return lambda *given: numbers(answer(*given))


def map_sizes(height: int, width: int, strides: Sequence[int]) -> list[tuple[int, int]]:
    """Height and width of each stage's map: each stage divides the map of the one before."""
    sizes = []
    for stride in strides:
        height, width = math.ceil(height / stride), math.ceil(width / stride)
        sizes.append((height, width))
    return sizes


@exercise(
    "06.1",
    "Four shapes",
    stars=1,
    minutes=5,
    solution=map_sizes,
    hints=[
        "The strides of B0 are 4, 2, 2, 2. What does stage 2 divide: the photograph's side, or "
        "that of the first map?",
        "Thanks to the padding, a partial patch counts: round up.",
        "In a loop: height, width = ceil(height / stride), ceil(width / stride).",
    ],
    takeaway="each stage divides the map of the stage before, and rounds up.",
)
def examine_map_sizes(answer: Callable[..., list]) -> str | None:
    def sides(divide: Callable[[int, int], int]) -> Callable[..., list]:
        def sizes(height: int, width: int, strides: Sequence[int]) -> list[tuple[int, int]]:
            found = []
            for stride in strides:
                height, width = divide(height, stride), divide(width, stride)
                found.append((height, width))
            return found

        return sizes

    def from_the_image(height: int, width: int, strides: Sequence[int]) -> list[tuple[int, int]]:
        return [(math.ceil(height / s), math.ceil(width / s)) for s in strides]

    def swapped(height: int, width: int, strides: Sequence[int]) -> list[tuple[int, int]]:
        return [(w, h) for h, w in map_sizes(height, width, strides)]

    return diagnose(
        listed(answer),
        map_sizes,
        [(512, 512, (4, 2, 2, 2)), (500, 333, (4, 2, 2, 2)), (65, 97, (2, 3)), (45, 30, (4, 2, 2))],
        {
            "right where everything divides. Elsewhere a token is lost: thanks to the padding, a "
            "partial patch counts.": sides(lambda side, stride: side // stride),
            "rounded to the nearest; a partial patch counts as well.": sides(
                lambda side, stride: round(side / stride)
            ),
            "every stage divides the photograph here. A stage divides the map of the stage before "
            "it.": from_the_image,
            "height and width are swapped.": swapped,
            "the maps after the first have the right size, but the first is missing, or the "
            "photograph stands in its place.": (lambda h, w, s: [(h, w), *map_sizes(h, w, s)[:-1]]),
        },
    )


def block_forward(x: Tensor, norm1: Map, attention: Map, norm2: Map, mix_ffn: Map) -> Tensor:
    """Attention, then Mix-FFN; each reads a normalised copy and is added to x."""
    x = x + attention(norm1(x))
    return x + mix_ffn(norm2(x))


@exercise(
    "06.2",
    "Put the block together",
    stars=2,
    minutes=8,
    solution=block_forward,
    hints=[
        "Two lines, each of the form x = x + branch(norm(x)).",
        "Mix-FFN reads x after attention has been added to it.",
        "Inside a block x itself never goes through a norm.",
    ],
    takeaway="x is only ever added to; the norms are inside the branches.",
)
def examine_block_forward(answer: Callable[..., Tensor]) -> str | None:
    return diagnose(
        lambda x, *modules: answer(x.clone(), *modules),  # it may work in place
        block_forward,
        [_block_case(4), _block_case(6)],
        {
            "both branches read the input, side by side. Mix-FFN should come second, and read x "
            "after attention is added to it.": lambda x, n1, a, n2, f: x + a(n1(x)) + f(n2(x)),
            "the norms come after the additions, so x itself goes through them. In this block they "
            "are inside the branches.": lambda x, n1, a, n2, f: _post_norm(x, n1, a, n2, f),
            "the skip connections are missing: each branch replaces x.": (
                lambda x, n1, a, n2, f: f(n2(a(n1(x))))
            ),
            "Mix-FFN's skip starts from the block's input, so what attention has added is lost.": (
                lambda x, n1, a, n2, f: x + f(n2(x + a(n1(x))))
            ),
            "the first norm is used twice; each branch has its own.": (
                lambda x, n1, a, n2, f: block_forward(x, n1, a, n1, f)
            ),
            "the norms are swapped: norm1 belongs to attention, norm2 to Mix-FFN.": (
                lambda x, n1, a, n2, f: block_forward(x, n2, a, n1, f)
            ),
            "the norms come after the branches, which read x without a norm.": (
                lambda x, n1, a, n2, f: _norm_after_the_branch(x, n1, a, n2, f)
            ),
            "attention and Mix-FFN are swapped.": (
                lambda x, n1, a, n2, f: block_forward(x, n2, f, n1, a)
            ),
            "the skip carries the normalised copy. It should carry x itself.": (
                lambda x, n1, a, n2, f: _norm_in_the_skip(x, n1, a, n2, f)
            ),
        },
    )


def _post_norm(x: Tensor, norm1: Map, attention: Map, norm2: Map, mix_ffn: Map) -> Tensor:
    x = norm1(x + attention(x))
    return norm2(x + mix_ffn(x))


def _norm_in_the_skip(x: Tensor, norm1: Map, attention: Map, norm2: Map, mix_ffn: Map) -> Tensor:
    x = norm1(x) + attention(norm1(x))
    return norm2(x) + mix_ffn(norm2(x))


def _norm_after_the_branch(
    x: Tensor, norm1: Map, attention: Map, norm2: Map, mix_ffn: Map
) -> Tensor:
    x = x + norm1(attention(x))
    return x + norm2(mix_ffn(x))


def _block_case(channels: int) -> tuple:
    """A map and four modules, all random, in which every mistake shows."""
    generator = torch.Generator().manual_seed(channels)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def branch() -> Map:
        weight = random(channels, channels)
        return lambda x: torch.tanh(x @ weight)

    def norm() -> Map:
        scale, shift = 1 + 0.5 * random(channels), random(channels)
        return lambda x: F.layer_norm(x, (channels,), scale, shift)

    return random(2, 3, 5, channels), norm(), branch(), norm(), branch()


def rates_of_stage(rate: float, depths: Sequence[int], stage: int) -> list[float]:
    """The drop rates of one stage's blocks: its piece of the list for all blocks."""
    before, blocks = sum(depths[:stage]), sum(depths)
    return [rate * (before + j) / (blocks - 1) for j in range(depths[stage])]


@exercise(
    "06.3",
    "The rates of one stage",
    stars=2,
    minutes=8,
    solution=rates_of_stage,
    hints=[
        "Number the blocks of the whole encoder from 0. Which number does the first block of this "
        "stage have?",
        "Block l of L blocks, counted from 0, has rate · l / (L − 1).",
        "drop_rates(rate, sum(depths)) is the list for all; cut out the piece of this stage.",
    ],
    takeaway="one list over all stages, cut into pieces; no stage starts again at zero.",
)
def examine_rates_of_stage(answer: Callable[..., list]) -> str | None:
    def piece(rates: list[float], depths: Sequence[int], stage: int) -> list[float]:
        before = sum(depths[:stage])
        return rates[before : before + depths[stage]]

    return diagnose(
        listed(answer),
        rates_of_stage,
        [(0.1, (3, 4, 6, 3), 1), (0.5, (2, 2, 2, 2), 0), (0.3, (3, 1, 18, 3), 3)],
        {
            "the list starts again at zero in this stage. It should run through all stages.": (
                lambda rate, depths, stage: drop_rates(rate, depths[stage])
            ),
            "every block of the stage has the full rate; it should rise from block to block.": (
                lambda rate, depths, stage: [rate] * depths[stage]
            ),
            "all blocks of a stage have one rate here. Each block should have its own.": (
                lambda rate, depths, stage: [rate * stage / (len(depths) - 1)] * depths[stage]
            ),
            "these are survival probabilities, 1 minus the rates.": (
                lambda rate, depths, stage: [1 - r for r in rates_of_stage(rate, depths, stage)]
            ),
            "this is the rule of the stochastic depth paper, rate · l / L with l from 1. In "
            "linspace the very first block is never dropped.": (
                lambda rate, depths, stage: piece(
                    drop_rates(rate, sum(depths), "paper"), depths, stage
                )
            ),
            "the blocks are counted from 0 but divided by L, so the last one does not reach the "
            "full rate.": (
                lambda rate, depths, stage: [
                    rate * (sum(depths[:stage]) + j) / sum(depths) for j in range(depths[stage])
                ]
            ),
        },
    )


def block_parameters(channels: int, reduction_ratio: int, expansion: int) -> int:
    """Learned numbers of one block, all of whose layers have biases."""
    c, r, hidden = channels, reduction_ratio, expansion * channels
    norms = 2 * 2 * c
    attention = 4 * (c * c + c)
    reduction = r * r * c * c + c + 2 * c if r > 1 else 0  # convolution, norm
    mix_ffn = (c * hidden + hidden) + (9 * hidden + hidden) + (hidden * c + c)
    return norms + attention + reduction + mix_ffn


@exercise(
    "06.4",
    "What does a block hold?",
    stars=2,
    minutes=10,
    solution=block_parameters,
    hints=[
        "Four parts: two norms, four Linears, the reduction, and Mix-FFN with three layers.",
        "A Linear from a to b has a·b + b. A depthwise 3×3 convolution has 9 weights and a bias "
        "for each channel, however many there are.",
        "The reduction is a convolution with r·r·C·C weights and C biases, and a norm with 2C; at "
        "r = 1 there is none.",
    ],
    takeaway="Mix-FFN holds 2eC², attention 4C², the reduction r²C².",
)
def examine_block_parameters(answer: Callable[..., int]) -> str | None:
    right = block_parameters

    return diagnose(
        answer,
        right,
        [(32, 8, 4), (64, 4, 4), (160, 2, 8), (256, 1, 4), (7, 1, 2)],
        {
            "the two norms of the block are missing: a scale and a shift per channel, twice.": (
                lambda c, r, e: right(c, r, e) - 4 * c
            ),
            "one norm is missing. Each of the two branches has its own.": (
                lambda c, r, e: right(c, r, e) - 2 * c
            ),
            "at r = 1 there is no reduction, and none of its numbers.": (
                lambda c, r, e: right(c, r, e) + (c * c + 3 * c if r == 1 else 0)
            ),
            "the 3×3 convolution of Mix-FFN is depthwise: 9 weights per channel, not 9 for every "
            "pair of channels.": (lambda c, r, e: right(c, r, e) - 9 * e * c + 9 * (e * c) ** 2),
            "the 3×3 convolution of Mix-FFN is missing.": (
                lambda c, r, e: right(c, r, e) - 10 * e * c
            ),
            "the reduction merges r tokens here, but a window has r·r.": (
                lambda c, r, e: right(c, r, e) - (r * r - r) * c * c
            ),
            "the norm after the reduction is missing.": (
                lambda c, r, e: right(c, r, e) - (2 * c if r > 1 else 0)
            ),
            "the biases are missing.": (
                lambda c, r, e: right(c, r, e) - 4 * c - (c if r > 1 else 0) - (e * c + e * c + c)
            ),
            "the output of attention is missing: there are four Linears, q, k, v and output.": (
                lambda c, r, e: right(c, r, e) - c * c - c
            ),
        },
    )


def widest_column(budget: int, tokens: int, depth: int) -> int:
    """The greatest width C for which `depth` blocks on so many tokens stay within the budget.

    A block costs N·(4C² + 2NC + 8C² + 36C) multiply-adds: projections, products, Mix-FFN.
    """

    def price(width: int) -> int:
        return depth * tokens * (12 * width**2 + 2 * tokens * width + 36 * width)

    width = 0
    while price(width + 1) <= budget:
        width += 1
    return width


@exercise(
    "06.5",
    "The widest column",
    stars=2,
    minutes=10,
    solution=widest_column,
    hints=[
        "First compute the price of one block of width C, then try widths until it is too high.",
        "Four Linears: 4·N·C². Two products: 2·N²·C. Mix-FFN: a Linear C → 4C and back, and 9 "
        "multiply-adds for each of the 4C channels of the convolution, at every token.",
        "depth · N · (12C² + 2NC + 36C) must not exceed the budget.",
    ],
    takeaway="with many tokens the products take most of it; with few, the Linears do.",
)
def examine_widest_column(answer: Callable[..., int]) -> str | None:
    def widest(price: Callable[[int, int], int], extra: int = 0) -> Callable[..., int]:
        """The widest column for another price of one block, as a function of N and C."""

        def found(budget: int, tokens: int, depth: int) -> int:
            width = 0
            while depth * price(tokens, width + 1) <= budget:
                width += 1
            return width + extra

        return found

    def true_price(n: int, c: int) -> int:
        return n * (12 * c * c + 2 * n * c + 36 * c)

    return diagnose(
        answer,
        widest_column,
        [
            (3_200_000_000, 1024, 8),
            (3_200_000_000, 256, 8),
            (3_200_000_000, 16384, 8),
            (500_000_000, 400, 3),
            (100_000_000, 64, 2),
            (2 * true_price(64, 100), 64, 2),  # which it costs to the last multiply-add
        ],
        {
            "one channel too many: the budget is exceeded.": widest(true_price, extra=1),
            "a width that costs exactly the budget is allowed.": (
                lambda budget, tokens, depth: widest_column(budget - 1, tokens, depth)
            ),
            "this is the price of one block; there are `depth` of them.": (
                lambda budget, tokens, depth: widest_column(budget, tokens, 1)
            ),
            "one product of attention is missing: q kᵀ, and the weights times v.": widest(
                lambda n, c: true_price(n, c) - n * n * c
            ),
            "the two products of attention are missing, the part that grows with N².": widest(
                lambda n, c: true_price(n, c) - 2 * n * n * c
            ),
            "the depthwise convolution is missing.": widest(
                lambda n, c: true_price(n, c) - 36 * n * c
            ),
            "Mix-FFN is missing.": widest(lambda n, c: n * (4 * c * c + 2 * n * c)),
            "the 3×3 convolution is counted as a full one; it is depthwise.": widest(
                lambda n, c: true_price(n, c) - 36 * n * c + 9 * 16 * n * c * c
            ),
            "the four Linears of attention are missing.": widest(
                lambda n, c: true_price(n, c) - 4 * n * c * c
            ),
        },
    )


def encode(images: Tensor, stages: Sequence[Stage]) -> list[Tensor]:
    """The maps of all stages, `(B, C_i, H_i, W_i)`; each stage reads the one before."""
    maps = []
    x = images
    for patch_embedding, blocks, norm in stages:
        x = patch_embedding(x)  # (B, H', W', C)
        for block in blocks:
            x = block(x)
        x = norm(x).permute(0, 3, 1, 2)  # (B, C, H', W')
        maps.append(x)
    return maps


@exercise(
    "06.6",
    "The encoder as a loop",
    stars=3,
    minutes=14,
    solution=encode,
    hints=[
        "Two loops, one inside the other: over the stages, and over the blocks of a stage.",
        "The blocks and the norm work on (B, H, W, C); the list and the next patch embedding want "
        "(B, C, H, W). Where does the permute belong?",
        "The next stage reads the very map that goes into the list: normalised and permuted.",
    ],
    takeaway="the normalised map goes to the decoder and to the next stage alike.",
)
def examine_encode(answer: Callable[..., list]) -> str | None:
    def encoder(
        between: bool = True, after: bool = True, chained: bool = True, last: bool = False
    ) -> Callable[..., list]:
        """The loop with one thing wrong: what is passed on, what is normalised, what is kept."""

        def encode(images: Tensor, stages: Sequence[Stage]) -> list[Tensor]:
            maps, x = [], images
            for embed, blocks, norm in stages:
                start = x = embed(x)
                for block in blocks:
                    x = block(x if chained else start)
                handed_on = norm(x) if between else x
                maps.append((norm(x) if after else x).permute(0, 3, 1, 2))
                x = handed_on.permute(0, 3, 1, 2)
            return maps[-1:] if last else maps

        return encode

    def reshaped(images: Tensor, stages: Sequence[Stage]) -> list[Tensor]:
        maps, x = [], images
        for embed, blocks, norm in stages:
            x = norm(nn.Sequential(*blocks)(embed(x)))
            batch, height, width, channels = x.shape
            x = x.reshape(batch, channels, height, width)
            maps.append(x)
        return maps

    return diagnose(
        answer,
        encode,
        [_encoder_case((3, 4, 6)), _encoder_case((1, 5, 4, 3))],
        {
            "the maps in the list are normalised, but the next stage reads the one before its "
            "norm.": encoder(between=False),
            "the next stage reads the normalised map; the list holds the one before the norm.": (
                encoder(after=False)
            ),
            "no map is normalised at the end of its stage.": encoder(between=False, after=False),
            "every block reads the stage's first map. Each should read what the one before gave.": (
                encoder(chained=False)
            ),
            "only the last map is returned. The decoder needs all of them.": encoder(last=True),
            "the maps are (B, H, W, C); the decoder expects the channels second.": (
                lambda images, stages: [x.permute(0, 2, 3, 1) for x in encode(images, stages)]
            ),
            "reshape leaves the numbers in their order, so it mixes tokens with channels; permute "
            "moves the axis.": reshaped,
            "the permute swaps height and width as well: (B, H, W, C) → (B, C, H, W) is (0, 3, 1, "
            "2).": lambda images, stages: [x.mT for x in encode(images, stages)],
        },
    )


class _Block(nn.Module):
    """A branch and its skip, so that `nn.Sequential` takes it too."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(x @ self.weight)


def _encoder_case(channels: Sequence[int]) -> tuple[Tensor, list[Stage]]:
    """Images, and stages of random modules, two blocks each."""
    generator = torch.Generator().manual_seed(len(channels))

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def embed(c_in: int, c: int) -> Map:
        weight = random(c, c_in, 3, 3)
        return lambda x: F.conv2d(x, weight, stride=2, padding=1).permute(0, 2, 3, 1)

    def block(c: int) -> nn.Module:
        return _Block(random(c, c))

    stages: list[Stage] = []
    for c_in, c in zip(channels, channels[1:], strict=False):
        norm = nn.LayerNorm(c)
        norm.weight.data, norm.bias.data = 1 + 0.5 * random(c), random(c)
        stages.append((embed(c_in, c), [block(c), block(c)], norm))
    return random(2, channels[0], 24, 16), stages
