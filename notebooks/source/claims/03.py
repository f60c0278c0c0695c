"""The numbers that lesson 03 states: each function computes one from the package."""

import json
import math
from itertools import accumulate
from operator import mul
from typing import Any

import torch
from torch import nn

from experiments.ratio_losses import CHEAP, CHEAPEST, FULL, HERE, LEVELS, OWN
from notebooks.source.claims.shared import b0, unreduced_stage_1
from segformer_edu import (
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
)
from segformer_edu.analysis import Cost, cost
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.data.lamps import Lamps
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import scores
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.minute import predictions
from segformer_edu.widgets import spatial_reduction


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


def seen_31() -> str:
    return f"{b0(124).stages[0].share_of_tokens_seen:.1%}"


def smallest_side() -> str:
    return str(SegFormerConfig.named("b0").min_image_size)


def combinations() -> str:
    return str(len(_scores(256)))


def cost_range() -> str:
    dear, cheap = (_scores(256)[ratios]["multiply-adds"] for ratios in (FULL, CHEAPEST))
    return f"{dear / cheap:.1f}"


def cheap_share() -> str:
    cheap, own = (_scores(256)[ratios]["multiply-adds"] for ratios in (CHEAP, OWN))
    return f"{cheap / own:.0%}"


def cheap_gain() -> str:
    return f"{_difference(256, CHEAP, OWN)['miou'][0]:.4f}"


def interval() -> str:
    return f"{LEVELS[1] - LEVELS[0]:.0%} interval"


def cheap_interval() -> str:
    return _interval(_difference(256, CHEAP, OWN)["miou"])


def scenes_256() -> str:
    return f"{_difference(256, CHEAP, OWN)['scenes']:,}"


def scenes_128() -> str:
    return f"{_difference(128, CHEAPEST, FULL)['scenes']:,}"


def lost() -> str:
    return _lost("miou")


def lost_interval() -> str:
    _, low, high = _difference(128, CHEAPEST, FULL)["miou"]
    return f"{-high:.4f}…{-low:.4f}"


def lost_vehicle() -> str:
    return _lost("vehicle")


def lost_pole() -> str:
    return _lost("pole")


def lost_border() -> str:
    return f"{-_difference(128, CHEAPEST, FULL)['right at borders'][0]:.2%}"


def lost_elsewhere() -> str:
    return f"{-_difference(128, CHEAPEST, FULL)['right elsewhere'][0]:.2%}"


def lost_256_interval() -> str:
    _, low, high = _difference(256, CHEAPEST, FULL)["miou"]
    return f"{-high:+.4f}…{-low:+.4f}".replace("-", "−")


def silenced() -> str:
    images, labels = map(torch.stack, zip(*list(Scenes(100, 128, seed=2026)), strict=True))
    nano = SegFormer.from_pretrained("nano")
    model = without_branches(nano, branches(nano, "attention"))
    found = scores(confusion_matrix(predictions(model, images), labels, len(CLASSES)))
    return f"{found.miou:.2f}"


def own_128() -> str:
    return f"{_scores(128)[OWN]['miou']:.2f}"


def lamp_share() -> str:
    strips = Lamps(200, seed=1)
    areas = [strips.discs(index)[0].raster()[0].sum() for index in range(len(strips))]
    return f"{sum(areas) / len(areas) / 64**2:.0%}"


def lamp_right() -> str:
    rows = json.loads((HERE / "lamps.json").read_text(encoding="utf-8"))["rows"]
    ends = [
        row["right"][-1]
        for row in rows
        if tuple(row["ratios"]) in (CHEAPEST, FULL) and row["lamp"] == "its colour"
    ]
    if len(ends) != 10:
        raise ValueError(f"{len(ends)} runs: lesson 03 says five for each of two ratios.")
    return f"{math.floor(1000 * min(ends)) / 10:.1f}%"


def task_cost() -> str:
    cheap, dear = (_scores(256)[ratios]["multiply-adds"] for ratios in (CHEAPEST, FULL))
    return f"{cheap / dear:.0%}"


def task_miou() -> str:
    return f"{_scores(256)[CHEAPEST]['miou']:.3f}"


def task_miou_full() -> str:
    return f"{_scores(256)[FULL]['miou']:.3f}"


def task_changed() -> str:
    _, found = spatial_reduction.changes(spatial_reduction.State(*CHEAPEST))
    return f"{found.all:.1%}"


def task_keys_1() -> str:
    return str(_nano_keys()[0])


def task_keys() -> str:
    (keys,) = set(_nano_keys()[1:])
    return str(keys)


def _nano_keys() -> list[int]:
    config = spatial_reduction.CONFIG.replace(reduction_ratios=CHEAPEST)
    return [stage.keys for stage in cost(config, (256, 256)).stages]


def _scores(size: int) -> dict[tuple[int, ...], dict[str, Any]]:
    rows = json.loads((HERE / "every_ratio.json").read_text(encoding="utf-8"))["rows"]
    return {tuple(row["ratios"]): row for row in rows if row["size"] == size}


def _difference(size: int, one: tuple[int, ...], other: tuple[int, ...]) -> dict[str, Any]:
    """The row of experiments/ratio_losses.json: for each quantity one less the other, and its
    interval.
    """
    rows = json.loads((HERE / "ratio_losses.json").read_text(encoding="utf-8"))["rows"]
    asked = [size, list(one), list(other)]
    (row,) = (row for row in rows if [row["size"], row["ratios"], row["less"]] == asked)
    return row


def _lost(quantity: str) -> str:
    return f"{-_difference(128, CHEAPEST, FULL)[quantity][0]:.4f}"


def _interval(difference: list[float]) -> str:
    _, low, high = difference
    return f"{low:+.4f}…{high:+.4f}".replace("-", "−")


def _parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


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
