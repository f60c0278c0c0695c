"""Change one thing inside a model, and see whether its answer changes (lesson 09).

A head of a block can be silenced, made to look everywhere alike, or given what it would have
gathered in another picture; and what a block's attention adds can be made the same everywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from segformer_edu.analysis.attention_maps import attentions_of, check_model
from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.layers import evaluation
from segformer_edu.segformer import SegFormer


@torch.no_grad()
def silenced(
    model: SegFormer, stage: int, block: int = 0, heads: Iterable[int] | None = None
) -> SegFormer:
    """A copy of a model in which heads add nothing: their columns of the last matrix are zero.

    Args:
        model: stays as it is.
        stage, block, heads: which, from 0; all heads of the block if left out.

    Raises:
        ValueError: the model is not a SegFormer, or has no such head.
    """
    changed = copy.deepcopy(model)
    attention, channels = find_heads(changed, stage, block, heads)
    attention.output.weight[:, channels] = 0
    return changed


@torch.no_grad()
def with_even_attention(
    model: SegFormer, stage: int, block: int = 0, heads: Iterable[int] | None = None
) -> SegFormer:
    """A copy of a model in which heads attend to all keys alike: their queries are zero.

    Such a head still hands on the mean of all values, but no longer chooses among them.

    Args:
        model: stays as it is.
        stage, block, heads: which, from 0; all heads of the block if left out.

    Raises:
        ValueError: the model is not a SegFormer, or has no such head.
    """
    changed = copy.deepcopy(model)
    attention, channels = find_heads(changed, stage, block, heads)
    attention.query.weight[channels] = 0
    attention.query.bias[channels] = 0
    return changed


@torch.no_grad()
def with_constant_attention(
    model: SegFormer, images: Tensor, stage: int, block: int = 0
) -> SegFormer:
    """A copy of a model in which a block's attention adds the same vector everywhere: its mean.

    Args:
        model: stays as it is.
        images: over whose tokens the mean is taken, `(B, in_channels, H, W)`.
        stage, block: which, from 0.

    Raises:
        ValueError: the model is not a SegFormer, has no such block, or refuses the images.
    """
    changed = copy.deepcopy(model)
    attention, _ = find_heads(changed, stage, block, None)
    added: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        added.append(output.mean((0, 1, 2)))

    with evaluation(changed), attention.register_forward_hook(keep):
        changed.encoder(images)
    attention.output.weight.zero_()
    attention.output.bias.copy_(added[0])
    return changed


@torch.no_grad()
def transplanted(
    model: SegFormer,
    images: Tensor,
    donors: Tensor,
    stage: int,
    block: int = 0,
    heads: Iterable[int] | None = None,
) -> Tensor:
    """What a model predicts if heads hand on, at each token, what they gathered in other pictures.

    All else comes from the images. So where the answer becomes that for the donors, these heads
    carried what tells the two apart (activation patching, Vig and others 2020, arXiv:2004.12265).

    Args:
        model: looked at in evaluation mode.
        images: `(B, in_channels, H, W)`, as the model takes them.
        donors: of the same shape, a picture for each image.
        stage, block, heads: which, from 0; all heads of the block if left out.

    Shape: → `(B, H, W)` int64, as `model.predict`.

    Raises:
        ValueError: the model is not a SegFormer, has no such head, or refuses the images; or
            donors of another shape.
    """
    if donors.shape != images.shape:
        raise ValueError(
            f"donors have shape {tuple(donors.shape)}, images {tuple(images.shape)}: give one "
            f"donor for each image, of its size."
        )
    attention, channels = find_heads(model, stage, block, heads)
    gathered: list[Tensor] = []  # Σ weight · value of every head, (B, H_i, W_i, C)

    def keep(_: nn.Module, inputs: tuple[Tensor]) -> None:
        gathered.append(inputs[0])

    def replace(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        mixed = inputs[0].clone()
        mixed[..., channels] = gathered[0][..., channels]
        return mixed

    with evaluation(model), attention.output.register_forward_pre_hook(keep):
        model.encoder(donors)
    with attention.output.register_forward_pre_hook(replace):
        return model.predict(images)


def find_heads(
    model: SegFormer, stage: int, block: int, heads: Iterable[int] | None
) -> tuple[SpatialReductionAttention, list[int]]:
    """The attention of a block, and the channels of some of its heads.

    Raises:
        ValueError: the model is not a SegFormer, or has no such head.
    """
    check_model(model)
    depths, counts = model.config.depths, model.config.num_heads
    if not 0 <= stage < len(depths) or not 0 <= block < depths[stage]:
        raise ValueError(
            f"stage {stage}, block {block}: the stages have {depths} blocks, counted from 0."
        )
    chosen = list(range(counts[stage]) if heads is None else heads)
    if not all(0 <= head < counts[stage] for head in chosen):
        raise ValueError(
            f"heads {chosen}: stage {stage} has {counts[stage]} heads, counted from 0."
        )
    attention = attentions_of(model.encoder.stages[stage])[block]
    width = attention.dim // attention.num_heads  # channels d of a head, side by side
    return attention, [head * width + each for head in chosen for each in range(width)]
