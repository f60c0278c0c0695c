"""The hierarchical encoder, a Mix Transformer: stages of ever coarser and wider maps (paper,
section 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.checks import check_images, check_map
from segformer_edu.config import SegFormerConfig, check_config
from segformer_edu.layers import initialize
from segformer_edu.mix_ffn import MixFFN
from segformer_edu.patch_embedding import OverlapPatchEmbedding
from segformer_edu.stochastic_depth import DropPath, residual


class EncoderBlock(nn.Module):
    """One Transformer block: attention, then Mix-FFN, each with a norm before and a skip around it.

    Args:
        dim: channels C.
        num_heads: attention heads.
        reduction_ratio: r of the attention, per side.
        mlp_ratio: hidden width of the Mix-FFN, divided by C.
        drop_path_rate: probability of dropping each of the two branches in training.
        norm_eps: epsilon of both norms.

    Shape: `(B, H, W, C)` → `(B, H, W, C)`, any H and W of at least reduction_ratio.

    Raises:
        ValueError: sizes that do not fit together; an input of the wrong rank, dtype or width.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        reduction_ratio: int,
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attention = SpatialReductionAttention(dim, num_heads, reduction_ratio)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mix_ffn = MixFFN(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        dim, reduction_ratio = self.attention.dim, self.attention.reduction_ratio
        check_map(x, next(self.parameters(), x), dim, "EncoderBlock", reduction_ratio)
        x = residual(x, lambda kept: self.attention(self.norm1(kept)), self.drop_path)
        return residual(x, lambda kept: self.mix_ffn(self.norm2(kept)), self.drop_path)


class EncoderStage(nn.Module):
    """One level of the hierarchy: a patch embedding, the blocks, a norm.

    Args:
        config: the config of the whole model.
        stage: the number of this stage, from 0.

    Shape: `(B, C_in, H, W)` → `(B, C, H / stride, W / stride)`, where C_in is the number of
        channels of the image or of the stage before.
    """

    def __init__(self, config: SegFormerConfig, stage: int) -> None:
        super().__init__()
        check_config(config)
        if stage not in range(config.num_stages):
            raise ValueError(
                f"stage = {stage!r}: give a whole number from 0 to {config.num_stages - 1}."
            )
        sizes, eps = config.stages[stage], config.block_norm_eps
        dim = sizes.embed_dim
        self.patch_embedding = OverlapPatchEmbedding(
            sizes.in_channels, dim, sizes.patch_size, sizes.stride
        )
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, sizes.num_heads, sizes.reduction_ratio, sizes.mlp_ratio, rate, eps)
            for rate in sizes.drop_path_rates
        )
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.gradient_checkpointing = config.gradient_checkpointing

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embedding(x)  # (B, H', W', C)
        for block in self.blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return self.norm(x).permute(0, 3, 1, 2)  # (B, C, H', W')


class MixTransformer(nn.Module):
    """The encoder: an image in, one map per stage out, at 1/4, 1/8, 1/16 and 1/32 of its size
    (paper, figure 2).

    Args:
        config: dims, depths, heads and ratios of the stages.

    Shape: `(B, in_channels, H, W)` → a list of `(B, C_i, H_i, W_i)`.

    Raises:
        ValueError: images of the wrong rank, dtype or channel count, or too small to leave every
            stage a key.
    """

    def __init__(self, config: SegFormerConfig) -> None:
        super().__init__()
        check_config(config)
        self.config, self.min_image_size = config, config.min_image_size
        self.stages = nn.ModuleList(
            EncoderStage(config, stage) for stage in range(config.num_stages)
        )
        self.apply(initialize)

    def forward(self, images: Tensor) -> list[Tensor]:
        weight, channels = next(self.parameters(), images), self.config.in_channels
        check_images(images, weight, channels, "The model", self.min_image_size)
        maps = []
        x = images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
