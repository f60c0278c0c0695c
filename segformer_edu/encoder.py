"""The hierarchical encoder, a Mix Transformer: stages of ever coarser and wider maps (paper,
section 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.config import SegFormerConfig
from segformer_edu.layers import check_images, check_map, initialize
from segformer_edu.mix_ffn import MixFFN
from segformer_edu.patch_embedding import OverlapPatchEmbedding
from segformer_edu.stochastic_depth import DropPath, drop_rates, residual


class EncoderBlock(nn.Module):
    """One Transformer block: attention, then Mix-FFN, each normalised first and added to its input.

    Args:
        dim: channels C.
        num_heads: attention heads.
        reduction_ratio: r of the attention, per side.
        mlp_ratio: hidden width of the Mix-FFN over C.
        drop_path_rate: probability with which each of the two branches is dropped in training.
        norm_eps: epsilon of both norms.

    Shape: `(B, H, W, C)` → `(B, H, W, C)`, any H and W of at least reduction_ratio.

    Raises:
        ValueError: sizes that do not fit together; an input of another rank, dtype or width.
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
        check_map(x, self.attention.dim, "EncoderBlock", self.attention.reduction_ratio)
        x = residual(x, lambda x: self.attention(self.norm1(x)), self.drop_path)
        return residual(x, lambda x: self.mix_ffn(self.norm2(x)), self.drop_path)


class EncoderStage(nn.Module):
    """One level of the hierarchy: a patch embedding, the blocks, a norm.

    Args:
        config: the whole model's.
        stage: which stage this is, from 0.

    Shape: `(B, C_in, H, W)` → `(B, C, H / stride, W / stride)`, C_in the channels of the image or
        of the stage before.
    """

    def __init__(self, config: SegFormerConfig, stage: int) -> None:
        super().__init__()
        _check_config(config, stage)
        in_channels = (config.in_channels, *config.embed_dims)[stage]
        dim, eps = config.embed_dims[stage], config.block_norm_eps
        heads, reduction_ratio = config.num_heads[stage], config.reduction_ratios[stage]
        before, depth = sum(config.depths[:stage]), config.depths[stage]
        rates = drop_rates(config.drop_path_rate, sum(config.depths), config.drop_path_rule)
        patch_size, stride = config.patch_sizes[stage], config.strides[stage]
        self.patch_embedding = OverlapPatchEmbedding(in_channels, dim, patch_size, stride)
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, heads, reduction_ratio, config.mlp_ratios[stage], rate, eps)
            for rate in rates[before : before + depth]
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
    """The encoder: an image in, one map a stage out, at 1/4, 1/8, 1/16 and 1/32 of its size (paper,
    figure 2).

    Args:
        config: dims, depths, heads and ratios of the stages.

    Shape: `(B, in_channels, H, W)` → a list of `(B, C_i, H_i, W_i)`.

    Raises:
        ValueError: images of another rank, dtype or channel count, or too small to leave every
            stage a key.
    """

    def __init__(self, config: SegFormerConfig) -> None:
        super().__init__()
        _check_config(config)
        self.config = config
        self.stages = nn.ModuleList(
            EncoderStage(config, stage) for stage in range(config.num_stages)
        )
        self.apply(initialize)

    def forward(self, images: Tensor) -> list[Tensor]:
        check_images(images, self.config.in_channels, "The model", self.config.min_image_size)
        maps = []
        x = images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _check_config(config: SegFormerConfig, stage: int = 0) -> None:
    """Refuse what is no config, or a stage that it does not have."""
    if not isinstance(config, SegFormerConfig):
        raise ValueError(
            f"config = {config!r} is no SegFormerConfig: make one, as SegFormerConfig.named('b0')."
        )
    if stage not in range(config.num_stages):
        raise ValueError(f"stage = {stage!r}: give a whole number, 0 to {config.num_stages - 1}.")
