"""Checks that several kinds of pictures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

import numpy as np


def check_photo(photo: np.ndarray) -> None:
    """Refuse anything but an `(H, W, 3)` uint8 photograph."""
    if not isinstance(photo, np.ndarray) or photo.ndim != 3 or photo.shape[-1] != 3:
        raise ValueError(
            f"photo must be an (H, W, 3) array; got {getattr(photo, 'shape', type(photo))}."
        )
    if photo.dtype != np.uint8:
        raise ValueError(
            f"photo must hold whole numbers 0 … 255 (uint8); got {photo.dtype}. Draw the "
            f"photograph itself, not the result of data.photos.normalize."
        )


def check_labels(photo: np.ndarray, labels: np.ndarray) -> None:
    """Refuse labels that cannot lie over the photograph."""
    check_photo(photo)
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be an array of integers, one per pixel; got "
            f"{getattr(labels, 'dtype', type(labels).__name__)}. Take labels[0].numpy()."
        )
    if labels.shape != photo.shape[:2]:
        raise ValueError(
            f"labels have shape {labels.shape}, the photograph is {photo.shape[:2]}: they must "
            f"agree. `model.predict` returns labels at the image's own size."
        )


def check_stages(maps: Sequence[np.ndarray]) -> None:
    """Refuse anything but one `(C, H, W)` array per stage."""
    shapes = [np.shape(stage_map) for stage_map in maps]
    if not shapes or any(len(shape) != 3 for shape in shapes):
        raise ValueError(
            f"maps must hold one (C, H, W) array per stage; got {shapes}. Take map[0].numpy()."
        )


def check_maps(maps: Sequence[np.ndarray], captions: Sequence[str]) -> None:
    """Refuse anything but a row of `(H, W)` arrays with a caption for each."""
    if not len(maps) or len(maps) != len(captions) or any(values.ndim != 2 for values in maps):
        raise ValueError(
            f"maps of shapes {[values.shape for values in maps]} and {len(captions)} captions: "
            f"give (H, W) arrays, and a caption for each."
        )


def check_lengths(series: Mapping[str, Sized], count: int, what: str) -> None:
    """Refuse a series that does not have one value for each of `count` classes, sides, …"""
    for name, values in series.items():
        if len(values) != count:
            raise ValueError(f"{name} has {len(values)} values for {count} {what}.")


def shared_names(groups: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The names that every group holds.

    Raises:
        ValueError: there are none, or not the same names in the same order in every group.
    """
    names = list(next(iter(groups.values()), ()))
    if not names or any(list(group) != names for group in groups.values()):
        raise ValueError(f"every group must hold the same names in the same order; got {groups}.")
    return names
