"""A photograph with its labels laid over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segformer_edu.plots.style import (
    INK,
    WIDTH,
    check_names,
    check_photo,
    class_colors,
    new_figure,
    styled,
    title,
)

LEGEND_WIDTH = 2.2  # inches
MIN_BADGE_RADIUS = 0.02  # of the photograph's width: smaller regions get no number


@styled
def segmentation(
    photo: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str] = (),
    finding: str = "",
    strength: float = 0.6,
    max_classes: int = 12,
) -> Figure:
    """Labels over a photograph, with a legend of the classes that occur, the largest first.

    A region carries the number that its class has in the legend, so that nobody needs to tell the
    colours apart.

    Args:
        photo: `(H, W, 3)` uint8.
        labels: `(H, W)` integers from 0; negative ones and those from 255, which mean "ignore", are
            left bare.
        names: what the classes are called; "class 7" where it is empty.
        finding: the title.
        strength: opacity of the labels, 0 to 1.
        max_classes: how many classes the legend lists before it sums up the rest.

    Raises:
        ValueError: arrays of other shapes or types, or too few names.
    """
    check_labels(photo, labels)
    counts = count_labels(labels)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    if names:
        check_names(names, max(ranked, default=-1) + 1)
    height, width = labels.shape
    figure = new_figure((WIDTH - LEGEND_WIDTH) * height / width + 0.3 * bool(finding))
    picture, legend = figure.subplots(1, 2, width_ratios=(WIDTH - LEGEND_WIDTH, LEGEND_WIDTH))
    if finding:
        title(figure, finding)
    picture.imshow(overlay(photo, labels, strength), interpolation="antialiased")
    picture.axis("off")
    legend.axis("off")
    colors = class_colors(256) / 255
    entries = []
    for number, label in enumerate(ranked[:max_classes], start=1):
        name = names[label] if names else f"class {label}"
        entries.append(
            Patch(
                facecolor=colors[label],
                edgecolor=INK,
                label=f"{number}  {name}, {percent(counts[label] / labels.size)}",
            )
        )
        _draw_badge(picture, labels == label, str(number))
    if rest := ranked[max_classes:]:
        share = sum(counts[label] for label in rest) / labels.size
        entries.append(Patch(facecolor="none", label=f"{len(rest)} more classes, {percent(share)}"))
    legend.legend(handles=entries, loc="upper left", borderaxespad=0, labelspacing=0.8)
    return figure


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


def count_labels(labels: np.ndarray) -> dict[int, int]:
    """How many pixels each class has. Labels outside 0 … 254 are no classes."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if 0 <= v < 255}


def overlay(photo: np.ndarray, labels: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """The photograph tinted by its labels, a white line between regions: `(H, W, 3)` uint8."""
    is_class = (labels >= 0) & (labels < 255)
    tint = class_colors(256)[np.where(is_class, labels, 0)]
    grey = photo.mean(axis=-1, keepdims=True)  # the tint alone carries colour
    mixed = np.where(is_class[..., None], strength * tint + (1 - strength) * grey, photo)
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    mixed[border] = 255
    return mixed.round().astype(np.uint8)


def percent(share: float) -> str:
    """A share of the picture, in whole percent."""
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def _draw_badge(picture: Axes, region: np.ndarray, text: str) -> None:
    """Write a number into the widest part of a region, if it is wide enough."""
    step = max(1, region.shape[1] // 128)  # a coarse search is precise enough for a badge
    row, column, radius = innermost(region[::step, ::step])
    if radius < MIN_BADGE_RADIUS * region.shape[1] / step:
        return
    circle = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": INK, "lw": 0.8}
    picture.text(column * step, row * step, text, ha="center", va="center", fontsize=8, bbox=circle)


def innermost(region: np.ndarray) -> tuple[int, int, int]:
    """The pixel of a region furthest from its edge, and how many pixels away the edge is."""
    inside, radius = np.pad(region, 1), 0
    while True:
        eroded = inside.copy()
        for axis in (0, 1):
            eroded &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
        if not eroded.any():
            break
        inside, radius = eroded, radius + 1
    rows, columns = inside.nonzero()
    middle = len(rows) // 2
    return int(rows[middle]) - 1, int(columns[middle]) - 1, radius
