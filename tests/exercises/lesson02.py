"""Answers to lesson 02's exercises, as learners write them: right ones, and diagnosis → wrong."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu import SpatialReductionAttention


def counted_in_the_model(height, width, patch, heads):
    tokens = torch.zeros(1, height // patch, width // patch, 60 * heads // math.gcd(60, heads))
    return SpatialReductionAttention(tokens.shape[-1], heads, 1).weights(tokens).numel()


def one_query_at_a_time(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    rows = []
    for query in q:
        scores = torch.stack([query.dot(key) / len(query) ** 0.5 for key in k])
        shares = torch.exp(scores - scores.max())
        rows.append(
            sum(share * value for share, value in zip(shares, v, strict=True)) / shares.sum()
        )
    return torch.stack(rows)


def queries_scaled_in_place(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    q /= q.shape[-1] ** 0.5
    return [torch.softmax(query @ k.T, -1) @ v for query in q]


def heads_scaled_in_place(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    q *= (q.shape[-1] // num_heads) ** -0.5
    scores = (
        each @ other.mT
        for each, other in zip(q.chunk(num_heads, -1), k.chunk(num_heads, -1), strict=True)
    )
    return torch.cat(
        [each.softmax(-1) @ x for each, x in zip(scores, v.chunk(num_heads, -1), strict=True)], -1
    )


def fused_in_heads(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    chunks = (torch.stack(x.chunk(num_heads, -1), 1) for x in (q, k, v))
    return torch.cat(F.scaled_dot_product_attention(*chunks).unbind(1), -1)


def found_by_trying(gibibytes, patch, heads):
    side = patch
    while 4 * heads * ((side + patch) // patch) ** 4 <= gibibytes * 1024**3:
        side += patch
    return side


def counted_in_fractions(height, width, patch, heads):
    return (Fraction(height, patch) * Fraction(width, patch)) ** 2 * heads


def lowest_score_there_is(q: Tensor, k: Tensor, v: Tensor, padded: Tensor) -> Tensor:
    scores = q @ k.T / q.shape[1] ** 0.5
    scores[:, padded] = torch.finfo(scores.dtype).min
    return torch.softmax(scores, 1) @ v


def real_keys_only(q: Tensor, k: Tensor, v: Tensor, padded: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q[None], k[None, ~padded], v[None, ~padded])[0]


def shifted_by_the_larger(first, first_total, second, second_total):
    larger = torch.maximum(first_total, second_total)
    first_share, second_share = (first_total - larger).exp(), (second_total - larger).exp()
    return (first_share * first + second_share * second) / (first_share + second_share)


def softmax_of_two_numbers(first, first_total, second, second_total):
    shares = torch.cat([first_total, second_total], -1).softmax(-1)
    return shares[:, :1] * first + shares[:, 1:] * second


RIGHT: Mapping[str, Callable | Sequence[Callable]] = {
    "02.1": [counted_in_the_model, counted_in_fractions],
    "02.2": [one_query_at_a_time, queries_scaled_in_place],
    "02.3": [fused_in_heads, heads_scaled_in_place],
    "02.4": found_by_trying,
    "02.5": [real_keys_only, lowest_score_there_is],
    "02.6": [softmax_of_two_numbers, shifted_by_the_larger],
}


# 02.1


def tokens_only(height, width, patch, heads):
    return height * width // patch**2


def linear_in_tokens(height, width, patch, heads):
    return heads * height * width // patch**2


def pixels(height, width, patch, heads):
    return height * width


def one_head(height, width, patch, heads):
    return ((height // patch) * (width // patch)) ** 2


def heads_squared(height, width, patch, heads):
    return (height // patch * (width // patch) * heads) ** 2


def divided_by_heads(height, width, patch, heads):
    return one_head(height, width, patch, heads) // heads


def patch_once(height, width, patch, heads):
    return heads * (height * width // patch) ** 2


def pixels_as_tokens(height, width, patch, heads):
    return (height * width) ** 2 * heads


# 02.2


def scaled(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("qd,kd->qk", q, k) / q.size(1) ** 0.5


def over_the_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.softmax(scaled(q, k), dim=0) @ v


def swapped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(k[None], q[None], v[None])[0]


def unscaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q[None], k[None], v[None], scale=1.0)[0]


def divided_by_d(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(torch.matmul(q, k.mT) / q.shape[1], 1) @ v


def root_of_tokens(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.T / len(q) ** 0.5, -1) @ v


def divided_too_late(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (torch.softmax(q @ k.T, -1) / q.shape[-1] ** 0.5) @ v


def mixes_keys(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(scaled(q, k), -1) @ k


def no_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled(q, k) @ v


def multiplied(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scale = q.shape[-1] ** 0.5
    return F.scaled_dot_product_attention(q[None], k[None], v[None], scale=scale)[0]


def keys_not_transposed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k / q.shape[-1] ** 0.5, -1) @ v


def keys_and_values_swapped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(scaled(q, v), -1) @ k


def weights_transposed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(scaled(q, k), -1).mT @ v


def exponentials(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return scaled(q, k).exp() @ v


def without_a_maximum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    shares = scaled(q, k).exp()
    return shares @ v / shares.sum(-1, keepdim=True)


def whole_root(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.T / int(q.shape[1] ** 0.5), -1) @ v


def over_the_channels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.einsum("nc,cd->nd", v, torch.softmax(q.mT @ k / q.shape[1] ** 0.5, 1))


def queries_zeroed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q.zero_() @ k.T, -1) @ v


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]


# 02.3


def in_heads(attention: Callable) -> Callable:
    def run(q, k, v, num_heads):
        parts = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        return attention(*parts).transpose(1, 2).flatten(2)

    return run


def with_scale(scale: Callable[[int, int], float]) -> Callable:
    return in_heads(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=scale(*q.shape[1::2]))
    )


def along(axis: int) -> Callable:
    return in_heads(lambda q, k, v: torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, axis) @ v)


def all_zeroed(q, k, v, num_heads):
    return fused_in_heads(q.zero_(), k, v.zero_(), num_heads)


def scaled_by_all_channels(q, k, v, num_heads):
    q, k, v = (x.view(*x.shape[:2], num_heads, -1).transpose(1, 2) for x in (q, k, v))
    d = q.shape[-1] * num_heads
    mixed = torch.softmax(q @ k.mT / d**0.5, -1) @ v
    return mixed.transpose(1, 2).reshape(len(mixed), mixed.shape[2], -1)


def heads_unscaled(q, k, v, num_heads):
    width = q.shape[-1] // num_heads
    return fused_in_heads(q * width**0.5, k, v, num_heads)


def a_single_head(q, k, v, num_heads):
    return F.scaled_dot_product_attention(q, k, v)


def viewed_in_one_go(q, k, v, num_heads):
    batch, tokens, channels = q.shape
    q, k, v = (x.view(batch, num_heads, tokens, channels // num_heads) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).view(batch, tokens, channels)


def joined_without_transposing(q, k, v, num_heads):
    heads = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(*heads).reshape(q.shape)


def heads_last(q, k, v, num_heads):
    batch, tokens, _ = q.shape
    heads = (x.view(batch, tokens, -1, num_heads).permute(0, 3, 1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


def heads_last_in_and_out(q, k, v, num_heads):
    chunks = (x.unflatten(-1, (-1, num_heads)).unbind(-1) for x in (q, k, v))
    heads = [F.scaled_dot_product_attention(*each) for each in zip(*chunks, strict=True)]
    return torch.stack(heads, -1).flatten(2)


def viewed_and_transposed(q, k, v, num_heads):
    batch, tokens, channels = q.shape
    q, k, v = (x.view(batch, num_heads, tokens, channels // num_heads) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, channels)


def heads_attend_to_heads(q, k, v, num_heads):
    heads = (x.unflatten(-1, (num_heads, -1)) for x in (q, k, v))
    return F.scaled_dot_product_attention(*heads).flatten(2)


# 02.4


def one_root(gibibytes, patch, heads):
    return patch * int((gibibytes * 2**30 / 4 / heads) ** 0.5)


def tokens_a_side(gibibytes, patch, heads):
    return math.floor((gibibytes * 2**30 / 4 / heads) ** 0.25)


def bytes_forgotten(gibibytes, patch, heads):
    return patch * math.floor((gibibytes * 2**30 / heads) ** 0.25)


def bits_for_bytes(gibibytes, patch, heads):
    return patch * math.floor((gibibytes * 2**30 / heads / 32) ** 0.25)


def half_precision(gibibytes, patch, heads):
    return patch * math.floor((gibibytes * 2**30 / heads / 2) ** 0.25)


def heads_forgotten(gibibytes, patch, heads):
    return patch * math.floor((gibibytes * 2**30 / 4) ** 0.25)


def decimal_gigabytes(gibibytes, patch, heads):
    return patch * math.floor((gibibytes * 1e9 / 4 / heads) ** 0.25)


def mebibytes(gibibytes, patch, heads):
    return patch * math.floor((gibibytes * 1024**2 / 4 / heads) ** 0.25)


def scores_and_softmax(gibibytes, patch, heads):
    return patch * math.floor((gibibytes * 2**30 / 4 / 2 / heads) ** 0.25)


def nearest_patch(gibibytes, patch, heads):
    return patch * round((gibibytes * 2**30 / 4 / heads) ** 0.25)


def rounded_in_pixels(gibibytes, patch, heads):
    return math.floor(patch * (gibibytes * 2**30 / 4 / heads) ** 0.25)


# 02.5


def weights_set_to_zero(q, k, v, padded):
    weights = torch.softmax(scaled(q, k), -1) * ~padded
    return weights @ v


def scores_set_to_zero(q, k, v, padded):
    return torch.softmax(scaled(q, k) * ~padded, -1) @ v


def upside_down(q, k, v, padded):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=padded[None, None])[
        0
    ]


def queries_masked(q, k, v, padded):
    scores = scaled(q, k)
    scores[padded] = -torch.inf
    return torch.softmax(scores, -1) @ v


def infinity_times_the_mask(q, k, v, padded):
    return torch.softmax(scaled(q, k) + padded * -torch.inf, -1) @ v


def padding_cleared_afterwards(q, k, v, padded):
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0] * ~padded[:, None]


def mask_unused(q, k, v, padded):
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]


def softmax_over_queries(q, k, v, padded):
    return torch.softmax(scaled(q, k).masked_fill(padded, -torch.inf), 0) @ v


def upside_down_by_hand(q, k, v, padded):
    return torch.softmax(scaled(q, k).masked_fill(~padded, -torch.inf), -1) @ v


def weak(q, k, v, padded):
    return torch.softmax(torch.where(padded, -20.0, scaled(q, k)), -1) @ v


def weaker(q, k, v, padded):
    return torch.softmax(scaled(q, k) + torch.where(padded, -10.0, 0.0), -1) @ v


def ten_thousand_below(q, k, v, padded):
    return torch.softmax(scaled(q, k) - 10_000 * padded.float(), -1) @ v


def keys_of_minus_infinity(q, k, v, padded):
    k[padded] = -torch.inf
    return torch.softmax(scaled(q, k), -1) @ v


def padding_zeroed(q, k, v, padded):
    k[padded] = v[padded] = 0
    return fused(q, k, v)


def masked_unscaled(q, k, v, padded):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], ~padded[None], scale=1.0)[0]


def both_masked(q, k, v, padded):
    return torch.softmax(scaled(q, k).masked_fill(padded | padded[:, None], -torch.inf), -1) @ v


def shared_out_again(q, k, v, padded):
    weights = torch.softmax(scaled(q, k), -1) * ~padded
    return weights / weights.sum(-1, keepdim=True) @ v


def one_of_the_padded(q, k, v, padded):
    scores = scaled(q, k)
    scores[:, padded.nonzero()[:1].flatten()] = -torch.inf
    return torch.softmax(scores, -1) @ v


# 02.6


def in_double_precision(a, total_a, b, total_b):
    a, total_a, b, total_b = (x.double() for x in (a, total_a, b, total_b))
    return (total_a.exp() * a + total_b.exp() * b) / (total_a.exp() + total_b.exp())


def mean(a, total_a, b, total_b):
    return torch.stack([a, b]).mean(0)


def added(a, total_a, b, total_b):
    return a + b


def by_the_logarithms(a, total_a, b, total_b):
    return (a * total_a + b * total_b) / (total_a + total_b)


def halves_swapped(a, total_a, b, total_b):
    return softmax_of_two_numbers(a, total_b, b, total_a)


def winner_takes_all(a, total_a, b, total_b):
    return torch.where(total_a > total_b, a, b)


WRONG: Mapping[str, Mapping[str, Callable]] = {
    "02.1": {
        "this is the number of tokens": tokens_only,
        "counted once in every head": linear_in_tokens,
        "this is the number of pixels": pixels,
        "every head has its own": one_head,
        "the heads are squared as well": heads_squared,
        "divided by the heads": divided_by_heads,
        "divided by the patch size once": patch_once,
        "every pixel is a token here": pixels_as_tokens,
        "right for a square image": lambda height, width, patch, heads: (
            heads * (height // patch) ** 4
        ),
        "attends to itself as well": lambda h, w, p, heads: (
            counted_in_the_model(h, w, p, heads) - linear_in_tokens(h, w, p, heads)
        ),
        "these are bytes": lambda *given: 4 * counted_in_the_model(*given),
    },
    "02.2": {
        "the columns sum to one": over_the_queries,
        "keys and queries are swapped": swapped,
        "the scores are too large": unscaled,
        "divided by d.": divided_by_d,
        "keys and values are swapped": keys_and_values_swapped,
        "is transposed before it mixes": weights_transposed,
        "nothing divides them by their sum": exponentials,
        "right for small scores": without_a_maximum,
        "rounded to a whole number": whole_root,
        "the numbers should be different. (Your function also": queries_zeroed,
        "PyTorch's own attention": fused,
        "root of the number of tokens": root_of_tokens,
        "the softmax comes first": divided_too_late,
        "the weights mix the keys": mixes_keys,
        "no softmax has turned": no_softmax,
        "multiplied by the root": multiplied,
        "channels look at channels": over_the_channels,
        "these are the weights": lambda q, k, v: scaled(q, k).softmax(1),
        "your code stopped with RuntimeError": keys_not_transposed,
    },
    "02.3": {
        "divided by the root of C": scaled_by_all_channels,
        "not divided by anything": heads_unscaled,
        "divided by d, the width of a head": with_scale(lambda heads, d: 1 / d),
        "root of the number of heads": with_scale(lambda heads, d: heads**-0.5),
        "multiplied by √d": with_scale(lambda heads, d: d**0.5),
        "sum to one over the queries": along(-2),
        "runs over the heads": along(1),
        "keys and values are swapped": lambda q, k, v, heads: fused_in_heads(q, v, k, heads),
        "the numbers should be different. (Your function also": all_zeroed,
        "right for one head": lambda q, k, v, heads: fused_in_heads(q, k, v, 1) / heads,
        "one head here, as wide as C": a_single_head,
        "in one go": viewed_in_one_go,
        "the join is not": joined_without_transposing,
        "split the other way round": heads_last,
        "puts its answers there too": heads_last_in_and_out,
        "the join is right": viewed_and_transposed,
        "the heads attend to one another": heads_attend_to_heads,
    },
    "02.4": {
        "one root is taken where two": one_root,
        "these are the tokens on a side": tokens_a_side,
        "one byte is counted": bytes_forgotten,
        "its eight bits": bits_for_bytes,
        "That would be float16": half_precision,
        "right for one head": heads_forgotten,
        "counts in GB": decimal_gigabytes,
        "counts in MiB": mebibytes,
        "eight bytes are counted": scores_and_softmax,
        "rounded to the nearest patch": nearest_patch,
        "round down to tokens": rounded_in_pixels,
    },
    "02.5": {
        "no longer sum to one": weights_set_to_zero,
        "not a weight of 0": scores_set_to_zero,
        "wants True where a token may look": upside_down,
        "only the padding gets attention": upside_down_by_hand,
        "runs over the queries": softmax_over_queries,
        "a score of -20 is low": weak,
        "subtracting 10": weaker,
        "no score is far below zero": ten_thousand_below,
        "keys of the padding are −∞": keys_of_minus_infinity,
        "keys of zeros": padding_zeroed,
        "not divided by √d": masked_unscaled,
        "right where nothing is padded": one_of_the_padded,
        "the mask is on the queries": queries_masked,
        "times 0 is not a number": infinity_times_the_mask,
        "but the other rows still attend": padding_cleared_afterwards,
        "the rows of the padding are zero. The exercise": lambda q, k, v, padded: (
            real_keys_only(q, k, v, padded) * ~padded[:, None]
        ),
        "their queries are masked as well": both_masked,
        "right for small scores": shared_out_again,
        "the mask is not used": mask_unused,
    },
    "02.6": {
        "the plain mean": mean,
        "sum to two": added,
        "mixed by the totals themselves": by_the_logarithms,
        "the halves are swapped": halves_swapped,
        "only the half with the larger total": winner_takes_all,
        "large ones overflow": in_double_precision,
        "Divide by their sum": lambda a, total_a, b, total_b: total_a.exp() * a + total_b.exp() * b,
    },
}

SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "02.1": {
        "tokens = height / patch * (width // patch)": "same: the patches divide the image.",
        "tokens = height // patch * (width / patch)": "same: the patches divide the image.",
    },
    "02.2": {
        "scores = q @ k.T / math.sqrt(q.shape[1])": "same: the second axis is the last.",
        "return scores.softmax(dim=1) @ v": "same: the second axis is the last.",
    },
    "02.3": {
        "scores = q @ k.transpose(2, -1) / math.sqrt(q.shape[-1])": (
            "same: of four axes, 2 is the last but one."
        ),
    },
    "02.4": {
        "entries_a_head = int(gibibytes * 2 ** 30 / 4 // heads)": "same: int rounds down anyway.",
        "entries_a_head = int(gibibytes * 2 ** 30 // 4 / heads)": (
            "same: rounding down twice is rounding down once."
        ),
    },
    "02.5": {
        "scores = q @ k.T / math.sqrt(q.shape[1])": "same: the second axis is the last.",
        "return scores.softmax(1) @ v": "same: the second axis is the last.",
    },
}
