"""The all-MLP decoder, computed in the cheapest order (paper, section 3.2, eq. 4)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.checks import check_maps, check_per_stage, check_positive, check_rate
from segformer_edu.layers import PointwiseConv2d, initialize, linear
from segformer_edu.strips import add_resized, joined, strips, widen


class AllMLPDecoder(nn.Module):
    """Bring the maps of all stages to one width and one size, fuse them, classify each pixel.

    Eq. 4 projects every map to D channels (A_i), resizes it to the first map's size, concatenates,
    and fuses 4D to D channels (W_i for the slice of stage i). A resize mixes pixels and a Linear
    mixes channels, so they commute: Σ W_i resize(A_i x_i) = Σ resize((W_i A_i) x_i). The right-hand
    side composes two small matrices and never makes the 4D-channel map. In evaluation the BatchNorm
    is folded into the product too. So `projections` and `fuse`, and in evaluation `norm`, only hold
    parameters, under the published names: they are never called, and a hook on them never runs. A
    hook on `classifier` runs once for each strip of rows.

    Args:
        embed_dims: channels C_i of the stages, the finest first.
        decoder_dim: channels D.
        num_classes: classes K.
        dropout: probability that a whole channel is dropped in training.

    Shape: a list of `(B, C_i, H_i, W_i)` → logits `(B, K, H_1, W_1)`.

    Raises:
        ValueError: sizes that are not positive, a dropout outside [0, 1]; the wrong number of maps,
            or maps of the wrong rank, dtype or width.
    """

    def __init__(
        self, embed_dims: Sequence[int], decoder_dim: int, num_classes: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        check_per_stage(embed_dims=embed_dims)
        check_positive(decoder_dim=decoder_dim, num_classes=num_classes)
        check_rate(dropout=dropout)
        self.projections = nn.ModuleList(nn.Linear(dim, decoder_dim) for dim in embed_dims)
        self.fuse = nn.Conv2d(len(embed_dims) * decoder_dim, decoder_dim, 1, bias=False)
        self.norm = nn.BatchNorm2d(decoder_dim)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = PointwiseConv2d(decoder_dim, num_classes)
        self.apply(initialize)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        weights, bias = self.composed()
        check_maps(maps, weights, training=self.norm.training)
        whole = any(part.training for part in (self, self.norm, self.dropout))  # they see all rows
        return decode(maps, weights, bias, self.classify, whole)

    def extra_repr(self) -> str:
        return "projections, fuse and (in evaluation) norm hold parameters and are not called"

    def composed(self) -> tuple[list[Tensor], Tensor]:
        """The composed weights and bias; in evaluation the BatchNorm is part of them."""
        weights, bias = compose(self.projections, self.fuse)
        return (weights, bias) if self.norm.training else fold_norm(self.norm, weights, bias)

    def classify(self, fused: Tensor) -> Tensor:
        """BatchNorm (unless composed), ReLU and dropout, not shown in eq. 4; its last Linear."""
        fused = self.norm(fused) if self.norm.training else fused
        return self.classifier(self.dropout(F.relu(fused, inplace=True)))  # (B, K, H_1, W_1)


def compose(projections: Iterable[nn.Module], fuse: nn.Conv2d) -> tuple[list[Tensor], Tensor]:
    """W_i A_i of each stage, `(D, C_i)` and the finest first, and their joint bias `(D,)`."""
    slices = fuse.weight.flatten(1).split(fuse.out_channels, dim=1)  # W_i (D, D), stage 4 first
    stages = list(zip(reversed(slices), projections, strict=True))
    weights = [w @ a.weight for w, a in stages]
    return weights, torch.stack([w @ a.bias for w, a in stages]).sum(0)


def fold_norm(
    norm: nn.BatchNorm2d, weights: Sequence[Tensor], bias: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Fold a BatchNorm in evaluation mode into the weights and bias that come before it."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # this BatchNorm tracks its statistics
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    return [scale[:, None] * weight for weight in weights], (bias - mean) * scale + norm.bias


class FoldedDecoder(nn.Module):
    """An evaluation-only decoder whose parameters are the composed matrices of another.

    Args:
        decoder: the decoder to fold, in evaluation mode.

    Shape: the same as the decoder's.

    Raises:
        ValueError: a decoder in training mode; maps that the decoder would refuse.
    """

    def __init__(self, decoder: AllMLPDecoder) -> None:
        super().__init__()
        if decoder.norm.training:
            raise ValueError("decoder is in training mode: call decoder.eval(), then fold it.")
        with torch.no_grad(), torch.autocast(decoder.fuse.weight.device.type, enabled=False):
            weights, bias = decoder.composed()
        self.weights = nn.ParameterList(weights)
        self.bias = nn.Parameter(bias)
        self.classifier = copy.deepcopy(decoder.classifier)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set evaluation mode, the only one there is.

        Raises:
            ValueError: training.
        """
        if mode:
            raise ValueError(
                "A folded model is for evaluation only: train the model from which it was folded."
            )
        return super().train(mode)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        check_maps(maps, list(self.weights), training=False)
        return decode(maps, list(self.weights), self.bias, self.classify)

    def classify(self, fused: Tensor) -> Tensor:
        return self.classifier(F.relu(fused, inplace=True))


def decode(
    maps: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: Tensor,
    classify: Callable[[Tensor], Tensor],
    whole: bool = False,
) -> Tensor:
    """classify(Σ resize(weight_i x_i) + bias), a strip of rows at a time or the `whole` map.

    Coarse maps are widened first, while they have few rows.
    """
    finest, *coarser = [x.permute(0, 2, 3, 1) for x in maps]  # (B, H_i, W_i, C_i)
    height, width = finest.shape[1:3]
    coarser = [linear(x, weight) for x, weight in zip(coarser, weights[1:], strict=True)]
    coarser = [widen(x, width) for x in coarser]  # (B, H_i, W_1, D)
    logits = []
    for top, bottom in strips((height, width), finest, whole):
        fused = linear(finest[:, top:bottom], weights[0], bias)  # (B, rows, W_1, D)
        for x in coarser:
            fused = add_resized(fused, x, height, top)
        logits.append(classify(fused.permute(0, 3, 1, 2)))  # (B, K, rows, W_1)
    return joined(logits, dim=2)
