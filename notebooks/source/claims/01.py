"""The numbers that lesson 01 states: each function computes one from the package."""

from segformer_edu import OverlapPatchEmbedding
from segformer_edu.analysis.patches import PatchRow


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


def _values(patch_size: int) -> int:
    return 3 * patch_size**2


def _projection_parameters(patch_size: int) -> int:
    projection = OverlapPatchEmbedding(3, 32, patch_size, 4).projection
    return sum(weight.numel() for weight in projection.parameters())
