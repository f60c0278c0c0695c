"""What the exercises that fold a BatchNorm into a Linear draw (07.3 and 10.1)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segformer_edu.exercises.exercise import drawn, normal

Case = tuple[Any, ...]


def draw_norm(rng: random.Random, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Mean, variance, scale, shift and eps of a BatchNorm in evaluation."""
    mean, scale, shift = normal(rng, 3, channels)
    return mean, normal(rng, channels).abs() + 0.01, scale, shift, rng.choice([1e-3, 1e-2, 0.1])


def drawn_linears(case: Callable[[random.Random, int, int], Case]) -> tuple[list[Case], list[Case]]:
    """Cases of a Linear of so many outputs and inputs.

    Args:
        case: makes one of a generator, the number of outputs, and that of inputs.

    Returns:
        Cases with as many outputs as inputs, in which factors along the wrong axis run; and others.
    """

    def square(rng: random.Random) -> Case:
        return case(rng, *[rng.randint(1, 6)] * 2)

    def draw(rng: random.Random) -> Case:
        return case(rng, rng.randint(1, 6), rng.randint(1, 6))

    return drawn(square), drawn(draw)


def factor(variance: Tensor, scale: Tensor, eps: float) -> Tensor:
    """By which a BatchNorm in evaluation multiplies each channel."""
    return scale / torch.sqrt(variance + eps)
