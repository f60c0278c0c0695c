"""What a SegFormer costs: parameters, multiply-adds, tokens, keys and memory, by arithmetic alone.

No model is built and nothing is measured, so a widget can ask for it at every key press; the tests
compare each number with a model that runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from segformer_edu.checks import is_whole
from segformer_edu.config import SegFormerConfig, Stage, check_config
from segformer_edu.strips import strips

FLOAT_BYTES = 4  # float32
ONE_IMAGE = torch.empty(1, device="cpu")  # a batch of one; its content does not matter

Size = tuple[int, int]


class StageMultiplyAdds(NamedTuple):
    """Where the multiply-adds of a stage go, over all its blocks."""

    patch_embedding: int
    projections: int  # queries, keys, values and output of attention
    reduction: int  # the r×r convolution that makes the reduced map; 0 if r = 1
    attention_matmuls: int  # q kᵀ, and the weights times v
    mix_ffn: int


@dataclass(frozen=True)
class StageCost:
    """One stage of the encoder, for one image.

    Args:
        size: height and width of the map of tokens.
        key_size: height and width of the reduced map, from which keys and values are made.
        reduction_ratio: r, per side.
        attention_entries_per_block: entries of the attention matrices of one block,
            heads × tokens × keys.
        attention_entries: the same, for all blocks of the stage.
        parameters: learned numbers.
        multiply_adds_of: multiply-adds, by part.
    """

    size: Size
    key_size: Size
    reduction_ratio: int
    attention_entries_per_block: int
    attention_entries: int
    parameters: int
    multiply_adds_of: StageMultiplyAdds

    @property
    def tokens(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def keys(self) -> int:
        return self.key_size[0] * self.key_size[1]

    @property
    def share_of_tokens_seen(self) -> float:
        """Share of the tokens that lie in a whole r×r window; no key sees the rest."""
        return self.keys * self.reduction_ratio**2 / self.tokens

    @property
    def multiply_adds(self) -> int:
        return sum(self.multiply_adds_of)


@dataclass(frozen=True)
class DecoderCost:
    """The all-MLP decoder, for one image.

    Args:
        parameters: learned numbers.
        reference_multiply_adds: in the order of eq. 4: project, resize, concatenate, fuse.
        folded_multiply_adds: in the order of `model.folded()`: one composed matrix per stage, at
            the stage's own size.
        multiply_adds: as `AllMLPDecoder` computes it: folded, plus the composing, once per batch.
    """

    parameters: int
    reference_multiply_adds: int
    folded_multiply_adds: int
    multiply_adds: int


@dataclass(frozen=True)
class Cost:
    """What one image costs, stage by stage and in all.

    Multiply-adds are those of convolutions, Linears and the two products of attention, as in the
    paper's "FLOPs" (Table 1); biases, norms, activations and resizes are left out. So are the rows
    that two neighbouring strips of Mix-FFN both compute in evaluation.

    Args:
        stages: the stages of the encoder.
        decoder: the decoder.
        peak_activation_bytes: the peak memory of the tensors that one forward pass makes, to
            within 5 %: one image, float32, evaluation without gradients, on a CPU. Maps,
            temporaries and composed matrices count; the image, the parameters and the kernels' own
            workspace do not. The fused attention kernel stores no attention matrix.
    """

    stages: tuple[StageCost, ...]
    decoder: DecoderCost
    peak_activation_bytes: int

    @property
    def encoder_parameters(self) -> int:
        return sum(stage.parameters for stage in self.stages)

    @property
    def encoder_multiply_adds(self) -> int:
        return sum(stage.multiply_adds for stage in self.stages)

    @property
    def parameters(self) -> int:
        return self.encoder_parameters + self.decoder.parameters

    @property
    def multiply_adds(self) -> int:
        """Of the encoder, and of the decoder as this package computes it."""
        return self.encoder_multiply_adds + self.decoder.multiply_adds

    @property
    def reference_multiply_adds(self) -> int:
        """Of the encoder, and of the decoder in the published order."""
        return self.encoder_multiply_adds + self.decoder.reference_multiply_adds


def cost(config: SegFormerConfig, size: Sequence[int]) -> Cost:
    """What a SegFormer costs on one image, before it is built.

    >>> b0 = cost(SegFormerConfig.named("b0"), (512, 512))
    >>> b0.parameters, round(b0.reference_multiply_adds / 1e9, 2), b0.stages[0].keys
    (3752694, 8.39, 256)

    Args:
        config: which SegFormer.
        size: height and width of the image, in pixels.

    Raises:
        ValueError: config is not a SegFormerConfig, or the model would refuse the size.
    """
    check_config(config)
    check_size(size, config.min_image_size)
    stages: list[StageCost] = []
    height, width = map(int, size)
    for stage in config.stages:
        stages.append(stage_cost(stage, (height, width)))
        height, width = stages[-1].size
    return Cost(tuple(stages), decoder_cost(config, stages), peak_activation_bytes(config, stages))


def check_size(size: Sequence[int], smallest: int) -> None:
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"size = {size!r}: give the image's height and width, such as (512, 512).")
    for side in size:
        if not is_whole(side) or side < smallest:
            raise ValueError(
                f"size = {size!r}: give whole numbers of at least {smallest} pixels, or attention "
                f"has no key left. Enlarge the image or lower the reduction ratios."
            )


def stage_cost(stage: Stage, size: Size) -> StageCost:
    """The cost of a stage whose input is `size` pixels or tokens (section 3.1)."""
    c_in, c, depth, heads, r, mlp_ratio, patch, stride, _ = stage
    hidden = mlp_ratio * c
    height, width = ((side + 2 * (patch // 2) - patch) // stride + 1 for side in size)
    n, m = height * width, (height // r) * (width // r)  # tokens and keys
    multiply_adds = StageMultiplyAdds(
        patch_embedding=n * patch**2 * c_in * c,
        projections=depth * 2 * (n + m) * c**2,
        reduction=depth * m * r**2 * c**2 if r > 1 else 0,
        attention_matmuls=depth * 2 * n * m * c,
        mix_ffn=depth * n * (2 * c * hidden + 9 * hidden),
    )
    patch_embedding = patch**2 * c_in * c + c + 2 * c
    attention = 4 * (c**2 + c) + (r**2 * c**2 + c + 2 * c if r > 1 else 0)
    mix_ffn = (c * hidden + hidden) + (9 * hidden + hidden) + (hidden * c + c)
    return StageCost(
        size=(height, width),
        key_size=(height // r, width // r),
        reduction_ratio=r,
        attention_entries_per_block=heads * n * m,
        attention_entries=depth * heads * n * m,
        parameters=patch_embedding + depth * (2 * c + attention + 2 * c + mix_ffn) + 2 * c,
        multiply_adds_of=multiply_adds,
    )


def decoder_cost(config: SegFormerConfig, stages: Sequence[StageCost]) -> DecoderCost:
    """The cost of the decoder over the maps of these stages (section 3.2, eq. 4)."""
    d, k, channels = config.decoder_dim, config.num_classes, config.embed_dims
    finest = stages[0].tokens
    project = sum(stage.tokens * c * d for stage, c in zip(stages, channels, strict=True))
    folded = project + finest * d * k
    return DecoderCost(
        parameters=sum(c * d + d for c in channels) + len(stages) * d**2 + 2 * d + (d * k + k),
        reference_multiply_adds=project + finest * len(stages) * d**2 + finest * d * k,
        folded_multiply_adds=folded,
        multiply_adds=folded + sum(d**2 * c for c in channels),
    )


def peak_activation_bytes(config: SegFormerConfig, stages: Sequence[StageCost]) -> int:
    """The most bytes that are live at one time during the forward pass."""
    peak = maps = 0  # floats in the finished maps, kept for the decoder
    for stage, c, ratio in zip(stages, config.embed_dims, config.mlp_ratios, strict=True):
        x = stage.tokens * c
        reduced = stage.keys * c
        attention = 5 * x + 2 * reduced  # x, normed, q, mixed, output; k, v
        attention += reduced if stage.reduction_ratio > 1 else 0  # else it is the normed x itself
        mix_ffn = 3 * x + mix_ffn_peak(stage.size, c, c * ratio)  # the block's input, x, normed
        peak = max(peak, maps + attention, maps + mix_ffn)
        maps += x
    return FLOAT_BYTES * max(peak, maps + decoder_peak(config, stages))


def mix_ffn_peak(size: Size, c: int, hidden: int) -> int:
    """The most floats that Mix-FFN holds at one time, which is in its last strips.

    Inside the map, a strip has one more row on each side, which its convolution also reads.
    """
    return max(
        size[1] * (top * c + (min(bottom + 1, size[0]) - max(top - 1, 0)) * (2 * hidden + c))
        for top, bottom in last_strips(size)
    )


def decoder_peak(config: SegFormerConfig, stages: Sequence[StageCost]) -> int:
    """The most floats that the decoder holds at one time, in its last strips or at the end."""
    d, k = config.decoder_dim, config.num_classes
    height, width = size = stages[0].size
    composed = d * sum(config.embed_dims)
    projected = d * sum(stage.tokens for stage in stages[1:])  # the coarser maps, D channels each
    waiting = composed + d * sum(stage.size[0] * width for stage in stages[1:])  # widened
    # Both the weights with the BatchNorm's scale and those without; or the projected maps.
    peak = max(2 * composed, waiting + projected)
    for top, bottom in last_strips(size):  # by then most logits exist
        pixels = (bottom - top) * width
        fused, classified, logits = pixels * d, pixels * k, top * width * k
        peak = max(peak, waiting + logits + fused + max(fused, classified))
    if logits:  # the strips are joined
        peak = max(peak, waiting + 2 * (logits + classified) + fused)
    return peak


def last_strips(size: Size) -> list[Size]:
    """The last two strips in which the model computes a map of one image, on a CPU in evaluation.

    All strips but the last have as many rows as the first, so even for a giant map none is listed.
    """
    _, rows = next(strips(size, ONE_IMAGE))
    last = (size[0] - 1) // rows * rows
    return [(last - rows, last), (last, size[0])] if last else [(last, size[0])]
