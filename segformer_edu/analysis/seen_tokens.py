"""Which tokens a stage's keys depend on (lesson 03)."""

from __future__ import annotations

import torch
from torch import Tensor

from segformer_edu.attention import SpatialReduction


def tokens_seen_by_keys(
    reduction: SpatialReduction, height: int, width: int, generator: torch.Generator
) -> Tensor:
    """Which tokens of a map reach some key: those for which the keys have a gradient.

    The keys are weighted at random, because LayerNorm makes the plain sum of each a constant.

    Args:
        reduction: merges windows of tokens into keys.
        height: rows of the map.
        width: columns of the map.
        generator: draws the tokens and the weights.

    Shape: → `(H, W)`, true where a token is seen.
    """
    tokens = torch.randn(1, height, width, reduction.dim, generator=generator, requires_grad=True)
    with torch.enable_grad():
        keys = reduction(tokens)
        weighted = (keys * torch.randn(keys.shape, generator=generator)).sum()
        (gradient,) = torch.autograd.grad(weighted, tokens)
    return (gradient[0] != 0).any(dim=-1)
