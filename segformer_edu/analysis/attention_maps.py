"""Every attention map of a model, as numbers."""

from __future__ import annotations

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


def check_model(model: SegFormer) -> None:
    """Refuse anything but a SegFormer."""
    if not isinstance(model, SegFormer):
        raise ValueError(
            f"model is a {type(model).__name__}: give a whole SegFormer, such as SegFormer(config)."
        )


def attentions_of(stage: nn.Module) -> list[SpatialReductionAttention]:
    """The attention of each block, in order."""
    return [part for part in stage.modules() if isinstance(part, SpatialReductionAttention)]
