"""The order in which a run sees its pictures: a function of the seed and the sample's number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segformer_edu.data.dataset import SegmentationDataset, as_tensors

LARGE = 2**21  # pixels, from which a picture is validated alone
Augment = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


class Samples(Dataset):
    """Samples first, first + 1, … of a run: pictures of the data set, augmented.

    A run goes through the data set again and again, each time in a new order. Which picture sample
    s shows and how it is augmented depend only on the seed and on s. They do not depend on how many
    processes share the work, nor on whether the run was interrupted.

    Args:
        dataset: the pictures.
        augment: changes image and labels together, with a generator of its own for each sample.
        seed: another seed, another order and augmentation.
        first: number of the first sample.
        count: how many.
    """

    def __init__(
        self, dataset: SegmentationDataset, augment: Augment, seed: int, first: int, count: int
    ) -> None:
        self.dataset, self.augment, self.seed = dataset, augment, seed
        self.first, self.count = first, count
        self._order = (-1, np.empty(0, dtype=np.int64))  # of the epoch that was asked for last

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        number = self.first + index
        image, labels = self.dataset.picture(self.picture_of(number))
        rng = np.random.default_rng([self.seed, number])
        return as_tensors(*self.augment(image, labels, rng), self.dataset.normalization)

    def picture_of(self, number: int) -> int:
        """Which picture of the data set sample `number` shows."""
        epoch, position = divmod(number, len(self.dataset))
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch, 1]).permutation(len(self.dataset))
            self._order = (epoch, order)
        return int(self._order[1][position])


def shares(pictures: int, batch_size: int, rank: int = 0, processes: int = 1) -> list[range]:
    """The numbers of the pictures that a process validates, in parts of a batch each.

    No picture is counted twice to fill up a share.
    """
    parts = [
        range(first, min(first + batch_size, pictures)) for first in range(0, pictures, batch_size)
    ]
    return parts[rank::processes]


def validation_batches(
    dataset: SegmentationDataset, parts: Sequence[range], workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every picture of a share once, unchanged, in batches of one size.

    Which pictures meet in a batch does not depend on the number of processes, and so neither does
    any bit of the predictions. Pictures of more than two million pixels are alone. One of them is
    in memory at a time, and with workers three for each.
    """
    numbers = [number for part in parts for number in part]
    samples = iter(DataLoader(dataset, sampler=numbers, batch_size=None, num_workers=workers))
    for part in parts:
        groups: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for image, labels in islice(samples, len(part)):
            groups.setdefault(image.shape, []).append((image, labels))
            if labels.numel() > LARGE:
                yield stacked(groups.pop(image.shape))
        yield from map(stacked, groups.values())


def stacked(samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Pictures of one size as one batch."""
    images, labels = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(labels)
