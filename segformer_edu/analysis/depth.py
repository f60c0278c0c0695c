"""How many blocks survive if each is dropped with its own probability (lesson 05)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
