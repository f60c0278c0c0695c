"""The numbers that the lessons' prose states: each function computes one from the package."""

from dataclasses import replace
from itertools import accumulate
from operator import mul

import torch

from segformer_edu import (
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
)
from segformer_edu.analysis import Cost, StageCost, cost
from segformer_edu.analysis.patches import PatchRow
from segformer_edu.widgets import AttentionBill
from segformer_edu.widgets.attention_bill import SIDES

# Lesson 00


def _b0_parameters() -> int:
    model = SegFormer(SegFormerConfig.named("b0"))
    return sum(weight.numel() for weight in model.parameters())


def b0_millions() -> str:
    return f"{_b0_parameters() / 1e6:.2f}"


def b0_megabytes() -> str:
    return f"{4 * _b0_parameters() / 1e6:.0f}"  # float32


def b0_classes() -> str:
    return str(SegFormerConfig.named("b0").num_classes)


def b0_last_channels() -> str:
    return str(SegFormerConfig.named("b0").embed_dims[-1])


# Lesson 01


def vit_tokens() -> str:
    return f"{PatchRow(512, 16, 16, 0).count ** 2:,}"


def vit_values() -> str:
    return str(_values(16))


def values_4() -> str:
    return str(_values(4))


def values_7() -> str:
    return str(_values(7))


def parameters_4() -> str:
    return f"{_projection_parameters(4):,}"


def parameters_7() -> str:
    return f"{_projection_parameters(7):,}"


def overlap_factor() -> str:
    return f"{_values(7) / _values(4):.2f}"


def seen_by_32() -> str:
    rows, columns = ((PatchRow(side, 32, 32, 0).coverage > 0).mean() for side in (500, 300))
    return f"{rows * columns:.1%}"


def stage_1_tokens() -> str:
    return f"{PatchRow(512, 7, 4, 3).count ** 2:,}"


def _values(patch_size: int) -> int:
    return 3 * patch_size**2


def _projection_parameters(patch_size: int) -> int:
    projection = OverlapPatchEmbedding(3, 32, patch_size, 4).projection
    return sum(weight.numel() for weight in projection.parameters())


# Lesson 02


def attention_entries_stage1() -> str:
    return f"{_unreduced_stage_1(512, stride=4).attention_entries_per_block:,}"


def attention_pixels_512() -> str:
    return f"{_unreduced_stage_1(512, stride=1).tokens:,}"


def attention_entries_512_pixels() -> str:
    return f"{_unreduced_stage_1(512, stride=1).attention_entries_per_block:,}"


def attention_entries_1024_pixels() -> str:
    return f"{_unreduced_stage_1(1024, stride=1).attention_entries_per_block:,}"


def attention_matrix_over_linears() -> str:
    parts = _unreduced_stage_1(512, stride=4).multiply_adds_of
    return f"{parts.attention_matmuls / parts.projections:.0f}"


def attention_mib_64() -> str:
    return f"{4 * _unreduced_stage_1(256, stride=4).attention_entries_per_block / 2**20:.0f}"


def bill_nominal_memory() -> str:
    return str(AttentionBill.first.memory)


def bill_largest_side() -> str:
    states = [replace(AttentionBill.first, side=side) for side in SIDES]
    return str(max(each.side for each in states if 2 * each.matrix_bytes < each.memory_bytes))


def _unreduced_stage_1(side: int, stride: int) -> StageCost:
    """Stage 1 of B0 in which every token asks every other."""
    config = SegFormerConfig(strides=(stride, 2, 2, 2), reduction_ratios=(1, 1, 1, 1))
    return cost(config, (side, side)).stages[0]


# Lesson 03


def keys_per_stage() -> str:
    (keys,) = {stage.keys for stage in _b0(512).stages}
    return str(keys)


def stride_times_r() -> str:
    config = SegFormerConfig.named("b0")
    strides = accumulate(config.strides, mul)
    (pixels,) = {s * r for s, r in zip(strides, config.reduction_ratios, strict=True)}
    return str(pixels)


def reduction_over_linears() -> str:
    attention = SpatialReductionAttention(32, 1, 8)
    reduction = sum(weight.numel() for weight in attention.reduce.projection.parameters())
    linears = sum(weight.numel() for weight in SpatialReductionAttention(32, 1, 1).parameters())
    return f"{reduction / linears:.0f}"


def reduction_parameters() -> str:
    full = cost(SegFormerConfig(reduction_ratios=(1, 1, 1, 1)), (512, 512))
    return f"{(_b0(512).parameters - full.parameters) / 1e6:.2f}"


def stage_1_full_over_r4() -> str:
    reduced = cost(SegFormerConfig(reduction_ratios=(4, 4, 2, 1)), (512, 512)).stages[0]
    return f"{_unreduced_stage_1(512, stride=4).multiply_adds / reduced.multiply_adds:.0f}"


def saved_in_stage_1() -> str:
    full, reduced = _unreduced(512, 512), _b0(512)
    saved = full.stages[0].multiply_adds - reduced.stages[0].multiply_adds
    return f"{saved / (full.encoder_multiply_adds - reduced.encoder_multiply_adds):.0%}"


def encoder_factor() -> str:
    return f"{_unreduced(512, 512).encoder_multiply_adds / _b0(512).encoder_multiply_adds:.0f}"


def layer_factor() -> str:
    full, reduced = (bill.stages[0].multiply_adds_of for bill in (_unreduced(512, 512), _b0(512)))
    whole, part = (
        each.projections + each.reduction + each.attention_matmuls for each in (full, reduced)
    )
    return f"{whole / part:.0f}"


def stored_full() -> str:
    return f"{4 * _unreduced(512, 512).stages[0].attention_entries_per_block / 2**20:,.0f}"


def stored_reduced() -> str:
    return f"{4 * _b0(512).stages[0].attention_entries_per_block / 2**20:,.0f}"


def window_numbers() -> str:
    return f"{_window()[1]:,}"


def blind_directions() -> str:
    key, window = _window()
    return f"{window - key:,}"


def seen_31() -> str:
    return f"{_b0(124).stages[0].share_of_tokens_seen:.1%}"


def smallest_side() -> str:
    return str(SegFormerConfig.named("b0").min_image_size)


def task_keys() -> str:
    (keys,) = {stage.keys for stage in cost(SegFormerConfig.named("b0"), (384, 512)).stages}
    return str(keys)


def task_padded_keys() -> str:
    (keys,) = {stage.keys for stage in cost(SegFormerConfig.named("b0"), (512, 320)).stages}
    return str(keys)


def task_factor() -> str:
    published = cost(SegFormerConfig.named("b0"), (500, 300))
    return f"{_unreduced(500, 300).encoder_multiply_adds / published.encoder_multiply_adds:.1f}"


def task_padded() -> str:
    padded = cost(SegFormerConfig.named("b0"), (512, 320))
    return f"{padded.encoder_multiply_adds / _unreduced(500, 300).encoder_multiply_adds:.0%}"


def _b0(side: int) -> Cost:
    return cost(SegFormerConfig.named("b0"), (side, side))


def _unreduced(height: int, width: int) -> Cost:
    """B0 in which every token asks every other, in all stages."""
    return cost(SegFormerConfig(reduction_ratios=(1, 1, 1, 1)), (height, width))


def _window() -> torch.Size:
    """Numbers in a key of B0's stage 1, and in the window that it is made from."""
    return SpatialReductionAttention(32, 1, 8).reduce.projection.weight.flatten(1).shape
