"""How much of the picture a token responds to: the effective receptive field, by gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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
        token = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]  # (B, C)
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
