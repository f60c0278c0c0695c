"""How much of a data set belongs to each class, and how many pictures show it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segformer_edu.data.dataset import SegmentationDataset


class ClassBalance(NamedTuple):
    """Two numbers for each class, 0 … 1.

    Attributes:
        of_pixels: `(K,)` the share of all labelled pixels that are of the class.
        of_pictures: `(K,)` the share of the pictures in which at least one pixel is of the class.
    """

    of_pixels: np.ndarray
    of_pictures: np.ndarray


def class_balance(dataset: SegmentationDataset, n: int | None = None) -> ClassBalance:
    """How often the classes occur in a data set's first `n` pictures, or in all.

    Raises:
        ValueError: no pictures to count, or no pixel that has a class.
    """
    n = len(dataset) if n is None else n
    if not 0 < n <= len(dataset):
        raise ValueError(f"n = {n}: the data set has {len(dataset)} pictures; count 1 or more.")
    classes = len(dataset.class_names)
    counts = np.stack([count_classes(dataset.picture(i)[1], classes) for i in range(n)])
    if not counts.any():
        raise ValueError(
            f"No pixel of the first {n} pictures has a class, all are ignored: look at the masks."
        )
    return ClassBalance(counts.sum(axis=0) / counts.sum(), (counts > 0).mean(axis=0))


def count_classes(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """How many pixels each class has; those that are ignored do not count.

    Shape: `(H, W)` uint8 → `(K,)` int64.
    """
    return np.bincount(labels.ravel(), minlength=256)[:num_classes]
