"""What all data sets of this package share: pictures and labels, as arrays and as tensors."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segformer_edu.data.bands import Normalization, prepare

LIMIT = 2**32  # of seeds and numbers: below it, no two of them start the same random numbers


class SegmentationDataset(Dataset, ABC):
    """Pictures and their labels. `dataset.picture(i)` is for the eye, `dataset[i]` for the model.

    Attributes:
        class_names: what classes 0, 1, 2, … are called.
        normalization: mean and standard deviation of each band of other pictures than photographs,
            for which it is None.
    """

    class_names: tuple[str, ...]
    normalization: Normalization | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One picture and its labels.

        Shape: → `(H, W, 3)` uint8, and `(H, W)` uint8: classes 0 … K − 1, or 255 to ignore. Of
            bands, `(H, W, C)` float32 (`data.bands`).
        """

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One picture and its labels as the model expects them.

        Shape: → `(C, H, W)` float32, normalised, and `(H, W)` int64.
        """
        return as_tensors(*self.picture(index), self.normalization)


class DrawnDataset(SegmentationDataset):
    """Pictures that are drawn when they are asked for, from a seed and their number: the same ones
    every time.

    Args:
        n: how many.
        seed: a whole number from 0; another seed gives other pictures, all of them.

    Raises:
        ValueError: a negative or fractional number.
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = whole_number("n", n), whole_number("seed", seed)

    def __len__(self) -> int:
        return self.n

    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture number `index` and its labels; −1 is the last.

        Shape: → `(H, W, 3)` uint8, `(H, W)` uint8.

        Raises:
            IndexError: there is no such picture.
        """
        try:
            number = operator.index(index)
        except TypeError:
            raise ValueError(f"index = {index!r}: a picture's number is a whole number.") from None
        if not -self.n <= number < self.n:
            raise IndexError(f"index = {number}: there are {self.n} pictures, 0 to {self.n - 1}.")
        return self.draw(number % self.n)

    @abstractmethod
    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture number `index`, from 0, and its labels."""


def whole_number(name: str, value: int) -> int:
    """The value, if it is a whole number from 0 and below LIMIT; a refusal otherwise."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < LIMIT or isinstance(value, bool):
        raise ValueError(f"{name} = {value!r}: give a whole number from 0 to {LIMIT - 1}.")
    return number


def as_tensors(
    image: np.ndarray, labels: np.ndarray, normalization: Normalization | None = None
) -> tuple[Tensor, Tensor]:
    """A picture normalised, and its labels as whole numbers, ready to be stacked into a batch.

    Args:
        normalization: mean and standard deviation of each band; None for a photograph.

    Shape: `(H, W, 3)` uint8, or bands `(H, W, C)` float32, and `(H, W)` uint8 → `(C, H, W)`
        float32, `(H, W)` int64.
    """
    return prepare(image, normalization)[0], torch.tensor(labels, dtype=torch.int64)
