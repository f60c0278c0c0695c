"""How much of the picture a token responds to: the effective receptive field, by gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from segformer_edu.config import SegFormerConfig
from segformer_edu.encoder import EncoderBlock, MixTransformer


def receptive_field(
    features: Callable[[Tensor], Tensor], images: Tensor, generator: torch.Generator
) -> Tensor:
    """How strongly the middle token of a map responds to each pixel, averaged over images.

    A token is a vector. For each image it is projected onto a random direction; the response to a
    pixel is the norm of the gradient over the pixel's colours (Luo et al. 2016, arXiv:1701.04128).
    The sum of all channels would not work, because after a LayerNorm it is constant.

    Args:
        features: images → maps `(B, C, h, w)`, where each map depends on its own image alone.
        images: `(B, channels, H, W)`.
        generator: draws the directions, on the CPU.

    Shape: → `(H, W)`, the shares of the pixels; they sum to one.

    Raises:
        ValueError: images or maps of the wrong rank, or a token that responds to no pixel.
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images have shape {tuple(images.shape)}: give (B, channels, H, W).")
    with torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        maps = features(pixels)
        if maps.ndim != 4:
            raise ValueError(f"features gave shape {tuple(maps.shape)}: it should be (B, C, h, w).")
        token = _middle_token(maps)
        directions = torch.randn(token.shape, generator=generator).to(token)
        (gradient,) = torch.autograd.grad((token * directions).sum(), pixels, allow_unused=True)
    if gradient is None or not gradient.any():
        raise ValueError("The middle token responds to no pixel: its gradient is zero everywhere.")
    strength = gradient.norm(dim=1).mean(0)  # (H, W)
    return strength / strength.sum()


def area(field: Tensor, share: float = 0.9) -> float:
    """The smallest part of the picture, 0 to 1, that holds a share of a receptive field.

    Args:
        field: `(H, W)`, as `receptive_field` returns it.
        share: how much of the field, above 0 and up to 1.

    Raises:
        ValueError: a share outside that range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share = {share}: give a number above 0 and up to 1.")
    strongest_first = field.flatten().double().sort(descending=True).values
    held = strongest_first.cumsum(0) / strongest_first.sum()
    return (1 + int((held < share * (1 - 1e-6)).sum())) / field.numel()


class Mixing3x3(nn.Module):
    """What a conv net has where a Transformer has attention: `(B, H, W, C)` → the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.reduction_ratio = dim, 1  # as the block that it stands in wants to know
        self.convolution = nn.Conv2d(dim, dim, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def conv_twin(config: SegFormerConfig) -> MixTransformer:
    """An untrained encoder in evaluation mode, with a 3×3 convolution for every attention."""
    twin = MixTransformer(config).eval()
    for block in twin.modules():
        if isinstance(block, EncoderBlock):
            block.register_module("attention", Mixing3x3(block.attention.dim))
    return twin


def stage_fields(
    encoders: Mapping[str, Callable[[Tensor], list[Tensor]]],
    images: Tensor,
    generator: torch.Generator,
) -> dict[str, list[Tensor]]:
    """The receptive field of the middle token of every stage, for each encoder by its name."""
    return {
        name: [
            receptive_field(_map_of(encoder, stage), images, generator)
            for stage in range(len(encoder(images)))
        ]
        for name, encoder in encoders.items()
    }


def moved_from_outside(
    encoder: Callable[[Tensor], list[Tensor]], images: Tensor, regions: Sequence[Tensor]
) -> list[float]:
    """How far the middle token of each stage moves when all outside a region is exchanged.

    Each image keeps its pixels in the region and gets all others from another image, from each of
    them in turn. The length of the move is divided by the distance to the other image's token, and
    may point elsewhere.

    Args:
        encoder: images → a map for each stage, where each map depends on its own image alone.
        images: `(B, channels, H, W)`, two or more that differ.
        regions: for each of the first stages, `(H, W)`, true where a pixel stays.

    Raises:
        ValueError: fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images: give two or more, so that they can be exchanged.")
    return [_moved(_map_of(encoder, stage), images, region) for stage, region in enumerate(regions)]


def _moved(features: Callable[[Tensor], Tensor], images: Tensor, region: Tensor) -> float:
    here = _middle_token(features(images))  # (B, C)
    moved = []
    for turn in range(1, len(images)):
        mixed = _middle_token(features(torch.where(region, images, images.roll(turn, 0))))
        moved.append((mixed - here).norm(dim=1) / (here.roll(turn, 0) - here).norm(dim=1))
    return torch.cat(moved).mean().item()


def _middle_token(maps: Tensor) -> Tensor:
    """`(B, C, h, w)` → `(B, C)`."""
    return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]


def _map_of(encoder: Callable[[Tensor], list[Tensor]], stage: int) -> Callable[[Tensor], Tensor]:
    return lambda images: encoder(images)[stage]
