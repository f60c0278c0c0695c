"""Answers to the exercises of lesson 10: reached in another way, and wrong as people get them."""

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.exercises.folding import linear_of, norm_of


def through_torch(mean, variance, scale, shift, eps, weight, bias):
    norm = norm_of(mean, variance, scale, shift, eps)
    return linear_of(lambda x: F.linear(norm(x), weight, bias), len(mean))


def solved(at_256, at_512):
    parts = np.linalg.solve([[1, 1], [4, 16]], [at_256, at_512])
    return float(parts @ [16, 256])


def by_the_takeaway(at_256, at_512):
    return 20 * at_512 - 64 * at_256


def limits_in_turn(tokens, inputs, outputs, rate, bandwidth):
    layer = nn.Linear(inputs, outputs)
    x = torch.zeros(tokens, inputs)
    tensors = [x, layer.weight, layer.bias, layer(x)]
    moving = sum(tensor.nbytes for tensor in tensors) / bandwidth
    arithmetic = 2 * tokens * layer.weight.numel() / rate
    return arithmetic if arithmetic > moving else moving


def row_by_row(weight):
    numbers, scales = [], []
    for row in weight.tolist():
        scale = max(map(abs, row)) / 127 or 1.0
        scales.append(scale)
        numbers.append([int(np.rint(value / scale)) for value in row])
    return numbers, scales


RIGHT: Mapping[str, Callable | list] = {
    "10.1": through_torch,
    "10.2": [solved, by_the_takeaway],
    "10.3": [8, 8.0, Fraction(8)],
    "10.4": limits_in_turn,
    "10.5": row_by_row,
}


def folded(weight_of, bias_of):
    """An answer from the factors and constants of a norm."""

    def fold(mean, variance, scale, shift, eps, weight, bias):
        factor = scale * (variance + eps).rsqrt()
        return weight_of(weight, factor), bias_of(weight, bias, mean, factor, shift)

    return fold


def by_columns(w, f):
    return w * f[None]


def right_bias(w, b, m, f, s):
    return b + w.mv(s - f * m)


def by_variance(m, v, g, s, e, w, b):
    factor = g / (v + e)
    return w * factor, w.mv(s - m * factor) + b


def without_eps(m, v, g, s, e, w, b):
    factor = g / v.sqrt()
    return w * factor, w.mv(s - m * factor) + b


def beside_the_root(m, v, g, s, e, w, b):
    factor = g / (e + v**0.5)
    return w * factor, w.mv(s - m * factor) + b


def without_scale(m, v, g, s, e, w, b):
    factor = (v + e).rsqrt()
    return w * factor, w.mv(s - m * factor) + b


def grown(linear, quadratic, first=4, second=16):
    """The parts solved for these factors, and multiplied by those."""

    def cost(at_256, at_512):
        b = (at_512 - first * at_256) / (second - first)
        return linear * (at_256 - b) + quadratic * b

    return cost


def moved(n, c, d):
    return n * c + c * d + d + n * d


def floor(numbers=moved, work=lambda n, c, d: 2 * n * c * d, size=4, which=max):
    def seconds(n, c, d, rate, bandwidth):
        return which([work(n, c, d) / rate, size * numbers(n, c, d) / bandwidth])

    return seconds


def rounding(size=lambda w: w.abs().amax(1), steps=127, how=torch.round):
    def quantize(weight):
        largest = size(weight)
        scale = largest / steps
        scale = scale.masked_fill(largest <= 0, 1.0)
        return how(weight / scale.unsqueeze(1)), scale

    return quantize


def unguarded(w):
    scale = w.abs().amax(1, keepdim=True) / 127
    return (w / scale).round(), scale.squeeze(1)


WRONG: Mapping[str, Mapping[str, object]] = {
    "10.1": {
        "along the wrong axis": folded(lambda w, f: f.unsqueeze(1) * w, right_bias),
        "comes *after*": folded(
            lambda w, f: f.unsqueeze(1) * w, lambda w, b, m, f, s: f * (b - m) + s
        ),
        "have to pass through the weight": folded(by_columns, lambda w, b, m, f, s: b - f * m + s),
        "scaled twice": folded(by_columns, lambda w, b, m, f, s: b + (w * f).mv(s - f * m)),
        "the bias is the old one": folded(by_columns, lambda w, b, m, f, s: b),
        "the old bias is missing": folded(by_columns, lambda w, b, m, f, s: w.mv(s - f * m)),
        "shift is missing": folded(by_columns, lambda w, b, m, f, s: b - w.mv(f * m)),
        "the mean is missing": folded(by_columns, lambda w, b, m, f, s: b + w.mv(s)),
        "before it is subtracted": folded(by_columns, lambda w, b, m, f, s: b + w.mv(s - m)),
        "the mean is added": folded(by_columns, lambda w, b, m, f, s: b + w.mv(s + m * f)),
        "by its square root": by_variance,
        "it belongs under it": beside_the_root,
        "eps is left out": without_eps,
        "own scale is missing": without_scale,
    },
    "10.2": {
        "as if all of it grew with N.": lambda first, second: second * 4,
        "as if all of it grew with N².": lambda first, second: second * 16,
        "256 times the cost at 256×256": lambda first, second: first * 256,
        "64 times the cost at 256×256": lambda first, second: first * 64,
        "adds four times the cost": lambda first, second: second + 4 * second,
        "the factor itself grows": lambda first, second: second / first * second,
        "a straight line": lambda first, second: second + (second - first),
        "the parts grow 2 and 4 times": grown(4, 16, 2, 4),
        "From there it is as far again": grown(4, 16),
        "N² grows 256 times": lambda first, second: first * 16,
    },
    "10.3": {
        "permute changes the strides, and": 1,
        "it computes it": 2,
        "changes the strides back": 3,
        "y has it already": 4,
        "one stride leads through both": 5,
        "split in two": 6,
        "what has to follow": 7,
        "and it computes": 9,
        "nine lines": 10,
        "without brackets": [8],
    },
    "10.4": {
        "these are added": floor(which=sum),
        "the shorter": floor(which=min),
        "the arithmetic alone": floor(which=lambda both: both[0]),
        "the moving alone": floor(which=lambda both: both[1]),
        "*and* an addition": floor(work=lambda n, c, d: n * c * d),
        "counted apart": floor(work=lambda n, c, d: 2 * n * c * d + n * d),
        "additions of the bias are missing": floor(work=lambda n, c, d: n * d * (c + c - 1)),
        "weight and bias": floor(lambda n, c, d: n * (c + d)),
        "a float32 has four.": floor(size=1),
        "Eight bits are one": floor(size=32),
        "the weight has to be read": floor(lambda n, c, d: n * c + d + n * d),
        "the output has to be written": floor(lambda n, c, d: n * c + c * d + d),
        "the input has to be read": floor(lambda n, c, d: c * d + d + n * d),
        "the bias has to be read": floor(lambda n, c, d: n * c + c * d + n * d),
    },
    "10.5": {
        "divides by zero. Its scale": unguarded,
        "gets the scale 1.": lambda w: (rounding()(w)[0], unguarded(w)[1]),
        "one scale for the whole": rounding(lambda w: w.abs().max().repeat(len(w))),
        "those of the columns": lambda w: (lambda numbers, scales: (numbers.mT, scales))(
            *rounding()(w.mT)
        ),
        "becomes 128": rounding(steps=128),
        "becomes 255": rounding(steps=255),
        "cut off": rounding(how=torch.trunc),
        "rounded down": rounding(how=torch.floor),
        "may be negative": rounding(lambda w: w.amax(1)),
        "the whole range": rounding(lambda w: w.amax(1) - w.amin(1), steps=255),
        "turned round": lambda w: (rounding()(w)[0], rounding()(w)[1].reciprocal()),
        "not whole": rounding(how=lambda x: x),
        "the rounded weights": lambda w: (
            rounding()(w)[0] * rounding()(w)[1].unsqueeze(1),
            rounding()(w)[1],
        ),
        "are exchanged": lambda w: rounding()(w)[::-1],
        "an axis of length 1": lambda w: (rounding()(w)[0], rounding()(w)[1].unsqueeze(1)),
    },
}

SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "10.5": {
        "return ((weight / scales[:, None]).round(), scales)": (
            "allowed: whole numbers may be kept in a float tensor."
        ),
    },
}
