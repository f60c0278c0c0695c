"""Pictures of a data set with their labels below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segformer_edu.plots.segmentation import check_labels, count_labels, percent
from segformer_edu.plots.style import (
    INK,
    PAPER,
    WIDTH,
    check_names,
    class_colors,
    new_figure,
    styled,
    title,
)


@styled
def labelled_pictures(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    names: Sequence[str],
    columns: int = 6,
    finding: str = "",
) -> Figure:
    """A grid of pictures, each with its labels below it, and a legend of all classes.

    The legend says what share of the pixels shown each class has.

    Args:
        images: `(H, W, 3)` uint8 each, all of one size.
        labels: `(H, W)` integers each; negative ones and those from 255 stay white.
        names: what classes 0, 1, 2, … are called.
        columns: pictures in a row.
        finding: the title.

    Raises:
        ValueError: no pictures, arrays that do not fit together, or too few names.
    """
    if not images or len(images) != len(labels) or columns < 1:
        raise ValueError(
            f"{len(images)} pictures, {len(labels)} label maps and {columns} columns: give a label "
            f"map for each picture, and one or more of all three."
        )
    for image, label in zip(images, labels, strict=True):
        check_labels(image, label)
        if image.shape != images[0].shape:
            raise ValueError(
                f"Pictures are {images[0].shape} and {image.shape}: give all at one size."
            )
    shown = np.stack(labels)
    counts = count_labels(shown)
    check_names(names, max(counts, default=-1) + 1)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = shown.shape[1:]
    figure = new_figure(2 * rows * WIDTH / columns * height / width + 0.5 + 0.3 * bool(finding))
    if finding:
        title(figure, finding)
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    for ax in grid.flat:
        ax.axis("off")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(index, columns)
        grid[2 * row, column].imshow(image, interpolation="antialiased")
        grid[2 * row + 1, column].imshow(color_labels(label))
    total = sum(counts.values())
    entries = [
        Patch(
            facecolor=color / 255,
            edgecolor=INK,
            label=f"{name}, {percent(counts.get(index, 0) / max(total, 1))}",
        )
        for index, (name, color) in enumerate(zip(names, class_colors(len(names)), strict=True))
    ]
    figure.legend(handles=entries, loc="outside lower left", ncols=4)
    return figure


def color_labels(labels: np.ndarray) -> np.ndarray:
    """A label map in the colours of its classes, white where none is: `(H, W, 3)` uint8."""
    is_class = (labels >= 0) & (labels < 255)
    white = np.array([int(PAPER[k : k + 2], 16) for k in (1, 3, 5)], dtype=np.uint8)
    colored = class_colors(256)[np.where(is_class, labels, 0)]
    return np.where(is_class[..., None], colored, white)
