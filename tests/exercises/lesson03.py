"""Answers to lesson 03's exercises, as learners write them: right ones, and diagnosis → wrong."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu import OverlapPatchEmbedding, SpatialReductionAttention


def counted_in_the_model(height, width, stride, r):
    patches = OverlapPatchEmbedding(1, 2, patch_size=2 * (stride // 2) + 1, stride=stride)
    tokens = patches(torch.zeros(1, 1, height, width))
    return SpatialReductionAttention(2, 1, r).weights(tokens)[0, 0, 0, 0].numel()


def convolved(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    out = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride=weight.shape[-1])
    return out.permute(0, 2, 3, 1)


RIGHT: Mapping[str, Callable] = {
    "03.1": counted_in_the_model,
    "03.2": convolved,
    "03.3": F.scaled_dot_product_attention,
}


def divided_once(height, width, stride, r):
    tokens = math.ceil(height / stride) * math.ceil(width / stride)
    return tokens // r


def divided_in_total(height, width, stride, r):
    tokens = -(-height // stride) * -(-width // stride)
    return tokens // (r * r)


def rounded_up(height, width, stride, r):
    return math.ceil(math.ceil(height / stride) / r) * math.ceil(math.ceil(width / stride) / r)


def rounded_down(height, width, stride, r):
    return (height // (stride * r)) * (width // (stride * r))


def queries(height, width, stride, r):
    return math.ceil(height / stride) * math.ceil(width / stride)


def keys_of_one_side(height, width, stride, r):
    return math.ceil(height / stride) // r


def reshaped_like_the_paper(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    batch, height, width, channels = x.shape
    r = weight.shape[-1]
    x = x.flatten(1, 2).reshape(batch, height * width // (r * r), channels * r * r)
    x = x @ weight.reshape(channels, -1).T + bias
    return x.reshape(batch, height // r, width // r, channels)


def channels_left_last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    batch, height, width, channels = x.shape
    r = weight.shape[-1]
    x = x.reshape(batch, height // r, r, width // r, r, channels).permute(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, height // r, width // r, r * r * channels)
    return x @ weight.reshape(channels, -1).T + bias


def without_bias(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return convolved(x, weight, torch.zeros_like(bias))


def kernel_transposed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return convolved(x, weight.transpose(-1, -2), bias)


def overlapping_windows(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias).permute(0, 2, 3, 1)


def over_the_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = F.softmax(torch.einsum("bhqd,bhkd->bhqk", q, k) / q.size(-1) ** 0.5, dim=2)
    return weights @ v


def unscaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


def divided_by_d(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT / q.shape[-1], -1) @ v


def over_the_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, 1) @ v


def keys_not_transposed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k / q.shape[-1] ** 0.5, -1) @ v


WRONG: Mapping[str, Mapping[str, Callable]] = {
    "03.1": {
        "divided by r once": divided_once,
        "total N is divided by r²": divided_in_total,
        "one row or column too many": rounded_up,
        "lose a token": rounded_down,
        "these are the tokens": queries,
        "it gives 16, and that is not it": keys_of_one_side,
    },
    "03.2": {
        "the channels run last": reshaped_like_the_paper,
        "the order inside is not": channels_left_last,
        "the bias is missing": without_bias,
        "rows and columns of the window are swapped": kernel_transposed,
        "a tensor of shape (2, 3, 7, 3)": overlapping_windows,
    },
    "03.3": {
        "sum to one over the queries": over_the_queries,
        "the scores are not scaled": unscaled,
        "divided by d": divided_by_d,
        "over the heads": over_the_heads,
        "your code stopped with RuntimeError": keys_not_transposed,
    },
}
