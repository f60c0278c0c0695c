"""The numbers that the lessons' prose states: each function computes one from the package."""

from segformer_edu import OverlapPatchEmbedding, SegFormer, SegFormerConfig
from segformer_edu.analysis.patches import PatchRow

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
