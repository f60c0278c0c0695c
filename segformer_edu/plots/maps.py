"""Maps: a number for each token, drawn as a colour, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

from segformer_edu.plots.checks import check_maps
from segformer_edu.plots.style import (
    BLUE,
    BROWN,
    GREY,
    INK,
    ORANGE,
    PAPER,
    WIDTH,
    frame,
    new_figure,
    styled,
)


@styled
def token_maps(
    maps: Sequence[np.ndarray],
    captions: Sequence[str],
    finding: str = "",
    mark: Sequence[tuple[int, int] | None] = (),
) -> Figure:
    """A number for each token, one panel per map, each on its own scale.

    Args:
        maps: `(H, W)` each.
        captions: what stands above each panel.
        finding: the title.
        mark: for each panel the row and column of a token to be framed, or None.

    Raises:
        ValueError: an array of the wrong rank, or not one caption or mark for each.
    """
    check_maps(maps, captions)
    if mark and len(mark) != len(maps):
        raise ValueError(f"{len(mark)} marks for {len(maps)} maps: give one for each, or none.")
    figure, axes = _panels(maps, captions, finding)
    for ax, values in zip(axes, maps, strict=True):
        ax.imshow(values)
    for ax, token in zip(axes, mark, strict=False):
        if token:
            frame(ax, (token[1] - 0.5, token[0] - 0.5, 1, 1), BLUE, widths=(4, 2))
    return figure


@styled
def token_kinds(maps: Sequence[np.ndarray], captions: Sequence[str], finding: str = "") -> Figure:
    """The number of each token's kind, written on it, and a line wherever two kinds meet.

    Args:
        maps: `(H, W)` whole numbers each, as `analysis.position.kinds` gives them.
        captions: what stands above each panel.
        finding: the title.

    Raises:
        ValueError: an array of the wrong rank, or not one caption for each.
    """
    check_maps(maps, captions)
    figure, axes = _panels(maps, captions, finding)
    for ax, kinds in zip(axes, maps, strict=True):
        ax.imshow(np.zeros(kinds.shape), cmap=ListedColormap([PAPER]))
        for (row, column), kind in np.ndenumerate(kinds):
            ax.text(column, row, f"{kind}", ha="center", va="center", fontsize=8)
        for row, column in np.argwhere(np.diff(kinds, axis=0)):
            ax.plot([column - 0.5, column + 0.5], [row + 0.5] * 2, color=BLUE, lw=1.5, ls="-")
        for row, column in np.argwhere(np.diff(kinds, axis=1)):
            ax.plot([column + 0.5] * 2, [row - 0.5, row + 0.5], color=BLUE, lw=1.5, ls="-")
    return figure


@styled
def deviations(
    maps: Sequence[np.ndarray], captions: Sequence[str], finding: str = "", least: float = 1e-8
) -> Figure:
    """How far each token is from the middle one, on one logarithmic scale for all panels.

    Tokens that do not differ from the middle one are left white and crossed out.

    Args:
        maps: `(H, W)` each, as `analysis.position.deviation` gives them.
        captions: what stands above each panel.
        finding: the title.
        least: where the scale begins; smaller values are drawn as this one.

    Raises:
        ValueError: an array of the wrong rank, a negative number, or not one caption for each.
    """
    check_maps(maps, captions)
    if any((values < 0).any() for values in maps):
        raise ValueError("a deviation is a distance: give numbers of at least 0.")
    figure, axes = _panels(maps, captions, finding)
    scale = LogNorm(least, max(1.0, *(values.max() for values in maps)))
    for ax, values in zip(axes, maps, strict=True):
        shown = np.ma.masked_where(values == 0, np.maximum(values, least))
        image = ax.imshow(shown, norm=scale)
        row, column = np.nonzero(values == 0)
        size = 60 / max(values.shape)
        ax.plot(column, row, "x", color=GREY, markersize=size, markeredgewidth=size / 6)
    figure.colorbar(image, ax=axes, shrink=0.8, label="distance from the middle token")
    return figure


@styled
def compared_maps(
    maps: Mapping[str, np.ndarray], what: str, finding: str = "", most: float | None = None
) -> Figure:
    """A number for each place, 0 or more, a panel for each name, all on one scale.

    Args:
        maps: name → `(H, W)`.
        what: the numbers are, with their unit.
        finding: the title.
        most: where the scale ends; at the largest number if left out.

    Raises:
        ValueError: an array of the wrong rank.
    """
    shown = list(maps.values())
    check_maps(shown, list(maps))
    figure, axes = _panels(shown, list(maps), finding)
    top = most or max(float(values.max()) for values in shown)
    for ax, values in zip(axes, shown, strict=True):
        image = ax.imshow(values, vmin=0, vmax=top)
    figure.colorbar(image, ax=axes, shrink=0.8, label=what)
    return figure


@styled
def probed_places(
    believed: Sequence[np.ndarray], captions: Sequence[str], finding: str = ""
) -> Figure:
    """Where a probe places every token: a dot for each, and a ring at the token's place in the map.

    Neighbours are joined, so a probe that is always right draws a square grid. The picture's
    outline stands around it.

    Args:
        believed: `(H, W, 2)` each, the rows and columns that it predicts, on a scale of 0 to 1.
        captions: what stands above each panel.
        finding: the title.

    Raises:
        ValueError: an array of another shape, or another number of captions.
    """
    check_maps([places[..., 0] for places in believed], captions)
    if any(places.shape[-1] != 2 for places in believed):
        raise ValueError(f"shapes {[places.shape for places in believed]}: give (H, W, 2) arrays.")
    figure, axes = _panels([np.zeros((1, 1))] * len(believed), captions, finding)
    for ax, places in zip(axes, believed, strict=True):
        rows, columns = places[..., 0], places[..., 1]
        for x, y in ((columns, rows), (columns.T, rows.T)):
            ax.plot(x, y, color=GREY, lw=0.6, ls="-")
        ax.plot(columns.ravel(), rows.ravel(), "o", color=BLUE, markersize=2.5)
        down, right = ((np.indices(rows.shape).T + 0.5) / rows.shape).T  # the middles of the cells
        size = 40 / (len(rows) + 4)
        (rings,) = ax.plot(right.ravel(), down.ravel(), "o", markersize=size, zorder=1)
        rings.set(markerfacecolor="none", markeredgecolor=ORANGE, markeredgewidth=size / 12)
        ax.set(xlim=(-0.15, 1.15), ylim=(1.15, -0.15), aspect="equal", xlabel="column")
        ax.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color=ORANGE, lw=1, ls="-")
        ax.set_xticks([0, 1], ["left", "right"])
        ax.tick_params(length=2, labelsize=8)
    axes[0].set_yticks([0, 1], ["top", "bottom"])
    axes[0].set_ylabel("row")
    axes[0].text(0.5, 0.02, "outline of the picture", ha="center", va="top", size=7, color=BROWN)
    return figure


def _panels(
    maps: Sequence[np.ndarray], captions: Sequence[str], finding: str
) -> tuple[Figure, list[Axes]]:
    """A row of square-celled panels without axes, and the figure that holds them."""
    shapes = [values.shape[1] / values.shape[0] for values in maps]
    side = WIDTH / max(sum(shapes), 3)  # inches: a map alone takes a third of the page
    figure = new_figure(side + 0.6, finding, side * sum(shapes))
    axes = figure.subplots(1, len(maps), squeeze=False, width_ratios=shapes)[0]
    for ax, caption in zip(axes, captions, strict=True):
        ax.set(xticks=[], yticks=[])
        ax.set_title(caption, fontsize=9)
        ax.spines[:].set(visible=True, color=INK, linewidth=0.5)
    return figure, list(axes)
