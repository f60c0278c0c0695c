"""How good a segmentation is: its confusion matrix, in whole numbers, and scores from that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor


def confusion_matrix(
    predicted: Tensor, labels: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """How many pixels of each class were given each class.

    Args:
        predicted, labels: integers of one shape.
        num_classes: classes K.
        ignore_index: the label of pixels that do not count.

    Shape: → `(K, K)` int64, a row for each true class, a column for each predicted one. Matrices of
        parts of a data set add up to that of the whole, exactly.

    Raises:
        ValueError: shapes that differ, or a class outside 0 … K − 1.
    """
    if predicted.shape != labels.shape:
        raise ValueError(
            f"predicted has shape {tuple(predicted.shape)}, labels {tuple(labels.shape)}: give the "
            f"class of every pixel at the labels' own size, as model.predict does."
        )
    counts = labels != ignore_index
    true, given = labels[counts].long(), predicted[counts].long()
    for name, classes in (("labels", true), ("predicted", given)):
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < num_classes:
            raise ValueError(
                f"{name} hold a class outside 0 … {num_classes - 1}: from {int(classes.min())} to "
                f"{int(classes.max())}. Give the right num_classes, or {ignore_index} to ignore."
            )
    pairs = true * num_classes + given
    return pairs.bincount(minlength=num_classes**2).view(num_classes, num_classes)


def confusion_matrices(predicted: Tensor, labels: Tensor, num_classes: int) -> np.ndarray:
    """The confusion matrix of each picture: `(B, H, W)`, `(B, H, W)` → `(B, K, K)` int64."""
    pairs = zip(predicted, labels, strict=True)
    return np.stack([confusion_matrix(*pair, num_classes).numpy() for pair in pairs])


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says.

    Attributes:
        iou: of each class, pixels that both call by it over pixels that either does; nan for a
            class that neither knows.
        miou: the mean of iou over the classes that occur.
        pixel_accuracy: the share of pixels that got their class.
    """

    iou: tuple[float, ...]
    miou: float
    pixel_accuracy: float


def scores(confusion: Tensor) -> Scores:
    """IoU of each class, their mean, and pixel accuracy.

    Args:
        confusion: `(K, K)`, a row for each true class.

    Raises:
        ValueError: no pixel was counted.
    """
    counted = confusion.cpu().double().numpy()
    if not counted.sum():
        raise ValueError("The confusion matrix is empty: no pixel was counted; are all ignored?")
    right = counted.trace() / counted.sum()
    return Scores(tuple(ious(counted).tolist()), float(mious(counted)), float(right))


def ious(confusions: np.ndarray) -> np.ndarray:
    """IoU of each class; nan for a class that neither knows: `(..., K, K)` → `(..., K)`."""
    both = confusions.diagonal(axis1=-2, axis2=-1)
    either = confusions.sum(-1) + confusions.sum(-2) - both
    return np.divide(both, either, out=np.full(both.shape, np.nan), where=either > 0)


def mious(confusions: np.ndarray) -> np.ndarray:
    """The mean of `ious` over the classes that occur: `(..., K, K)` → `(...)`."""
    return np.nanmean(ious(confusions), axis=-1)


def redrawn_mious(confusions: np.ndarray, times: np.ndarray) -> np.ndarray:
    """mIoU of other sets of the same pictures, given how often each picture is in a set.

    Shape: `(..., pictures, K, K)`, `(sets, pictures)` → `(..., sets)`.
    """
    totals = np.tensordot(times.astype(float), confusions, (1, -3))  # (sets, ..., K, K)
    return np.moveaxis(mious(totals), 0, -1)
