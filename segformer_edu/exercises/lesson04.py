"""Exercises of lesson 04, position and Mix-FFN."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal, uses

Layer = Callable[[Tensor], Tensor]


def mix_ffn_parameters(channels: int, ratio: int, kernel: int) -> int:
    """Learned numbers of a Mix-FFN, biases included."""
    hidden = ratio * channels
    expand = channels * hidden + hidden
    depthwise = kernel * kernel * hidden + hidden  # one kernel per channel
    contract = hidden * channels + channels
    return expand + depthwise + contract


@exercise(
    "04.1",
    "What does Mix-FFN hold?",
    stars=1,
    minutes=5,
    solution=mix_ffn_parameters,
    hints=[
        "It has three parts: a Linear that widens, a depthwise convolution, a Linear that narrows.",
        "A depthwise convolution has a kernel of k·k numbers and a bias for each channel.",
        "With h = ratio · channels they hold (C·h + h) + (k²·h + h) + (h·C + C).",
    ],
    takeaway="the Linears grow with C² and the depthwise convolution with C, so position is cheap.",
)
def examine_mix_ffn_parameters(answer: Callable[..., int]) -> str | None:
    def parts(c: int, e: int, k: int) -> tuple[int, int, int]:
        return c * e * c + e * c, k * k * e * c + e * c, e * c * c + c

    def widened_inside(c: int, e: int, k: int) -> int:
        return (k * k * e * c + e * c) + parts(c, e, k)[2]

    def draw(rng: Random) -> tuple[int, int, int]:
        return rng.randint(1, 40), rng.randint(1, 8), rng.choice([1, 3, 5, 7])

    return diagnose(
        answer,
        mix_ffn_parameters,
        [(32, 4, 3), (256, 4, 3), (64, 8, 5), (5, 3, 1), *drawn(draw)],
        {
            "this convolution mixes channels. But a depthwise one has a single kernel for each "
            "channel, and sees no other.": (
                lambda c, e, k: sum(parts(c, e, k)) + k * k * e * c * (e * c - 1)
            ),
            "this is 8C² + 45C, which is right for ratio 4 and kernel 3 only. Both are given.": (
                lambda c, e, k: sum(parts(c, 4, 3))
            ),
            "a kernel of 3×3 is counted, but `kernel` says how large it is.": (
                lambda c, e, k: sum(parts(c, e, 3))
            ),
            "the biases of all three parts are missing.": (
                lambda c, e, k: 2 * e * c * c + k * k * e * c
            ),
            "the convolution is counted on C channels. But it stands between the Linears, where a "
            "token is wide.": lambda c, e, k: sum(parts(c, e, k)) - (k * k + 1) * (e - 1) * c,
            "the convolution has a bias too, one for each of its channels.": (
                lambda c, e, k: sum(parts(c, e, k)) - e * c
            ),
            "the convolution is missing: these are the two Linears.": (
                lambda c, e, k: parts(c, e, k)[0] + parts(c, e, k)[2]
            ),
            "a kernel is k wide and k high, but this counts one side only.": (
                lambda c, e, k: sum(parts(c, e, k)) - (k * k - k) * e * c
            ),
            "the convolution has C groups here, which leaves `ratio` channels in each. Depthwise "
            "means one channel a group, so as many groups as wide channels.": (
                lambda c, e, k: sum(parts(c, e, k)) + k * k * (e - 1) * e * c
            ),
            "a 1×1 convolution after the depthwise one is counted too. That would be depthwise "
            "separable, but here the Linear that follows does the mixing.": (
                lambda c, e, k: sum(parts(c, e, k)) + (e * c) ** 2 + e * c
            ),
            "the channels are multiplied inside the convolution here. But the first Linear widens, "
            "and the convolution keeps the number of channels.": widened_inside,
            "the channels are multiplied inside the convolution, after a Linear from C to C. But "
            "the first Linear itself widens.": lambda c, e, k: c * c + c + widened_inside(c, e, k),
        },
    )


def blocks_needed(height: int, width: int, kernel: int) -> int:
    """Blocks after which the border of a flat map is known to every token."""
    rings = (min(height, width) + 1) // 2  # how many steps inside the innermost tokens are
    return -(-rings // (kernel // 2))  # ⌈rings / radius⌉


@exercise(
    "04.2",
    "How many blocks until the middle knows?",
    stars=1,
    minutes=5,
    solution=blocks_needed,
    hints=[
        "How many rings of tokens does the map have? The nearest border is what counts.",
        "A kernel of 3 reaches one token further and a kernel of 5 two, so k // 2 in general.",
        "There are ⌈min(H, W) / 2⌉ rings, and each block gets k // 2 rings further. Round up.",
    ],
    takeaway="it is half the shorter side over the kernel's radius, both rounded up.",
)
def examine_blocks_needed(answer: Callable[..., int]) -> str | None:
    def up(a: int, b: int) -> int:
        return -(-a // b)

    def draw(rng: Random) -> tuple[int, int, int]:
        return rng.randint(1, 60), rng.randint(1, 60), rng.choice([3, 5, 7, 9])

    return diagnose(
        answer,
        blocks_needed,
        [(16, 16, 3), (9, 9, 3), (20, 13, 5), (8, 40, 7), (11, 24, 5), *drawn(draw)],
        {
            "this is the way from one border to the other. But they are felt from both sides, up "
            "to the middle.": lambda h, w, k: up(min(h, w), k // 2),
            "a kernel reaches its radius, k // 2, beyond a token, not its whole width.": (
                lambda h, w, k: up(up(min(h, w), 2), k)
            ),
            "k − 1 is both sides of the kernel together, but to one side it reaches k // 2.": (
                lambda h, w, k: up(up(min(h, w), 2), k - 1)
            ),
            "the nearest border reaches a token first, so the shorter side counts.": (
                lambda h, w, k: up(up(max(h, w), 2), k // 2)
            ),
            "on an odd side the middle token is a ring of its own, so round half the side up.": (
                lambda h, w, k: up(min(h, w) // 2, k // 2)
            ),
            "the last block may be needed only in part, so round up.": (
                lambda h, w, k: up(min(h, w), 2) // (k // 2)
            ),
        },
    )


def depthwise_by_hand(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3×3 depthwise convolution with zero padding, as nine shifted copies of the map.

    `(B, H, W, C)`, weight `(C, 1, 3, 3)`, bias `(C,)` → `(B, H, W, C)`.
    """
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))  # last axis first: channels, width, height
    result = bias.expand_as(x)
    for row in range(3):
        for column in range(3):
            shifted = padded[:, row : row + height, column : column + width]
            result = result + shifted * weight[:, 0, row, column]
    return result


@exercise(
    "04.3",
    "The depthwise convolution by hand",
    stars=2,
    minutes=10,
    solution=depthwise_by_hand,
    hints=[
        "It has nine terms: copies of the map, each shifted, times one number per channel.",
        "Put a ring of zeros around the map first. Then a shifted copy is a slice of it.",
        "Sum padded[:, row : row + H, column : column + W] * weight[:, 0, row, column], and add "
        "the bias once.",
    ],
    takeaway="a depthwise convolution is a weighted sum of shifted maps, channel by channel.",
)
def examine_depthwise_by_hand(answer: Callable[..., Tensor]) -> str | None:
    def with_kernel(change: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda x, weight, bias: depthwise_by_hand(x, change(weight), bias)

    def rolled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        terms = (
            x.roll((1 - row, 1 - column), dims=(1, 2)) * weight[:, 0, row, column]
            for row in range(3)
            for column in range(3)
        )
        return sum(terms, start=bias.expand_as(x))

    def replicated(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        maps = F.pad(x.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="replicate")
        return F.conv2d(maps, weight, bias, groups=len(weight)).permute(0, 2, 3, 1)

    def mixed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        result = depthwise_by_hand(x, weight, torch.zeros_like(bias))
        return result.sum(dim=-1, keepdim=True) + bias

    def unpadded(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mixed = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, groups=len(weight))
        return mixed.permute(0, 2, 3, 1)

    def reflected(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        maps = F.pad(x.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="reflect")
        return F.conv2d(maps, weight, bias, groups=len(weight)).permute(0, 2, 3, 1)

    def draw(rng: Random) -> tuple[Tensor, Tensor, Tensor]:
        sizes = rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 6), rng.randint(1, 4)
        return depthwise_case(rng, *sizes)

    rng = Random(0)
    cases = [depthwise_case(rng, 1, 5, 7, 3), depthwise_case(rng, 2, 6, 4, 2)]
    diagnosis = diagnose(
        answer,
        depthwise_by_hand,
        [*cases, *drawn(draw)],
        {
            "what leaves the map on one side comes in on the other: torch.roll pads circularly. "
            "The exercise asks for zeros.": rolled,
            "the border is repeated, but the exercise asks for zeros.": replicated,
            "the map is reflected at the border, but the exercise asks for zeros.": reflected,
            "there is no padding, so the map loses a ring of tokens. Put zeros around it first.": (
                unpadded
            ),
            "the kernel is rotated by 180°. Torch does not flip it: weight[…, 0, 0] "
            "belongs to the neighbour above and to the left.": with_kernel(
                lambda weight: weight.flip(2, 3)
            ),
            "rows and columns of the kernel are swapped.": with_kernel(
                lambda weight: weight.transpose(2, 3)
            ),
            "the channels are summed. In a depthwise convolution each stays separate.": mixed,
            "the bias is missing.": (
                lambda x, weight, bias: depthwise_by_hand(x, weight, torch.zeros_like(bias))
            ),
            "the bias is added nine times, but it belongs to the sum, once.": (
                lambda x, weight, bias: depthwise_by_hand(x, weight, 9 * bias)
            ),
        },
    )
    if diagnosis is None and uses(answer, cases[0], "conv"):
        return (
            "the numbers are right, but a convolution has computed them. The exercise asks you to "
            "do without one: nine shifted copies of the map, each times its weight."
        )
    return diagnosis


def depthwise_case(
    rng: Random, batch: int, height: int, width: int, channels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A map of tokens, and the weight and bias of a depthwise convolution, all random."""
    x = normal(rng, batch, height, width, channels)
    return x, normal(rng, channels, 1, 3, 3), normal(rng, channels)


def mix_tokens(tokens: Tensor, height: int, width: int, weight: Tensor, bias: Tensor) -> Tensor:
    """The depthwise convolution on tokens that come as a list, `(B, H·W, C)` → `(B, H·W, C)`."""
    as_map = tokens.transpose(1, 2).unflatten(2, (height, width))  # (B, C, H, W)
    mixed = F.conv2d(as_map, weight, bias, padding=1, groups=len(weight))
    return mixed.flatten(2).transpose(1, 2)


@exercise(
    "04.4",
    "Mend the library",
    stars=2,
    minutes=8,
    solution=mix_tokens,
    hints=[
        "A convolution expects (B, C, H, W). The list is (B, N, C): what has to move before N is "
        "split?",
        "transpose brings the channels to the front, but a reshape swaps nothing.",
        "tokens.transpose(1, 2).unflatten(2, (height, width)) makes the map. Go back in reverse.",
    ],
    takeaway="the channels are transposed first, and then N is split into (height, width).",
)
def examine_mix_tokens(answer: Callable[..., Tensor]) -> str | None:
    def on(as_map: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mixed = F.conv2d(as_map, weight, bias, padding=1, groups=len(weight))
        return mixed.flatten(2).transpose(1, 2)

    def unpadded(t: Tensor, h: int, w: int, weight: Tensor, bias: Tensor) -> Tensor:
        as_map = t.transpose(1, 2).unflatten(2, (h, w))
        return F.conv2d(as_map, weight, bias, groups=len(weight)).flatten(2).transpose(1, 2)

    def square(t: Tensor, h: int, w: int, weight: Tensor, bias: Tensor) -> Tensor:
        side = int(t.shape[1] ** 0.5)
        return mix_tokens(t, side, side, weight, bias)

    def circular(t: Tensor, h: int, w: int, weight: Tensor, bias: Tensor) -> Tensor:
        as_map = F.pad(t.transpose(1, 2).unflatten(2, (h, w)), (1, 1, 1, 1), mode="circular")
        return F.conv2d(as_map, weight, bias, groups=len(weight)).flatten(2).transpose(1, 2)

    def along_the_list(t: Tensor, h: int, w: int, weight: Tensor, bias: Tensor) -> Tensor:
        return mix_tokens(t, 1, h * w, weight, bias)

    def as_a_map(t: Tensor, h: int, w: int, weight: Tensor, bias: Tensor) -> Tensor:
        return mix_tokens(t, h, w, weight, bias).unflatten(1, (h, w))

    def cut_anew(t: Tensor, h: int, w: int, weight: Tensor, bias: Tensor) -> Tensor:
        mixed = F.conv2d(t.reshape(len(t), -1, h, w), weight, bias, padding=1, groups=len(weight))
        return mixed.reshape(t.shape)

    def cut_anew_on_the_way_there(
        t: Tensor, h: int, w: int, weight: Tensor, bias: Tensor
    ) -> Tensor:
        return on(t.reshape(len(t), -1, h, w), weight, bias)

    def cut_anew_at_the_end(t: Tensor, h: int, w: int, weight: Tensor, bias: Tensor) -> Tensor:
        as_map = t.transpose(1, 2).unflatten(2, (h, w))
        mixed = F.conv2d(as_map, weight, bias, padding=1, groups=len(weight))
        return mixed.reshape(t.shape)

    def draw(rng: Random) -> tuple[Tensor, int, int, Tensor, Tensor]:
        sizes = rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 6), rng.randint(1, 4)
        return list_case(rng, *sizes)

    rng = Random(0)
    sizes = (2, 4, 4, 3), (2, 2, 8, 3), (1, 8, 2, 2)
    return diagnose(
        answer,
        mix_tokens,
        [*(list_case(rng, *each) for each in sizes), *drawn(draw)],
        {
            "this is right on square maps, but on others height and width are swapped: the list "
            "holds the first row, then the second.": (
                lambda t, h, w, weight, bias: mix_tokens(t, w, h, weight, bias)
            ),
            "the side is still the square root of N, so on 2×8 tokens every row is cut in two.": (
                square
            ),
            "a reshape from (B, N, C) to (B, C, H, W) swaps nothing: it regroups the numbers, so a "
            "channel is made of pieces of tokens. Transpose first.": cut_anew,
            "the way back is right, but on the way there a reshape from (B, N, C) to (B, C, H, W) "
            "swaps nothing. Transpose first, as you do at the end.": cut_anew_on_the_way_there,
            "the way there is right, but the way back regroups the numbers. Flatten to (B, C, N), "
            "then transpose.": cut_anew_at_the_end,
            "neighbours in the list are not all neighbours in the picture. Make a map of the "
            "tokens, with height and width, before you convolve.": along_the_list,
            "there is no padding, so the map loses a ring of tokens. nn.Conv2d with padding=1 puts "
            "zeros around it.": unpadded,
            "the padding is circular, but nn.Conv2d with padding=1 puts zeros around the map.": (
                circular
            ),
            "the numbers are right, but they are still a map. Give a list back, (B, N, C).": (
                as_a_map
            ),
            "the tokens are added to what the convolution gives. In Mix-FFN the skip connection is "
            "around the whole branch, and not here.": (
                lambda t, h, w, weight, bias: t + mix_tokens(t, h, w, weight, bias)
            ),
            "the bias is missing.": (
                lambda t, h, w, weight, bias: mix_tokens(t, h, w, weight, torch.zeros_like(bias))
            ),
            "nothing is mixed: the tokens come back as they were.": (
                lambda t, h, w, weight, bias: t
            ),
        },
        {
            "this is right on square maps. What does it do on others?": (
                lambda t, h, w, weight, bias: h == w
            )
        },
    )


def list_case(
    rng: Random, batch: int, height: int, width: int, channels: int
) -> tuple[Tensor, int, int, Tensor, Tensor]:
    """Tokens as a list, the size of their map, and the weight and bias of a convolution."""
    x, weight, bias = depthwise_case(rng, batch, height, width, channels)
    return x.flatten(1, 2), height, width, weight, bias


def resize_table(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A position embedding for another size, `(1, h·w, C)` → `(1, H·W, C)`."""
    as_image = table.unflatten(1, old).permute(0, 3, 1, 2)  # (1, C, h, w)
    resized = F.interpolate(as_image, new, mode="bilinear")
    return resized.permute(0, 2, 3, 1).flatten(1, 2)


@exercise(
    "04.5",
    "Resize a learned embedding",
    stars=2,
    minutes=10,
    solution=resize_table,
    hints=[
        "F.interpolate expects an image, (1, C, h, w). The table is (1, h·w, C).",
        "unflatten the second axis into old, then permute the channels to the front.",
        "Call F.interpolate(as_image, new, mode='bilinear'), then permute and flatten back.",
    ],
    takeaway="a table of positions is resized as an image whose colours are its channels.",
)
def examine_resize_table(answer: Callable[..., Tensor]) -> str | None:
    def as_image(table: Tensor, old: tuple[int, int]) -> Tensor:
        return table.unflatten(1, old).permute(0, 3, 1, 2)

    def back(image: Tensor) -> Tensor:
        return image.permute(0, 2, 3, 1).flatten(1, 2)

    def corners(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        return back(F.interpolate(as_image(t, old), new, mode="bilinear", align_corners=True))

    def nearest(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        return back(F.interpolate(as_image(t, old), new))

    def smoothed(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        return back(F.interpolate(as_image(t, old), new, mode="bilinear", antialias=True))

    def bicubic(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        return back(F.interpolate(as_image(t, old), new, mode="bicubic"))

    def cut_out(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        return t.unflatten(1, old)[:, : new[0], : new[1]].flatten(1, 2)

    def along_the_list(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        resized = F.interpolate(t.transpose(1, 2), new[0] * new[1], mode="linear")
        return resized.transpose(1, 2)

    def cut_anew(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        resized = F.interpolate(t.reshape(1, -1, *old), new, mode="bilinear")
        return resized.reshape(1, new[0] * new[1], -1)

    def cut_anew_on_the_way_there(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        return back(F.interpolate(t.reshape(1, -1, *old), new, mode="bilinear"))

    def cut_anew_at_the_end(t: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
        resized = F.interpolate(as_image(t, old), new, mode="bilinear")
        return resized.reshape(1, new[0] * new[1], -1)

    Case = tuple[Tensor, tuple[int, int], tuple[int, int]]

    def case(rng: Random, old: tuple[int, int], new: tuple[int, int], channels: int = 3) -> Case:
        return normal(rng, 1, old[0] * old[1], channels), old, new

    def draw(rng: Random) -> Case:
        h, w, H, W, channels = (rng.randint(1, 8) for _ in range(5))
        return case(rng, (h, w), (H, W), channels)

    rng = Random(0)
    sizes = ((4, 4), (8, 8)), ((3, 5), (6, 4)), ((2, 6), (5, 7)), ((8, 6), (3, 3))
    return diagnose(
        answer,
        resize_table,
        [*(case(rng, *each) for each in sizes), *drawn(draw)],
        {
            "this is right on square tables. On others height and width of the old table are "
            "swapped.": lambda t, old, new: resize_table(t, old[::-1], new),
            "this is right for square sizes. On others height and width of the new table are "
            "swapped.": lambda t, old, new: resize_table(t, old, new[::-1]),
            "this is right for square sizes. On others both are read as (width, height), but they "
            "are (h, w) and (H, W).": lambda t, old, new: resize_table(t, old[::-1], new[::-1]),
            "the corners are aligned. With align_corners=False the centres of cells are aligned "
            "instead, as for the logits.": corners,
            "this repeats the nearest entry, the default mode. But the exercise asks for "
            "bilinear.": nearest,
            "this is bicubic, as in section 9, but the exercise asks for bilinear.": bicubic,
            "this is right for larger tables. For smaller ones it smooths first (antialias=True), "
            "but the exercise asks for plain bilinear.": smoothed,
            "the first rows and columns are cut out, but the whole table should be resized.": (
                cut_out
            ),
            "the list is resized along its length, across the ends of rows. But it is a map, so "
            "height and width have to be resized separately.": along_the_list,
            "a reshape from (1, h·w, C) to (1, C, h, w) swaps nothing: channels and places are "
            "mixed. unflatten, then permute.": cut_anew,
            "the way back is right, but on the way there a reshape from (1, h·w, C) to "
            "(1, C, h, w) swaps nothing. unflatten, then permute, as you do at the end.": (
                cut_anew_on_the_way_there
            ),
            "the way there is right, but the way back regroups the numbers. permute the channels "
            "to the end, then flatten.": cut_anew_at_the_end,
        },
    )


def probe_places(features: Tensor, places: Tensor, strength: float, others: Tensor) -> Tensor:
    """Ridge regression: what a linear map fitted on `features` predicts for `others`."""
    mean_x, mean_y = features.mean(dim=0), places.mean(dim=0)
    x, y = features - mean_x, places - mean_y
    weight = torch.linalg.solve(x.T @ x + strength * torch.eye(x.shape[1]).to(x), x.T @ y)
    return (others - mean_x) @ weight + mean_y


@exercise(
    "04.6",
    "Build the probe",
    stars=3,
    minutes=15,
    solution=probe_places,
    hints=[
        "Subtract the means, solve for W, and add the means again for the prediction.",
        "X is (n, C), so XᵀX is (C, C). torch.linalg.solve(A, B) is A⁻¹B.",
        "W is solve(XᵀX + λI, XᵀY). The answer is (others − mean of features) W + mean of places.",
    ],
    takeaway="a ridge probe is one linear solve, without a training loop or a learning rate.",
)
def examine_probe_places(answer: Callable[..., Tensor]) -> str | None:
    def fitted(x: Tensor, y: Tensor, ridge: float | Tensor) -> Tensor:
        return torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]), x.T @ y)

    def uncentred(x: Tensor, y: Tensor, ridge: float, others: Tensor) -> Tensor:
        return others @ fitted(x, y, ridge)

    def without_mean(x: Tensor, y: Tensor, ridge: float, others: Tensor) -> Tensor:
        return (others - x.mean(0)) @ fitted(x - x.mean(0), y - y.mean(0), ridge)

    def others_uncentred(x: Tensor, y: Tensor, ridge: float, others: Tensor) -> Tensor:
        return others @ fitted(x - x.mean(0), y - y.mean(0), ridge) + y.mean(0)

    def others_by_themselves(x: Tensor, y: Tensor, ridge: float, others: Tensor) -> Tensor:
        weight = fitted(x - x.mean(0), y - y.mean(0), ridge)
        return (others - others.mean(0)) @ weight + y.mean(0)

    def everywhere(x: Tensor, y: Tensor, ridge: float, others: Tensor) -> Tensor:
        x0, y0 = x - x.mean(0), y - y.mean(0)
        weight = torch.linalg.solve(x0.T @ x0 + ridge, x0.T @ y0)
        return (others - x.mean(0)) @ weight + y.mean(0)

    def with_a_column_of_ones(x: Tensor, y: Tensor, ridge: float, others: Tensor) -> Tensor:
        x, others = (F.pad(each, (0, 1), value=1.0) for each in (x, others))
        return uncentred(x, y, ridge, others)

    Case = tuple[Tensor, Tensor, float, Tensor]

    def case(rng: Random, count: int, channels: int, strength: float, others: int) -> Case:
        features = 1 + normal(rng, count, channels)
        places = 3 + features @ normal(rng, channels, 2) + normal(rng, count, 2)
        return features, places, strength, 1 + normal(rng, others, channels)

    def draw(rng: Random) -> Case:
        channels = rng.randint(1, 6)
        count = channels + rng.randint(5, 30)  # so that least squares has one solution as well
        return case(rng, count, channels, rng.choice([0.5, 1.0, 3.0, 40.0]), rng.randint(1, 5))

    rng = Random(0)
    return diagnose(
        answer,
        probe_places,
        [case(rng, 40, 4, 2.0, 7), case(rng, 30, 3, 20.0, 7), *drawn(draw)],
        {
            "without centring, the fit has to go through the origin: it has no constant term with "
            "which to predict the middle.": uncentred,
            "a column of ones replaces the centring, but λ shrinks its weight too. Subtract the "
            "means instead.": with_a_column_of_ones,
            "the mean of the places is missing from the prediction.": without_mean,
            "the features are centred for the fit. Centre `others` too, by the same mean.": (
                others_uncentred
            ),
            "`others` are centred by their own mean. But a probe has to use what it was fitted "
            "with.": (others_by_themselves),
            "λ is left out, so this is plain least squares.": (
                lambda x, y, ridge, others: probe_places(x, y, 0.0, others)
            ),
            "λ is subtracted, which makes the solution larger. It should shrink it.": (
                lambda x, y, ridge, others: probe_places(x, y, -ridge, others)
            ),
            "λ is added to every entry of XᵀX, but it belongs on the diagonal: λI.": everywhere,
            "λ is multiplied by n here, but it should be used as it is given.": (
                lambda x, y, ridge, others: probe_places(x, y, ridge * len(x), others)
            ),
        },
    )


def mix_ffn(x: Tensor, expand: Layer, convolve: Layer, contract: Layer) -> Tensor:
    """Eq. 3 without its skip connection, `(B, H, W, C)` → the same shape."""
    hidden = expand(x).permute(0, 3, 1, 2)  # (B, C', H, W), as a convolution expects it
    mixed = convolve(hidden).permute(0, 2, 3, 1)
    return contract(F.gelu(mixed))


@exercise(
    "04.7",
    "Put Mix-FFN together",
    stars=2,
    minutes=8,
    solution=mix_ffn,
    hints=[
        "Section 2 has the order of the four steps. Where does GELU stand?",
        "The Linears act on the last axis, and the convolution expects the channels second. So two "
        "permutes are needed, one before it and one after it.",
        "GELU comes after the convolution: contract(F.gelu(…)), with no skip connection.",
    ],
    takeaway="the order is Linear, depthwise convolution, GELU, Linear, and the skip connection is "
    "added outside.",
)
def examine_mix_ffn(answer: Callable[..., Tensor]) -> str | None:
    Case = tuple[Tensor, Layer, Layer, Layer]

    def linear(rng: Random, channels: int, out: int) -> Layer:
        weight, bias = normal(rng, out, channels), normal(rng, out)
        return lambda x: F.linear(x, weight, bias)

    def case(rng: Random, batch: int, height: int, width: int, channels: int, ratio: int) -> Case:
        hidden = ratio * channels
        x, weight, bias = depthwise_case(rng, batch, height, width, hidden)

        def convolve(maps: Tensor) -> Tensor:
            return F.conv2d(maps, weight, bias, padding=1, groups=hidden)

        expand, contract = linear(rng, channels, hidden), linear(rng, hidden, channels)
        return x[..., :channels], expand, convolve, contract

    def draw(rng: Random) -> Case:
        batch, height, width = rng.randint(1, 3), rng.randint(1, 6), rng.randint(1, 6)
        return case(rng, batch, height, width, rng.randint(1, 4), rng.randint(1, 4))

    def mixed_by(activation: Layer, forth: Layer = _forth, back: Layer = _back) -> Callable:
        """Mix-FFN with another activation, or with other ways to the convolution and back."""
        return lambda x, expand, convolve, contract: contract(
            activation(back(convolve(forth(expand(x)))))
        )

    def gelu_first(x: Tensor, expand: Layer, convolve: Layer, contract: Layer) -> Tensor:
        return contract(_back(convolve(_forth(F.gelu(expand(x))))))

    def gelu_twice(x: Tensor, expand: Layer, convolve: Layer, contract: Layer) -> Tensor:
        return mix_ffn(x, lambda tokens: F.gelu(expand(tokens)), convolve, contract)

    def regrouped(x: Tensor, expand: Layer, convolve: Layer, contract: Layer) -> Tensor:
        hidden = expand(x)
        B, H, W, C = hidden.shape
        return contract(F.gelu(convolve(hidden.reshape(B, C, H, W)).reshape(B, H, W, C)))

    def inner_skip(x: Tensor, expand: Layer, convolve: Layer, contract: Layer) -> Tensor:
        hidden = expand(x)
        return contract(F.gelu(hidden + _back(convolve(_forth(hidden)))))

    rng = Random(0)
    return diagnose(
        answer,
        mix_ffn,
        [case(rng, 2, 4, 5, 3, 4), case(rng, 1, 3, 3, 2, 2), *drawn(draw)],
        {
            "GELU comes before the convolution here. In Mix-FFN it comes after it, before the "
            "second Linear.": gelu_first,
            "there is no GELU. Without it nothing in the branch is nonlinear.": mixed_by(
                lambda x: x
            ),
            "GELU is there twice, but Mix-FFN has it once, after the convolution.": gelu_twice,
            "GELU comes at the very end, but it should come before the second Linear.": (
                lambda x, expand, convolve, contract: F.gelu(
                    mixed_by(lambda hidden: hidden)(x, expand, convolve, contract)
                )
            ),
            "this is ReLU, but Mix-FFN has GELU.": mixed_by(F.relu),
            "this is the approximation of GELU by tanh. F.gelu is exact unless you ask for it.": (
                mixed_by(lambda x: F.gelu(x, approximate="tanh"))
            ),
            "a reshape from (B, H, W, C) to (B, C, H, W) regroups the numbers. Move the axis with "
            "permute.": regrouped,
            "height and width are swapped on the way to the convolution: transpose(1, 3) exchanges "
            "two axes, and permute(0, 3, 1, 2) moves one.": mixed_by(
                F.gelu, lambda x: x.transpose(1, 3), lambda x: x.transpose(1, 3)
            ),
            "x is added at the end. The block adds its skip connection outside of Mix-FFN.": (
                lambda x, *layers: x + mix_ffn(x, *layers)
            ),
            "what the first Linear gave is added to what the convolution gives, but Mix-FFN has no "
            "skip connection inside.": inner_skip,
            "the convolution is missing.": (
                lambda x, expand, convolve, contract: contract(F.gelu(expand(x)))
            ),
        },
    )


def _forth(tokens: Tensor) -> Tensor:
    return tokens.permute(0, 3, 1, 2)


def _back(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1)
