"""Data sets made of others: some of their pictures, or all of them kept in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segformer_edu.data.dataset import SegmentationDataset

Datasets = tuple[SegmentationDataset, SegmentationDataset]  # to train on, to validate on


class Selection(SegmentationDataset):
    """Some pictures of a data set, in an order of their own."""

    def __init__(self, dataset: SegmentationDataset, indices: Sequence[int]) -> None:
        self.class_names, self.normalization = dataset.class_names, dataset.normalization
        self.dataset, self.indices = dataset, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset.picture(self.indices[index])


class CachedDataset(SegmentationDataset):
    """A data set that keeps each picture once it has been drawn or read, while there is room.

    Args:
        dataset: the pictures.
        megabytes: the room; pictures that find none are drawn or read again each time.
    """

    def __init__(self, dataset: SegmentationDataset, megabytes: int) -> None:
        self.class_names, self.normalization = dataset.class_names, dataset.normalization
        self.dataset, self.room = dataset, megabytes * 10**6
        self.kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index in self.kept:
            return self.kept[index]
        image, labels = self.dataset.picture(index)
        if image.nbytes + labels.nbytes <= self.room:
            self.room -= image.nbytes + labels.nbytes
            self.kept[index] = image, labels
        return image, labels
