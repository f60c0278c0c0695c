"""Every attention map of a model, as numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.layers import evaluation
from segformer_edu.segformer import SegFormer


@torch.no_grad()
def attention_maps(model: SegFormer, images: Tensor) -> list[list[Tensor]]:
    """How much each token attends to each key, in every block: softmax(q kᵀ / √d) of eq. 1.

    The model runs once, in evaluation mode, so that no block is dropped; afterwards every part is
    in the mode in which it was before. The output of its fused attention kernel is not changed: the
    weights are computed separately.

    Args:
        model: the model to look into.
        images: `(B, in_channels, H, W)`, as the model takes them.

    Returns:
        A list of stages, each a list of blocks, each `(B, heads, H_i, W_i, H_i / r, W_i / r)`;
        the last two axes sum to one.

    Raises:
        ValueError: the model is not a SegFormer, or it refuses the images.
    """
    check_model(model)
    stages = [attentions_of(stage) for stage in model.encoder.stages]
    maps: dict[nn.Module, Tensor] = {}

    def keep_weights(
        attention: SpatialReductionAttention, inputs: tuple[Tensor], output: Tensor
    ) -> None:
        maps[attention] = attention.weights(*inputs)

    with evaluation(model), ExitStack() as hooks:
        for attention in sum(stages, []):
            hooks.enter_context(attention.register_forward_hook(keep_weights))
        model.encoder(images)
    return [[maps[attention] for attention in stage] for stage in stages]


def without_attention(model: SegFormer, stages: Iterable[int] | None = None) -> SegFormer:
    """A copy of a model in which attention adds nothing, and learns nothing if it is trained.

    The last matrix of each attention, and its bias, are zero and stay so: what is left of a block
    is its Mix-FFN.

    Args:
        model: stays as it is.
        stages: of which to silence attention, from 0; all if left out.
    """
    check_model(model)
    silenced = copy.deepcopy(model)
    for stage in range(model.config.num_stages) if stages is None else stages:
        for attention in attentions_of(silenced.encoder.stages[stage]):
            attention.requires_grad_(False)
            attention.output.weight.zero_()
            attention.output.bias.zero_()
    return silenced


def check_model(model: SegFormer) -> None:
    """Refuse anything but a SegFormer."""
    if not isinstance(model, SegFormer):
        raise ValueError(
            f"model is a {type(model).__name__}: give a whole SegFormer, such as SegFormer(config)."
        )


def attentions_of(stage: nn.Module) -> list[SpatialReductionAttention]:
    """The attention of each block, in order."""
    return [part for part in stage.modules() if isinstance(part, SpatialReductionAttention)]
