"""What attention computes, row by row, and how its cost grows (lesson 02)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from segformer_edu.plots.style import (
    GREY,
    OKABE_ITO,
    WIDTH,
    check_photo,
    new_figure,
    styled,
    title,
)

Curve = tuple[Sequence[float], Sequence[float]]  # x and y


@styled
def attention_matrix(weights: np.ndarray, names: Sequence[str], finding: str = "") -> Figure:
    """A small attention matrix as numbers, with the sum of each row and of each column.

    Args:
        weights: `(n, n)`, a row for each query, a column for each key.
        names: what the tokens are called.
        finding: the title.

    Raises:
        ValueError: a matrix of another shape, or another number of names.
    """
    n = len(names)
    if weights.shape != (n, n):
        raise ValueError(f"weights has shape {weights.shape}: {n} names go with ({n}, {n}).")
    figure = new_figure(0.55 * n + 1.6, width=0.95 * n + 2.6)
    title(figure, finding)
    ax = figure.subplots()
    ax.imshow(weights, vmin=0, vmax=1, aspect="auto")
    for (row, column), weight in np.ndenumerate(weights):
        color = "black" if weight > 0.6 else "white"
        ax.text(column, row, f"{weight:.2f}", ha="center", va="center", color=color)
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
def attention_rows(
    photo: np.ndarray,
    maps: np.ndarray,
    queries: Sequence[tuple[int, int]],
    names: Sequence[str],
    finding: str = "",
) -> Figure:
    """Rows of an attention matrix, each laid out as the map that it is, beside the photograph.

    Each map is drawn on its own scale, from its least weight to its greatest; a frame marks the
    query's own token.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: `(n, h, w)`, the weights of one query over all keys, n times.
        queries: for each map the row and column of its query.
        names: for each map what to write above it.
        finding: the title.

    Raises:
        ValueError: arrays of other shapes, or numbers that differ.
    """
    check_photo(photo)
    if maps.ndim != 3 or not len(maps) == len(queries) == len(names):
        raise ValueError(
            f"maps of shape {maps.shape}, {len(queries)} queries, {len(names)} names: give an "
            f"(n, h, w) array and as many queries and names as maps."
        )
    side = WIDTH / (len(maps) + 1)  # inches
    figure = new_figure(side * photo.shape[0] / photo.shape[1] + 0.6)
    title(figure, finding)
    first, *others = figure.subplots(1, len(maps) + 1)
    first.imshow(photo, extent=(0, maps.shape[2], maps.shape[1], 0))
    first.set_title("photograph")
    for number, (ax, weights, (row, column), name) in enumerate(
        zip(others, maps, queries, names, strict=True)
    ):
        ax.imshow(weights, extent=(0, maps.shape[2], maps.shape[1], 0))
        ax.set_title(name)
        for panel in (first, ax):
            _frame(panel, row, column, OKABE_ITO[5])
        if queries.index((row, column)) == number:  # a query named once, however many maps it has
            first.annotate(
                name if len(set(queries)) > 1 else "query",
                (column + 1.5, row - 0.5),
                color="white",
                fontsize=8,
                weight="bold",
                bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0},
            )
    for ax in (first, *others):
        ax.axis("off")
    return figure


def _frame(ax: Axes, row: int, column: int, color: str) -> None:
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 2, 2, fill=False, color="white", lw=3))
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 2, 2, fill=False, color=color, lw=1.5))


@styled
def growth(
    panels: Mapping[str, Mapping[str, Curve]],
    x_label: str,
    ticks: Mapping[float, str],
    finding: str = "",
) -> Figure:
    """Curves on two logarithmic axes, where a power law is a straight line: its slope is the power.

    Args:
        panels: for each panel what its y axis measures, and its curves by name.
        x_label: what the x axis counts, the same in all panels.
        ticks: where the x axis is marked, and with what.
        finding: the title.

    Raises:
        ValueError: a value that is not above zero: it has no logarithm.
    """
    for label, curves in panels.items():
        if any(min(values) <= 0 for curve in curves.values() for values in curve):
            raise ValueError(f"{label}: a logarithmic axis takes numbers above zero only.")
    figure = new_figure(3.4)
    title(figure, finding)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (label, curves) in zip(axes, panels.items(), strict=True):
        for name, (x, y) in curves.items():
            ax.plot(x, y, marker="o", markersize=4, label=name)
        ax.set(xscale="log", yscale="log", xlabel=x_label, title=label)
        ax.set_xticks(list(ticks), list(ticks.values()))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" * (f"{value:e}"[0] in "25"))
        ax.tick_params(axis="x", which="minor", length=0)
        ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
        if len(curves) > 1 or len(panels) == 1:
            ax.legend()
    return figure
