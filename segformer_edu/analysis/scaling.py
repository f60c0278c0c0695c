"""How an error falls with size: a power law with a limit, and how well a few runs tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

Errors = Mapping[float, Sequence[float]]  # size → the error of each seed

STEEPEST = 4.0  # b is sought between 0 and this
TRIES = np.geomspace(0.01, STEEPEST, 80)  # in search of the valley with the deepest floor


class PowerLaw(NamedTuple):
    """error = a · n^(−b) + c.

    Attributes:
        a: what is above the limit at n = 1.
        b: the exponent: twice the size leaves 2^(−b) of what is above the limit.
        c: the limit, which no size reaches.
    """

    a: float
    b: float
    c: float

    def at(self, n: float) -> float:
        return self.a * n**-self.b + self.c


def fit_power_law(errors: Errors) -> PowerLaw:
    """The law with the least squares over all runs, a and c not negative.

    For a given b the law is linear in a and c, so these are solved for, and b alone is searched.

    Raises:
        ValueError: fewer than four sizes, for three numbers that are sought.
    """
    from scipy.optimize import minimize_scalar, nnls  # scipy comes with scikit-image

    if len(errors) < 4:
        raise ValueError(f"{len(errors)} sizes: a law of three numbers takes four or more.")
    n = np.array(list(errors), dtype=float)
    means = np.array([np.mean(runs) for runs in errors.values()])
    weights = np.sqrt([len(runs) for runs in errors.values()])  # a mean counts as often as its runs

    def solved(b: float) -> tuple[np.ndarray, float]:
        columns = np.stack([(n / n[0]) ** -b, np.ones_like(n)], 1)
        return nnls(columns * weights[:, None], means * weights)

    best = int(np.argmin([solved(b)[1] for b in TRIES]))
    near = TRIES[max(best - 1, 0)], TRIES[min(best + 1, len(TRIES) - 1)]
    b = float(minimize_scalar(lambda b: solved(b)[1], bounds=near, method="bounded").x)
    (a, c), _ = solved(b)
    return PowerLaw(float(a * n[0] ** b), b, float(c))


def drawn_power_laws(errors: Errors, draws: int = 1000, seed: int = 0) -> list[PowerLaw]:
    """Laws fitted to runs that are drawn again, with replacement, among the seeds of each size.

    With few seeds their spread is too small: five show about nine tenths of it.
    """
    chance = np.random.default_rng(seed)
    return [
        fit_power_law({n: chance.choice(runs, len(runs)).tolist() for n, runs in errors.items()})
        for _ in range(draws)
    ]


def middle(values: Sequence[float], share: float = 0.95) -> tuple[float, float]:
    """The middle part that holds this share of the values."""
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
