"""Exercises of lesson 03, spatial reduction."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal, uses

Map = Callable[[Tensor], Tensor]


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
        "There are two steps: from pixels to a map of tokens, then from the map to the keys.",
        "Work per side. The patch embedding is padded, so a partial patch counts. The reduction is "
        "not padded, so a partial window does not.",
        "There are ceil(height / stride) rows of tokens, and as many whole windows as fit in them.",
    ],
    takeaway="each side is rounded up at the patch embedding and down at the reduction.",
)
def examine_keys_left(answer: Callable[..., int]) -> str | None:
    def side(length: int, stride: int) -> int:
        return math.ceil(length / stride)

    named = [(512, 512, 4, 8), (500, 300, 4, 8), (509, 124, 4, 8), (97, 65, 8, 4), (33, 47, 32, 1)]
    return diagnose(
        answer,
        keys_left,
        [*named, *drawn(draw_photograph)],
        {
            "the tokens are divided by r once. But r is counted per side: the paper's R is r².": (
                lambda h, w, s, r: side(h, s) * side(w, s) // r
            ),
            "these are the tokens, and so the queries. The reduction makes fewer keys than that.": (
                lambda h, w, s, r: side(h, s) * side(w, s)
            ),
            "this is right where r divides, but elsewhere it is one row or column too many: a "
            "partial window makes no key.": (
                lambda h, w, s, r: math.ceil(side(h, s) / r) * math.ceil(side(w, s) / r)
            ),
            "the total N is divided by r². But windows are cut per side, and what is left over in "
            "one row cannot be joined to the next.": (
                lambda h, w, s, r: side(h, s) * side(w, s) // r**2
            ),
            "sizes that the stride does not divide lose a token here. The patch embedding is "
            "padded, so the last patch counts even if it is partial.": (
                lambda h, w, s, r: (h // s // r) * (w // s // r)
            ),
            "N/r is squared here. But only the keys become fewer, once, by r² in all: the queries "
            "stay.": lambda h, w, s, r: (side(h, s) * side(w, s) // r) ** 2,
            "this is the number of keys squared. But only the keys become fewer, once: the queries "
            "stay.": lambda h, w, s, r: keys_left(h, w, s, r) ** 2,
            "this is right for square photographs. On others height and width make different "
            "numbers of rows and columns.": lambda h, w, s, r: (side(h, s) // r) ** 2,
        },
        {
            "this is right where the stride divides both sides. Elsewhere the patch embedding, "
            "which is padded, makes a token of what is left over.": (
                lambda h, w, s, r: h % s == w % s == 0
            )
        },
    )


def draw_photograph(rng: Random) -> tuple[int, int, int, int]:
    """Height, width, stride and reduction ratio, with room for one window at least."""
    stride, r = rng.randint(1, 9), rng.randint(1, 8)
    height, width = (stride * (r - 1) + rng.randint(1, 200) for _ in range(2))
    return height, width, stride, r


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
        "R·C numbers go in and C come out, each with a bias. A LayerNorm has a scale and a shift "
        "for each channel.",
        "At R = 1 there is no reduction at all.",
    ],
    takeaway="it holds R·C² + 3C, and nothing at R = 1: the more it merges, the more it has to "
    "learn.",
)
def examine_reduction_parameters(answer: Callable[..., int]) -> str | None:
    def convolution(channels: int, taps: int) -> int:
        return taps * channels**2 + channels

    def draw(rng: Random) -> tuple[int, int]:
        return rng.randint(1, 40), rng.choice([64, 16, 4, 1])

    def nothing_at_one(count: Callable[[int, int], int]) -> Callable[[int, int], int]:
        return lambda c, many: 0 if many == 1 else count(c, many)

    slips: dict[str, Callable[[int, int], int]] = {
        "this is R taken for r. The paper's R is the number of tokens in a window already, so do "
        "not square it.": lambda c, many: convolution(c, many**2) + 2 * c,
        "this is √R taken for R. A window is √R tokens wide and √R high, so it has R of them.": (
            lambda c, many: convolution(c, math.isqrt(many)) + 2 * c
        ),
        "the LayerNorm after the convolution is missing. It has a scale and a shift per channel.": (
            convolution
        ),
        "C numbers are missing: a bias of the convolution, or half of the LayerNorm, which has a "
        "scale and a shift.": lambda c, many: many * c**2 + 2 * c,
        "this is the convolution's weight alone. It has a bias too, and the LayerNorm a scale and "
        "a shift.": lambda c, many: many * c**2,
        "there are two reductions here. The map is reduced once, and keys and values are both made "
        "from that.": lambda c, many: 2 * (convolution(c, many) + 2 * c),
        "each channel is merged by itself here, as a depthwise convolution does. But every channel "
        "of the key is made from all channels of the window.": (
            lambda c, many: many * c + c + 2 * c
        ),
    }
    return diagnose(
        answer,
        reduction_parameters,
        [(32, 64), (64, 16), (160, 4), (256, 1), (5, 4), *drawn(draw)],
        {
            "this is right where tokens are merged, but at R = 1 the model has no convolution and "
            "no norm.": lambda c, many: convolution(c, many) + 2 * c,
            **{slip: nothing_at_one(count) for slip, count in slips.items()},
            **{
                f"{slip} And at R = 1 the model has no reduction at all.": count
                for slip, count in slips.items()
            },
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
        "Equation 1 also divides by the square root of the width of one head.",
    ],
    takeaway="with fewer keys than queries the two axes differ, and the softmax runs over the "
    "keys.",
)
def examine_attend(answer: Callable[..., Tensor]) -> str | None:
    def case(
        rng: Random, batch: int, heads: int, queries: int, keys: int, width: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (normal(rng, batch, heads, size, width) for size in (queries, keys, keys))
        return q, k, v

    def draw(rng: Random) -> tuple[Tensor, Tensor, Tensor]:
        queries = rng.randint(2, 9)
        sizes = queries, rng.randint(1, queries - 1), rng.randint(1, 9)
        return case(rng, rng.randint(1, 3), rng.randint(1, 4), *sizes)

    def attention(divisor: Callable[[Tensor, Tensor], float], axis: int = -1) -> Callable:
        return lambda q, k, v: (q @ k.mT / divisor(q, k)).softmax(axis) @ v

    def root(q: Tensor, k: Tensor) -> float:
        return math.sqrt(q.shape[-1])

    rng = Random(0)
    return diagnose(
        answer,
        attend,
        [case(rng, 2, 3, 16, 4, 8), case(rng, 1, 1, 5, 3, 2), *drawn(draw)],
        {
            "the weights of each key sum to one over the queries. Each query divides a weight of "
            "one among the keys, so the softmax runs over the keys.": attention(root, axis=-2),
            "this is the line as it was: the softmax runs over the queries, and the scores are not "
            "scaled.": attention(lambda q, k: 1, axis=-2),
            "the softmax runs over the heads, which should be kept apart.": attention(root, axis=1),
            "the axis is right, but the scores are not scaled. What does equation 1 divide by?": (
                attention(lambda q, k: 1)
            ),
            "the scores are divided by d, but equation 1 has its square root.": (
                attention(lambda q, k: q.shape[-1])
            ),
            "the scores are multiplied by √d, but equation 1 divides them by it.": (
                attention(lambda q, k: 1 / root(q, k))
            ),
            "the scores are scaled by the number of keys, but equation 1 has the width of a "
            "head.": attention(lambda q, k: math.sqrt(k.shape[-2])),
            "the scores are scaled by the number of heads, but equation 1 has the width of one "
            "head.": attention(lambda q, k: math.sqrt(q.shape[1])),
            "keys and values are swapped. A query is compared with the keys, and mixes the "
            "values.": lambda q, k, v: attend(q, v, k),
            "the weights mix the keys. They should mix the values.": lambda q, k, v: attend(
                q, k, k
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
        "Work per side. How many tokens are there, and how many of them lie in whole windows?",
        "A window is r tokens wide, so what is left over in a row is the remainder of a division.",
        "Multiply the two sides before you divide by the number of tokens.",
    ],
    takeaway="both sides lose their remainder, and the shares that are left multiply.",
)
def examine_share_seen(answer: Callable[..., float]) -> str | None:
    def tokens(length: int, stride: int) -> int:
        return math.ceil(length / stride)

    def side(length: int, stride: int, r: int) -> float:
        return tokens(length, stride) // r * r / tokens(length, stride)

    return diagnose(
        answer,
        share_seen,
        [(512, 512, 4, 8), (124, 124, 4, 8), (500, 300, 4, 8), (97, 65, 8, 4), (33, 47, 32, 1)]
        + drawn(draw_photograph),
        {
            "this is in percent, but the exercise asks for a share from 0 to 1.": (
                lambda h, w, s, r: 100 * share_seen(h, w, s, r)
            ),
            "the whole windows are counted in whole patches. But the patch embedding is padded, so "
            "a partial patch makes a token, which may complete a window.": (
                lambda h, w, s, r: (
                    (h // s // r) * (w // s // r) * r**2 / (tokens(h, s) * tokens(w, s))
                )
            ),
            "this is the share that is lost, but the question asks for the share that is seen.": (
                lambda h, w, s, r: 1 - share_seen(h, w, s, r)
            ),
            "this is keys over tokens. A key stands for a whole window, so count its tokens.": (
                lambda h, w, s, r: keys_left(h, w, s, r) / (tokens(h, s) * tokens(w, s))
            ),
            "this is the share along one side. A token is seen if its row and its column are.": (
                lambda h, w, s, r: side(h, s, r)
            ),
            "this is the share along the width. A token is seen if its row and its column are.": (
                lambda h, w, s, r: side(w, s, r)
            ),
            "the shares of the sides multiply. They are not averaged.": (
                lambda h, w, s, r: (side(h, s, r) + side(w, s, r)) / 2
            ),
            "the total N is divided by r². But windows are cut per side, and what is left over in "
            "one row cannot be joined to the next.": (
                lambda h, w, s, r: (
                    tokens(h, s) * tokens(w, s) // r**2 * r**2 / (tokens(h, s) * tokens(w, s))
                )
            ),
            "this counts pixels and forgets that the patch embedding is padded, so that a partial "
            "patch makes a token as well.": (
                lambda h, w, s, r: (h // (s * r)) * (w // (s * r)) * (s * r) ** 2 / (h * w)
            ),
            "the windows are right, but this divides by pixels, where a partial patch counts in "
            "part. It makes a whole token, so count tokens in both places.": (
                lambda h, w, s, r: keys_left(h, w, s, r) * (r * s) ** 2 / (h * w)
            ),
        },
    )


Reduction = tuple[Tensor, Tensor, Tensor]


def reduction_case(rng: Random, r: int, channels: int, height: int, width: int) -> Reduction:
    """A map of tokens, and the weight and bias of a reduction, all random."""
    x = normal(rng, rng.randint(1, 3), height, width, channels)
    return x, normal(rng, channels, channels, r, r), normal(rng, channels)


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
        "Maps of (B, C, H, W) are padded by F.pad(maps, (0, to the right, 0, below)).",
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

    def channels_second(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return reduce_padded(x, weight, bias).permute(0, 3, 1, 2)

    def padded_inside(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r = weight.shape[-1]
        maps = x.permute(0, 3, 1, 2)
        return F.conv2d(maps, weight, bias, stride=r, padding=r // 2).permute(0, 2, 3, 1)

    def padded_too_early(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r = weight.shape[-1]
        maps = F.pad(x, (0, -x.shape[2] % r, 0, -x.shape[1] % r)).permute(0, 3, 1, 2)
        return F.conv2d(maps, weight, bias, stride=r).permute(0, 2, 3, 1)

    def pooled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r = weight.shape[-1]
        means = torch.eye(x.shape[-1])[:, :, None, None].expand(-1, -1, r, r) / r**2
        return reduce_padded(x, means, torch.zeros_like(bias))

    def resized(mode: str) -> Callable[..., Tensor]:
        def reduce(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            r = weight.shape[-1]
            size = tuple(side + -side % r for side in x.shape[1:3])
            maps = F.interpolate(x.permute(0, 3, 1, 2), size, mode=mode)
            return reduce_padded(maps.permute(0, 2, 3, 1), weight, bias)

        return reduce

    def draw(rng: Random) -> Reduction:
        sizes = rng.randint(1, 4), rng.randint(1, 9), rng.randint(1, 9)
        return reduction_case(rng, rng.randint(1, 5), *sizes)

    rng = Random(0)
    sizes = (2, 3, 5, 7), (4, 2, 9, 6), (3, 2, 6, 9), (4, 1, 7, 8)
    return diagnose(
        answer,
        reduce_padded,
        [*(reduction_case(rng, *each) for each in sizes), *drawn(draw)],
        {
            "nothing is padded, so the rows and columns past the last whole window are still "
            "lost.": padded(lambda h, w, r: (0, 0, 0, 0)),
            "a whole window of zeros is padded where r divides, which makes a key that stands for "
            "nothing.": padded(lambda h, w, r: (0, r - w % r, 0, r - h % r)),
            "the zeros are on the wrong axes: F.pad takes the last axis first, and of x that is "
            "the channels. Permute first, and pad then.": padded_too_early,
            "height and width are swapped: F.pad takes the last axis first.": (
                padded(lambda h, w, r: (0, -h % r, 0, -w % r))
            ),
            "the remainder is added instead of what is missing up to the next multiple.": (
                padded(lambda h, w, r: (0, w % r, 0, h % r))
            ),
            "the zeros are above and to the left, so every window moves. The exercise asks for "
            "them below and to the right.": padded(lambda h, w, r: (-w % r, 0, -h % r, 0)),
            "the zeros are split between both sides, as 'same' padding does elsewhere, so windows "
            "move. The exercise asks for them below and to the right.": (
                padded(
                    lambda h, w, r: (
                        -w % r // 2,
                        -w % r - -w % r // 2,
                        -h % r // 2,
                        -h % r - -h % r // 2,
                    )
                )
            ),
            "the convolution pads by r // 2 on all sides, so every window moves by half of itself. "
            "The exercise asks for zeros below and to the right.": padded_inside,
            "the border is repeated, but the exercise asks for zeros.": (
                padded(lambda h, w, r: (0, -w % r, 0, -h % r), mode="replicate")
            ),
            **{
                f"the map is resized ({mode}) to the next multiple of r, which moves all tokens. "
                "The exercise asks for zeros beside them.": resized(mode)
                for mode in ("bilinear", "nearest")
            },
            "this is the mean of each window: the weight is not used.": pooled,
            "the bias is missing.": (
                lambda x, weight, bias: reduce_padded(x, weight, torch.zeros_like(bias))
            ),
            "the numbers are right, but the channels are second. The exercise asks for them "
            "last.": channels_second,
        },
        {
            "this is right where r divides both sides. What happens to the rest of a map?": (
                lambda x, weight, bias: (
                    x.shape[1] % weight.shape[-1] == x.shape[2] % weight.shape[-1] == 0
                )
            )
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
        "Split H into (H/r, r) and W into (W/r, r) first. Then bring the two r's together with C.",
        "weight.flatten(1) runs over channels first, then rows, then columns of the window, so "
        "give the token values in that same order.",
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

    def transposed_as_channels_last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        as_map = x.flatten(1, 2).transpose(1, 2).reshape(x.shape)
        return reduce_by_reshape(as_map, weight, bias)

    def far_apart(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r = weight.shape[-1]
        windows = x.unflatten(1, (r, -1)).unflatten(3, (r, -1))  # (B, r, H/r, r, W/r, C)
        return F.linear(windows.permute(0, 2, 4, 5, 1, 3).flatten(3), weight.flatten(1), bias)

    def pooled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r = weight.shape[-1]
        return x.unflatten(1, (-1, r)).unflatten(3, (-1, r)).mean((2, 4))

    def draw(rng: Random) -> Reduction:
        r = rng.randint(1, 4)
        height, width = r * rng.randint(1, 3), r * rng.randint(1, 3)
        return reduction_case(rng, r, rng.randint(1, 4), height, width)

    mixed_rows = (
        "it gathers r² tokens that follow each other in memory, a piece of a row. But the "
        "convolution gathers r×r windows, r tokens from each of r rows."
    )
    rng = Random(0)
    sizes = (2, 3, 4, 8), (4, 2, 8, 4), (1, 3, 2, 3)
    cases = [reduction_case(rng, *each) for each in sizes]
    diagnosis = diagnose(
        answer,
        reduce_by_reshape,
        [*cases, *drawn(draw)],
        {
            mixed_rows: rows_of_neighbours,
            f"{mixed_rows} (And the channels come last; weight.flatten(1) has them first.)": (
                literal_reshape
            ),
            "the windows are right, but the order inside is not: weight.flatten(1) has the channel "
            "first, then row and column.": channels_last,
            "the sides are split as (r, H/r) and (r, W/r), which gathers tokens that lie far "
            "apart. Neighbours are gathered by (H/r, r) and (W/r, r).": far_apart,
            "the tokens are transposed to (B, C, N) and then read as (B, H, W, C), channels last. "
            "So each 'token' is one channel of many.": transposed_as_channels_last,
            "this is the mean of each window: the weight is not used.": pooled,
            "rows and columns of the window are swapped: the kernel is transposed.": (
                lambda x, weight, bias: reduce_by_reshape(x, weight.transpose(2, 3), bias)
            ),
            "the bias is missing.": (
                lambda x, weight, bias: reduce_by_reshape(x, weight, torch.zeros_like(bias))
            ),
        },
    )
    for word, name in {"conv": "a convolution", "unfold": "unfold"}.items():
        if diagnosis is None and uses(answer, cases[0], word):
            return (
                f"the numbers are right, but {name} has cut the windows. The exercise asks you to "
                "cut them yourself, by unflatten (or reshape) and permute."
            )
    return diagnosis


def keys_and_values(x: Tensor, weight: Tensor, bias: Tensor, num_heads: int) -> tuple:
    """Keys and values of all heads from one matrix, as the authors' files hold it.

    `(B, n, C)`, weight `(2C, C)`, bias `(2C,)` → k and v, `(B, heads, n, d)` each.
    """
    both = F.linear(x, weight, bias)  # (B, n, 2C): the keys of all heads, then their values
    k, v = both.unflatten(-1, (2, num_heads, -1)).permute(2, 0, 3, 1, 4)
    return k, v


@exercise(
    "03.7",
    "Keys and values from one matrix",
    stars=2,
    minutes=10,
    solution=keys_and_values,
    hints=[
        "One Linear makes 2C numbers of every token. Which of them belong to the keys?",
        "The first C are the keys, and of those the first d belong to head 1. Split the last axis "
        "in the order in which the numbers stand there: (2, heads, d).",
        "Then move the 2 to the front, and the heads before the tokens: permute(2, 0, 3, 1, 4).",
    ],
    takeaway="keys come first and values after them, and the heads are inside each half.",
)
def examine_keys_and_values(answer: Callable[..., tuple[Tensor, Tensor]]) -> str | None:
    Case = tuple[Tensor, Tensor, Tensor, int]

    def case(rng: Random, batch: int, tokens: int, width: int, heads: int) -> Case:
        C = width * heads
        return normal(rng, batch, tokens, C), normal(rng, 2 * C, C), normal(rng, 2 * C), heads

    def draw(rng: Random) -> Case:
        return case(rng, rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 5), rng.randint(1, 4))

    def split(cut: Callable[[Tensor, int], tuple[Tensor, Tensor]]) -> Callable[..., tuple]:
        """Keys and values cut otherwise from the 2C numbers of each token, as `(B, n, C)`."""

        def parts(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, ...]:
            each = cut(F.linear(x, weight, bias), heads)
            return tuple(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in each)

        return parts

    def pairs_in_heads(both: Tensor, heads: int) -> tuple[Tensor, Tensor]:
        k, v = both.unflatten(-1, (heads, 2, -1)).unbind(-2)
        return k.flatten(-2), v.flatten(-2)

    def heads_at_intervals(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple:
        both = F.linear(x, weight, bias).unflatten(-1, (2, -1, heads))
        return tuple(both.permute(2, 0, 4, 1, 3))

    def in_one_go(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple:
        both = F.linear(x, weight, bias)
        return tuple(both.reshape(2, len(x), heads, x.shape[1], -1))

    def each_in_one_go(x: Tensor, weight: Tensor, bias: Tensor, heads: int) -> tuple:
        parts = F.linear(x, weight, bias).chunk(2, dim=-1)
        return tuple(part.reshape(len(x), heads, x.shape[1], -1) for part in parts)

    rng = Random(0)
    return diagnose(
        answer,
        keys_and_values,
        [case(rng, 2, 5, 3, 2), case(rng, 1, 4, 2, 4), case(rng, 2, 3, 4, 1), *drawn(draw)],
        {
            "the values come first here. In the authors' files the first C rows of the matrix make "
            "the keys.": lambda *given: keys_and_values(*given)[::-1],
            "each head has its keys and its values side by side here. In the authors' files all "
            "keys come first, those of every head, and then all values.": split(pairs_in_heads),
            "keys and values alternate here, one number each. In the authors' files all keys come "
            "first, and then all values.": split(
                lambda both, heads: (both[..., ::2], both[..., 1::2])
            ),
            "keys and values are right, but each head takes its channels at regular intervals. "
            "They should be neighbours: the last axis is (2, heads, d).": heads_at_intervals,
            "everything was reshaped in one go, which mixes tokens with heads, and images with "
            "keys and values. Split the last axis alone, then permute.": in_one_go,
            "keys and values are right, but (B, n, C) was reshaped to (B, heads, n, d) in one go, "
            "so the heads get different tokens. Split C first, then transpose.": each_in_one_go,
            "the heads stand behind the tokens. Move them forward, to (B, heads, n, d).": (
                lambda *given: tuple(part.transpose(1, 2) for part in keys_and_values(*given))
            ),
            "keys and values are right, but the heads are not split: give (B, heads, n, d).": (
                lambda x, weight, bias, heads: F.linear(x, weight, bias).chunk(2, dim=-1)
            ),
            "both are keys here. The second half of the rows makes the values.": (
                lambda *given: (keys_and_values(*given)[0],) * 2
            ),
            "the bias is missing.": (
                lambda x, weight, bias, heads: keys_and_values(
                    x, weight, torch.zeros_like(bias), heads
                )
            ),
        },
        {
            "this is right for one head. How do several share the C numbers of a key?": (
                lambda x, weight, bias, heads: heads == 1
            )
        },
    )


def reduced_attention(x: Tensor, reduce: Map, query: Map, key: Map, value: Map) -> Tensor:
    """Attention with one head, in which all tokens ask and few are looked at: `(B, H, W, C)` → the
    same shape.
    """
    few = reduce(x).flatten(1, 2)  # (B, n, C)
    q = query(x).flatten(1, 2)  # (B, N, C): nobody's question is dropped
    scores = q @ key(few).transpose(1, 2) / math.sqrt(x.shape[-1])  # (B, N, n)
    return (scores.softmax(dim=-1) @ value(few)).unflatten(1, x.shape[1:3])


@exercise(
    "03.8",
    "Who is reduced?",
    stars=2,
    minutes=12,
    solution=reduced_attention,
    hints=[
        "How many answers does the map need: one for each token, or one for each window?",
        "The queries come from x and decide how many answers there are. Keys and values come from "
        "reduce(x), both from the same one.",
        "Flatten the maps to lists of tokens, (B, N, C) and (B, n, C), attend as in equation 1, "
        "and unflatten the answers into H rows and W columns.",
    ],
    takeaway="the queries stay, so that every token gets an answer, and keys and values are made "
    "from one reduced map.",
)
def examine_reduced_attention(answer: Callable[..., Tensor]) -> str | None:
    Case = tuple[Tensor, Map, Map, Map, Map]

    def linear(rng: Random, channels: int) -> Map:
        weight, bias = normal(rng, channels, channels), normal(rng, channels)
        return lambda x: F.linear(x, weight, bias)

    def case(rng: Random, r: int, channels: int, rows: int, columns: int) -> Case:
        x, weight, bias = reduction_case(rng, r, channels, r * rows, r * columns)

        def reduce(maps: Tensor) -> Tensor:
            return F.layer_norm(reduce_by_reshape(maps, weight, bias), (channels,))

        return x, reduce, linear(rng, channels), linear(rng, channels), linear(rng, channels)

    def draw(rng: Random) -> Case:
        sizes = rng.randint(2, 5), rng.randint(1, 3), rng.randint(1, 3)
        return case(rng, rng.randint(2, 3), *sizes)

    def attention(q: Tensor, k: Tensor, v: Tensor, divisor: float = 0, axis: int = -1) -> Tensor:
        """Equation 1 on maps: the answers as a map of the queries' size."""
        size = q.shape[1:3]
        q, k, v = (each.flatten(1, 2) for each in (q, k, v))
        scores = q @ k.transpose(1, 2) / (divisor or math.sqrt(q.shape[-1]))
        return (scores.softmax(axis) @ v).unflatten(1, size)

    def queries_too(x: Tensor, reduce: Map, query: Map, key: Map, value: Map) -> Tensor:
        few = reduce(x)
        return attention(query(few), key(few), value(few))

    def enlarged(x: Tensor, *parts: Map) -> Tensor:
        answers = queries_too(x, *parts)
        r = x.shape[1] // answers.shape[1]
        return answers.repeat_interleave(r, dim=1).repeat_interleave(r, dim=2)

    def resized(x: Tensor, *parts: Map) -> Tensor:
        answers = queries_too(x, *parts).permute(0, 3, 1, 2)
        return F.interpolate(answers, x.shape[1:3], mode="bilinear").permute(0, 2, 3, 1)

    rng = Random(0)
    cases = [case(rng, 2, 4, 2, 3), case(rng, 3, 2, 1, 2)]
    x, reduce, *linears = cases[0]
    few, lengths = reduce(x), {}

    def noted(name: str, linear: Map) -> Map:
        """The Linear, which notes how many tokens it is given."""

        def read(tokens: Tensor) -> Tensor:
            lengths[name] = tokens.numel() // x.shape[-1]
            return linear(tokens)

        return read

    try:
        result = answer(x, reduce, *map(noted, ("query", "key", "value"), linears))
    except RuntimeError:  # of shapes that do not fit
        if {"key", "value"} <= lengths.keys() and lengths["key"] != lengths["value"]:
            return (
                "keys and values are made from different maps, so there is not one value for each "
                "key. Make both from reduce(x)."
            )
        raise
    if isinstance(result, Tensor) and result.shape in (few.shape, few.flatten(1, 2).shape):
        return (
            "your queries are reduced, so there is one answer for each window. But every token "
            "needs an answer of its own: reduce x for keys and values alone, not for queries."
        )
    return diagnose(
        answer,
        reduced_attention,
        [*cases, *drawn(draw)],
        {
            **{
                f"your queries are reduced too, and the answers enlarged again ({way}). So each "
                "window asks one question for all its tokens. Make the queries from x.": wrong
                for way, wrong in {"repeated": enlarged, "bilinear": resized}.items()
            },
            "nothing is reduced. Keys and values should be made from reduce(x).": (
                lambda x, reduce, query, key, value: attention(query(x), key(x), value(x))
            ),
            "keys and values are made first and reduced afterwards. In SegFormer the map is "
            "reduced once, and both are made from that.": (
                lambda x, reduce, query, key, value: attention(
                    query(x), reduce(key(x)), reduce(value(x))
                )
            ),
            "the answers are right, but in a list. Give them back as a map, (B, H, W, C).": (
                lambda *given: reduced_attention(*given).flatten(1, 2)
            ),
            "the weights of each key sum to one over the queries. Each query divides a weight of "
            "one among the keys.": (
                lambda x, reduce, query, key, value: attention(
                    query(x), key(reduce(x)), value(reduce(x)), axis=-2
                )
            ),
            "the scores are not divided by √C, the width of the one head.": (
                lambda x, reduce, query, key, value: attention(
                    query(x), key(reduce(x)), value(reduce(x)), divisor=1
                )
            ),
            "the weights mix the keys. They should mix the values, which value makes.": (
                lambda x, reduce, query, key, value: reduced_attention(x, reduce, query, key, key)
            ),
            "keys and values are swapped. A query is compared with the keys, and mixes the "
            "values.": lambda x, reduce, query, key, value: reduced_attention(
                x, reduce, query, value, key
            ),
        },
    )
