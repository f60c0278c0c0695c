"""Where patches lie along a side of an image, pixel by pixel, by arithmetic alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segformer_edu.checks import check_positive


@dataclass(frozen=True)
class PatchRow:
    """The patches along one side of an image; rows and columns are independent.

    Args:
        length: pixels of the image along this side.
        patch_size: pixels of a patch, K.
        stride: from the first pixel of a patch to that of the next, S.
        padding: zeros before the first pixel and after the last, P.

    Raises:
        ValueError: sizes that are not whole numbers of at least 1 (padding: 0), no room for a
            patch, or so much padding that a patch holds nothing else.
    """

    length: int
    patch_size: int
    stride: int
    padding: int

    def __post_init__(self) -> None:
        check_positive(length=self.length, patch_size=self.patch_size, stride=self.stride)
        if not isinstance(self.padding, int) or self.padding < 0:
            raise ValueError(f"padding = {self.padding!r}: give a whole number of at least 0.")
        if self.padding >= self.patch_size:
            raise ValueError(
                f"The padding, {self.padding}, is as wide as a patch, {self.patch_size}: the first "
                f"token would see zeros and no pixel. Pad less; half a patch is usual."
            )
        if self.length + 2 * self.padding < self.patch_size:
            raise ValueError(
                f"A patch of {self.patch_size} pixels does not fit into {self.length} with a "
                f"padding of {self.padding}: take smaller patches, a larger image or more padding."
            )

    @property
    def count(self) -> int:
        """How many patches fit in whole: ⌊(H + 2P − K) / S⌋ + 1."""
        return (self.length + 2 * self.padding - self.patch_size) // self.stride + 1

    @property
    def starts(self) -> np.ndarray:
        """The first pixel of each patch, `(count,)`; below zero where it begins in the padding."""
        return np.arange(self.count) * self.stride - self.padding

    @property
    def shared(self) -> int:
        """Pixels that two neighbouring patches have in common."""
        return max(self.patch_size - self.stride, 0)

    @property
    def coverage(self) -> np.ndarray:
        """In how many patches each pixel lies, `(length,)`."""
        after_start = np.arange(self.length)[:, None] - self.starts  # (length, count)
        return ((after_start >= 0) & (after_start < self.patch_size)).sum(axis=1)

    @property
    def pairs_seen(self) -> float:
        """The share of the pairs of neighbouring pixels that some patch holds both of."""
        left = np.arange(self.length - 1)[:, None]  # a pixel; the other is the one to its right
        both = (self.starts <= left) & (left + 1 < self.starts + self.patch_size)
        return float(both.any(axis=1).mean())
