"""Which choices are worth their cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pareto_front(costs: Sequence[float], scores: Sequence[float]) -> list[int]:
    """The choices than which none is cheaper and as good, or better and as cheap: their places in
    the two sequences, from the cheapest.

    >>> pareto_front([3, 1, 2, 2], [0.7, 0.5, 0.4, 0.6])
    [1, 3, 0]
    """
    best, front = -np.inf, []
    for index in np.lexsort(
        (-np.asarray(scores), np.asarray(costs))
    ).tolist():  # by cost, then by score
        if scores[index] > best:
            best = scores[index]
            front.append(index)
    return front
