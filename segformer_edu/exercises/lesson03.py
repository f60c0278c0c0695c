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
        "Work per side. The patch embedding is padded, so a started patch counts; the reduction is "
        "not padded, so a started window does not.",
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
            "right where r divides, one row or column too many elsewhere: a window that does not "
            "fit in whole makes no key.": (
                lambda h, w, s, r: math.ceil(side(h, s) / r) * math.ceil(side(w, s) / r)
            ),
            "the total N is divided by r². Windows are cut per side, and what is left over in one "
            "row cannot be joined to the next.": (
                lambda h, w, s, r: side(h, s) * side(w, s) // r**2
            ),
            "sizes that the stride does not divide lose a token: the patch embedding is padded, "
            "so the last patch counts although it is only begun.": (
                lambda h, w, s, r: (h // s // r) * (w // s // r)
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
    "03.2",
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
    generator = torch.Generator().manual_seed(0)

    def case(r: int, channels: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        shapes = (2, height, width, channels), (channels, channels, r, r), (channels,)
        x, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
        return x, weight, bias

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
        [case(2, 3, 4, 8), case(4, 2, 8, 4), case(1, 3, 2, 3)],
        {
            mixed_rows: rows_of_neighbours,
            f"{mixed_rows} (And the channels run last, where weight.flatten(1) has them first.)": (
                literal_reshape
            ),
            "the windows are right, the order inside is not: weight.flatten(1) has the channel "
            "first, then row and column.": channels_last,
            "rows and columns of the window are swapped: the kernel is transposed.": (
                lambda x, weight, bias: reduce_by_reshape(x, weight.transpose(2, 3), bias)
            ),
            "the bias is missing.": (
                lambda x, weight, bias: reduce_by_reshape(x, weight, torch.zeros_like(bias))
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
        "Each query shares out a weight of one among the keys. Which axis holds the keys?",
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
            "the weights of each key sum to one over the queries. Each query shares out a weight "
            "of one, so the softmax runs over the keys.": (
                lambda q, k, v: (scores(q, k) / math.sqrt(q.shape[-1])).softmax(dim=-2) @ v
            ),
            "the softmax runs over the heads, and mixes what they were kept apart for.": (
                lambda q, k, v: (scores(q, k) / math.sqrt(q.shape[-1])).softmax(dim=1) @ v
            ),
            "the axis is right; the scores are not scaled: what does equation 1 divide by?": (
                lambda q, k, v: scores(q, k).softmax(dim=-1) @ v
            ),
            "divided by d, where equation 1 has its square root.": (
                lambda q, k, v: (scores(q, k) / q.shape[-1]).softmax(dim=-1) @ v
            ),
            "scaled by the number of keys, where equation 1 has the width of a head.": (
                lambda q, k, v: (scores(q, k) / math.sqrt(k.shape[-2])).softmax(dim=-1) @ v
            ),
        },
    )
