"""What more than one kind of picture refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

import numpy as np


def check_photo(photo: np.ndarray) -> None:
    """Refuse what is not an `(H, W, 3)` uint8 photograph."""
    if not isinstance(photo, np.ndarray) or photo.ndim != 3 or photo.shape[-1] != 3:
        raise ValueError(
            f"photo is an (H, W, 3) array; got {getattr(photo, 'shape', type(photo))}."
        )
    if photo.dtype != np.uint8:
        raise ValueError(
            f"photo holds whole numbers 0 … 255 (uint8); got {photo.dtype}. Draw the photograph "
            f"itself, not what data.photos.normalize made of it."
        )


def check_labels(photo: np.ndarray, labels: np.ndarray) -> None:
    """Refuse labels that cannot lie over the photograph."""
    check_photo(photo)
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels is an array of integers, one a pixel; got "
            f"{getattr(labels, 'dtype', type(labels).__name__)}. Take labels[0].numpy()."
        )
    if labels.shape != photo.shape[:2]:
        raise ValueError(
            f"labels have shape {labels.shape}, the photograph is {photo.shape[:2]}: they must "
            f"agree. `model.predict` answers at the image's own size."
        )


def check_stages(maps: Sequence[np.ndarray]) -> None:
    """Refuse what is not one `(C, H, W)` array a stage."""
    shapes = [np.shape(stage_map) for stage_map in maps]
    if not shapes or any(len(shape) != 3 for shape in shapes):
        raise ValueError(
            f"maps holds one (C, H, W) array a stage; got shapes {shapes}. Take map[0].numpy()."
        )


def check_lengths(series: Mapping[str, Sized], count: int, what: str) -> None:
    """Refuse a series that does not have one value for each of `count` classes, sides, …"""
    for name, values in series.items():
        if len(values) != count:
            raise ValueError(f"{name} has {len(values)} values for {count} {what}.")


def shared_names(groups: Mapping[str, Mapping[str, object]]) -> list[str]:
    """The names that every group holds.

    Raises:
        ValueError: there are none, or one group holds others, or holds them in another order.
    """
    names = list(next(iter(groups.values()), ()))
    if not names or any(list(group) != names for group in groups.values()):
        raise ValueError(f"every group holds the same names in the same order; got {groups}.")
    return names
