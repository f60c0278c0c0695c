"""Lesson 08: curves over steps, predictions as they get better, numbers in a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segformer_edu.plots.scenes import color_labels
from segformer_edu.plots.segmentation import check_labels
from segformer_edu.plots.style import (
    GREY,
    INK,
    SEQUENTIAL,
    WIDTH,
    check_names,
    class_colors,
    new_figure,
    styled,
    title,
)


@styled
def step_curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    levels: Mapping[str, float] | None = None,
    finding: str = "",
    smooth: int = 1,
) -> Figure:
    """Curves over the steps of training, a panel for each quantity.

    Args:
        panels: quantity → name of a curve → its steps and values.
        levels: heights to compare the last panel with, by name.
        finding: the title.
        smooth: curves of the first panel are means of so many steps.

    Raises:
        ValueError: no panel, or steps and values that differ in number.
    """
    if not panels:
        raise ValueError("There is nothing to draw: give a panel with a curve.")
    figure = new_figure(3.3)
    title(figure, finding)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (quantity, curves) in zip(axes, panels.items(), strict=True):
        for name, (steps, values) in curves.items():
            if len(steps) != len(values):
                raise ValueError(f"{name} has {len(steps)} steps and {len(values)} values.")
            window = smooth if ax is axes[0] else 1
            marker = "o" if len(steps) < 20 else None
            ax.plot(
                steps[window - 1 :], rolling_mean(values, window), label=name, marker=marker,
                markersize=4,
            )  # fmt: skip
        ax.set(xlabel="step", title=quantity)
        ax.set_xlim(0)
        if levels and ax is axes[-1]:
            ax.set_ylim(0, 1.1 * max(levels.values()))
            for name, height in levels.items():
                ax.axhline(height, color=GREY, linewidth=1)
                ax.text(0, height, f" {name}", va="bottom", fontsize=8, color=INK)
        if len(curves) > 1:
            ax.legend()
    return figure


def rolling_mean(values: Sequence[float], window: int) -> np.ndarray:
    """Means of each `window` neighbours: so many values fewer, less one."""
    return np.convolve(values, np.full(window, 1 / window), "valid")


@styled
def label_rows(
    images: Sequence[np.ndarray],
    columns: Mapping[str, Sequence[np.ndarray]],
    names: Sequence[str],
    finding: str = "",
) -> Figure:
    """A row for each picture: the picture, then label maps side by side; and a legend.

    Args:
        images: `(H, W, 3)` uint8 each.
        columns: caption → a label map `(H, W)` for each picture; 255 stays white.
        names: what classes 0, 1, 2, … are called.
        finding: the title.

    Raises:
        ValueError: no pictures or columns, arrays that do not fit together, or too few names.
    """
    if not len(images) or not columns:
        raise ValueError(f"{len(images)} pictures, {len(columns)} columns: give one or more.")
    for caption, maps in columns.items():
        if len(maps) != len(images):
            raise ValueError(f"{caption!r} has {len(maps)} label maps for {len(images)} pictures.")
        for image, labels in zip(images, maps, strict=True):
            check_labels(image, labels)
            check_names(names, int(labels[labels < 255].max(initial=0)) + 1)
    across = len(columns) + 1
    figure = new_figure(len(images) * WIDTH / across + 0.6 + 0.3 * bool(finding))
    title(figure, finding)
    grid = figure.subplots(len(images), across, squeeze=False)
    for row, image in enumerate(images):
        grid[row, 0].imshow(image, interpolation="antialiased")
        for ax, maps in zip(grid[row, 1:], columns.values(), strict=True):
            ax.imshow(color_labels(maps[row]))
        for ax in grid[row]:
            ax.set(xticks=[], yticks=[])
    for ax, caption in zip(grid[0], ("the picture", *columns), strict=True):
        ax.set_title(caption, fontsize=9)
    entries = [
        Patch(facecolor=color / 255, edgecolor=INK, label=name)
        for name, color in zip(names, class_colors(len(names)), strict=True)
    ]
    figure.legend(handles=entries, loc="outside lower left", ncols=5)
    return figure


@styled
def number_grid(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    finding: str = "",
    row_label: str = "",
    column_label: str = "",
) -> Figure:
    """Numbers in a grid, each cell as bright as its number is large.

    Args:
        values: `(rows, columns)`; nan leaves a cell empty.
        rows, columns: what stands beside and below.
        finding: the title.
        row_label, column_label: of the axes.

    Raises:
        ValueError: another number of names than of rows or columns.
    """
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"values are {values.shape}, with {len(rows)} names of rows and {len(columns)} of "
            f"columns: give one for each."
        )
    figure = new_figure(0.42 * len(rows) + 1.2, min(WIDTH, 0.85 * len(columns) + 2))
    title(figure, finding)
    ax = figure.subplots()
    ax.imshow(values, cmap=SEQUENTIAL, aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            color = "white" if value < middle else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel=column_label, ylabel=row_label)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure
