"""Exercises of lesson 10, where the time goes."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal
from segformer_edu.exercises.folding import draw_norm, drawn_linears, factor


def fold_in_front(
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    eps: float,
    weight: Tensor,
    bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """One Linear that does what a BatchNorm in evaluation and the Linear behind it do."""
    factor = scale / torch.sqrt(variance + eps)  # one for each input
    return weight * factor, weight @ (shift - mean * factor) + bias


@exercise(
    "10.1",
    "A BatchNorm in front",
    stars=2,
    minutes=8,
    solution=fold_in_front,
    hints=[
        "In evaluation BatchNorm is factor · x + constant, with factor = scale / sqrt(variance + "
        "eps). What is the constant?",
        "Put it into the Linear: weight (factor · x + constant) + bias. What multiplies x? And "
        "what is left when x is zero?",
        "The factors belong to the inputs of the Linear, so to the columns of its weight. The "
        "constant has to pass through the weight.",
    ],
    takeaway="factors go into the columns, and the constants pass through the weight. (In front of "
    "a convolution that pads with zeros it is wrong at the border: the norm would not be zero "
    "there.)",
)
def examine_fold_in_front(answer: Callable[..., tuple[Tensor, Tensor]]) -> str | None:
    def case(rng: random.Random, outputs: int, inputs: int) -> tuple[Tensor | float, ...]:
        return *draw_norm(rng, inputs), normal(rng, outputs, inputs), normal(rng, outputs)

    square, any_sizes = drawn_linears(case)
    return diagnose(
        answer,
        fold_in_front,
        square,
        {
            "the factors lie along the wrong axis. Each belongs to an input, so to a column of the "
            "weight.": lambda m, v, g, s, e, w, b: (
                w * factor(v, g, e)[:, None],
                w @ (s - m * factor(v, g, e)) + b,
            ),
            "this folds a BatchNorm that comes *after* the Linear. Here it comes before.": (
                lambda m, v, g, s, e, w, b: (
                    w * factor(v, g, e)[:, None],
                    (b - m) * factor(v, g, e) + s,
                )
            ),
            "the weight is right, but the BatchNorm's constants have to pass through the weight.": (
                lambda m, v, g, s, e, w, b: (w * factor(v, g, e), b + s - m * factor(v, g, e))
            ),
            "the weight is right, but the constants pass through the new weight, so they are "
            "scaled twice.": lambda m, v, g, s, e, w, b: (
                w * factor(v, g, e),
                (w * factor(v, g, e)) @ (s - m * factor(v, g, e)) + b,
            ),
            "the weight is right, but the bias is the old one. Put x = 0 into both layers: what "
            "comes out?": lambda m, v, g, s, e, w, b: (w * factor(v, g, e), b),
            "the weight is right, but the old bias is missing.": (
                lambda m, v, g, s, e, w, b: (
                    w * factor(v, g, e),
                    w @ (s - m * factor(v, g, e)),
                )
            ),
            "the weight is right, but the BatchNorm's shift is missing.": (
                lambda m, v, g, s, e, w, b: (w * factor(v, g, e), b - w @ (m * factor(v, g, e)))
            ),
            "the weight is right, but the mean is missing.": (
                lambda m, v, g, s, e, w, b: (w * factor(v, g, e), w @ s + b)
            ),
            "the weight is right, but the mean has to be scaled before it is subtracted.": (
                lambda m, v, g, s, e, w, b: (w * factor(v, g, e), w @ (s - m) + b)
            ),
            "the weight is right, but the mean is added. BatchNorm subtracts it.": (
                lambda m, v, g, s, e, w, b: (w * factor(v, g, e), w @ (s + m * factor(v, g, e)) + b)
            ),
            "this divides by the variance, but BatchNorm divides by its square root.": (
                lambda m, v, g, s, e, w, b: (w * (g / (v + e)), w @ (s - m * g / (v + e)) + b)
            ),
            "eps is added to the square root, but it belongs under it.": (
                lambda m, v, g, s, e, w, b: (
                    w * (g / (v.sqrt() + e)),
                    w @ (s - m * g / (v.sqrt() + e)) + b,
                )
            ),
            "eps is left out. It is often small, but logits are compared to five digits.": (
                lambda m, v, g, s, e, w, b: fold_in_front(m, v, g, s, 0.0, w, b)
            ),
            "the BatchNorm's own scale is missing.": (
                lambda m, v, g, s, e, w, b: fold_in_front(m, v, torch.ones_like(g), s, e, w, b)
            ),
        },
    ) or diagnose(answer, fold_in_front, any_sizes, {})


def cost_at_1024(at_256: float, at_512: float) -> float:
    """The cost at 1024×1024 of what is a N + b N², from that at two smaller sizes."""
    quadratic = (at_512 - 4 * at_256) / 12  # of 256×256: 16 − 4 times it is what is too much
    linear = at_256 - quadratic
    return 16 * linear + 256 * quadratic


@exercise(
    "10.2",
    "What will 1024² cost?",
    stars=2,
    minutes=8,
    solution=cost_at_1024,
    hints=[
        "Twice the side has four times the tokens. By how much does each of the two parts grow?",
        "Call the parts at 256×256 a and b. Then a + b is the first cost, and 4 a + 16 b the "
        "second. What is 16 a + 256 b?",
        "The second cost less four times the first is 12 b.",
    ],
    takeaway="that is 20 times the second less 64 times the first. The more a model attends, the "
    "nearer it comes to 16 times the second; without attention it is 4 times.",
)
def examine_cost_at_1024(answer: Callable[..., float]) -> str | None:
    def draw(rng: random.Random) -> tuple[float, float]:
        linear, quadratic = rng.uniform(1, 9), rng.uniform(0.1, 9)
        return linear + quadratic, 4 * linear + 16 * quadratic

    return diagnose(
        answer,
        cost_at_1024,
        [(1.0, 4.0), (1.0, 16.0), (2.0, 20.0), *drawn(draw)],
        {
            "this is four times the cost at 512×512, as if all of it grew with N. Attention grows "
            "faster.": lambda first, second: 4 * second,
            "this is sixteen times the cost at 512×512, as if all of it grew with N². The "
            "Linears grow with N.": lambda first, second: 16 * second,
            "this is 16 times the cost at 256×256, as if all of it grew with N. N grows 16 times "
            "here, so N² grows 256 times.": lambda first, second: 16 * first,
            "this is 256 times the cost at 256×256, as if all of it grew with N². The Linears grow "
            "with N.": lambda first, second: 256 * first,
            "this is 64 times the cost at 256×256. But one part grows 16 times and the other 256 "
            "times, and neither 64 times.": lambda first, second: 64 * first,
            "this adds four times the cost at 512×512 to it. Four times as many tokens are three "
            "times *more*, and the part with N² grows 16 times.": lambda first, second: 5 * second,
            "this takes the factor from 256 to 512 once more. But the part with N² grows faster, "
            "so the factor itself grows.": lambda first, second: second**2 / first,
            "this goes on along a straight line. Ask by how much each part is multiplied, not how "
            "much is added.": lambda first, second: 2 * second - first,
            "here the parts grow 2 and 4 times from one size to the next. But twice the *side* "
            "has four times the tokens.": lambda first, second: (
                4 * (first - (second - 2 * first) / 2) + 16 * (second - 2 * first) / 2
            ),
            "the parts of 256×256 are multiplied by 4 and 16, which leads to 512×512. From there "
            "it is as far again.": lambda first, second: (
                4 * (first - (second - 4 * first) / 12) + 16 * (second - 4 * first) / 12
            ),
        },
    )


@exercise(
    "10.3",
    "Where is the copy?",
    stars=1,
    minutes=6,
    solution=8,
    hints=[
        "A line that only renames axes or splits one is a view. Line 4 asks for a layout; does y "
        "have it already?",
        "Run the lines on torch.randn(2, 32, 32, 64), and compare the data_ptr() of y before and "
        "after each.",
        "Two axes become one where stepping along the first is as long as all steps along the "
        "second together. Look at y.stride() before line 8.",
    ],
    takeaway="after line 7 two heads of a picture lie 16 numbers apart, and two pictures 65,536: "
    "no single stride leads through both, so flatten copies. (For one picture it would not.)",
)
def examine_copies(answer: float) -> str | None:
    views = {
        1: "permute changes the strides, and copies nothing.",
        3: "this permute changes the strides back, and copies nothing.",
        5: "rows and columns lie one behind the other, so one stride leads through both: a view.",
        6: "one axis can always be split in two: a view.",
        7: "transpose changes the strides, and copies nothing. But look at what has to follow.",
    }
    computes = {
        2: "a convolution writes a new map, but it computes it. Asked is for a copy of what is "
        "there.",
        9: "a mean reads all and writes little, and it computes. Asked is for a copy of a whole "
        "map.",
    }
    if answer == 8:
        return None
    if answer == 4:
        return (
            "it asks for channels that lie side by side. But the convolution kept this layout, and "
            "line 3 has only renamed the axes, so y has it already, and nothing is copied."
        )
    return (views | computes).get(int(answer), "there are nine lines, 1 to 9; give one number.")


def floor_of_linear(tokens: int, inputs: int, outputs: int, rate: float, bandwidth: float) -> float:
    """The least seconds of a Linear in float32: of its arithmetic, or of moving its bytes."""
    arithmetic = 2 * tokens * inputs * outputs / rate
    numbers = tokens * inputs + inputs * outputs + outputs + tokens * outputs
    return max(arithmetic, 4 * numbers / bandwidth)


@exercise(
    "10.4",
    "The floor of a Linear",
    stars=2,
    minutes=8,
    solution=floor_of_linear,
    hints=[
        "How many multiplications, and how many additions? And which tensors have to be read, and "
        "which written?",
        "Input, weight and bias are read, the output is written; each number has four bytes.",
        "A machine can compute and move at the same time. So which of the two limits counts?",
    ],
    takeaway="the longer of the two. Many channels make it the arithmetic, few the moving.",
)
def examine_floor_of_linear(answer: Callable[..., float]) -> str | None:
    def draw(rng: random.Random) -> tuple[int, int, int, float, float]:
        sizes = rng.randint(1, 300), rng.randint(1, 300), rng.randint(1, 300)
        return *sizes, 1e9 * rng.choice([1, 10, 100, 1000]), 1e9 * rng.choice([1, 10, 100])

    def limits(*case: float, **changes: float) -> tuple[float, float]:
        n, c, d, rate, bandwidth = case
        parts = {"input": n * c, "weight": c * d, "bias": d, "output": n * d}
        parts |= {"adds": 2, "beside": 0, "bytes": 4} | changes
        numbers = parts["input"] + parts["weight"] + parts["bias"] + parts["output"]
        operations = (parts["adds"] * c + parts["beside"]) * n * d
        return operations / rate, parts["bytes"] * numbers / bandwidth

    def having(**changes: float) -> Callable[..., float]:
        return lambda *case: max(limits(*case, **changes))

    return diagnose(
        answer,
        floor_of_linear,
        [(16384, 32, 128, 1e11, 1e10), (256, 256, 1024, 1e11, 1e10), *drawn(draw)],
        {
            "these are added, but a machine can fetch the next numbers while it computes. The "
            "least time is the longer of the two.": lambda *case: sum(limits(*case)),
            "this is the shorter of the two limits. Both have to be kept, so the longer counts.": (
                lambda *case: min(limits(*case))
            ),
            "this is the arithmetic alone. Where it does little with each number, moving takes "
            "longer.": lambda *case: limits(*case)[0],
            "this is the moving alone. Where it does much with each number, the arithmetic takes "
            "longer.": lambda *case: limits(*case)[1],
            "each multiply-add is a multiplication *and* an addition, so two.": having(adds=1),
            "the additions of the bias are counted apart. But C products need C − 1 additions, and "
            "the bias is the last of C: together 2·C.": having(beside=1),
            "the additions of the bias are missing. C products and the bias make C additions.": (
                having(beside=-1)
            ),
            "the bandwidth is in bytes, and a float32 has four.": having(bytes=1),
            "a float32 has four bytes. (Eight bits are one.)": having(bytes=32),
            "weight and bias have to be read, too.": having(weight=0, bias=0),
            "the weight has to be read, too.": having(weight=0),
            "the output has to be written, too.": having(output=0),
            "the input has to be read, too.": having(input=0),
            "the bias has to be read, too. It is little, but there are small Linears.": having(
                bias=0
            ),
        },
    )


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from −127 to 127 and a scale for each row, whose product is near the weight."""
    largest = weight.abs().amax(dim=1)
    scales = torch.where(largest > 0, largest / 127, 1.0)
    return (weight / scales[:, None]).round().to(torch.int8), scales


@exercise(
    "10.5",
    "Eight bits",
    stars=3,
    minutes=12,
    solution=quantize,
    hints=[
        "Begin with the scales: the largest number of a row, by its size, is 127 of them.",
        "Divide each row by its scale, and round to the *nearest* whole number.",
        "A row of zeros would divide by zero: torch.where gives such a row the scale 1.",
    ],
    takeaway="a quarter of the bytes, and no number is off by more than half a scale.",
)
def examine_quantize(answer: Callable[..., tuple[Tensor, Tensor]]) -> str | None:
    def case(rng: random.Random, rows: int, columns: int) -> tuple[Tensor]:
        sizes = normal(rng, rows, 1).exp()  # rows of quite different sizes
        weight = sizes * normal(rng, rows, columns)
        if rng.random() < 0.3:
            weight[rng.randrange(rows)] = 0
        return (weight,)

    def draw(rng: random.Random) -> tuple[Tensor]:
        return case(rng, rng.randint(1, 6), rng.randint(1, 6))

    def square(rng: random.Random) -> tuple[Tensor]:
        return case(rng, *[rng.randint(2, 6)] * 2)

    def by(largest: Callable[[Tensor], Tensor], steps: int = 127, how: str = "round") -> Callable:
        def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
            size = largest(weight)
            scales = torch.where(size > 0, size / steps, 1.0)
            return getattr(weight / scales[:, None], how)(), scales

        return quantized

    def of_rows(weight: Tensor) -> Tensor:
        return weight.abs().amax(dim=1)

    def of_all(weight: Tensor) -> Tensor:
        return weight.abs().max().expand(len(weight))

    def columns(weight: Tensor) -> tuple[Tensor, Tensor]:
        numbers, scales = quantize(weight.T)
        return numbers.T, scales

    def unguarded(weight: Tensor) -> tuple[Tensor, Tensor]:
        scales = of_rows(weight) / 127
        return (weight / scales[:, None]).round(), scales

    def no_scale(weight: Tensor) -> tuple[Tensor, Tensor]:
        return quantize(weight)[0], of_rows(weight) / 127

    mistakes = {
        "a row of zeros divides by zero. Its scale is 1.": unguarded,
        "the numbers are right, but a row of zeros gets the scale 1.": no_scale,
        "there is one scale for the whole matrix here. Each row has its own.": by(of_all),
        "the scales are those of the columns.": columns,
        "the largest number of a row becomes 128 here, which eight bits with a sign cannot hold. "
        "It becomes 127.": by(of_rows, 128),
        "the largest number of a row becomes 255 here. That takes eight bits without a sign.": (
            by(of_rows, 255)
        ),
        "the numbers are cut off, not rounded. Then they are off by up to a whole scale.": (
            by(of_rows, how="trunc")
        ),
        "the numbers are rounded down. Then they are off by up to a whole scale.": (
            by(of_rows, how="floor")
        ),
        "the scale is that of the largest number of a row. But the largest *by its size* may be "
        "negative.": by(lambda weight: weight.amax(dim=1)),
        "the scale is that of the whole range, from the least to the largest. Symmetric means the "
        "same range on both sides of zero.": by(
            lambda weight: weight.amax(dim=1) - weight.amin(dim=1), 255
        ),
        "these are the scales turned round. Numbers times scales give the matrix.": (
            lambda weight: (quantize(weight)[0], 1 / quantize(weight)[1])
        ),
        "the numbers are not whole.": lambda weight: (
            weight / quantize(weight)[1][:, None],
            quantize(weight)[1],
        ),
        "these are the rounded weights. Return the whole numbers and the scales.": lambda weight: (
            quantize(weight)[0] * quantize(weight)[1][:, None],
            quantize(weight)[1],
        ),
        "scales and numbers are exchanged: return the numbers first.": lambda weight: (
            quantize(weight)[1],
            quantize(weight)[0],
        ),
        "the scales have an axis of length 1. Return (D,).": lambda weight: (
            quantize(weight)[0],
            quantize(weight)[1][:, None],
        ),
    }
    return diagnose(answer, quantize, drawn(square), mistakes) or diagnose(
        answer, quantize, drawn(draw), {}
    )
