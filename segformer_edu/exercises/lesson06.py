"""Exercises of lesson 06, the encoder."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal, same
from segformer_edu.stochastic_depth import drop_rates

Map = Callable[[Tensor], Tensor]
Stage = tuple[Map, Sequence[nn.Module], Map]  # a patch embedding, blocks, a norm


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
        "The strides of B0 are 4, 2, 2, 2. Does stage 2 divide the photograph's side, or that of "
        "the first map?",
        "A partial patch counts, thanks to the padding. So round up.",
        "Let a loop over the strides shrink height and width, and collect what they become.",
    ],
    takeaway="each stage divides the map of the stage before, and rounds up.",
)
def examine_map_sizes(answer: Callable[..., list]) -> str | None:
    def draw(rng: random.Random) -> tuple[int, int, tuple[int, ...]]:
        strides = tuple(rng.randint(1, 5) for _ in range(rng.randint(1, 5)))
        return rng.randint(1, 200), rng.randint(1, 200), strides

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
        answer,
        map_sizes,
        [(512, 512, (4, 2, 2, 2)), (500, 333, (4, 2, 2, 2)), (65, 97, (2, 3)), *drawn(draw)],
        {
            "this is right where everything divides. Elsewhere a token is lost, because a partial "
            "patch counts, thanks to the padding.": sides(lambda side, stride: side // stride),
            "the sides are rounded to the nearest, but a partial patch counts as well.": sides(
                lambda side, stride: round(side / stride)
            ),
            "this is right where something is left over. Where everything divides there is a token "
            "too many.": sides(lambda side, stride: side // stride + 1),
            "every stage divides the photograph here. A stage should divide the map of the stage "
            "before it.": from_the_image,
            "this is right for B0's strides. Here the strides are given, and there may be more or "
            "fewer than four.": lambda h, w, strides: from_the_image(h, w, (4, 8, 16, 32)),
            "height and width are swapped.": swapped,
            "these are numbers of tokens. Give height and width of each map, as a pair.": (
                lambda h, w, strides: [h * w for h, w in map_sizes(h, w, strides)]
            ),
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
        "You need two lines, each of the form x = x + branch(norm(x)).",
        "Mix-FFN reads x after attention has been added to it.",
        "Inside a block x itself never goes through a norm.",
    ],
    takeaway="x is only ever added to, because the norms are inside the branches.",
)
def examine_block_forward(answer: Callable[..., Tensor]) -> str | None:
    def plain(x: Tensor) -> Tensor:
        return x

    cases = drawn(_block_case)
    cases += [(x, n1, a, n2, _nothing) for x, n1, a, n2, _ in cases[:5]]
    cases += [(x, n1, _nothing, n2, f) for x, n1, _, n2, f in cases[:5]]
    return diagnose(
        answer,
        block_forward,
        cases,
        {
            "both branches read the input, side by side. Mix-FFN should come second, and read x "
            "after attention is added to it.": lambda x, n1, a, n2, f: x + a(n1(x)) + f(n2(x)),
            "the norms come after the additions, so x itself goes through them. In this block they "
            "are inside the branches.": lambda x, n1, a, n2, f: _post_norm(x, n1, a, n2, f),
            "the skip connections are missing, so each branch replaces x.": (
                lambda x, n1, a, n2, f: f(n2(a(n1(x))))
            ),
            "attention's skip connection is missing, so it replaces x.": (
                lambda x, n1, a, n2, f: a(n1(x)) + f(n2(a(n1(x))))
            ),
            "Mix-FFN's skip connection is missing, so it replaces x.": (
                lambda x, n1, a, n2, f: f(n2(x + a(n1(x))))
            ),
            "Mix-FFN's skip starts from the block's input, so what attention has added is lost.": (
                lambda x, n1, a, n2, f: x + f(n2(x + a(n1(x))))
            ),
            "attention reads x without its norm.": (
                lambda x, n1, a, n2, f: block_forward(x, plain, a, n2, f)
            ),
            "Mix-FFN reads x without its norm.": (
                lambda x, n1, a, n2, f: block_forward(x, n1, a, plain, f)
            ),
            "both branches read x without their norms.": (
                lambda x, n1, a, n2, f: block_forward(x, plain, a, plain, f)
            ),
            "the first norm is used twice, but each branch has its own.": (
                lambda x, n1, a, n2, f: block_forward(x, n1, a, n1, f)
            ),
            "the norms are swapped: norm1 belongs to attention, norm2 to Mix-FFN.": (
                lambda x, n1, a, n2, f: block_forward(x, n2, a, n1, f)
            ),
            "the norms come after the branches, which read x without a norm.": (
                lambda x, n1, a, n2, f: _norm_after_the_branch(x, n1, a, n2, f)
            ),
            "there is a norm at the end of the block as well. That one belongs to the stage.": (
                lambda x, n1, a, n2, f: n2(block_forward(x, n1, a, n2, f))
            ),
            "norm1 stands at the end of the block as well. x leaves a block without a norm.": (
                lambda x, n1, a, n2, f: n1(block_forward(x, n1, a, n2, f))
            ),
            "x is normalised once more at the end. It leaves a block without a norm.": (
                lambda x, n1, a, n2, f: F.layer_norm(
                    block_forward(x, n1, a, n2, f), x.shape[-1:], eps=1e-6
                )
            ),
            "Mix-FFN is missing.": lambda x, n1, a, n2, f: x + a(n1(x)),
            "there is one skip around both branches. Each branch should have its own.": (
                lambda x, n1, a, n2, f: x + f(n2(a(n1(x))))
            ),
            "attention and Mix-FFN are swapped.": (
                lambda x, n1, a, n2, f: block_forward(x, n2, f, n1, a)
            ),
            "the skips carry the normalised copy. They should carry x itself.": (
                lambda x, n1, a, n2, f: _norm_in_the_skip(x, n1, a, n2, f)
            ),
            "attention's skip carries the normalised copy. It should carry x itself.": (
                lambda x, n1, a, n2, f: block_forward(n1(x), plain, a, n2, f)
            ),
            "Mix-FFN has a skip of its own here, beside the block's. Equation 3 means the block's, "
            "so its input is added once.": (
                lambda x, n1, a, n2, f: block_forward(x, n1, a, n2, lambda y: y + f(y))
            ),
        },
        {
            "where Mix-FFN gives zeros, this is right. So look at Mix-FFN: what does it read, and "
            "what is it added to?": lambda x, n1, a, n2, f: f is _nothing,
            "where attention gives zeros, this is right. So look at attention: what does it read, "
            "and what is it added to?": lambda x, n1, a, n2, f: a is _nothing,
        },
    )


def _nothing(x: Tensor) -> Tensor:
    """A branch that adds nothing."""
    return torch.zeros_like(x)


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


def _block_case(rng: random.Random) -> tuple[Tensor, Map, Map, Map, Map]:
    """A map and four modules, all random, in which every mistake shows."""
    channels = rng.randint(1, 6)

    def branch() -> Map:
        weight = normal(rng, channels, channels)
        return lambda x: torch.tanh(x @ weight)

    def norm() -> Map:
        scale, shift = 1 + 0.5 * normal(rng, channels), normal(rng, channels)
        return lambda x: F.layer_norm(x, (channels,), scale, shift)

    batch, height, width = (rng.randint(1, 4) for _ in range(3))
    return normal(rng, batch, height, width, channels), norm(), branch(), norm(), branch()


def rates_of_stage(rate: float, depths: Sequence[int], stage: int) -> list[float]:
    """The drop rates of one stage's blocks: its piece of the list for all blocks."""
    before, steps = sum(depths[:stage]), max(sum(depths) - 1, 1)  # a single block has rate 0
    return [rate * (before + j) / steps for j in range(depths[stage])]


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
        "drop_rates(rate, sum(depths)) is the list for all, so cut out the piece of this stage.",
    ],
    takeaway="there is one list over all stages, cut into pieces; no stage starts again at zero.",
)
def examine_rates_of_stage(answer: Callable[..., list]) -> str | None:
    def draw(rng: random.Random) -> tuple[float, tuple[int, ...], int]:
        depths = tuple(rng.randint(1, 5) for _ in range(rng.randint(2, 5)))
        return rng.random(), depths, rng.randrange(len(depths))

    def piece(rates: list[float], depths: Sequence[int], stage: int, late: int = 0) -> list[float]:
        before = sum(depths[:stage]) + late
        return rates[before : before + depths[stage]]

    return diagnose(
        answer,
        rates_of_stage,
        [
            (0.1, (3, 4, 6, 3), 1),
            (0.5, (2, 2, 2, 2), 0),
            (0.3, (3, 1, 18, 3), 3),
            (0.4, (1, 1), 1),
            *drawn(draw),
        ],
        {
            "the list starts again at zero in this stage. It should run through all stages.": (
                lambda rate, depths, stage: drop_rates(rate, depths[stage])
            ),
            "every stage takes the beginning of the list here. A stage's piece begins after the "
            "blocks of the stages before it.": (
                lambda rate, depths, stage: drop_rates(rate, sum(depths))[: depths[stage]]
            ),
            "the piece begins one block too late: the very first block has rate 0.": (
                lambda rate, depths, stage: piece(drop_rates(rate, sum(depths)), depths, stage, 1)
            ),
            "the blocks are counted from 1 but divided by L − 1, so the last one has more than the "
            "full rate.": lambda rate, depths, stage: [
                rate * (sum(depths[:stage]) + j + 1) / max(sum(depths) - 1, 1)
                for j in range(depths[stage])
            ],
            "`stage` counts from 0, but here it is taken to count from 1.": (
                lambda rate, depths, stage: rates_of_stage(rate, depths, stage - 1)
            ),
            "the piece is one rate too long, except in the last stage. A stage has depths[stage] "
            "rates.": lambda rate, depths, stage: drop_rates(rate, sum(depths))[
                sum(depths[:stage]) : sum(depths[: stage + 1]) + 1
            ],
            "there is one rate too many. A stage has depths[stage] rates.": (
                lambda rate, depths, stage: [
                    rate * (sum(depths[:stage]) + j) / max(sum(depths) - 1, 1)
                    for j in range(depths[stage] + 1)
                ]
            ),
            "these are the rates of all blocks. Give those of one stage.": (
                lambda rate, depths, stage: drop_rates(rate, sum(depths))
            ),
            "the list is turned round: the rate should rise from the first block to the last.": (
                lambda rate, depths, stage: piece(
                    drop_rates(rate, sum(depths))[::-1], depths, stage
                )
            ),
            "every block of the stage has the full rate, but it should rise from block to block.": (
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
    ) or diagnose(
        answer,
        rates_of_stage,
        [(0.3, (1,), 0)],
        {
            "this is right except for an encoder of one block, where there are no steps to divide "
            "by. linspace gives 0 then.": lambda rate, depths, stage: 1 / (sum(depths) - 1),
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
        "There are four parts: two norms, four Linears, the reduction, and Mix-FFN with three "
        "layers.",
        "A Linear from a to b has a·b + b. A depthwise 3×3 convolution has 9 weights and a bias "
        "for each channel, however many channels there are.",
        "The reduction is a convolution with r·r·C·C weights and C biases, and a norm with 2C. At "
        "r = 1 there is none.",
    ],
    takeaway="in the main, Mix-FFN holds 2eC², attention 4C², and the reduction r²C².",
)
def examine_block_parameters(answer: Callable[..., int]) -> str | None:
    right = block_parameters

    def draw(rng: random.Random) -> tuple[int, int, int]:
        return rng.randint(1, 40), rng.choice([1, 2, 3, 4, 8]), rng.randint(1, 8)

    return diagnose(
        answer,
        right,
        [(32, 8, 4), (64, 4, 4), (160, 2, 8), (256, 1, 4), (7, 1, 2), *drawn(draw)],
        {
            "it is 4C too few. The two norms have as many, a scale and a shift per channel each, "
            "and so have the biases of the four Linears.": lambda c, r, e: right(c, r, e) - 4 * c,
            "it is 3C too few, as if q, k and v had no biases.": (
                lambda c, r, e: right(c, r, e) - 3 * c
            ),
            "it is 2C too few. One of the block's two norms has as many, and so have the shifts of "
            "both.": lambda c, r, e: right(c, r, e) - 2 * c,
            "it is 2C too many. The norm at the end belongs to the stage, not to its blocks.": (
                lambda c, r, e: right(c, r, e) + 2 * c
            ),
            "it is C too few. Mix-FFN's last Linear has as many biases, and so has each of q, k, v "
            "and output.": lambda c, r, e: right(c, r, e) - c,
            "at r = 1 there is no reduction, and none of its numbers.": (
                lambda c, r, e: right(c, r, e) + (c * c + 3 * c if r == 1 else 0)
            ),
            "the reduction is missing, a convolution and a norm.": (
                lambda c, r, e: right(c, r, e) - (r * r * c * c + 3 * c if r > 1 else 0)
            ),
            "the 3×3 convolution of Mix-FFN is depthwise: 9 weights per channel, not 9 for every "
            "pair of channels.": (lambda c, r, e: right(c, r, e) - 9 * e * c + 9 * (e * c) ** 2),
            "the 3×3 convolution of Mix-FFN is missing.": (
                lambda c, r, e: right(c, r, e) - 10 * e * c
            ),
            "the 3×3 convolution of Mix-FFN works on the hidden channels, e·C of them, and not on "
            "C.": lambda c, r, e: right(c, r, e) - 10 * e * c + 10 * c,
            "Mix-FFN has no norm inside.": lambda c, r, e: right(c, r, e) + 2 * e * c,
            "it is e·C too few. Mix-FFN's first Linear and its convolution have as many biases "
            "each.": lambda c, r, e: right(c, r, e) - e * c,
            "the reduction merges r tokens here, but a window has r·r.": (
                lambda c, r, e: right(c, r, e) - (r * r - r) * c * c
            ),
            "the reduction is counted as a depthwise convolution, but it mixes the channels.": (
                lambda c, r, e: right(c, r, e) - (r * r * (c * c - c) if r > 1 else 0)
            ),
            "the norm after the reduction is missing.": (
                lambda c, r, e: right(c, r, e) - (2 * c if r > 1 else 0)
            ),
            "it is C too few where there is a reduction. Its convolution has a bias per channel, "
            "and its norm a scale and a shift.": (
                lambda c, r, e: right(c, r, e) - (c if r > 1 else 0)
            ),
            "the biases are missing.": (
                lambda c, r, e: right(c, r, e) - 4 * c - (c if r > 1 else 0) - (e * c + e * c + c)
            ),
            "three Linears are counted in attention. There are four, q, k, v and output: k and v "
            "do not share one.": lambda c, r, e: right(c, r, e) - c * c - c,
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
        "First compute the price of one block of width C. Then try widths until it is too high.",
        "The four Linears cost 4·N·C², the two products 2·N²·C. In Mix-FFN there is a Linear "
        "C → 4C and one back, and 9 multiply-adds for each of the convolution's 4C channels, at "
        "every token.",
        "Add the three up, and multiply by the depth. For each token the sum has terms in C², N·C "
        "and C.",
    ],
    takeaway="with many tokens the products take most of it, with few tokens the Linears do.",
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

    def draw(rng: random.Random) -> tuple[int, int, int]:
        """A budget that some width needs to the last multiply-add, or nearly uses up."""
        tokens, depth, width = rng.randint(1, 400), rng.randint(1, 8), rng.randint(1, 60)
        needed = depth * true_price(tokens, width)
        return needed + rng.choice([-1, 0, 1, rng.randint(0, needed)]), tokens, depth

    diagnosis = diagnose(
        answer,
        widest_column,
        [
            (3_200_000_000, 1024, 8),
            (3_200_000_000, 256, 8),
            (3_200_000_000, 16384, 8),
            (2 * true_price(64, 100), 64, 2),  # which it costs to the last multiply-add
            (true_price(64, 1) - 1, 64, 1),  # nothing fits
            *drawn(draw),
        ],
        {
            "there is one channel too many, and the budget is exceeded.": (
                widest(true_price, extra=1)
            ),
            "a width that costs exactly the budget is allowed.": (
                lambda budget, tokens, depth: widest_column(budget - 1, tokens, depth)
            ),
            "this is the price of one block, but there are `depth` of them.": (
                lambda budget, tokens, depth: widest_column(budget, tokens, 1)
            ),
            "one product of attention is missing: q kᵀ, or the weights times v.": widest(
                lambda n, c: true_price(n, c) - n * n * c
            ),
            "the two products of attention are missing, the part that grows with N².": widest(
                lambda n, c: true_price(n, c) - 2 * n * n * c
            ),
            "where nothing fits, the answer is 0.": lambda *given: max(1, widest_column(*given)),
            "only the two products of attention are counted.": widest(lambda n, c: 2 * n * n * c),
            "only the Linears are counted. The two products and the convolution are missing.": (
                widest(lambda n, c: 12 * n * c * c)
            ),
            "the depthwise convolution is missing.": widest(
                lambda n, c: true_price(n, c) - 36 * n * c
            ),
            "the depthwise convolution has 4C channels, not C.": widest(
                lambda n, c: true_price(n, c) - 27 * n * c
            ),
            "Mix-FFN is missing.": widest(lambda n, c: n * (4 * c * c + 2 * n * c)),
            "the 3×3 convolution is counted as a full one, but it is depthwise.": widest(
                lambda n, c: true_price(n, c) - 36 * n * c + 9 * 16 * n * c * c
            ),
            "a block is 4·N·C² too cheap. The four Linears of attention cost that, and so does one "
            "of Mix-FFN's two.": widest(lambda n, c: true_price(n, c) - 4 * n * c * c),
            "three Linears are counted in attention, but there are four: q, k, v and output.": (
                widest(lambda n, c: true_price(n, c) - n * c * c)
            ),
        },
    )
    wide = true_price(1, 12_000), 1, 1
    if diagnosis is None and not same(answer(*wide), 12_000):
        return "this is right for narrow columns, but your search stops before the budget does."
    return diagnosis


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
        "You need two loops, one inside the other: over the stages, and over the blocks of a "
        "stage.",
        "The blocks and the norm work on (B, H, W, C), but the list and the next patch embedding "
        "want (B, C, H, W). So where does the permute belong?",
        "The next stage reads the very map that goes into the list, normalised and permuted.",
    ],
    takeaway="the normalised map goes to the decoder and to the next stage alike.",
)
def examine_encode(answer: Callable[..., list]) -> str | None:
    def encoder(
        between: bool = True,
        after: bool = True,
        chained: bool = True,
        each: bool = False,
        permuted: bool = True,
        restart: bool = False,
    ) -> Callable[..., list]:
        """The loop with one thing wrong: what is passed on, what is normalised, what is read."""

        def encode(images: Tensor, stages: Sequence[Stage]) -> list[Tensor]:
            maps, x = [], images
            for embed, blocks, norm in stages:
                start = x = embed(images if restart else x)
                for block in blocks:
                    x = block(x if chained else start)
                    x = norm(x) if each else x
                handed_on = norm(x) if between and not each else x
                maps.append((norm(x) if after and not each else x).permute(0, 3, 1, 2))
                x = handed_on.permute(0, 3, 1, 2) if permuted else handed_on
            return maps

        return encode

    def reshaped(images: Tensor, stages: Sequence[Stage]) -> list[Tensor]:
        maps, x = [], images
        for embed, blocks, norm in stages:
            x = norm(nn.Sequential(*blocks)(embed(x)))
            batch, height, width, channels = x.shape
            x = x.reshape(batch, channels, height, width)
            maps.append(x)
        return maps

    def in_each_stage(change: Callable[..., Stage]) -> Callable[..., list]:
        return lambda images, stages: encode(images, [change(*stage) for stage in stages])

    def turned(images: Tensor, stages: Sequence[Stage]) -> list[Tensor]:
        maps, x = [], images
        for embed, blocks, norm in stages:
            x = norm(nn.Sequential(*blocks)(embed(x))).permute(0, 3, 2, 1)
            maps.append(x)
        return maps

    def draw(rng: random.Random) -> tuple[Tensor, list[Stage]]:
        channels = [rng.randint(1, 5) for _ in range(rng.randint(2, 5))]
        return _encoder_case(rng, channels, rng.randint(5, 24), rng.randint(5, 24))

    # As many channels as rows, so that a stage can read what was not meant for it.
    alike = _encoder_case(random.Random(0), (3, 3, 3), height=6, width=8)
    return diagnose(
        answer,
        encode,
        [alike, *drawn(draw)],
        {
            "the maps in the list are normalised, but the next stage reads the one before its "
            "norm.": encoder(between=False),
            "the next stage reads the normalised map, but the list holds the one before its "
            "norm.": encoder(after=False),
            "no map is normalised at the end of its stage.": encoder(between=False, after=False),
            "there is a norm after every block. A stage has one, after its last block.": (
                encoder(each=True)
            ),
            "every block reads the stage's first map. Each should read what the one before gave.": (
                encoder(chained=False)
            ),
            "every stage reads the images. Each should read the map of the stage before.": (
                encoder(restart=True)
            ),
            "the next patch embedding is given (B, H, W, C). It wants the channels second.": (
                encoder(permuted=False)
            ),
            "only the last map is returned, but the decoder needs all of them.": (
                lambda images, stages: encode(images, stages)[-1:]
            ),
            "only the last map is returned, as a tensor. The decoder needs a list of all maps.": (
                lambda images, stages: encode(images, stages)[-1]
            ),
            "the blocks are left out.": in_each_stage(
                lambda embed, blocks, norm: (embed, [], norm)
            ),
            "the norm comes before the blocks. It should come after the last of them.": (
                in_each_stage(
                    lambda embed, blocks, norm: (lambda x: norm(embed(x)), blocks, lambda x: x)
                )
            ),
            "there is a second skip around each block. A block has its skips inside.": (
                in_each_stage(
                    lambda embed, blocks, norm: (
                        embed,
                        [_Skipped(block) for block in blocks],
                        norm,
                    )
                )
            ),
            "permute(0, 3, 2, 1) swaps height and width as well, for the next stage too. It should "
            "be (0, 3, 1, 2).": turned,
            "the maps are in the wrong order: they go from the first stage to the last.": (
                lambda images, stages: encode(images, stages)[::-1]
            ),
            "the maps are (B, H, W, C), but the decoder expects the channels second.": (
                lambda images, stages: [x.permute(0, 2, 3, 1) for x in encode(images, stages)]
            ),
            "reshape leaves the numbers in their order, so it mixes tokens with channels. permute "
            "moves the axis.": reshaped,
            "the permute swaps height and width as well: (B, H, W, C) → (B, C, H, W) is (0, 3, 1, "
            "2).": lambda images, stages: [x.mT for x in encode(images, stages)],
        },
        {
            "for a single stage this is right. So look at what the next stage is given.": (
                lambda images, stages: len(stages) == 1
            ),
            "for stages of one block this is right. So look at what the second block is given.": (
                lambda images, stages: all(len(blocks) == 1 for _, blocks, _ in stages)
            ),
        },
    )


class _Block(nn.Module):
    """A branch and its skip, so that `nn.Sequential` takes it too."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(x @ self.weight)


class _Skipped(nn.Module):
    """A block with one more skip around it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def _encoder_case(
    rng: random.Random, channels: Sequence[int], height: int, width: int
) -> tuple[Tensor, list[Stage]]:
    """Images, and stages of random modules, one to three blocks each."""

    def embed(c_in: int, c: int) -> Map:
        weight = normal(rng, c, c_in, 3, 3)
        return lambda x: F.conv2d(x, weight, stride=2, padding=1).permute(0, 2, 3, 1)

    stages: list[Stage] = []
    for c_in, c in zip(channels, channels[1:], strict=False):
        norm = nn.LayerNorm(c)
        norm.weight.data, norm.bias.data = 1 + 0.5 * normal(rng, c), normal(rng, c)
        blocks = [_Block(normal(rng, c, c)) for _ in range(rng.randint(1, 3))]
        stages.append((embed(c_in, c), blocks, norm))
    return normal(rng, rng.randint(1, 2), channels[0], height, width), stages
