"""The numbers that the lessons' prose states: each function computes one from the package."""

from segformer_edu import OverlapPatchEmbedding, SegFormer, SegFormerConfig
from segformer_edu.analysis import StageCost, cost
from segformer_edu.analysis.patches import PatchRow
from segformer_edu.widgets import AttentionBill

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


def _unreduced_stage_1(side: int, stride: int) -> StageCost:
    """Stage 1 of B0 in which every token asks every other."""
    config = SegFormerConfig(strides=(stride, 2, 2, 2), reduction_ratios=(1, 1, 1, 1))
    return cost(config, (side, side)).stages[0]
