"""Exercises of lesson 03, spatial reduction."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, exercise


def keys_left(height: int, width: int, stride: int, reduction_ratio: int) -> int:
    """How many keys a stage keeps, for an image of any size."""
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)  # padding keeps the rest
    return (rows // reduction_ratio) * (columns // reduction_ratio)  # the reduction has no padding


@exercise(
    "03.1",
    "How many keys are left?",
    stars=1,
    minutes=4,
    solution=keys_left,
    hints=[
        "Two steps: from pixels to a map of tokens, then from the map to the keys.",
        "Work per side. The patch embedding is padded, so a partial patch counts; the reduction is "
        "not padded, so a partial window does not.",
        "ceil(height / stride) rows of tokens, then as many whole windows of r rows as fit.",
    ],
    takeaway="per side, round up at the patch embedding and down at the reduction.",
)
def examine_keys_left(answer: Callable[..., int]) -> str | None:
    def side(length: int, stride: int) -> int:
        return math.ceil(length / stride)

    return diagnose(
        answer,
        keys_left,
        [(512, 512, 4, 8), (500, 300, 4, 8), (124, 124, 4, 8), (97, 65, 8, 4), (33, 47, 32, 1)],
        {
            "the tokens are divided by r once. r is counted per side: the paper's R is r².": (
                lambda h, w, s, r: side(h, s) * side(w, s) // r
            ),
            "these are the tokens, so the queries. The reduction makes fewer keys than that.": (
                lambda h, w, s, r: side(h, s) * side(w, s)
            ),
            "right where r divides, one row or column too many elsewhere: a partial window makes "
            "no key.": (lambda h, w, s, r: math.ceil(side(h, s) / r) * math.ceil(side(w, s) / r)),
            "the total N is divided by r². Windows are cut per side, and what is left over in one "
            "row cannot be joined to the next.": (
                lambda h, w, s, r: side(h, s) * side(w, s) // r**2
            ),
            "sizes that the stride does not divide lose a token: the patch embedding is padded, "
            "so the last patch counts even if it is partial.": (
                lambda h, w, s, r: (h // s // r) * (w // s // r)
            ),
        },
    )


def reduction_parameters(channels: int, paper_ratio: int) -> int:
    """Learned numbers of the reduction, for the ratio R as the paper's text gives it."""
    if paper_ratio == 1:
        return 0  # nothing to reduce
    convolution = paper_ratio * channels * channels + channels  # R = r × r values of each channel
    norm = 2 * channels
    return convolution + norm


@exercise(
    "03.2",
    "What does the reduction hold?",
    stars=1,
    minutes=5,
    solution=reduction_parameters,
    hints=[
        "The paper's R counts how many tokens become one. How many numbers go into one window, "
        "and how many come out?",
        "R·C numbers go in and C come out, each with a bias; a LayerNorm has a scale and a shift "
        "for each channel.",
        "And at R = 1 there is no reduction at all.",
    ],
    takeaway="R·C² + 3C, and nothing at R = 1: the more it merges, the more it has to learn.",
)
def examine_reduction_parameters(answer: Callable[..., int]) -> str | None:
    def convolution(channels: int, taps: int) -> int:
        return taps * channels**2 + channels

    return diagnose(
        answer,
        reduction_parameters,
        [(32, 64), (64, 16), (160, 4), (256, 1), (5, 9)],
        {
            "this is R taken for r. The paper's R is the number of tokens in a window already; do "
            "not square it.": (lambda c, many: 0 if many == 1 else convolution(c, many**2) + 2 * c),
            "two mistakes: the paper's R is the number of tokens in a window already, so do not "
            "square it; and at R = 1 there is nothing to count.": (
                lambda c, many: convolution(c, many**2) + 2 * c
            ),
            "right where tokens are merged; at R = 1 the model has no convolution and no norm.": (
                lambda c, many: convolution(c, many) + 2 * c
            ),
            "the LayerNorm after the convolution is missing: a scale and a shift per channel.": (
                lambda c, many: 0 if many == 1 else convolution(c, many)
            ),
            "the biases of the convolution are missing.": (
                lambda c, many: 0 if many == 1 else many * c**2 + 2 * c
            ),
            "here each channel is merged by itself, as a depthwise convolution does. In this one "
            "every channel of the key is made from all channels of the window.": (
                lambda c, many: 0 if many == 1 else many * c + c + 2 * c
            ),
        },
    )


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Eq. 1 with reduced keys: `(B, heads, N, d)` and twice `(B, heads, n, d)` → q's shape."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, N, n)
    return scores.softmax(dim=-1) @ v  # each query's weights over the keys sum to one


@exercise(
    "03.3",
    "Mend the attention",
    stars=2,
    minutes=8,
    solution=attend,
    hints=[
        "Print the shape of the scores and the sums of the weights over each axis.",
        "Each query divides a weight of one among the keys. Which axis holds the keys?",
        "And equation 1 divides by the square root of the width of one head.",
    ],
    takeaway="with fewer keys than queries the two axes differ; the softmax runs over the keys.",
)
def examine_attend(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(queries: int, keys: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        sizes = (queries, keys, keys)
        q, k, v = (torch.randn(2, 3, size, width, generator=generator) for size in sizes)
        return q, k, v

    def scores(q: Tensor, k: Tensor) -> Tensor:
        return q @ k.transpose(-2, -1)

    return diagnose(
        answer,
        attend,
        [case(16, 4, 8), case(9, 9, 4)],
        {
            "the weights of each key sum to one over the queries. Each query divides a weight of "
            "one among the keys, so the softmax runs over the keys.": (
                lambda q, k, v: (scores(q, k) / math.sqrt(q.shape[-1])).softmax(dim=-2) @ v
            ),
            "the softmax runs over the heads, which should be kept apart.": (
                lambda q, k, v: (scores(q, k) / math.sqrt(q.shape[-1])).softmax(dim=1) @ v
            ),
            "the axis is right, but the scores are not scaled: what does equation 1 divide by?": (
                lambda q, k, v: scores(q, k).softmax(dim=-1) @ v
            ),
            "divided by d; equation 1 has its square root.": (
                lambda q, k, v: (scores(q, k) / q.shape[-1]).softmax(dim=-1) @ v
            ),
            "scaled by the number of keys; equation 1 has the width of a head.": (
                lambda q, k, v: (scores(q, k) / math.sqrt(k.shape[-2])).softmax(dim=-1) @ v
            ),
        },
    )


def share_seen(height: int, width: int, stride: int, reduction_ratio: int) -> float:
    """Share of the tokens that lie in some window, for an image of any size."""
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    seen = (rows - rows % reduction_ratio) * (columns - columns % reduction_ratio)
    return seen / (rows * columns)


@exercise(
    "03.4",
    "How much of the picture do the keys see?",
    stars=2,
    minutes=8,
    solution=share_seen,
    hints=[
        "Per side: how many tokens are there, and how many of them lie in whole windows?",
        "A window is r tokens wide, so what is left over in a row is the remainder of a division.",
        "Multiply the two sides before you divide by the number of tokens.",
    ],
    takeaway="both sides lose their remainder, and the two losses multiply.",
)
def examine_share_seen(answer: Callable[..., float]) -> str | None:
    def tokens(length: int, stride: int) -> int:
        return math.ceil(length / stride)

    def side(length: int, stride: int, r: int) -> float:
        return tokens(length, stride) // r * r / tokens(length, stride)

    return diagnose(
        answer,
        share_seen,
        [(512, 512, 4, 8), (124, 124, 4, 8), (500, 300, 4, 8), (97, 65, 8, 4), (33, 47, 32, 1)],
        {
            "this is the share that is lost; the question asks for the share that is seen.": (
                lambda h, w, s, r: 1 - share_seen(h, w, s, r)
            ),
            "this is keys over tokens. A key stands for a whole window: count its tokens.": (
                lambda h, w, s, r: keys_left(h, w, s, r) / (tokens(h, s) * tokens(w, s))
            ),
            "this is the share along one side. A token is seen if its row and its column are.": (
                lambda h, w, s, r: side(h, s, r)
            ),
            "the shares of the sides multiply; they are not averaged.": (
                lambda h, w, s, r: (side(h, s, r) + side(w, s, r)) / 2
            ),
            "the total N is divided by r². Windows are cut per side, and what is left over in one "
            "row cannot be joined to the next.": (
                lambda h, w, s, r: (
                    tokens(h, s) * tokens(w, s) // r**2 * r**2 / (tokens(h, s) * tokens(w, s))
                )
            ),
            "this counts pixels, and forgets that the patch embedding is padded: a partial patch "
            "makes a token as well.": (
                lambda h, w, s, r: (h // (s * r)) * (w // (s * r)) * (s * r) ** 2 / (h * w)
            ),
        },
    )


def reduction_case(r: int, channels: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """A map of tokens, and the weight and bias of a reduction, all random."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, height, width, channels), (channels, channels, r, r), (channels,)
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, weight, bias


def reduce_padded(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The reduction with zeros added below and to the right, so that every token is in a window.

    `(B, H, W, C)`, any H and W → `(B, ⌈H/r⌉, ⌈W/r⌉, C)`.
    """
    r = weight.shape[-1]
    below, beside = -x.shape[1] % r, -x.shape[2] % r  # 0 where r divides
    padded = F.pad(x.permute(0, 3, 1, 2), (0, beside, 0, below))  # last axis first: width, height
    return F.conv2d(padded, weight, bias, stride=r).permute(0, 2, 3, 1)


@exercise(
    "03.5",
    "A reduction that leaves no token out",
    stars=2,
    minutes=10,
    solution=reduce_padded,
    hints=[
        "How many rows are missing up to the next multiple of r? Where r divides, none are.",
        "-H % r is that number in Python. F.pad adds zeros; its list begins with the last axis.",
        "F.pad(maps, (0, to the right, 0, below)) for maps of (B, C, H, W).",
    ],
    takeaway="-H % r rows of zeros let every token be seen, and change nothing where r divides.",
)
def examine_reduce_padded(answer: Callable[..., Tensor]) -> str | None:
    def padded(
        amounts: Callable[[int, int, int], tuple[int, ...]], mode: str = "constant"
    ) -> Callable:
        """The reduction with (left, right, above, below) as a function of H, W and r."""

        def reduce(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            r = weight.shape[-1]
            maps = F.pad(x.permute(0, 3, 1, 2), amounts(x.shape[1], x.shape[2], r), mode)
            return F.conv2d(maps, weight, bias, stride=r).permute(0, 2, 3, 1)

        return reduce

    return diagnose(
        answer,
        reduce_padded,
        [
            reduction_case(2, 3, 5, 7),
            reduction_case(4, 2, 9, 6),
            reduction_case(3, 2, 6, 9),
            reduction_case(4, 1, 7, 8),
        ],
        {
            "nothing is padded: the rows and columns past the last whole window are still lost.": (
                padded(lambda h, w, r: (0, 0, 0, 0))
            ),
            "where r divides, it pads a whole window of zeros: a key that stands for nothing.": (
                padded(lambda h, w, r: (0, r - w % r, 0, r - h % r))
            ),
            "height and width are swapped: F.pad takes the last axis first.": (
                padded(lambda h, w, r: (0, -h % r, 0, -w % r))
            ),
            "the remainder is added instead of what is missing up to the next multiple.": (
                padded(lambda h, w, r: (0, w % r, 0, h % r))
            ),
            "the zeros are above and to the left, so every window moves. The exercise asks for "
            "them below and to the right.": padded(lambda h, w, r: (-w % r, 0, -h % r, 0)),
            "the border is repeated; the exercise asks for zeros.": (
                padded(lambda h, w, r: (0, -w % r, 0, -h % r), mode="replicate")
            ),
        },
    )


def reduce_by_reshape(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Eq. 2 as the paper writes it: gather r×r tokens, then one Linear.

    `(B, H, W, C)`, H and W multiples of r → `(B, H/r, W/r, C)`.
    """
    r = weight.shape[-1]  # weight of the strided convolution: (C, C, r, r)
    windows = x.unflatten(1, (-1, r)).unflatten(3, (-1, r))  # (B, H/r, r, W/r, r, C)
    windows = windows.permute(0, 1, 3, 5, 2, 4).flatten(3)  # (B, H/r, W/r, C·r·r)
    return F.linear(windows, weight.flatten(1), bias)


@exercise(
    "03.6",
    "Equation 2 as reshape and Linear",
    stars=3,
    minutes=15,
    solution=reduce_by_reshape,
    hints=[
        "The convolution looks at r×r windows of neighbours. Which tokens does your reshape bring "
        "together?",
        "Split H into (H/r, r) and W into (W/r, r) first; then bring the two r's together with C.",
        "weight.flatten(1) runs over channels first, then rows, then columns of the window: give "
        "the token values in that same order.",
    ],
    takeaway="a strided convolution whose kernel is its stride is a Linear over flattened windows.",
)
def examine_reduce_by_reshape(answer: Callable[..., Tensor]) -> str | None:
    def rows_of_neighbours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        B, H, W, C = x.shape
        r = weight.shape[-1]
        tokens = x.reshape(B, H * W // r**2, r * r, C).transpose(2, 3).flatten(2)
        return F.linear(tokens, weight.flatten(1), bias).view(B, H // r, W // r, C)

    def literal_reshape(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        B, H, W, C = x.shape
        r = weight.shape[-1]
        tokens = x.reshape(B, H * W // r**2, r * r * C)
        return F.linear(tokens, weight.flatten(1), bias).view(B, H // r, W // r, C)

    def channels_last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r = weight.shape[-1]
        windows = x.unflatten(1, (-1, r)).unflatten(3, (-1, r)).transpose(2, 3).flatten(3)
        return F.linear(windows, weight.flatten(1), bias)

    mixed_rows = (
        "it gathers r² tokens that follow each other in memory, a piece of a row. The convolution "
        "gathers r×r windows: r tokens from each of r rows."
    )
    return diagnose(
        answer,
        reduce_by_reshape,
        [reduction_case(2, 3, 4, 8), reduction_case(4, 2, 8, 4), reduction_case(1, 3, 2, 3)],
        {
            mixed_rows: rows_of_neighbours,
            f"{mixed_rows} (And the channels come last; weight.flatten(1) has them first.)": (
                literal_reshape
            ),
            "the windows are right, but the order inside is not: weight.flatten(1) has the channel "
            "first, then row and column.": channels_last,
            "rows and columns of the window are swapped: the kernel is transposed.": (
                lambda x, weight, bias: reduce_by_reshape(x, weight.transpose(2, 3), bias)
            ),
            "the bias is missing.": (
                lambda x, weight, bias: reduce_by_reshape(x, weight, torch.zeros_like(bias))
            ),
        },
    )
