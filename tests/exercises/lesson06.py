"""Answers to lesson 06's exercises: right ones found another way, and wrong ones people gave."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from segformer_edu import EncoderBlock, OverlapPatchEmbedding, SegFormerConfig
from segformer_edu.analysis import cost


def sizes_of_real_maps(height, width, strides):
    """What padded convolutions make of an image."""
    x, sizes = torch.zeros(1, 1, height, width), []
    for stride in strides:
        x = OverlapPatchEmbedding(1, 1, 3, stride)(x).permute(0, 3, 1, 2)
        sizes.append(tuple(x.shape[2:]))
    return sizes


def forward_of_the_package(x, norm1, attention, norm2, mix_ffn):
    class Wrapped(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x)

    block = EncoderBlock(x.shape[-1], 1, 1).eval()
    block.norm1, block.norm2 = Wrapped(norm1), Wrapped(norm2)
    block.mix_ffn = Wrapped(mix_ffn)
    attend = Wrapped(attention)
    attend.dim, attend.reduction_ratio = x.shape[-1], 1
    block.attention = attend
    return block(x)


def in_place(x, norm1, attention, norm2, mix_ffn):
    x += attention(norm1(x))
    x += mix_ffn(norm2(x))
    return x


def linspace(rate, depths, stage):
    return torch.linspace(0, rate, sum(depths)).split(list(depths))[stage].tolist()


def counted_in_the_model(channels, reduction_ratio, expansion):
    block = EncoderBlock(channels, 1, reduction_ratio, expansion)
    return sum(weight.numel() for weight in block.parameters())


def by_analysis_cost(budget, tokens, depth):
    """Bisection over analysis.cost, without its patch embedding."""

    def price(width):
        config = SegFormerConfig(
            embed_dims=(width,),
            depths=(depth,),
            num_heads=(1,),
            reduction_ratios=(1,),
            mlp_ratios=(4,),
            patch_sizes=(1,),
            strides=(1,),
        )
        stage = cost(config, (1, tokens)).stages[0]
        return stage.multiply_adds - stage.multiply_adds_of.patch_embedding

    low, high = 0, 2**14
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if price(middle) <= budget else (low, middle)
    return low


def recursive(images, stages):
    if not stages:
        return []
    (embed, blocks, norm), *rest = stages
    x = norm(nn.Sequential(*blocks)(embed(images))).movedim(-1, 1)
    return [x, *recursive(x, rest)]


RIGHT: Mapping[str, Callable] = {
    "06.1": lambda height, width, strides: np.array(sizes_of_real_maps(height, width, strides)),
    "06.2": in_place,
    "06.3": lambda rate, depths, stage: torch.tensor(linspace(rate, depths, stage)),
    "06.4": counted_in_the_model,
    "06.5": by_analysis_cost,
    "06.6": recursive,
}


def strides_of_b0(height, width, strides):
    return [(-(-height // step), -(-width // step)) for step in (4, 8, 16, 32)]


def divided_by(divide):
    def sizes(height, width, strides):
        found = []
        for stride in strides:
            height, width = divide(height, stride), divide(width, stride)
            found.append((height, width))
        return found

    return sizes


def all_from_the_image(height, width, strides):
    return [[math.ceil(height / stride), math.ceil(width / stride)] for stride in strides]


def tokens_of_each(height, width, strides):
    return [h * w for h, w in sizes_of_real_maps(height, width, strides)]


def width_first(height, width, strides):
    return [(w, h) for h, w in sizes_of_real_maps(height, width, strides)]


def without_the_first_step(height, width, strides):
    return [(height, width)] + sizes_of_real_maps(height, width, strides[:-1])


def parallel(x, norm1, attention, norm2, mix_ffn):
    return x + attention(norm1(x)) + mix_ffn(norm2(x))


def norm_after(x, norm1, attention, norm2, mix_ffn):
    attended = norm1(x + attention(x))
    return norm2(attended + mix_ffn(attended))


def nothing_skipped(x, norm1, attention, norm2, mix_ffn):
    return mix_ffn(norm2(attention(norm1(x))))


def one_long_skip(x, norm1, attention, norm2, mix_ffn):
    return x + mix_ffn(norm2(x + attention(norm1(x))))


def one_norm(x, norm1, attention, norm2, mix_ffn):
    x = x + attention(norm1(x))
    return x + mix_ffn(norm1(x))


def ffn_first(x, norm1, attention, norm2, mix_ffn):
    x = x + mix_ffn(norm2(x))
    return x + attention(norm1(x))


def normed_skip(x, norm1, attention, norm2, mix_ffn):
    x = norm1(x)
    x = x + attention(x)
    x = norm2(x)
    return x + mix_ffn(x)


def identity(x):
    return x


def without(norm):
    """The block with the identity in place of its norm 1, its norm 2, or both."""

    def forward(x, norm1, attention, norm2, mix_ffn):
        norm1, norm2 = identity if norm != 2 else norm1, identity if norm != 1 else norm2
        return forward_of_the_package(x, norm1, attention, norm2, mix_ffn)

    return forward


def first_replaces(x, norm1, attention, norm2, mix_ffn):
    x = attention(norm1(x))
    return x + mix_ffn(norm2(x))


def second_replaces(x, norm1, attention, norm2, mix_ffn):
    x = x + attention(norm1(x))
    return mix_ffn(norm2(x))


def norm_at_the_end(*given):
    return given[3](forward_of_the_package(*given))


def first_skip_normed(x, norm1, attention, norm2, mix_ffn):
    x = norm1(x)
    x = x + attention(x)
    return x + mix_ffn(norm2(x))


def equation_3_as_written(x, norm1, attention, norm2, mix_ffn):
    x = x + attention(norm1(x))
    x_in = norm2(x)
    return x + (mix_ffn(x_in) + x_in)


def norms_swapped(x, norm1, attention, norm2, mix_ffn):
    return forward_of_the_package(x, norm2, attention, norm1, mix_ffn)


def normed_notes(x, norm1, attention, norm2, mix_ffn):
    x = x + norm1(attention(x))
    return x + norm2(mix_ffn(x))


def one_skip_around_both(x, norm1, attention, norm2, mix_ffn):
    return x + nothing_skipped(x, norm1, attention, norm2, mix_ffn)


def attention_alone(x, norm1, attention, norm2, mix_ffn):
    return x + attention(norm1(x))


def norm1_at_the_end(*given):
    return given[1](forward_of_the_package(*given))


def normed_at_the_end(*given):
    return nn.LayerNorm(given[0].shape[-1], eps=1e-6)(forward_of_the_package(*given))


def ffn_of_the_negative(x, norm1, attention, norm2, mix_ffn):
    x = x + attention(norm1(x))
    return x + mix_ffn(norm2(-x))


def attention_twice(x, norm1, attention, norm2, mix_ffn):
    x = x + 2 * attention(norm1(x))
    return x + mix_ffn(norm2(x))


def anew(rate, depths, stage):
    return torch.linspace(0, rate, depths[stage]).tolist()


def as_the_paper(rate, depths, stage):
    before = sum(depths[:stage])
    return [rate * (before + j + 1) / sum(depths) for j in range(depths[stage])]


def one_block_too_late(rate, depths, stage):
    before = sum(depths[:stage]) + 1
    return linspace_of_all(rate, depths)[before : before + depths[stage]]


def linspace_of_all(rate, depths):
    return torch.linspace(0, rate, sum(depths)).tolist()


def divided_by_zero(rate, depths, stage):
    return [rate * (sum(depths[:stage]) + j) / (sum(depths) - 1) for j in range(depths[stage])]


def from_zero_over_all(rate, depths, stage):
    before = sum(depths[:stage])
    return [rate * (before + j) / sum(depths) for j in range(depths[stage])]


def off_by(difference):
    """The right number of parameters, and a difference."""
    return lambda c, r, e: counted_in_the_model(c, r, e) + difference(c, r, e)


def priced(price, more=0):
    """The widest column for a price of a block of width C on N tokens, as a function of N and C."""

    def widest(budget, tokens, depth):
        fits = [c for c in range(1, 12_100) if depth * price(tokens, c) <= budget]
        return (max(fits) if fits else 0) + more

    return widest


def norm_after_every_block(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        images = embed(images)
        for block in blocks:
            images = norm(block(images))
        images = images.movedim(-1, 1)
        maps.append(images)
    return maps


def always_the_images(images, stages):
    return [recursive(images, [stage])[0] for stage in stages]


def permuted_for_the_list_only(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        images = norm(nn.Sequential(*blocks)(embed(images)))
        maps.append(images.permute(0, 3, 1, 2))
    return maps


def last_only(images, stages):
    return recursive(images, stages)[-1:]


def unnormed_between(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        x = embed(images)
        for block in blocks:
            x = block(x)
        images = x.permute(0, 3, 1, 2)
        maps.append(norm(x).permute(0, 3, 1, 2))
    return maps


def never_normed(images, stages):
    return recursive(images, [(embed, blocks, lambda x: x) for embed, blocks, _ in stages])


def normed_between_only(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        x = embed(images)
        for block in blocks:
            x = block(x)
        images = norm(x).movedim(-1, 1)
        maps.append(x.movedim(-1, 1))
    return maps


def blocks_side_by_side(images, stages):
    return recursive(images, [(embed, blocks[-1:], norm) for embed, blocks, norm in stages])


def channels_last(images, stages):
    return [x.movedim(1, -1) for x in recursive(images, stages)]


def reshaped(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        x = norm(nn.Sequential(*blocks)(embed(images)))
        images = x.view(len(x), x.shape[3], *x.shape[1:3])
        maps.append(images)
    return maps


def norm_before_the_blocks(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        images = nn.Sequential(*blocks)(norm(embed(images))).movedim(-1, 1)
        maps.append(images)
    return maps


def skips_doubled(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        x = embed(images)
        for block in blocks:
            x = x + block(x)
        images = norm(x).movedim(-1, 1)
        maps.append(images)
    return maps


def turned(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        images = norm(nn.Sequential(*blocks)(embed(images))).transpose(1, 3)
        maps.append(images)
    return maps


def halved_between(images, stages):
    maps = []
    for embed, blocks, norm in stages:
        maps.append(norm(nn.Sequential(*blocks)(embed(images))).movedim(-1, 1))
        images = maps[-1] / 2
    return maps


def halved_between_blocks(images, stages):
    """From the second block on, each reads half of what the one before gave."""
    maps = []
    for embed, (first, *others), norm in stages:
        x = first(embed(images))
        for block in others:
            x = block(x / 2)
        images = norm(x).movedim(-1, 1)
        maps.append(images)
    return maps


def transposed(images, stages):
    return [x.transpose(2, 3) for x in recursive(images, stages)]


WRONG: Mapping[str, Mapping[str, Callable]] = {
    "06.1": {
        "a token is lost": divided_by(lambda side, stride: side // stride),
        "rounded to the nearest": divided_by(lambda side, stride: round(side / stride)),
        "a token too many": divided_by(lambda side, stride: side // stride + 1),
        "right for B0's strides": strides_of_b0,
        "divides the photograph here": all_from_the_image,
        "height and width are swapped": width_first,
        "the first is missing": without_the_first_step,
        "numbers of tokens": tokens_of_each,
    },
    "06.2": {
        "side by side": parallel,
        "the norms come after": norm_after,
        "skip connections are missing": nothing_skipped,
        "starts from the block's input": one_long_skip,
        "the first norm is used twice": one_norm,
        "Mix-FFN are swapped": ffn_first,
        "norms are swapped": norms_swapped,
        "after the branches": normed_notes,
        "the skips carry the normalised copy": normed_skip,
        "attention's skip carries": first_skip_normed,
        "attention reads x without": without(1),
        "Mix-FFN reads x without": without(2),
        "both branches read x without": without(0),
        "attention's skip connection": first_replaces,
        "Mix-FFN's skip connection": second_replaces,
        "at the end of the block": norm_at_the_end,
        "a skip of its own": equation_3_as_written,
        "one skip around both": one_skip_around_both,
        "Mix-FFN is missing": attention_alone,
        "norm1 stands at the end": norm1_at_the_end,
        "normalised once more at the end": normed_at_the_end,
        "where Mix-FFN gives zeros": ffn_of_the_negative,
        "where attention gives zeros": attention_twice,
    },
    "06.3": {
        "starts again at zero": anew,
        "the full rate": lambda rate, depths, stage: depths[stage] * [rate],
        "one rate here": lambda rate, depths, stage: (
            depths[stage] * [torch.linspace(0, rate, len(depths)).tolist()[stage]]
        ),
        "survival": lambda rate, depths, stage: [1 - r for r in linspace(rate, depths, stage)],
        "the rule of the stochastic depth paper": as_the_paper,
        "divided by L": from_zero_over_all,
        "the beginning of the list": lambda rate, depths, stage: linspace_of_all(rate, depths)[
            : depths[stage]
        ],
        "one block too late": one_block_too_late,
        "of all blocks": lambda rate, depths, stage: linspace_of_all(rate, depths),
        "turned round": lambda rate, depths, stage: linspace(
            rate, depths[::-1], len(depths) - 1 - stage
        )[::-1],
        "an encoder of one block": divided_by_zero,
        "more than the full rate": lambda rate, depths, stage: [
            rate * (sum(depths[:stage]) + j) / (sum(depths) - 1)
            for j in range(1, depths[stage] + 1)
        ],
        "to count from 1": lambda rate, depths, stage: (
            torch.linspace(0, rate, sum(depths)).split(list(depths))[stage - 1].tolist()
        ),
        "except in the last stage": lambda rate, depths, stage: linspace_of_all(rate, depths)[
            sum(depths[:stage]) :
        ][: depths[stage] + 1],
        "there is one rate too many": lambda rate, depths, stage: [
            rate * block / (sum(depths) - 1)
            for block in range(sum(depths[:stage]), sum(depths[: stage + 1]) + 1)
        ],
        "which is not right": lambda rate, depths, stage: linspace(rate, depths, stage)[1:],
    },
    "06.4": {
        "4C too few": off_by(lambda c, r, e: -4 * c),
        "q, k and v had no biases": off_by(lambda c, r, e: -3 * c),
        "2C too few": off_by(lambda c, r, e: -2 * c),
        "2C too many": off_by(lambda c, r, e: 2 * c),
        "C too few. Mix-FFN's last": off_by(lambda c, r, e: -c),
        "e·C too few": off_by(lambda c, r, e: -e * c),
        "and not on C": off_by(lambda c, r, e: 10 * c - 10 * e * c),
        "no norm inside": off_by(lambda c, r, e: 2 * e * c),
        "the reduction is missing": off_by(lambda c, r, e: -(r > 1) * (r * r * c * c + 3 * c)),
        "as a depthwise convolution": off_by(lambda c, r, e: (r > 1) * r * r * c * (1 - c)),
        "C too few where there is": off_by(lambda c, r, e: -c * (r > 1)),
        "the biases are missing": off_by(lambda c, r, e: -c * (5 + (r > 1) + 2 * e)),
        "no reduction": off_by(lambda c, r, e: (r == 1) * (c * c + 3 * c)),
        "depthwise: 9 weights": off_by(lambda c, r, e: 9 * e * c * (e * c - 1)),
        "convolution of Mix-FFN is missing": off_by(lambda c, r, e: -10 * e * c),
        "merges r tokens": off_by(lambda c, r, e: r * c * c * (1 - r)),
        "norm after the reduction": off_by(lambda c, r, e: -2 * c * (r > 1)),
        "k and v do not share one": off_by(lambda c, r, e: -c * (c + 1)),
        "which is not right": lambda c, r, e: c * c,
    },
    "06.5": {
        "one channel too many": priced(lambda n, c: n * (12 * c * c + 2 * n * c + 36 * c), more=1),
        "exactly the budget": lambda budget, *rest: by_analysis_cost(budget - 1, *rest),
        "the price of one block": lambda budget, tokens, depth: by_analysis_cost(budget, tokens, 1),
        "one product": priced(lambda n, c: n * (12 * c * c + n * c + 36 * c)),
        "two products": priced(lambda n, c: n * (12 * c * c + 36 * c)),
        "the depthwise convolution is missing": priced(lambda n, c: n * (12 * c * c + 2 * n * c)),
        "Mix-FFN is missing": priced(lambda n, c: n * (4 * c * c + 2 * n * c)),
        "has 4C channels": priced(lambda n, c: n * (12 * c * c + 2 * n * c + 9 * c)),
        "three Linears": priced(lambda n, c: n * (11 * c * c + 2 * n * c + 36 * c)),
        "your search stops": lambda *given: min(by_analysis_cost(*given), 10_000),
        "the answer is 0": lambda *given: by_analysis_cost(*given) or 1,
        "only the two products": lambda budget, tokens, depth: budget // (2 * depth * tokens**2),
        "only the Linears": lambda budget, tokens, depth: math.isqrt(
            budget // (12 * depth * tokens)
        ),
        "so does one of Mix-FFN's two": priced(lambda n, c: n * (8 * c * c + 2 * n * c + 36 * c)),
    },
    "06.6": {
        "the one before its norm": unnormed_between,
        "the list holds the one before": normed_between_only,
        "no map is normalised": never_normed,
        "only the last map": last_only,
        "the maps are (B, H, W, C)": channels_last,
        "swaps height and width": transposed,
        "every block reads": blocks_side_by_side,
        "reshape leaves": reshaped,
        "after every block": norm_after_every_block,
        "reads the images": always_the_images,
        "is given (B, H, W, C)": permuted_for_the_list_only,
        "as a tensor": lambda images, stages: recursive(images, stages)[-1],
        "the blocks are left out": lambda images, stages: recursive(
            images, [(embed, [], norm) for embed, _, norm in stages]
        ),
        "the norm comes before": norm_before_the_blocks,
        "a second skip": skips_doubled,
        "for the next stage too": turned,
        "for a single stage this is right": halved_between,
        "for stages of one block this is right": halved_between_blocks,
        "in the wrong order": lambda images, stages: recursive(images, stages)[::-1],
    },
}

SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "06.4": {"norms = (2 + 2) * c": "same: 2 + 2 is 2 · 2."},
    "06.5": {"width = -1": "same: a column of width 0 costs nothing, so it always fits."},
}
