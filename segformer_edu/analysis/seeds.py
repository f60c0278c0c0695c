"""Runs that differ in their seed: a tidy table of them; and how well a mean is known, over seeds or
over pictures.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """Where a mean lies."""

    mean: float
    low: float
    high: float

    @property
    def shows(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """The mean of a few runs, and Student's interval for it.

    Give it differences, seed by seed, to compare two arms that had the same seeds: what a seed does
    to both then cancels.

    Args:
        values: one for each seed.
        level: how often such an interval holds the mean of all seeds, if values are normal.

    Raises:
        ValueError: fewer than two values, or a level outside 0 … 1.
    """
    from scipy.special import stdtrit  # scipy comes with scikit-image

    if np.ndim(values) != 1 or len(values) < 2:
        raise ValueError(f"values = {values!r}: give one number for each of two or more seeds.")
    if not 0 < level < 1:
        raise ValueError(f"level = {level!r}: give a number between 0 and 1, such as 0.95.")
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    reach = float(stdtrit(len(values) - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - reach, mean + reach)


def bootstrap(values: Sequence[float] | np.ndarray, draws: int = 5000) -> Interval:
    """The mean of values from places that do not depend on each other, and where 95 % of the means
    lie if the places are drawn anew from themselves.
    """
    given = np.asarray(values)
    chosen = np.random.default_rng(0).integers(len(given), size=(draws, len(given)))
    low, high = np.percentile(given[chosen].mean(1), (2.5, 97.5))
    return Interval(float(given.mean()), float(low), float(high))


def redrawn(count: int, draws: int, chance: np.random.Generator) -> np.ndarray:
    """How often each of some pictures is among as many that are drawn from them, with replacement.

    For a bootstrap of what is a sum over pictures, such as a confusion matrix.

    Shape: → `(draws, count)` int64; each row adds up to `count`.
    """
    return chance.multinomial(count, np.full(count, 1 / count), draws)


class Table:
    """The table of an experiment: a row for each run and what it was tested on.

    Its columns are arm, seed, pictures, amount, and what was measured.

    Args:
        path: a CSV file.

    Attributes:
        arms: in the order of the table.
        checksum: of the file, by which one can tell that a picture was drawn from it.
    """

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.name, self.checksum = path.name, hashlib.sha256(content).hexdigest()[:12]
        self.rows = list(csv.DictReader(content.decode().splitlines()))
        self.arms = list(dict.fromkeys(row["arm"] for row in self.rows))

    def values(
        self, arm: str, pictures: str = "scene", amount: float = 1.0, column: str = "miou"
    ) -> np.ndarray:
        """A number for each seed, in their order.

        Args:
            arm: which runs.
            pictures, amount: what they were tested on.
            column: what was measured.

        Raises:
            ValueError: the table has no such row, or no such column.
        """
        wanted = arm, pictures, amount
        rows = [
            row
            for row in self.rows
            if (row["arm"], row["pictures"], float(row["amount"])) == wanted
        ]
        if not rows or column not in rows[0]:
            raise ValueError(f"{self.name} has no {column!r} for {wanted}; arms: {self.arms}.")
        rows.sort(key=lambda row: int(row["seed"]))
        return np.array([float(row[column]) for row in rows])

    def over(
        self, arm: str, pictures: str, amounts: Sequence[float], column: str = "miou"
    ) -> np.ndarray:
        """The same for several amounts: `(seeds, amounts)`."""
        return np.stack([self.values(arm, pictures, each, column) for each in amounts], axis=1)

    def kept(self, arm: str, pictures: str, amounts: Sequence[float]) -> np.ndarray:
        """The share of its own mIoU on plain pictures that each run keeps: `(seeds, amounts)`."""
        return self.over(arm, pictures, amounts) / self.values(arm)[:, None]
