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


def counted_in_the_layer(channels, paper_ratio):
    attention = SpatialReductionAttention(channels, 1, math.isqrt(paper_ratio))
    return sum(weight.numel() for weight in attention.reduce.parameters())


def share_by_gradient(height, width, stride, r):
    x = torch.ones(1, -(-height // stride), -(-width // stride), 1, requires_grad=True)
    F.conv2d(x.permute(0, 3, 1, 2), torch.ones(1, 1, r, r), stride=r).sum().backward()
    return (x.grad != 0).double().mean().item()


def padded_by_hand(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r = weight.shape[-1]
    batch, height, width, channels = x.shape
    room = torch.zeros(batch, math.ceil(height / r) * r, math.ceil(width / r) * r, channels)
    room[:, :height, :width] = x
    return convolved(room, weight, bias)


RIGHT: Mapping[str, Callable] = {
    "03.1": counted_in_the_model,
    "03.2": counted_in_the_layer,
    "03.3": F.scaled_dot_product_attention,
    "03.4": share_by_gradient,
    "03.5": padded_by_hand,
    "03.6": convolved,
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


def squared_again(channels, paper_ratio):
    r = paper_ratio
    return r * r * channels * channels + 3 * channels if r > 1 else 0


def squared_and_always_there(channels, paper_ratio):
    return (paper_ratio * channels) ** 2 + 3 * channels


def always_there(channels, paper_ratio):
    return paper_ratio * channels**2 + 3 * channels


def without_the_norm(channels, paper_ratio):
    return paper_ratio * channels**2 + channels if paper_ratio > 1 else 0


def without_the_biases(channels, paper_ratio):
    return paper_ratio * channels**2 + 2 * channels if paper_ratio > 1 else 0


def depthwise(channels, paper_ratio):
    return channels * (paper_ratio + 3) if paper_ratio > 1 else 0


def lost(height, width, stride, r):
    return 1 - share_by_gradient(height, width, stride, r)


def keys_over_tokens(height, width, stride, r):
    return counted_in_the_model(height, width, stride, r) / queries(height, width, stride, r)


def along_the_height(height, width, stride, r):
    rows = math.ceil(height / stride)
    return (rows - rows % r) / rows


def mean_of_both(height, width, stride, r):
    return (along_the_height(height, 0, stride, r) + along_the_height(width, 0, stride, r)) / 2


def remainder_of_the_total(height, width, stride, r):
    tokens = queries(height, width, stride, r)
    return (tokens - tokens % r**2) / tokens


def in_pixels(height, width, stride, r):
    window = stride * r
    return (height - height % window) * (width - width % window) / (height * width)


def padded_by(right, below, mode="constant"):
    def reduce(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r, (height, width) = weight.shape[-1], x.shape[1:3]
        maps = F.pad(
            x.movedim(-1, 1), (0, right(height, width, r), 0, below(height, width, r)), mode
        )
        return F.conv2d(maps, weight, bias, stride=r).movedim(1, -1)

    return reduce


def padded_before(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r = weight.shape[-1]
    return convolved(F.pad(x, (0, 0, -x.shape[2] % r, 0, -x.shape[1] % r, 0)), weight, bias)


def padded_like_a_patch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r = weight.shape[-1]
    return F.conv2d(x.movedim(-1, 1), weight, bias, stride=r, padding=r // 2).movedim(1, -1)


WRONG: Mapping[str, Mapping[str, Callable]] = {
    "03.1": {
        "divided by r once": divided_once,
        "total N is divided by r²": divided_in_total,
        "one row or column too many": rounded_up,
        "lose a token": rounded_down,
        "these are the tokens": queries,
        "it gives 16, which is not right": keys_of_one_side,
    },
    "03.6": {
        "the channels come last": reshaped_like_the_paper,
        "the order inside is not": channels_left_last,
        "the bias is missing": without_bias,
        "rows and columns of the window are swapped": kernel_transposed,
        "a tensor of shape (2, 3, 7, 3)": overlapping_windows,
    },
    "03.2": {
        "R taken for r": squared_again,
        "two mistakes": squared_and_always_there,
        "no convolution and no norm": always_there,
        "the LayerNorm after": without_the_norm,
        "the biases of the convolution": without_the_biases,
        "depthwise": depthwise,
    },
    "03.3": {
        "sum to one over the queries": over_the_queries,
        "the scores are not scaled": unscaled,
        "divided by d": divided_by_d,
        "over the heads": over_the_heads,
        "your code stopped with RuntimeError": keys_not_transposed,
    },
    "03.4": {
        "the share that is lost": lost,
        "keys over tokens": keys_over_tokens,
        "along one side": along_the_height,
        "not averaged": mean_of_both,
        "the total N is divided": remainder_of_the_total,
        "counts pixels": in_pixels,
    },
    "03.5": {
        "nothing is padded": convolved,
        "a whole window of zeros": padded_by(lambda h, w, r: r - w % r, lambda h, w, r: r - h % r),
        "height and width are swapped": padded_by(lambda h, w, r: -h % r, lambda h, w, r: -w % r),
        "the remainder is added": padded_by(lambda h, w, r: w % r, lambda h, w, r: h % r),
        "above and to the left": padded_before,
        "the border is repeated": padded_by(
            lambda h, w, r: -w % r, lambda h, w, r: -h % r, mode="replicate"
        ),
        "it gives a tensor of shape": padded_like_a_patch,
    },
}
