"""Reductions for other ratios than a model's own, in a file beside its weights.

A tensor is named as in the model, with the ratio behind `reduce`: the weight of stage 1, block 1,
for r = 8 is `encoder.stages.0.blocks.0.attention.reduce.8.projection.weight`. A ratio of 1 has no
weights; a model with such a file was trained to do without a reduction, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import safetensors.torch
from torch import Tensor

from segformer_edu.checkpoints.files import read_tensors
from segformer_edu.checkpoints.layouts import Weights
from segformer_edu.config import SegFormerConfig
from segformer_edu.files import expanded, write_atomically

REDUCTIONS = "reductions.safetensors"
RATIO = re.compile(r"(?<=\.reduce\.)(\d+)\.")


def write_reductions(reductions: Mapping[str, Tensor], folder: str | Path) -> None:
    """Write the reductions of other ratios beside a model's weights, in half precision."""
    tensors = {name: x.detach().cpu().half().contiguous() for name, x in reductions.items()}
    write_atomically(expanded(folder) / REDUCTIONS, safetensors.torch.save(tensors))


def with_reductions(weights: Weights, folder: Path, config: SegFormerConfig) -> Weights:
    """The weights, with the reductions that the config asks for where the folder has others.

    Without such a file, or for the model's own ratios, they stay as they are.

    Raises:
        ValueError: there is such a file, and a stage has no reduction for the ratio asked for.
    """
    if not (folder / REDUCTIONS).exists():
        return weights
    others: dict[int, dict[int, dict[str, Tensor]]] = {}  # stage → ratio → name → tensor
    for name, tensor in read_tensors(folder / REDUCTIONS).items():
        if found := RATIO.search(name):
            choices = others.setdefault(stage_of(name), {1: {}})
            choices.setdefault(int(found[1]), {})[RATIO.sub("", name)] = tensor
    tensors = dict(weights.tensors)
    for stage, ratio in enumerate(config.reduction_ratios):
        kernel = f"encoder.stages.{stage}.blocks.0.attention.reduce.projection.weight"
        own, choices = weights.size(kernel, 3) or 1, others.get(stage, {})
        if ratio == own:
            continue
        if ratio not in choices:
            raise ValueError(
                f"reduction_ratios = {config.reduction_ratios}: {weights.source} was trained for "
                f"{', '.join(map(str, sorted({own, *choices})))} in stage {stage + 1}, not for "
                f"{ratio}."
            )
        for name in weights.tensors:
            if name.startswith(f"encoder.stages.{stage}.") and ".reduce." in name:
                del tensors[name]
        tensors |= choices[ratio]
    return replace(weights, tensors=tensors)


def stage_of(name: str) -> int:
    """Which stage of the encoder a weight belongs to, from 0."""
    return int(name.split(".")[2])  # encoder.stages.0. …
