"""The pictures of a run, as its settings name them, and the weights of their classes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from segformer_edu.data.balance import class_balance
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.views import Datasets, Selection
from segformer_edu.training.own_pictures import split_folder
from segformer_edu.training.settings import Settings

VALIDATION_SEED = 10**6  # of the scenes on which all runs are compared, whatever their own seed


def open_data(settings: Settings) -> Datasets:
    """The pictures to train on and those to validate on, none of them in both.

    Raises:
        ValueError: a data set that is missing or incomplete, or has no bands.
    """
    if settings.bands and settings.data != "folder":
        raise ValueError(
            f"bands = {settings.bands}: data = {settings.data} has photographs; only data = folder "
            f"has pictures of bands."
        )
    return {"scenes": _scenes, "folder": split_folder, "pets": _pets}[settings.data](settings)


def _scenes(settings: Settings) -> Datasets:
    from segformer_edu.data.scenes import Scenes

    if not settings.validation:
        raise ValueError("validation = 0 means all, and scenes never end: give a number of them.")
    training = Scenes(settings.pictures, settings.size, settings.seed)
    return training, Scenes(settings.validation, settings.size, VALIDATION_SEED)


def _pets(settings: Settings) -> Datasets:
    from segformer_edu.data.pets import Pets

    training, test = (
        Pets(split, settings.root or None, border=settings.border, size=settings.fit or None)
        for split in ("trainval", "test")
    )
    return training, Selection(test, range(len(test))[: settings.validation or None])


def balanced_weights(dataset: SegmentationDataset, pictures: int = 500) -> Tensor:
    """Weights 1 / √frequency of the classes, their mean 1, from the first pictures of a data set.

    Without weights, the few pixels of a rare class hardly move the loss. With 1 / frequency all
    classes would weigh the same in sum, so a model would pay little for inventing a rare one. The
    root lies between. A class that these
    pictures do not show gets the weight of the rarest one that they do.

    Shape: → `(K,)` float32.

    Raises:
        ValueError: no pixel of these pictures has a class.
    """
    frequency = class_balance(dataset, min(pictures, len(dataset))).of_pixels
    weights = 1 / np.sqrt(np.maximum(frequency, frequency[frequency > 0].min()))
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)
