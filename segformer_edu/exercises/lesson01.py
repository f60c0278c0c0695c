"""Exercises of lesson 01, overlapping patches."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal, uses


def token_grid(
    height: int, width: int, patch_size: int, stride: int, padding: int
) -> tuple[int, int]:
    """Rows and columns of tokens, for an image of any size."""
    rows = (height + 2 * padding - patch_size) // stride + 1  # steps that fit, and the first patch
    columns = (width + 2 * padding - patch_size) // stride + 1
    return rows, columns


@exercise(
    "01.1",
    "How many tokens?",
    stars=1,
    minutes=4,
    solution=token_grid,
    hints=[
        "Work per side. How far can the first patch travel before it touches the end?",
        "There is padding on both sides, and a last step that does not fit is not taken.",
        "It takes floor((height + 2·padding − patch_size) / stride) steps, and its first place "
        "counts as well.",
    ],
    takeaway="the steps that fit are counted, and the patch that you started from is added.",
)
def examine_token_grid(answer: Callable[..., tuple[int, int]]) -> str | None:
    def by_side(side: Callable[..., float]) -> Callable[..., tuple[float, float]]:
        return lambda height, width, *patch: (side(height, *patch), side(width, *patch))

    def draw(rng: Random) -> tuple[int, ...]:
        patch_size, padding = rng.randint(1, 12), rng.randint(0, 6)
        smallest = max(patch_size - 2 * padding, 1)
        height, width = (smallest + rng.randint(0, 60) for _ in range(2))
        return height, width, patch_size, rng.randint(1, patch_size + 2), padding

    cases = [(512, 512, 7, 4, 3), (50, 33, 7, 4, 3), (50, 33, 16, 16, 0), (31, 64, 4, 4, 2)]
    return diagnose(
        answer,
        token_grid,
        [*cases, *drawn(draw)],
        {
            "the first patch is missing: a fence with n gaps has n + 1 posts.": by_side(
                lambda n, k, s, p: (n + 2 * p - k) // s
            ),
            "the padding is missing.": by_side(lambda n, k, s, p: (n - k) // s + 1),
            "the padding is counted once, but it is on both sides.": by_side(
                lambda n, k, s, p: (n + p - k) // s + 1
            ),
            "this is rounded up, but a last step that does not fit is not taken.": by_side(
                lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1
            ),
            "this is rounded to the nearest, but a last step that does not fit is not taken, "
            "however little is missing.": by_side(
                lambda n, k, s, p: round((n + 2 * p - k) / s) + 1
            ),
            "this is not rounded. Half a patch makes no token, so round down.": by_side(
                lambda n, k, s, p: (n + 2 * p - k) / s + 1
            ),
            "this is right for kernel = stride without padding; in general the kernel counts "
            "too.": by_side(lambda n, k, s, p: n // s),
            "the side is divided by the patch. But patches begin a stride apart, so divide what "
            "the first patch has left to travel by the stride.": by_side(lambda n, k, s, p: n // k),
            "this is right for odd kernels with half a kernel of padding, but not for "
            "others.": by_side(lambda n, k, s, p: math.ceil(n / s)),
            "this is the total number of tokens. Give rows and columns.": (
                lambda *case: math.prod(token_grid(*case))
            ),
            "rows and columns are swapped: the height determines the rows.": (
                lambda *case: token_grid(*case)[::-1]
            ),
        },
    )


def shared_pixels(patch_size: int, stride: int) -> int:
    """Columns of pixels that two neighbouring patches of a row have in common."""
    return max(patch_size - stride, 0)


@exercise(
    "01.2",
    "What do neighbours share?",
    stars=1,
    minutes=3,
    solution=shared_pixels,
    hints=[
        "Draw two patches of 7 on squared paper, the second 4 to the right.",
        "The first ends at pixel K − 1, and the second begins at pixel S.",
        "They share K − S columns. But what if the patches leave a gap?",
    ],
    takeaway="neighbours share kernel minus stride, but never less than zero.",
)
def examine_shared_pixels(answer: Callable[..., int]) -> str | None:
    def draw(rng: Random) -> tuple[int, int]:
        return rng.randint(1, 20), rng.randint(1, 20)

    def if_they_overlap(shared: Callable[[int, int], int]) -> Callable[[int, int], int]:
        return lambda k, s: shared(k, s) if k > s else 0

    by_chance = "which is right for 7 and 4 or 3 and 2, where K = 2S − 1. What if K is larger?"
    return diagnose(
        answer,
        shared_pixels,
        [(7, 4), (3, 2), (4, 4), (2, 5), (16, 16), *drawn(draw)],
        {
            "this is right while patches touch. But patches with a gap between them share 0 "
            "pixels, not a negative number.": lambda k, s: k - s,
            "this is the other way round: a larger stride shares less.": (
                lambda k, s: max(s - k, 0)
            ),
            "this is how far the padding reaches, half a kernel. But it is the stride that decides "
            "what is shared.": lambda k, s: k // 2,
            f"this is half a kernel where patches overlap, {by_chance}": if_they_overlap(
                lambda k, s: k // 2
            ),
            f"this is half of K − 1, {by_chance}": if_they_overlap(lambda k, s: (k - 1) // 2),
            f"this is S − 1, {by_chance}": if_they_overlap(lambda k, s: s - 1),
            "this is one too many: the last pixel of a patch is its pixel K − 1, not K.": (
                lambda k, s: max(k - s + 1, 0)
            ),
            "this is the area of the strip. Count its columns.": lambda k, s: k * max(k - s, 0),
        },
    )


def tokens_to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """`(B, N, C)`, N = height · width → `(B, C, height, width)`, as a convolution expects it."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


@exercise(
    "01.3",
    "From tokens back to a map",
    stars=2,
    minutes=6,
    solution=tokens_to_map,
    hints=[
        "How were the tokens made? Undo that, and begin with the last step.",
        "view, reshape and unflatten keep the order of the numbers. Which of your steps brings the "
        "channels forward?",
        "Split N into (height, width) and then permute; or transpose first and then split.",
    ],
    takeaway="reshape and unflatten keep the order of the numbers, but permute changes it.",
)
def examine_tokens_to_map(answer: Callable[..., Tensor]) -> str | None:
    def case(rng: Random, height: int, width: int, channels: int) -> tuple[Tensor, int, int]:
        return normal(rng, rng.randint(1, 3), height * width, channels), height, width

    def draw(rng: Random) -> tuple[Tensor, int, int]:
        return case(rng, rng.randint(1, 6), rng.randint(1, 6), rng.randint(1, 5))

    rng = Random(0)
    return diagnose(
        answer,
        tokens_to_map,
        [case(rng, 3, 5, 4), case(rng, 4, 4, 4), case(rng, 6, 2, 3), *drawn(draw)],
        {
            "the shape is right, but the numbers are not: a reshape reads token after token, and a "
            "map expects channel after channel.": lambda x, h, w: x.reshape(len(x), -1, h, w),
            "rows and columns are swapped: tokens run along a row first.": (
                lambda x, h, w: x.transpose(1, 2).reshape(len(x), -1, w, h)
            ),
            "the numbers are read column by column, but tokens run along a row first.": (
                lambda x, h, w: x.transpose(1, 2).reshape(len(x), -1, w, h).transpose(2, 3)
            ),
            "the channels are in the right place, but height and width are swapped. transpose(1, "
            "3) exchanges two axes; permute(0, 3, 1, 2) moves one.": (
                lambda x, h, w: x.unflatten(1, (h, w)).transpose(1, 3)
            ),
            "the map is right, but its channels are last; a convolution expects them second.": (
                lambda x, h, w: x.unflatten(1, (h, w))
            ),
        },
        {
            "this is right for square maps. On others the side is not the square root of N, which "
            "is why height and width are given.": lambda x, h, w: h == w,
        },
    )


def embed_patches(
    images: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int
) -> Tensor:
    """Tokens without a convolution: cut, flatten, one Linear.

    `(B, C, H, W)`, `weight` of a convolution `(D, C, K, K)` → `(B, N, D)`.
    """
    patches = F.unfold(images, weight.shape[-1], padding=padding, stride=stride)  # (B, C·K·K, N)
    return F.linear(patches.transpose(1, 2), weight.flatten(1), bias)


@exercise(
    "01.4",
    "A convolution by hand",
    stars=2,
    minutes=10,
    solution=embed_patches,
    hints=[
        "F.unfold cuts the patches, overlapping or not, and flattens them. Print its shape.",
        "It puts the numbers of a patch second and the patches last, but a Linear expects it the "
        "other way round.",
        "F.linear(…, weight.flatten(1), bias) does the rest.",
    ],
    takeaway="every convolution is a Linear on patches, and the stride says where they are cut.",
)
def examine_embed_patches(answer: Callable[..., Tensor]) -> str | None:
    Case = tuple[Tensor, Tensor, Tensor, int, int]

    def case(
        rng: Random, images: tuple[int, ...], dim: int, patch_size: int, stride: int, padding: int
    ) -> Case:
        weight = normal(rng, dim, images[1], patch_size, patch_size)
        return normal(rng, *images), weight, normal(rng, dim), stride, padding

    def draw(rng: Random) -> Case:
        patch_size, padding = rng.randint(1, 5), rng.randint(0, 3)
        height, width = (patch_size + rng.randint(0, 6) for _ in range(2))
        images = rng.randint(1, 3), rng.randint(1, 4), height, width
        return case(rng, images, rng.randint(1, 5), patch_size, rng.randint(1, 5), padding)

    def without_padding(x: Tensor, w: Tensor, b: Tensor, s: int, p: int) -> Tensor:
        return embed_patches(x, w, b, s, 0)

    def half_a_kernel(x: Tensor, w: Tensor, b: Tensor, s: int, p: int) -> Tensor:
        return embed_patches(x, w, b, s, w.shape[-1] // 2)

    def channels_last(x: Tensor, w: Tensor, b: Tensor, s: int, p: int) -> Tensor:
        return embed_patches(x, w.permute(0, 2, 3, 1).reshape(w.shape), b, s, p)

    def reshaped(x: Tensor, w: Tensor, b: Tensor, s: int, p: int) -> Tensor:
        patches = F.unfold(x, w.shape[-1], padding=p, stride=s)
        return F.linear(patches.reshape(len(x), -1, patches.shape[1]), w.flatten(1), b)

    def without_overlap(x: Tensor, w: Tensor, b: Tensor, s: int, p: int) -> Tensor:
        return embed_patches(x, w, b, w.shape[-1], p)

    rng = Random(0)
    cases = [
        case(rng, (2, 3, 12, 20), 5, 7, 4, 3),
        case(rng, (2, 3, 9, 7), 6, 3, 2, 1),
        case(rng, (2, 3, 8, 8), 4, 4, 4, 0),
    ]
    diagnosis = diagnose(
        answer,
        embed_patches,
        [*cases, *drawn(draw)],
        {
            "the padding is missing, so there are too few tokens.": without_padding,
            "the padding is half a kernel here, whatever `padding` says. Use what is given.": (
                half_a_kernel
            ),
            "the bias is missing.": (
                lambda x, w, b, s, p: embed_patches(x, w, torch.zeros_like(b), s, p)
            ),
            "the numbers of a patch are not in the order of the weights: a convolution's weight "
            "has the channel first, then row, then column.": channels_last,
            "reshape does not swap axes. The shape is right, but each 'patch' holds a few numbers "
            "of many patches.": reshaped,
            "the tokens are right, but in the layout (B, D, N). A transformer expects one token "
            "per row, (B, N, D).": lambda *given: embed_patches(*given).transpose(1, 2),
            "this is still a map. Flatten it to tokens and put the channels last: (B, N, D).": (
                lambda x, w, b, s, p: F.conv2d(x, w, b, s, p)
            ),
            "these patches touch and do not overlap: the stride is not used.": without_overlap,
            "the kernel is rotated by 180°, as in the convolution of mathematics. Torch does not "
            "flip it: its first weight belongs to the patch's first pixel.": (
                lambda x, w, b, s, p: embed_patches(x, w.flip(2, 3), b, s, p)
            ),
        },
    )
    if diagnosis is None and uses(answer, cases[0], "conv"):
        return (
            "the tokens are right, but a convolution has made them. This exercise asks for them "
            "without one, to show what it does: cut the patches and multiply them by the weights."
        )
    return diagnosis


def normalize_tokens(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """LayerNorm over the channels of each token, `(B, H, W, C)` → the same shape."""
    mean = x.mean(dim=-1, keepdim=True)
    variance = x.var(dim=-1, keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


@exercise(
    "01.5",
    "LayerNorm by hand",
    stars=2,
    minutes=8,
    solution=normalize_tokens,
    hints=[
        "Every token is normalised by itself. Which axis holds the numbers of one token?",
        "keepdim=True keeps the axis, so that the mean lines up with what it was taken from.",
        "LayerNorm divides the squares by C and not by C − 1, so write var(..., correction=0).",
    ],
    takeaway="each token has one mean and one variance, taken over its own channels.",
)
def examine_normalize_tokens(answer: Callable[..., Tensor]) -> str | None:
    Case = tuple[Tensor, Tensor, Tensor]

    def case(rng: Random, *shape: int, spread: float = 3) -> Case:
        x, weight, bias = normal(rng, *shape), normal(rng, shape[-1]), normal(rng, shape[-1])
        return spread * (x + 1), weight, bias

    def draw(rng: Random) -> Case:
        shape = rng.randint(1, 3), rng.randint(1, 4), rng.randint(2, 4), rng.randint(2, 8)
        return case(rng, *shape, spread=rng.choice([0.01, 1, 100]))

    def over(*axes: int, correction: int = 0, eps: float = 1e-5) -> Callable[..., Tensor]:
        def normalize(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            mean = x.mean(axes, keepdim=True)
            variance = x.var(axes, keepdim=True, correction=correction)
            return (x - mean) / (variance + eps).sqrt() * weight + bias

        return normalize

    def over_the_spread(x: Tensor, weight: Tensor, bias: Tensor, added: float = 0) -> Tensor:
        spread = x.std(-1, keepdim=True, correction=0) + added
        return (x - x.mean(-1, keepdim=True)) / spread * weight + bias

    def over_the_variance(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        variance = x.var(-1, keepdim=True, correction=0) + 1e-5
        return (x - x.mean(-1, keepdim=True)) / variance * weight + bias

    def not_centred(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return x / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt() * weight + bias

    def root_mean_square(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias

    rng = Random(0)
    flat = (torch.zeros(1, 2, 3, 4), normal(rng, 4), normal(rng, 4))
    nearly_flat = case(rng, 2, 3, 3, 5, spread=0.01)  # here 1e-5, and where it is added, counts
    cases = [case(rng, 2, 4, 4, 4), case(rng, 1, 3, 5, 6), case(rng, 3, 2, 2, 8), nearly_flat, flat]
    return diagnose(
        answer,
        normalize_tokens,
        [*cases, *drawn(draw)],
        {
            "the 1e-5 is missing, so a token of equal numbers would be divided by zero.": (
                over_the_spread
            ),
            "the 1e-5 is added to the standard deviation. Add it to the variance instead.": (
                lambda x, weight, bias: over_the_spread(x, weight, bias, added=1e-5)
            ),
            "1e-6 is added to the variance, as in some of the paper's code. The exercise asks for "
            "1e-5.": over(-1, eps=1e-6),
            "this is BatchNorm: each channel is normalised over all tokens of the batch. But a "
            "token should not depend on its neighbours.": over(0, 1, 2),
            "each channel is normalised over the map (InstanceNorm). A token should not depend on "
            "the other tokens.": over(1, 2),
            "there is one mean for the whole map, so the tokens of a dark corner depend on the "
            "bright one.": over(1, 2, 3),
            "the mean is taken along the width: you average over columns, not channels.": over(2),
            "the variance is divided by C − 1, but LayerNorm divides by C.": (
                over(-1, correction=1)
            ),
            "this is normalised correctly, but the learned weight and bias are not used.": (
                lambda x, weight, bias: F.layer_norm(x, x.shape[-1:])
            ),
            "this is divided by the variance; divide by its square root.": over_the_variance,
            "the mean is not subtracted.": not_centred,
            "the mean is not subtracted, neither here nor in the variance: this is RMSNorm.": (
                root_mean_square
            ),
        },
    )


def field_of_a_token(patch_sizes: Sequence[int], strides: Sequence[int]) -> int:
    """Pixels along one side that reach one token through a chain of patch embeddings."""
    field, step = 1, 1  # one pixel sees itself, and the next is one pixel away
    for patch_size, stride in zip(patch_sizes, strides, strict=True):
        field += (patch_size - 1) * step  # K patches of the finer map, `step` pixels apart
        step *= stride
    return field


@exercise(
    "01.6",
    "How many pixels reach a token?",
    stars=3,
    minutes=12,
    solution=field_of_a_token,
    hints=[
        "Begin with two embeddings: a token of stage 2 sees 3 tokens of stage 1. How far apart "
        "are the outer two, in pixels?",
        "Keep two numbers: how many pixels a token sees, and how many pixels apart tokens are.",
        "Each embedding adds (K − 1) steps of the map that it reads. Afterwards the step is S "
        "times as long.",
    ],
    takeaway="the field grows by K − 1 steps of the finer map, and the steps grow by the strides.",
)
def examine_field_of_a_token(answer: Callable[..., int]) -> str | None:
    def draw(rng: Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
        patch_sizes = [rng.randint(1, 7) for _ in range(rng.randint(1, 5))]
        return tuple(patch_sizes), tuple(rng.randint(1, min(k, 4)) for k in patch_sizes)

    def steps(strides: Sequence[int]) -> list[int]:
        """Pixels from token to token of the map that each embedding reads, and of the last."""
        return list(accumulate(strides, operator.mul, initial=1))

    def with_own_strides(patch_sizes: Sequence[int], strides: Sequence[int]) -> int:
        own = steps(strides)[1:]
        return 1 + sum((k - 1) * step for k, step in zip(patch_sizes, own, strict=True))

    def doubled(patch_sizes: Sequence[int], strides: Sequence[int]) -> int:
        field, *finer = patch_sizes
        for _ in finer:
            field = 2 * field + 1
        return field

    cases = [((7, 3, 3, 3), (4, 2, 2, 2)), ((4, 2), (4, 2)), ((7,), (4,)), ((5, 3, 7), (3, 1, 2))]
    return diagnose(
        answer,
        field_of_a_token,
        [*cases, *drawn(draw)],
        {
            "this is how far apart the tokens are, the product of the strides. But overlapping "
            "patches see further.": lambda k, s: math.prod(s),
            "the product of the patches is right where they touch, but these share pixels.": (
                lambda k, s: math.prod(k)
            ),
            "the patches are added as if all lay on the same pixels, but those of stage 2 lie on a "
            "map whose tokens are 4 pixels apart.": lambda k, s: sum(k) - len(k) + 1,
            "each embedding is counted with its own stride. The K tokens that it reads lie as far "
            "apart as the strides before it say.": with_own_strides,
            "doubling and one more is right for SegFormer's sizes. What does an embedding of "
            "kernel K add, in pixels?": doubled,
            "this is one step too many for each embedding: from the first of K tokens to the last "
            "there are K − 1.": (lambda k, s: field_of_a_token(k, s) + sum(steps(s)[1:-1])),
            "the patches are added up. But neighbours share pixels, and strides spread them.": (
                lambda k, s: sum(k)
            ),
        },
    )
