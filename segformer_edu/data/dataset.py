"""What all data sets of this package share: pictures and labels, as arrays and as tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segformer_edu.data.photos import normalize


class SegmentationDataset(Dataset, ABC):
    """Pictures and their labels. `dataset.picture(i)` is for the eye, `dataset[i]` for the model.

    Attributes:
        class_names: what classes 0, 1, 2, … are called.
    """

    class_names: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One picture and its labels.

        Shape: → `(H, W, 3)` uint8, and `(H, W)` uint8: classes 0 … K − 1, or 255 to ignore.
        """

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One picture and its labels as the model expects them.

        Shape: → `(3, H, W)` float32, normalised, and `(H, W)` int64.
        """
        return as_tensors(*self.picture(index))


def as_tensors(image: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """A picture normalised, and its labels as whole numbers, ready to be stacked into a batch.

    Shape: `(H, W, 3)` uint8, `(H, W)` uint8 → `(3, H, W)` float32, `(H, W)` int64.
    """
    return normalize(image)[0], torch.tensor(labels, dtype=torch.int64)
