"""How well a small head does on the maps of an encoder that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def side_by_side(maps: Sequence[Tensor]) -> Tensor:
    """The maps of all stages at the size of the first, stacked: `(B, ΣC_i, H/4, W/4)`."""
    size = maps[0].shape[2:]
    return torch.cat([F.interpolate(x, size, mode="bilinear") for x in maps], dim=1)


def linear_head(channels: int, num_classes: int) -> nn.Conv2d:
    """A Linear at every position, whose weights and biases start at zero."""
    head = nn.Conv2d(channels, num_classes, 1)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head


def fit(head: nn.Module, inputs: Tensor, targets: Tensor, iterations: int = 40) -> None:
    """Fit a head to maps and classes, by L-BFGS, with a little weight decay.

    The loss is the mean cross-entropy of the logits, resized to the size of the targets.

    Args:
        head: maps → logits `(B, K, h, w)`.
        inputs: the maps.
        targets: `(B, H, W)`, a class at each position.
        iterations: of L-BFGS.
    """
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=iterations, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        penalty = sum(weight.square().sum() for weight in head.parameters() if weight.ndim > 1)
        logits = F.interpolate(head(inputs), targets.shape[1:], mode="bilinear")
        loss = F.cross_entropy(logits, targets) + 1e-5 * penalty
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
