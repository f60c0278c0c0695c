"""Grids: small tables drawn cell by cell, of numbers or of what is kept and what is dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from segformer_edu.plots.style import (
    BLUE,
    GREY,
    PALE,
    PAPER,
    SEQUENTIAL,
    SKY_BLUE,
    WIDTH,
    frame,
    new_figure,
    styled,
)

KEPT_OR_NOT = ListedColormap([PALE, BLUE])


@styled
def attention_matrix(weights: np.ndarray, names: Sequence[str], finding: str = "") -> Figure:
    """A small attention matrix as numbers, with the sum of each row and of each column.

    Args:
        weights: `(n, n)`, a row for each query, a column for each key.
        names: the names of the tokens.
        finding: the title.

    Raises:
        ValueError: a matrix of the wrong shape, or the wrong number of names.
    """
    n = len(names)
    if weights.shape != (n, n):
        raise ValueError(f"weights has shape {weights.shape}: {n} names need ({n}, {n}).")
    figure = new_figure(0.55 * n + 1.6, finding, 0.95 * n + 2.6)
    ax = figure.subplots()
    ax.imshow(weights, vmin=0, vmax=1, aspect="auto")
    _write_numbers(ax, weights, bright=weights > 0.6)
    for index in range(n):
        ax.text(n - 0.35, index, f"= {weights[index].sum():.2f}", va="center", weight="bold")
        ax.text(index, n - 0.35, f"{weights[:, index].sum():.2f}", ha="center", va="top")
    ax.text(n - 0.35, n - 0.35, "sums", va="top", color=GREY)
    ax.set(xticks=range(n), yticks=range(n), xticklabels=names, yticklabels=names)
    ax.set_xlabel("key", labelpad=16)
    ax.set_ylabel("query")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
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
    """Numbers in a grid; the larger a number, the brighter its cell.

    Args:
        values: `(rows, columns)`; nan leaves a cell empty.
        rows, columns: the names beside the rows and below the columns.
        finding: the title.
        row_label, column_label: of the axes.

    Raises:
        ValueError: not one name for each row and column.
    """
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"values are {values.shape}, with {len(rows)} names of rows and {len(columns)} of "
            f"columns: give one for each."
        )
    width = min(WIDTH, 0.85 * len(columns) + 2)
    figure = new_figure(0.42 * len(rows) + 1.2, finding, width)
    ax = figure.subplots()
    ax.imshow(values, cmap=SEQUENTIAL, aspect="auto")
    _write_numbers(ax, values, bright=values >= (np.nanmin(values) + np.nanmax(values)) / 2)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel=column_label, ylabel=row_label)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure


@styled
def number_grids(
    panels: Mapping[str, np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
    finding: str = "",
) -> Figure:
    """Grids of numbers side by side, with the same rows and columns, each on its own scale.

    The larger a number, the brighter its cell. Each row's largest is framed, as are those that are
    written alike.

    Args:
        panels: caption → `(rows, columns)`.
        rows, columns: the names beside the rows and below the columns.
        finding: the title.

    Raises:
        ValueError: not one name for each row and column.
    """
    for caption, values in panels.items():
        if values.shape != (len(rows), len(columns)):
            raise ValueError(
                f"{caption}: values are {values.shape}, with {len(rows)} names of rows and "
                f"{len(columns)} of columns: give one for each."
            )
    figure = new_figure(0.32 * len(rows) + 1.2, finding)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, (caption, values) in zip(axes, panels.items(), strict=True):
        ax.imshow(values, cmap=SEQUENTIAL, aspect="auto")
        _write_numbers(ax, values, values >= (values.min() + values.max()) / 2, digits=1)
        written = values.round(1)
        for row, column in np.argwhere(written == written.max(1, keepdims=True)):
            frame(ax, (column - 0.5, row - 0.5, 1, 1), SKY_BLUE, widths=(3, 1.5))
        ax.set_xticks(range(len(columns)), columns)
        ax.set_title(caption, fontsize=9)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    axes[0].set_yticks(range(len(rows)), rows)
    return figure


def _write_numbers(ax: Axes, values: np.ndarray, bright: np.ndarray, digits: int = 2) -> None:
    """Write each number into its cell, black where the cell is bright; nan is left out."""
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            color = "black" if bright[row, column] else "white"
            text = f"{value:.{digits}f}".replace("-", "−")
            ax.text(column, row, text, ha="center", va="center", color=color)


@styled
def dropped_together(kept: Mapping[str, np.ndarray], finding: str = "") -> Figure:
    """Which numbers of a batch are kept, a panel for each way to drop, one sample below another.

    Args:
        kept: caption → `(B, C, N)` bool: samples, channels, tokens.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type.
    """
    _check_masks(kept, axes=("B", "C", "N"))
    figure = new_figure(3.4, finding)
    panels = figure.subplots(1, len(kept), squeeze=False)[0]
    for ax, (caption, mask) in zip(panels, kept.items(), strict=True):
        samples, channels, tokens = mask.shape
        tops = [sample * (channels + 1) for sample in range(samples)]
        for top, sample in zip(tops, mask, strict=True):
            _draw_squares(ax, sample, top)
        _name_samples(ax, [top + channels / 2 for top in tops], first=ax is panels[0])
        ax.set(xlim=(0, tokens), ylim=(tops[-1] + channels, 0), aspect="equal", title=caption)
        ax.set(xlabel=f"{tokens} tokens", xticks=[])
    return figure


@styled
def gates(kept: Mapping[str, np.ndarray], finding: str = "") -> Figure:
    """Which blocks each sample of a batch goes through, a panel for each way to draw the gates.

    Beside each row is the number of blocks kept.

    Args:
        kept: caption → `(B, L)` bool: samples, blocks.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type.
    """
    _check_masks(kept, axes=("B", "L"))
    figure = new_figure(0.25 * max(len(mask) for mask in kept.values()) + 1.1, finding)
    panels = figure.subplots(1, len(kept), squeeze=False)[0]
    for ax, (caption, mask) in zip(panels, kept.items(), strict=True):
        samples, depth = mask.shape
        _draw_squares(ax, mask, top=0)
        ax.text(depth + 0.3, samples + 0.2, "kept", va="top")
        for row, count in enumerate(mask.sum(axis=1)):
            ax.text(depth + 0.3, row + 0.5, str(count), va="center")
        _name_samples(ax, np.arange(samples) + 0.5, first=ax is panels[0])
        ax.set(xlim=(0, depth), ylim=(samples, 0), title=caption, xlabel="block")
        ax.set_xticks([0.5, depth - 0.5], ["1", str(depth)])
    return figure


def _check_masks(kept: Mapping[str, np.ndarray], axes: Sequence[str]) -> None:
    """Refuse masks with the wrong axes or type."""
    for caption, mask in kept.items():
        if mask.ndim != len(axes) or mask.dtype != bool:
            raise ValueError(
                f"{caption}: give a ({', '.join(axes)}) array of bool; got shape {mask.shape} of "
                f"{mask.dtype}."
            )


def _draw_squares(ax: Axes, kept: np.ndarray, top: float) -> None:
    """A square for each entry of `(rows, columns)`: dark where it is kept, crossed where not."""
    rows, columns = kept.shape
    edges = np.arange(columns + 1), top + np.arange(rows + 1)
    ax.pcolormesh(*edges, kept, cmap=KEPT_OR_NOT, vmin=0, vmax=1, edgecolors=PAPER, linewidth=1)
    row, column = np.nonzero(~kept)
    ax.plot(column + 0.5, row + top + 0.5, "x", color=GREY, markersize=3, markeredgewidth=0.8)


def _name_samples(ax: Axes, heights: Sequence[float] | np.ndarray, first: bool) -> None:
    """Put sample 1, sample 2, … at these heights in place of the axes, in the first panel only."""
    ax.set_yticks(heights, [f"sample {number}" for number in range(1, len(heights) + 1)])
    ax.tick_params(length=0, labelleft=first)
    ax.spines[:].set_visible(False)
