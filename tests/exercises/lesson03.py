"""Answers to lesson 03's exercises, as learners write them: right ones, and diagnosis → wrong."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
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


def windows_as_a_list(x: Tensor, weight: Tensor, bias: Tensor) -> list:
    """Window by window, as NumPy arrays."""
    r = weight.shape[-1]
    rows = [list(row.split(r, dim=2)) for row in x.split(r, dim=1)]

    def key(window: Tensor) -> Tensor:
        return torch.einsum("bijc,dcij->bd", window, weight) + bias

    return torch.stack([torch.stack(list(map(key, row)), 1) for row in rows], 1).numpy()


def split_beforehand(x, weight, bias, num_heads):
    """Two matrices of C rows, each of them split into heads."""

    def heads(weight, bias):
        return torch.stack((x @ weight.T + bias).chunk(num_heads, -1), 1)

    return map(heads, weight.chunk(2), bias.chunk(2))


def row_by_row(x, weight, bias, num_heads):
    """Every number by itself: of half h, head and channel c, row (h · heads + head) · d + c."""
    d = x.shape[-1] // num_heads
    k, v = (
        torch.stack(
            [
                torch.stack([x @ weight[row] + bias[row] for row in range(first, first + d)], -1)
                for first in range(half * x.shape[-1], (half + 1) * x.shape[-1], d)
            ],
            1,
        )
        for half in (0, 1)
    )
    return [k, v]


def fused_on_lists(x, reduce, query, key, value):
    few = reduce(x)
    q, k, v = (each.flatten(1, 2) for each in (query(x), key(few), value(few)))
    return F.scaled_dot_product_attention(q, k, v).reshape(x.shape)


def token_by_token(x, reduce, query, key, value):
    k, v = (each(reduce(x)).flatten(1, 2) for each in (key, value))
    q = query(x)
    q /= x.shape[-1] ** 0.5
    rows = [
        [
            (torch.einsum("bc,bnc->bn", token, k).softmax(1)[:, None] @ v)[:, 0]
            for token in row.unbind(1)
        ]
        for row in q.unbind(1)
    ]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


RIGHT: Mapping[str, Callable | Sequence[Callable]] = {
    "03.1": counted_in_the_model,
    "03.2": counted_in_the_layer,
    "03.3": F.scaled_dot_product_attention,
    "03.4": share_by_gradient,
    "03.5": padded_by_hand,
    "03.6": windows_as_a_list,
    "03.7": [split_beforehand, row_by_row],
    "03.8": [fused_on_lists, token_by_token],
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


def depthwise(channels, paper_ratio):
    return channels * (paper_ratio + 3) if paper_ratio > 1 else 0


def without_the_shift(channels, paper_ratio):
    attention = SpatialReductionAttention(channels, 1, math.isqrt(paper_ratio))
    learned = dict(attention.reduce.named_parameters())
    learned.pop("norm.bias", None)
    return sum(weight.numel() for weight in learned.values())


def without_anything_small_and_always_there(channels, paper_ratio):
    return nn.Conv2d(channels, channels, math.isqrt(paper_ratio), bias=False).weight.numel()


def root_taken(channels, paper_ratio):
    return without_the_norm(channels, paper_ratio**0.5) + 2 * channels * (paper_ratio > 1)


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


def windows_over_pixels(height, width, stride, r):
    return counted_in_the_model(height, width, stride, r) * (stride * r) ** 2 / (height * width)


def whole_patches_only(height, width, stride, r):
    seen = math.prod(side // stride - side // stride % r for side in (height, width))
    return seen / queries(height, width, stride, r)


def attention(divisor, axis=-1):
    return lambda q, k, v: torch.softmax(q @ k.mT / divisor(*q.shape), axis) @ v


def padded_on_both_sides(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r = weight.shape[-1]
    height, width = -x.shape[1] % r, -x.shape[2] % r
    amounts = (width // 2, width - width // 2, height // 2, height - height // 2)
    return convolved(F.pad(x, (0, 0, *amounts)), weight, bias)


def resized(mode):
    def reduce(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r = weight.shape[-1]
        size = [math.ceil(side / r) * r for side in x.shape[1:3]]
        return convolved(
            F.interpolate(x.movedim(-1, 1), size, mode=mode).movedim(1, -1), weight, bias
        )

    return reduce


def pooled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r = weight.shape[-1]
    whole = F.pad(x, (0, 0, 0, -x.shape[2] % r, 0, -x.shape[1] % r))
    return F.avg_pool2d(whole.movedim(-1, 1), r).movedim(1, -1)


def dilated(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A window takes every (H/r)th row and every (W/r)th column."""
    r = weight.shape[-1]
    steps = (x.shape[1] // r, x.shape[2] // r)
    return F.conv2d(x.movedim(-1, 1), weight, bias, dilation=steps).movedim(1, -1)


def transposed_first(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    batch, height, width, channels = x.shape
    x = x.flatten(1, 2).transpose(1, 2).reshape(batch, height, width, channels)
    return convolved(x, weight, bias)


def unfolded(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r = weight.shape[-1]
    windows = x.unfold(1, r, r).unfold(2, r, r)
    return torch.einsum("bhwcij,dcij->bhwd", windows, weight) + bias


# 03.7


def values_first(x, weight, bias, num_heads):
    v, k = split_beforehand(x, weight, bias, num_heads)
    return k, v


def cut_otherwise(axes, order):
    """The 2C numbers split into other axes, and these moved."""

    def parts(x, weight, bias, num_heads):
        sizes = {"two": 2, "heads": num_heads, "d": -1}
        both = F.linear(x, weight, bias).unflatten(-1, [sizes[axis] for axis in axes])
        return both.permute(order)

    return parts


def reshaped_in_one_go(x, weight, bias, num_heads):
    kv = F.linear(x, weight, bias)
    return kv.view(2, x.shape[0], num_heads, x.shape[1], -1)


def each_reshaped(x, weight, bias, num_heads):
    halves = F.linear(x, weight, bias).split(x.shape[-1], dim=-1)
    return [half.reshape(len(x), num_heads, x.shape[1], -1) for half in halves]


def alternating(x, weight, bias, num_heads):
    order = torch.cat([torch.arange(0, len(weight), 2), torch.arange(1, len(weight), 2)])
    return split_beforehand(x, weight[order], bias[order], num_heads)


def without_the_bias(x, weight, bias, num_heads):
    return split_beforehand(x, weight, torch.zeros_like(bias), num_heads)


def keys_twice(x, weight, bias, num_heads):
    k, _ = split_beforehand(x, weight, bias, num_heads)
    return k, k


def heads_not_split(x, weight, bias, num_heads):
    return F.linear(x, weight, bias).chunk(2, -1)


def heads_last(x, weight, bias, num_heads):
    return [part.transpose(1, 2) for part in split_beforehand(x, weight, bias, num_heads)]


def one_head(x, weight, bias, num_heads):
    k, v = split_beforehand(x, weight, bias, 1)
    return k.expand(-1, num_heads, -1, -1), v.expand(-1, num_heads, -1, -1)


# 03.8


def on_maps(q, k, v, **options):
    tokens = [each.flatten(1, 2) for each in (q, k, v)]
    return F.scaled_dot_product_attention(*tokens, **options).unflatten(1, q.shape[1:3])


def queries_reduced(x, reduce, query, key, value):
    x = reduce(x)
    return on_maps(query(x), key(x), value(x))


def enlarged_again(mode):
    def attend(x, *parts):
        answers = queries_reduced(x, *parts).movedim(-1, 1)
        return F.interpolate(answers, x.shape[1:3], mode=mode).movedim(1, -1)

    return attend


def nothing_reduced(x, reduce, query, key, value):
    return on_maps(query(x), key(x), value(x))


def reduced_afterwards(x, reduce, query, key, value):
    return on_maps(query(x), reduce(key(x)), reduce(value(x)))


def left_as_a_list(x, *parts):
    return fused_on_lists(x, *parts).reshape(len(x), -1, x.shape[-1])


def keys_only(x, reduce, query, key, value):
    return on_maps(query(x), key(reduce(x)), value(x))


def softmax_over_queries(x, reduce, query, key, value):
    few = reduce(x).flatten(1, 2)
    q = query(x.flatten(1, 2))
    weights = torch.softmax(q @ key(few).mT / q.shape[-1] ** 0.5, 1)
    return (weights @ value(few)).view(x.shape)


def not_scaled(x, reduce, query, key, value):
    return on_maps(query(x), key(reduce(x)), value(reduce(x)), scale=1.0)


def padded_by(right, below, mode="constant"):
    def reduce(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        r, (height, width) = weight.shape[-1], x.shape[1:3]
        maps = F.pad(
            x.movedim(-1, 1), (0, right(height, width, r), 0, below(height, width, r)), mode
        )
        return F.conv2d(maps, weight, bias, stride=r).movedim(1, -1)

    return reduce


def padded_with_channels_last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    r = weight.shape[-1]
    return convolved(F.pad(x, (0, -x.shape[2] % r, 0, -x.shape[1] % r)), weight, bias)


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
        "right where the stride divides": lambda h, w, s, r: (
            rounded_down(h, w, s, r) if r > 1 else queries(h, w, s, r)
        ),
        "N/r is squared": lambda *given: divided_once(*given) ** 2,
        "the number of keys squared": lambda *given: counted_in_the_model(*given) ** 2,
        "right for square photographs": lambda h, w, s, r: counted_in_the_model(h, h, s, r),
        "it gives 16, which is not right": keys_of_one_side,
    },
    "03.6": {
        "the channels come last": reshaped_like_the_paper,
        "the order inside is not": channels_left_last,
        "the bias is missing": without_bias,
        "rows and columns of the window are swapped": kernel_transposed,
        "then read as (B, H, W, C)": transposed_first,
        "gathers tokens that lie far apart": dilated,
        "the weight is not used": pooled,
        "a convolution has cut": convolved,
        "but unfold has cut": unfolded,
        "a tensor of shape (2, 3, 7, 3)": overlapping_windows,
    },
    "03.2": {
        "R taken for r": squared_again,
        "there are two reductions": lambda *given: 2 * counted_in_the_layer(*given),
        "do not square it. And at R = 1": squared_and_always_there,
        "√R taken for R": root_taken,
        "no convolution and no norm": always_there,
        "It has a scale and a shift per channel.": without_the_norm,
        "a shift per channel. And at R = 1": lambda c, many: many * c**2 + c,
        "a bias of the convolution, or half of the LayerNorm": without_the_shift,
        "scale and a shift. And at R = 1": lambda c, many: many * c**2 + 2 * c,
        "weight alone": without_anything_small_and_always_there,
        "depthwise": depthwise,
    },
    "03.3": {
        "sum to one over the queries": over_the_queries,
        "the scores are not scaled": unscaled,
        "divided by d": divided_by_d,
        "over the heads": over_the_heads,
        "this is the line as it was": attention(lambda *sizes: 1, axis=-2),
        "multiplied by √d": attention(lambda batch, heads, queries, d: d**-0.5),
        "scaled by the number of heads": attention(lambda batch, heads, queries, d: heads**0.5),
        "keys and values are swapped": lambda q, k, v: F.scaled_dot_product_attention(q, v, k),
        "the weights mix the keys": lambda q, k, v: F.scaled_dot_product_attention(q, k, k),
        "your code stopped with RuntimeError": keys_not_transposed,
    },
    "03.4": {
        "the share that is lost": lost,
        "keys over tokens": keys_over_tokens,
        "along one side": along_the_height,
        "along the width": lambda h, w, s, r: along_the_height(w, h, s, r),
        "not averaged": mean_of_both,
        "the total N is divided": remainder_of_the_total,
        "counts pixels": in_pixels,
        "divides by pixels": windows_over_pixels,
        "in percent": lambda *given: 100 * share_by_gradient(*given),
        "counted in whole patches": whole_patches_only,
    },
    "03.5": {
        "nothing is padded": convolved,
        "a whole window of zeros": padded_by(lambda h, w, r: r - w % r, lambda h, w, r: r - h % r),
        "height and width are swapped": padded_by(lambda h, w, r: -h % r, lambda h, w, r: -w % r),
        "the remainder is added": padded_by(lambda h, w, r: w % r, lambda h, w, r: h % r),
        "above and to the left": padded_before,
        "on the wrong axes": padded_with_channels_last,
        "the border is repeated": padded_by(
            lambda h, w, r: -w % r, lambda h, w, r: -h % r, mode="replicate"
        ),
        "split between both sides": padded_on_both_sides,
        "pads by r // 2": padded_like_a_patch,
        "resized (bilinear)": resized("bilinear"),
        "resized (nearest)": resized("nearest"),
        "the weight is not used": pooled,
        "the bias is missing": lambda x, w, b: padded_by_hand(x, w, torch.zeros_like(b)),
        "the channels are second": lambda *given: padded_by_hand(*given).movedim(-1, 1),
        "right where r divides": lambda x, w, b: (
            convolved(x, w, b) + x.shape[1] % len(w[0, 0]) + x.shape[2] % len(w[0, 0])
        ),
    },
    "03.7": {
        "the values come first": values_first,
        "side by side": cut_otherwise(["heads", "two", "d"], (3, 0, 2, 1, 4)),
        "alternate here": alternating,
        "at regular intervals": cut_otherwise(["two", "d", "heads"], (2, 0, 4, 1, 3)),
        "everything was reshaped in one go": reshaped_in_one_go,
        "different tokens": each_reshaped,
        "the heads stand behind": heads_last,
        "the heads are not split": heads_not_split,
        "both are keys": keys_twice,
        "the bias is missing": without_the_bias,
        "right for one head": one_head,
        "your code stopped with": lambda x, w, b, heads: (x @ w, x @ w),
    },
    "03.8": {
        "your queries are reduced, so there is one answer": queries_reduced,
        "enlarged again (repeated)": enlarged_again("nearest"),
        "enlarged again (bilinear)": enlarged_again("bilinear"),
        "nothing is reduced": nothing_reduced,
        "reduced afterwards": reduced_afterwards,
        "but in a list": left_as_a_list,
        "sum to one over the queries": softmax_over_queries,
        "not divided by √C": not_scaled,
        "keys and values are swapped": lambda x, reduce, query, key, value: fused_on_lists(
            x, reduce, query, value, key
        ),
        "there is not one value for each key": keys_only,
        "the weights mix the keys": lambda x, reduce, query, key, value: fused_on_lists(
            x, reduce, query, key, key
        ),
        "your code stopped with RuntimeError": lambda x, reduce, query, key, value: (
            query(x) @ key(reduce(x)).mT @ value(reduce(x))
        ),
    },
}

SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "03.1": {
        "columns, rows = (math.ceil(height / stride), math.ceil(width / stride))": (
            "same: rows and columns are treated alike."
        ),
        "rows, columns = (math.ceil(width / stride), math.ceil(height / stride))": (
            "same: rows and columns are treated alike."
        ),
    },
    "03.3": {
        "scores = q @ k.transpose(2, -1) / math.sqrt(q.shape[-1])": (
            "same: of four axes, 2 is the last but one."
        ),
    },
    "03.4": {
        "columns, rows = (math.ceil(height / stride), math.ceil(width / stride))": (
            "same: rows and columns are treated alike."
        ),
        "rows, columns = (math.ceil(width / stride), math.ceil(height / stride))": (
            "same: rows and columns are treated alike."
        ),
    },
    "03.5": {"r = weight.shape[-2]": "same: the kernels are square."},
    "03.6": {"r = weight.shape[-2]": "same: the kernels are square."},
}
