"""The numbers that lesson 03 states: each function computes one from the package."""

from itertools import accumulate
from operator import mul

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from notebooks.source.claims.shared import b0, unreduced_stage_1
from segformer_edu import OverlapPatchEmbedding, SegFormerConfig, SpatialReductionAttention
from segformer_edu.analysis import Cost, cost
from segformer_edu.data.photos import normalize, sample_photo


def keys_per_stage() -> str:
    (keys,) = {stage.keys for stage in b0(512).stages}
    return str(keys)


def saved_in_stage_4() -> str:
    further = cost(SegFormerConfig(reduction_ratios=(8, 4, 2, 2)), (512, 512))
    return f"{1 - further.encoder_multiply_adds / b0(512).encoder_multiply_adds:.0%}"


def stride_times_r() -> str:
    config = SegFormerConfig.named("b0")
    strides = accumulate(config.strides, mul)
    (pixels,) = {s * r for s, r in zip(strides, config.reduction_ratios, strict=True)}
    return str(pixels)


def matrix_parameters() -> str:
    return f"{_parameters(SpatialReductionAttention(32, 1, 8).reduce.projection):,}"


def linears_parameters() -> str:
    return f"{_parameters(SpatialReductionAttention(32, 1, 1)):,}"


def reduction_over_linears() -> str:
    reduction = SpatialReductionAttention(32, 1, 8).reduce.projection
    return f"{_parameters(reduction) / _parameters(SpatialReductionAttention(32, 1, 1)):.0f}"


def reduction_parameters() -> str:
    full = cost(SegFormerConfig(reduction_ratios=(1, 1, 1, 1)), (512, 512))
    return f"{(b0(512).parameters - full.parameters) / 1e6:.2f}"


def smallest_side_with_paper_ratios() -> str:
    return str(SegFormerConfig(reduction_ratios=(64, 16, 4, 1)).min_image_size)


def products_at_2048() -> str:
    products = sum(stage.multiply_adds_of.attention_matmuls for stage in b0(2048).stages)
    return f"{products / b0(2048).encoder_multiply_adds:.0%}"


def saved_by_r_16() -> str:
    further = cost(SegFormerConfig(reduction_ratios=(16, 4, 2, 1)), (512, 512))
    return f"{1 - further.encoder_multiply_adds / b0(512).encoder_multiply_adds:.0%}"


def added_by_r_16() -> str:
    further = cost(SegFormerConfig(reduction_ratios=(16, 4, 2, 1)), (512, 512))
    return f"{further.parameters / b0(512).parameters - 1:.0%}"


def stage_1_factor() -> str:
    full = unreduced_stage_1(512, stride=4)
    return f"{full.multiply_adds / b0(512).stages[0].multiply_adds:.0f}"


def saved_in_stage_1() -> str:
    full, reduced = _unreduced(512, 512), b0(512)
    saved = full.stages[0].multiply_adds - reduced.stages[0].multiply_adds
    return f"{saved / (full.encoder_multiply_adds - reduced.encoder_multiply_adds):.0%}"


def encoder_factor() -> str:
    return f"{_unreduced(512, 512).encoder_multiply_adds / b0(512).encoder_multiply_adds:.0f}"


def layer_factor() -> str:
    full, reduced = (bill.stages[0].multiply_adds_of for bill in (_unreduced(512, 512), b0(512)))
    whole, part = (
        each.projections + each.reduction + each.attention_matmuls for each in (full, reduced)
    )
    return f"{whole / part:.0f}"


def stored_full() -> str:
    return f"{4 * _unreduced(512, 512).stages[0].attention_entries_per_block / 2**20:,.0f}"


def stored_reduced() -> str:
    return f"{4 * b0(512).stages[0].attention_entries_per_block / 2**20:,.0f}"


def window_numbers() -> str:
    return f"{_window()[1]:,}"


def blind_directions() -> str:
    return f"{_window()[1] - _seen_directions():,}"


def kept_by_the_best() -> str:
    windows = _windows()
    held = torch.linalg.eigvalsh(windows.T.cov()).flip(0)  # the variance along each direction
    return f"{held[: _seen_directions()].sum() / held.sum():.0%}"


def kept_by_the_mean() -> str:
    windows = _windows().unflatten(1, (32, 64))
    means = windows.mean(dim=2, keepdim=True).expand_as(windows)
    return f"{means.var(0).sum() / windows.var(0).sum():.0%}"


def seen_31() -> str:
    return f"{b0(124).stages[0].share_of_tokens_seen:.1%}"


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


def _parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _windows() -> Tensor:
    """The windows of the photograph, in the tokens of an untrained stage 1, a row for each."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)  # the lesson's weights
        maps = OverlapPatchEmbedding(3, 32, 7, 4)(normalize(sample_photo("astronaut")))
    return F.unfold(maps.permute(0, 3, 1, 2), 8, stride=8)[0].T.double()


def _unreduced(height: int, width: int) -> Cost:
    """B0 in which every token asks every other, in all stages."""
    return cost(SegFormerConfig(reduction_ratios=(1, 1, 1, 1)), (height, width))


def _seen_directions() -> int:
    """Directions in which a window of B0's stage 1 can change so that its key changes too."""
    torch.manual_seed(0)
    reduce = SpatialReductionAttention(32, 1, 8).reduce.double()
    window = torch.randn(1, 8, 8, 32, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(reduce, window).view(_window())
    return int(torch.linalg.matrix_rank(jacobian, rtol=1e-3))


def _window() -> torch.Size:
    """Numbers in a key of B0's stage 1, and in the window that it is made from."""
    return SpatialReductionAttention(32, 1, 8).reduce.projection.weight.flatten(1).shape
