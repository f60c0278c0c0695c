"""Columns: encoders that keep one map from the first block to the last (lesson 06)."""

from __future__ import annotations

from segformer_edu.analysis.cost import cost
from segformer_edu.config import SegFormerConfig


def column(stride: int, reduction_ratio: int, width: int, depth: int = 8) -> SegFormerConfig:
    """The config of an encoder with one stage.

    Args:
        stride: pixels from token to token.
        reduction_ratio: r of every block.
        width: channels of every token.
        depth: how many blocks.
    """
    return SegFormerConfig(
        embed_dims=(width,),
        depths=(depth,),
        num_heads=(1,),
        reduction_ratios=(reduction_ratio,),
        mlp_ratios=(4,),
        patch_sizes=(7 if stride == 4 else stride + 1,),  # odd, as in the pyramid
        strides=(stride,),
    )


def widest_column(budget: int, stride: int, reduction_ratio: int, side: int = 512) -> int:
    """The most channels with which eight blocks cost no more than a budget; 0 if one is too dear.

    Args:
        budget: multiply-adds of the encoder.
        stride, reduction_ratio: of the column.
        side: of a square photograph, in pixels.
    """
    width = 0
    while encoder_work(column(stride, reduction_ratio, width + 1), side) <= budget:
        width += 1
    return width


def encoder_work(config: SegFormerConfig, side: int) -> int:
    """Multiply-adds of the encoder for a square photograph."""
    return cost(config, (side, side)).encoder_multiply_adds
