"""Answers to lesson 01's exercises, as learners write them: right ones, and diagnosis → wrong."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def counted_by_torch(height, width, patch_size, stride, padding):
    blank = torch.zeros(1, 1, height, width)
    cut = F.max_pool2d(F.pad(blank, [padding] * 4), patch_size, stride)
    return tuple(cut.shape[2:])


def counted_as_array(height, width, patch_size, stride, padding):
    return (np.array([height, width]) + 2 * padding - patch_size) // stride + 1


def counted_as_map(height, width, patch_size, stride, padding):
    def side(n):
        return math.floor(Fraction(n + 2 * padding - patch_size, stride)) + 1

    return map(side, (height, width))


def counted_as_sets(patch_size, stride):
    return len(set(range(patch_size)) & set(range(stride, stride + patch_size)))


def split_then_permuted(tokens, height, width):
    return tokens.reshape(len(tokens), height, width, -1).permute(0, 3, 1, 2)


def cut_and_multiplied(images, weight, bias, stride, padding):
    windows = F.pad(images, [padding] * 4).unfold(2, weight.shape[2], stride)
    windows = windows.unfold(3, weight.shape[3], stride)
    return torch.einsum("bchwij,dcij->bhwd", windows, weight).flatten(1, 2) + bias


def convolved(images, weight, bias, stride, padding):
    return F.conv2d(images, weight, bias, stride, padding).flatten(2).mT


def normalized_by_torch(x, weight, bias):
    return F.layer_norm(x, x.shape[-1:], weight, bias)


def normalized_in_place(x, weight, bias):
    x -= x.mean(-1, keepdim=True)
    x /= (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return x.mul_(weight).add_(bias)


def seen_by_gradient(patch_sizes, strides):
    row = torch.zeros(1, 1, 500, requires_grad=True)
    x = row
    for patch_size, stride in zip(patch_sizes, strides, strict=True):
        x = F.conv1d(x, torch.ones(1, 1, patch_size), stride=stride)
    x[0, 0, 0].backward()
    return int((row.grad != 0).sum())


RIGHT: Mapping[str, Callable | Sequence[Callable]] = {
    "01.1": [counted_by_torch, counted_as_array, counted_as_map],
    "01.2": counted_as_sets,
    "01.3": [split_then_permuted, lambda *given: split_then_permuted(*given).numpy()],
    "01.4": cut_and_multiplied,
    "01.5": [normalized_by_torch, normalized_in_place],
    "01.6": seen_by_gradient,
}


def no_plus_one(height, width, patch_size, stride, padding):
    return tuple((side + 2 * padding - patch_size) // stride for side in (height, width))


def no_padding(height, width, patch_size, stride, padding):
    return (height - patch_size) // stride + 1, (width - patch_size) // stride + 1


def padding_once(height, width, patch_size, stride, padding):
    rows = (height - patch_size + padding) // stride + 1
    return rows, (width - patch_size + padding) // stride + 1


def rounded_up(height, width, patch_size, stride, padding):
    return tuple(
        math.ceil((side - patch_size + 2 * padding) / stride) + 1 for side in (height, width)
    )


def true_division(height, width, patch_size, stride, padding):
    rows = (height + 2 * padding - patch_size) / stride + 1
    return rows, (width + 2 * padding - patch_size) / stride + 1


def size_over_stride(height, width, patch_size, stride, padding):
    return height // stride, width // stride


def size_over_stride_up(height, width, patch_size, stride, padding):
    return -(-height // stride), -(-width // stride)


def width_first(height, width, patch_size, stride, padding):
    return counted_by_torch(width, height, patch_size, stride, padding)


def normalized(x, weight, bias, axes, **options):
    mean, var = x.mean(axes, keepdim=True), x.var(axes, keepdim=True, **{"correction": 0} | options)
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def batch_norm(x, weight, bias):
    norm = nn.BatchNorm2d(x.shape[-1])
    norm.weight.data, norm.bias.data = weight, bias
    return norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def conv_without_bias(images, weight, bias, stride, padding):
    return F.conv2d(images, weight, None, stride, padding).flatten(2).transpose(1, 2)


def weights_channels_last(images, weight, bias, stride, padding):
    patches = F.unfold(images, weight.shape[2], padding=padding, stride=stride).mT
    return patches @ weight.permute(0, 2, 3, 1).flatten(1).T + bias


def view_for_transpose(images, weight, bias, stride, padding):
    cut = F.unfold(images, weight.shape[2], padding=padding, stride=stride)
    return cut.view(cut.shape[0], cut.shape[2], cut.shape[1]) @ weight.flatten(1).T + bias


def flipped(images, weight, bias, stride, padding):
    return convolved(images, weight.flip(-1, -2), bias, stride, padding)


def left_as_a_map(images, weight, bias, stride, padding):
    return F.conv2d(images, weight, bias, stride, padding)


def always_half_a_kernel(images, weight, bias, stride, padding):
    return convolved(images, weight, bias, stride, weight.shape[-1] // 2)


def square_map(tokens, height, width):
    side = int(tokens.shape[1] ** 0.5)
    return tokens.mT.reshape(len(tokens), -1, side, side)


def rms_norm(x, weight, bias):
    return F.rms_norm(x, x.shape[-1:], weight, 1e-5) + bias


def zeroed(x, weight, bias):
    return F.layer_norm(x.zero_(), x.shape[-1:], weight, bias)


def one_step_too_many(patch_sizes, strides):
    field, step = patch_sizes[0], strides[0]
    for patch_size, stride in zip(patch_sizes[1:], strides[1:], strict=True):
        field, step = field + patch_size * step, step * stride
    return field


WRONG: Mapping[str, Mapping[str, Callable]] = {
    "01.1": {
        "the first patch is missing": no_plus_one,
        "the padding is missing": no_padding,
        "counted once": padding_once,
        "rounded up": rounded_up,
        "not rounded": true_division,
        "right for kernel = stride": size_over_stride,
        "right for odd kernels": size_over_stride_up,
        "rows and columns are swapped": width_first,
        "patches begin a stride apart": lambda h, w, k, s, p: (h // k, w // k),
        "rounded to the nearest": lambda h, w, k, s, p: (
            round((h + 2 * p - k) / s) + 1,
            round((w + 2 * p - k) / s) + 1,
        ),
        "total number of tokens": lambda *case: math.prod(counted_by_torch(*case)),
    },
    "01.2": {
        "not a negative number": lambda patch_size, stride: patch_size - stride,
        "the other way round": lambda patch_size, stride: max(0, stride - patch_size),
        "half a kernel": lambda patch_size, stride: patch_size // 2,
        "this is half a kernel where": lambda k, s: k // 2 if k > s else 0,
        "this is half of K − 1": lambda k, s: (k - 1) // 2 * (k > s),
        "this is S − 1": lambda k, s: min(k, s - 1) if k > s else 0,
        "one too many": lambda patch_size, stride: max(patch_size - stride + 1, 0),
        "area of the strip": lambda patch_size, stride: patch_size * max(patch_size - stride, 0),
    },
    "01.3": {
        "token after token": lambda x, h, w: x.view(x.shape[0], x.shape[2], h, w),
        "rows and columns are swapped": lambda x, h, w: x.mT.reshape(len(x), -1, w, h),
        "column by column": lambda x, h, w: x.reshape(len(x), w, h, -1).permute(0, 3, 2, 1),
        "transpose(1, 3) exchanges": lambda x, h, w: x.unflatten(1, (h, w)).transpose(1, 3),
        "right for square maps": square_map,
        "channels are last": lambda x, h, w: x.reshape(len(x), h, w, -1),
    },
    "01.4": {
        "the padding is missing": lambda x, w, b, stride, padding: convolved(x, w, b, stride, 0),
        "the bias is missing": conv_without_bias,
        "the channel first, then row": weights_channels_last,
        "reshape does not swap axes": view_for_transpose,
        "one token per row": lambda *given: convolved(*given).mT,
        "a convolution has made them": convolved,
        "rotated by 180°": flipped,
        "this is still a map": left_as_a_map,
        "half a kernel here": always_half_a_kernel,
        "the stride is not used": lambda x, w, b, s, p: convolved(x, w, b, w.shape[-1], p),
    },
    "01.5": {
        "this is BatchNorm": batch_norm,
        "InstanceNorm": lambda x, w, b: normalized(x, w, b, (1, 2)),
        "one mean for the whole map": lambda x, w, b: normalized(x, w, b, (1, 2, 3)),
        "along the width": lambda x, w, b: normalized(x, w, b, 2),
        "LayerNorm divides by C": lambda x, w, b: normalized(x, w, b, -1, correction=1),
        "1e-6 is added": lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, eps=1e-6),
        "this is RMSNorm": rms_norm,
        "the mean is not subtracted.": lambda x, w, b: (
            x / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * w + b
        ),
        "also changes what it is given": zeroed,
        "weight and bias are not used": lambda x, w, b: F.layer_norm(x, [x.shape[-1]]),
        "the 1e-5 is missing": lambda x, w, b: (
            (x - x.mean(-1, True)) / x.std(-1, correction=0, keepdim=True) * w + b
        ),
        "added to the standard deviation": lambda x, w, b: (
            (x - x.mean(-1, True)) / (x.std(-1, correction=0, keepdim=True) + 1e-5) * w + b
        ),
        "divided by the variance": lambda x, w, b: (
            (x - x.mean(-1, True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5) * w + b
        ),
    },
    "01.6": {
        "product of the strides": lambda patch_sizes, strides: math.prod(strides),
        "product of the patches": lambda patch_sizes, strides: math.prod(patch_sizes),
        "on the same pixels": lambda patch_sizes, strides: sum(patch_sizes) - len(strides) + 1,
        "the patches are added up": lambda patch_sizes, strides: sum(patch_sizes),
        "doubling and one more": lambda patch_sizes, strides: (
            (patch_sizes[0] + 1) * 2 ** len(patch_sizes[1:]) - 1
        ),
        "one step too many": one_step_too_many,
        "its own stride": lambda patch_sizes, strides: (
            1
            + sum((k - 1) * math.prod(strides[: index + 1]) for index, k in enumerate(patch_sizes))
        ),
    },
}

SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "01.4": {
        "patches = F.unfold(images, weight.shape[-2], padding=padding, stride=stride)": (
            "same: the kernels are square."
        ),
    },
    "01.6": {
        "step, field = (1, 1)": "same: both begin at 1.",
        "for patch_size, stride in zip(patch_sizes, strides):": "same: both are as long.",
        "for patch_size, stride in zip(patch_sizes, strides, strict=False):": (
            "same: both are as long."
        ),
    },
}
