"""Every wrong pixel of a segmentation, sorted into kinds by rules, and the worst of each kind
(lesson 09).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter
from skimage.measure import label as number_regions

from segformer_edu.analysis.seeds import redrawn

NAMED_OTHERWISE, MISSED, INVENTED, THIN, BORDER, PIECE = range(1, 7)
KINDS = {
    BORDER: "border shifted",
    PIECE: "piece of a region",
    THIN: "thin part missed",
    INVENTED: "thing invented",
    MISSED: "thing missed",
    NAMED_OTHERWISE: "named otherwise",
}


@dataclass(frozen=True)
class Rules:
    """The constants by which wrong pixels are sorted.

    Args:
        near: pixels, along each axis, within which a border counts as shifted.
        found: the share of a region up to which it counts as not found.
        thin: pixels up to which a part is thin: no square with a longer side fits in.
    """

    near: int = 2
    found: float = 0.1
    thin: int = 4


def kinds_of_errors(
    predicted: np.ndarray, labels: np.ndarray, rules: Rules | None = None
) -> np.ndarray:
    """Of which kind each wrong pixel is, one of `KINDS`, and 0 for a pixel that is right.

    A region is what hangs together of one class. A true region is missed if hardly any of it got
    its class, and a predicted one is invented if hardly any of it has its class. The first rule
    that fits decides:

    1. in a missed region and an invented one: named otherwise;
    2. in a missed region where it is not thin: thing missed;
    3. in an invented region: thing invented;
    4. where its true region is thin, and that is missed or its class is predicted nowhere near:
       thin part missed;
    5. where its predicted class is truly near: border shifted;
    6. else: piece of a region.

    Args:
        predicted, labels: `(H, W)` whole numbers, a class for each pixel.
        rules: what "hardly", "thin" and "near" mean.

    Shape: → `(H, W)`.

    Raises:
        ValueError: arrays of other shapes.
    """
    if predicted.ndim != 2 or predicted.shape != labels.shape:
        raise ValueError(
            f"predicted has shape {predicted.shape}, labels {labels.shape}: give one (H, W) each."
        )
    rules = rules or Rules()
    missed = _hardly_right(labels, predicted, rules.found)
    invented = _hardly_right(predicted, labels, rules.found)
    thin = thin_parts(labels, rules.thin)
    fits = [
        predicted == labels,
        missed & invented,
        missed & ~thin,
        invented,
        thin & (missed | ~has_near(predicted, labels, rules.near)),
        has_near(labels, predicted, rules.near),
    ]
    return np.select(fits, range(6), PIECE)


def thin_parts(labels: np.ndarray, side: int) -> np.ndarray:
    """Where no square of one class with a longer side than this covers a pixel: `(H, W)` bool.

    Beyond the frame each class goes on as it is at the frame.
    """
    around = np.pad(labels, side + 1, mode="edge")
    one_class = maximum_filter(around, side + 1) == minimum_filter(around, side + 1)
    mirrored = -1 if side % 2 else 0  # an even square has no middle, and is drawn back the same way
    thick = maximum_filter(one_class, size=side + 1, origin=mirrored)
    return ~thick[side + 1 : -side - 1, side + 1 : -side - 1]


def has_near(labels: np.ndarray, wanted: np.ndarray, distance: int) -> np.ndarray:
    """Whether a pixel has, within this distance along each axis, one with the label that it wants.

    Args:
        labels, wanted: `(H, W)`.
    """
    height, width = labels.shape
    around = np.pad(labels.astype(int), distance, constant_values=-1)
    near = np.zeros(labels.shape, dtype=bool)
    for top, left in np.ndindex(2 * distance + 1, 2 * distance + 1):
        near |= around[top : top + height, left : left + width] == wanted
    return near


def _hardly_right(labels: np.ndarray, others: np.ndarray, share: float) -> np.ndarray:
    """Whether a pixel's region of `labels` agrees with the other labels in at most this share."""
    numbers = number_regions(labels, background=-1, connectivity=2)  # corners hang together, too
    right = np.bincount(numbers.ravel(), (labels == others).ravel())
    return (right <= share * np.bincount(numbers.ravel()))[numbers]


def count_kinds(kinds: Sequence[np.ndarray]) -> np.ndarray:
    """How many pixels of each kind each picture has, in the order of `KINDS`: `(pictures, 6)`."""
    counts = np.stack([np.bincount(each.ravel(), minlength=7) for each in kinds])
    return counts[:, list(KINDS)]


def resampled_shares(counts: np.ndarray, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """The share of each kind in as many pictures, drawn again and again with replacement.

    Args:
        counts: `(pictures, kinds)`.
        draws: how often.
        seed: of the draws.

    Shape: → `(draws, kinds)`; each row sums to one.
    """
    totals = redrawn(len(counts), draws, np.random.default_rng(seed)) @ counts
    return totals / totals.sum(1, keepdims=True)


@dataclass(frozen=True)
class Patch:
    """Wrong pixels of one kind that hang together.

    Args:
        picture: its number.
        pixels: how many.
        middle: row and column of the middle of the box around them.
        label: the class that most of these pixels have.
        answer: the class that most of them were given.
    """

    picture: int
    pixels: int
    middle: tuple[int, int]
    label: int
    answer: int

    def window(self, size: tuple[int, int], side: int) -> tuple[slice, slice]:
        """Rows and columns of a square around the patch, moved to where it fits into the picture.

        Args:
            size: height and width of the picture.
            side: of the square, at most the picture's.
        """
        starts = (
            min(max(at - side // 2, 0), whole - side)
            for at, whole in zip(self.middle, size, strict=True)
        )
        top, left = starts
        return slice(top, top + side), slice(left, left + side)


def worst(
    kind: int,
    kinds: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    count: int = 3,
) -> list[Patch]:
    """The largest patches of a kind, the largest of each picture only.

    Args:
        kind: one of `KINDS`.
        kinds: as `kinds_of_errors` gives them, `(H, W)` each.
        predicted, labels: the same pictures' classes.
        count: how many patches.
    """
    found = []
    for picture, each in enumerate(kinds):
        numbers = number_regions(each == kind, connectivity=2)
        sizes = np.bincount(numbers.ravel())[1:]
        if len(sizes):
            inside = numbers == sizes.argmax() + 1
            rows, columns = np.nonzero(inside)
            middle = int(rows.min() + rows.max()) // 2, int(columns.min() + columns.max()) // 2
            label, answer = (
                int(np.bincount(x[picture][inside]).argmax()) for x in (labels, predicted)
            )
            found.append(Patch(picture, int(sizes.max()), middle, label, answer))
    return sorted(found, key=lambda patch: (-patch.pixels, patch.picture))[:count]
