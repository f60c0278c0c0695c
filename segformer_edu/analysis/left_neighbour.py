"""A task that needs position and nothing else: each token names the colour of its left neighbour
(lesson 04).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH, LEARNING_RATE = 16, 5e-3


def random_colors(side: int, generator: torch.Generator) -> Tensor:
    """Maps on which each token is black or white, −1 or 1, by chance: `(BATCH, side, side, 1)`."""
    return torch.randint(0, 2, (BATCH, side, side, 1), generator=generator) * 2.0 - 1


@torch.enable_grad()
def learn(model: nn.Module, side: int, steps: int, generator: torch.Generator) -> None:
    """Train a model that maps colours to answers, `(B, H, W, 1)` both, on maps of one size."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(steps):
        x = random_colors(side, generator)
        loss = F.mse_loss(model(x)[:, :, 1:], x[:, :, :-1])  # each token, and its left neighbour
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def share_right(model: nn.Module, side: int, steps_left: int, generator: torch.Generator) -> float:
    """The share of tokens that name the colour of the token so many steps to their left."""
    x = random_colors(side, generator)
    return (model(x)[:, :, steps_left:] * x[:, :, :-steps_left] > 0).double().mean().item()
