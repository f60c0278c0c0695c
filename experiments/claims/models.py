"""The models that are compared, each a SegFormer of which a part was exchanged."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.claims.settings import SIDE, Model
from experiments.claims.vit import COARSE, FINE, ClassQueryViT, LinearHeadViT, adamw, multiply_adds
from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.analysis.position import pad_with
from segformer_edu.data.scenes import CLASSES
from segformer_edu.layers import Linear, initialize
from segformer_edu.training import make_optimizer

DIMS, HEADS, STRIDES = (16, 32, 64, 128), (1, 2, 4, 8), (4, 2, 2, 2)


VITS = {
    f"{word}, patches of {sizes.patch}": (kind, sizes)
    for word, kind in (("class queries", ClassQueryViT), ("linear head", LinearHeadViT))
    for sizes in (FINE, COARSE)
}


def build(model: Model) -> nn.Module:
    """The model with random weights, from torch's generator."""
    if model.kind in VITS:
        vit, sizes = VITS[model.kind]
        return vit(sizes, len(CLASSES), SIDE)
    segformer = SegFormer(config_of(model))
    side = SIDE
    for stage in segformer.encoder.stages:
        projection = stage.patch_embedding.projection
        if not model.overlap:
            projection.padding = (0, 0)
        side //= projection.stride[0]
        if model.embedding:
            stage.patch_embedding = WithPosition(stage.patch_embedding, side)
        for block in stage.blocks:
            if not model.convolution:
                block.mix_ffn = PlainFFN(block.mix_ffn.dim, block.mix_ffn.expand.out_features)
            if model.kind == "convolution":
                block.attention = Mixing3x3(block.attention.dim)
    pad_with(segformer, model.padding)
    if model.kind == "no attention":
        return without_branches(segformer, branches(segformer, "attention"))
    return segformer


def config_of(model: Model) -> SegFormerConfig:
    return SegFormerConfig(
        num_classes=len(CLASSES),
        class_names=CLASSES,
        embed_dims=tuple(round(model.width * dim) for dim in DIMS),
        depths=(model.depth,) * len(DIMS),
        num_heads=HEADS,
        reduction_ratios=model.reduction_ratios,
        patch_sizes=(7, 3, 3, 3) if model.overlap else STRIDES,
        strides=STRIDES,
        decoder_dim=model.decoder_dim,
        drop_path_rate=model.drop_path_rate,
        decoder_dropout=0.0,
    )


class WithPosition(nn.Module):
    """A patch embedding, and a learned number for each channel of each place, as ViT and PVT have.

    On a map of another size the numbers are resized, as theirs are.

    Shape: as the patch embedding's.
    """

    def __init__(self, embedding: nn.Module, side: int) -> None:
        super().__init__()
        self.embedding = embedding
        channels = embedding.projection.out_channels
        self.position = nn.Parameter(torch.empty(1, channels, side, side))
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedding(x)  # (B, H, W, C)
        position = F.interpolate(
            self.position, tokens.shape[1:3], mode="bilinear", align_corners=False
        )
        return tokens + position.permute(0, 2, 3, 1)


def laid_anew(model: nn.Module, times: int) -> nn.Module:
    """A copy whose embeddings are repeated, so that each scene of a mosaic has them in full."""
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, WithPosition):
            part.position = nn.Parameter(part.position.repeat(1, 1, times, times))
    return model


class PlainFFN(nn.Module):
    """MLP(GELU(MLP(x))): a Mix-FFN without its convolution, `(B, H, W, C)` → the same."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = Linear(dim, hidden_dim)
        self.contract = Linear(hidden_dim, dim)
        self.apply(initialize)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(x)))


class Mixing3x3(nn.Module):
    """What the convolution net has in place of attention: `(B, H, W, C)` → the same.

    In two groups, which makes parameters and multiply-adds about as many as attention has.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.reduction_ratio = dim, 1  # as the block that it stands in wants to know
        self.convolution = nn.Conv2d(dim, dim, kernel_size=3, padding=1, groups=2)
        self.apply(initialize)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@cache
def size_of(model: Model) -> tuple[int, int]:
    """Parameters that are trained, and multiply-adds for one training picture in evaluation."""
    built = build(model)
    trained = sum(x.numel() for x in built.parameters() if x.requires_grad)
    return trained, multiply_adds(built, SIDE)


def optimizer_for(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW that decays neither norms nor biases, for either family."""
    make = make_optimizer if isinstance(model, SegFormer) else adamw
    return make(model, learning_rate)
