"""Columns: encoders that keep one map from the first block to the last (lesson 06)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

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


# Two networks of the trial, experiments/hierarchy.py: four blocks each, of about the same cost at
# 64×64 pixels.
PYRAMID = SegFormerConfig.named("nano", depths=(1, 1, 1, 1))
FINE_COLUMN = column(stride=4, reduction_ratio=4, width=18, depth=4).replace(
    num_heads=(2,), num_classes=PYRAMID.num_classes, decoder_dim=PYRAMID.decoder_dim
)


@dataclass(frozen=True)
class Trial:
    """What the networks of the trial reached.

    Args:
        mean_iou: in percent, for each network one number a seed.
        poles: the IoU of poles, likewise.
        machine: on which it ran, and when.
    """

    mean_iou: dict[str, list[float]]
    poles: dict[str, list[float]]
    machine: str

    def best_first(self) -> list[str]:
        """The networks by their mean IoU over the seeds."""
        return sorted(self.mean_iou, key=lambda name: -mean(self.mean_iou[name]))


def read_trial(path: Path) -> Trial:
    """The results that experiments/hierarchy.py has written; a column goes by its spacing alone."""
    results = json.loads(path.read_text(encoding="utf-8"))
    mean_iou: dict[str, list[float]] = {}
    poles: dict[str, list[float]] = {}
    for run in results["runs"]:
        name = run["network"].removeprefix("column at ")
        mean_iou.setdefault(name, []).append(100 * run["miou"])
        poles.setdefault(name, []).append(100 * run["iou"]["pole"])
    machine = results["machine"]
    return Trial(mean_iou, poles, f"{machine['processor']} · {machine['date']}")
