"""Lesson 04: maps of tokens, how far the border is heard, where a probe believes tokens to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segformer_edu.plots.style import (
    GREY,
    INK,
    OKABE_ITO,
    PAPER,
    WIDTH,
    new_figure,
    styled,
    title,
)

MARKERS = ("o", "s", "^", "D", "v", "P")


@styled
def token_maps(
    maps: Sequence[np.ndarray],
    captions: Sequence[str],
    finding: str = "",
    mark: Sequence[tuple[int, int] | None] = (),
    numbered: bool = False,
) -> Figure:
    """A number for each token, one panel a map, each drawn on its own scale.

    Args:
        maps: `(H, W)` each.
        captions: what stands above each panel.
        finding: the title.
        mark: for each panel the row and column of a token to be framed, or None.
        numbered: whether the number, a whole one, is also written on its token.

    Raises:
        ValueError: an array of another rank, or another number of captions or marks.
    """
    check_maps(maps, captions)
    if mark and len(mark) != len(maps):
        raise ValueError(f"{len(mark)} marks for {len(maps)} maps: give one for each, or none.")
    figure, axes = panels(maps, captions, finding)
    for ax, values in zip(axes, maps, strict=True):
        ax.imshow(values)
        bright = values - values.min() > 0.6 * np.ptp(values)
        for (row, column), value in np.ndenumerate(values) if numbered else ():
            color = INK if bright[row, column] else PAPER
            ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize=7)
    for ax, token in zip(axes, mark, strict=False):
        if token:
            corner = token[1] - 0.5, token[0] - 0.5
            for color, line in ((PAPER, 4), (OKABE_ITO[0], 2)):
                ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=color, lw=line))
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
        least: where the scale begins; what is smaller is drawn as this.

    Raises:
        ValueError: an array of another rank, a negative number, or another number of captions.
    """
    check_maps(maps, captions)
    if any((values < 0).any() for values in maps):
        raise ValueError("a deviation is a distance: give numbers of at least 0.")
    figure, axes = panels(maps, captions, finding)
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
def probed_places(
    believed: Sequence[np.ndarray], captions: Sequence[str], finding: str = ""
) -> Figure:
    """Where a probe believes every token to be: neighbours are joined, so truth is a square grid.

    Args:
        believed: `(H, W, 2)` each, rows and columns, from 0 to 1 where the probe is right.
        captions: what stands above each panel.
        finding: the title.

    Raises:
        ValueError: an array of another shape, or another number of captions.
    """
    check_maps([places[..., 0] for places in believed], captions)
    if any(places.shape[-1] != 2 for places in believed):
        raise ValueError(f"shapes {[places.shape for places in believed]}: give (H, W, 2) arrays.")
    figure, axes = panels([np.zeros((1, 1))] * len(believed), captions, finding)
    for ax, places in zip(axes, believed, strict=True):
        rows, columns = places[..., 0], places[..., 1]
        for x, y in ((columns, rows), (columns.T, rows.T)):
            ax.plot(x, y, color=GREY, lw=0.6, ls="-")
        ax.plot(columns.ravel(), rows.ravel(), "o", color=OKABE_ITO[0], markersize=2.5)
        ax.set(xlim=(-0.15, 1.15), ylim=(1.15, -0.15), aspect="equal")
        ax.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color=OKABE_ITO[1], lw=1, ls="-")
    return figure


@styled
def score_ranges(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    y_label: str,
    finding: str = "",
    chance: float = 0.0,
) -> Figure:
    """Groups of scores, every seed a dot, and a line from the least to the greatest.

    Args:
        scores: group → name → one value a seed; every group has the same names.
        y_label: what is scored.
        finding: the title.
        chance: what knowing nothing scores; a line is drawn there.

    Raises:
        ValueError: groups of different names.
    """
    names = list(next(iter(scores.values()), ()))
    if not names or any(list(group) != names for group in scores.values()):
        raise ValueError(f"every group has the same names in the same order; got {scores}.")
    figure = new_figure(3.2)
    title(figure, finding)
    ax = figure.subplots()
    ax.axhline(chance, color=GREY, lw=0.8, ls="-", zorder=0)
    step = 0.7 / len(names)
    for number, name in enumerate(names):
        color, marker = OKABE_ITO[number % 6], MARKERS[number % 6]
        for place, group in enumerate(scores.values()):
            x = place + step * (number - (len(names) - 1) / 2)
            values = group[name]
            ax.plot([x, x], [min(values), max(values)], color=color, lw=1.2, ls="-")
            label = name if place == 0 else "_"
            ax.plot([x] * len(values), values, marker, color=color, ms=5, label=label)
    ax.set_xticks(range(len(scores)), list(scores))
    ax.set(ylabel=y_label, xlim=(-0.5, len(scores) - 0.5))
    figure.legend(loc="outside lower center", ncols=len(names))
    return figure


def panels(
    maps: Sequence[np.ndarray], captions: Sequence[str], finding: str
) -> tuple[Figure, list[Axes]]:
    """A row of square-celled panels without axes, and the figure that holds them."""
    shapes = [values.shape[1] / values.shape[0] for values in maps]
    side = WIDTH / max(sum(shapes), 3)  # inches: a map alone takes a third of the page
    figure = new_figure(side + 0.6, side * sum(shapes))
    title(figure, finding)
    axes = figure.subplots(1, len(maps), squeeze=False, width_ratios=shapes)[0]
    for ax, caption in zip(axes, captions, strict=True):
        ax.set(xticks=[], yticks=[])
        ax.set_title(caption, fontsize=9)
        ax.spines[:].set(visible=True, color=INK, linewidth=0.5)
    return figure, list(axes)


def check_maps(maps: Sequence[np.ndarray], captions: Sequence[str]) -> None:
    """Refuse what is no row of `(H, W)` arrays with a caption each."""
    if not len(maps) or len(maps) != len(captions) or any(values.ndim != 2 for values in maps):
        raise ValueError(
            f"maps of shapes {[values.shape for values in maps]} and {len(captions)} captions: "
            f"give (H, W) arrays, and a caption for each."
        )
