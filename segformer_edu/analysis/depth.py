"""How many blocks survive if each is dropped with its own probability, and how large the gradients
are that reach them (lesson 05).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def surviving_blocks(survival: Sequence[float]) -> np.ndarray:
    """The probabilities that exactly 0, 1, …, L blocks survive: a Poisson-binomial law.

    Args:
        survival: p_1 … p_L, one for each block, drawn independently.

    Shape: → `(L + 1,)`, with a sum of one; its mean is the sum of the p_l.

    Raises:
        ValueError: a value that is not a probability.
    """
    law = np.ones(1)  # of no blocks, none survives
    for p in survival:
        if not 0 <= p <= 1:
            raise ValueError(f"survival holds {p!r}: a probability is a number from 0 to 1.")
        law = np.convolve(law, [1 - p, p])  # one block more: as many as before, or one more
    return law


def first_gradients(network: Any, images: Tensor, labels: Tensor, gates: Tensor) -> Tensor:
    """The norm of the gradient of each block's first weight; zero where its gate is closed.

    Args:
        network: a residual network with `blocks`, called with images and gates.
        images, labels: of one mini-batch.
        gates: `(L,)`, b_1 … b_L.

    Shape: → `(L,)`.
    """
    network.train().zero_grad()
    F.cross_entropy(network(images, gates), labels).backward()
    weights = (next(block.parameters()) for block in network.blocks)
    norms = [0.0 if weight.grad is None else weight.grad.norm().item() for weight in weights]
    return torch.tensor(norms)


def gradient_at(loss: float, losses: np.ndarray, gradients: np.ndarray) -> float:
    """The gradient at a loss, on the line through a run's epochs near it, both in logarithms.

    Args:
        loss: where to read the line.
        losses, gradients: of each epoch; those from a tenth of the loss to five times it count.
    """
    near = (losses > loss / 10) & (losses < loss * 5)
    line = np.polyfit(np.log(losses[near]), np.log(gradients[near]), 1)
    return float(np.exp(np.polyval(line, np.log(loss))))
