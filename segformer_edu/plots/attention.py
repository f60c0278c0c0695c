"""Where queries look: the weights of a query over its keys, beside the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segformer_edu.plots.checks import check_maps, check_photo
from segformer_edu.plots.style import SKY_BLUE, WIDTH, dot, frame, new_figure, ring, styled


@styled
def attention_rows(
    photo: np.ndarray,
    maps: np.ndarray,
    queries: Sequence[tuple[int, int]],
    names: Sequence[str],
    finding: str = "",
) -> Figure:
    """Rows of an attention matrix, each laid out as a map, beside the photograph.

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
    figure, first, others = _beside_photo(photo, len(maps), finding)
    extent = (0, maps.shape[2], maps.shape[1], 0)
    first.imshow(photo, extent=extent)
    first.set_title("photograph")
    for number, (ax, weights, (row, column), name) in enumerate(
        zip(others, maps, queries, names, strict=True)
    ):
        ax.imshow(weights, extent=extent)
        ax.set_title(name)
        for panel in (first, ax):
            frame(panel, (column - 0.5, row - 0.5, 2, 2), SKY_BLUE, widths=(3, 1.5))
        if queries.index((row, column)) == number:  # a query named once, however many maps it has
            first.annotate(
                name if len(set(queries)) > 1 else "query",
                (column + 1.5, row - 0.5),
                color="white",
                fontsize=8,
                weight="bold",
                bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0},
            )
    return figure


@styled
def attention_over_keys(
    photo: np.ndarray,
    maps: Sequence[np.ndarray],
    query: tuple[float, float],
    captions: Sequence[str],
    finding: str = "",
) -> Figure:
    """The attention of one query over keys of different sizes, beside the photograph.

    Each map is drawn on its own scale, from its least weight to its greatest.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: `(h, w)` each, a weight for each key.
        query: where it stands, in fractions of the height and of the width.
        captions: one for each map.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type, or another number of captions.
    """
    check_photo(photo)
    check_maps(maps, captions)
    figure, first, others = _beside_photo(photo, len(maps), finding)
    for ax, shown, caption in zip(
        (first, *others), (photo, *maps), ("picture", *captions), strict=True
    ):
        ax.imshow(shown, extent=(0, 1, 1, 0), aspect=photo.shape[0] / photo.shape[1])
        ax.set_title(caption, fontsize=9)
        dot(ax, query, 3)  # smaller than a key, which it must not hide
    return figure


@styled
def attention_grid(
    pictures: Sequence[np.ndarray],
    maps: Sequence[Sequence[np.ndarray]],
    queries: Sequence[tuple[float, float]],
    captions: Sequence[str],
    finding: str = "",
) -> Figure:
    """A row for each picture: the picture, and what one query of it attends to in several maps, all
    on one scale from 0 to 1. A ring marks the query, and leaves what lies there to be seen.

    Args:
        pictures: `(H, W, 3)` uint8 each.
        maps: for each picture an `(h, w)` array of weights for each caption.
        queries: for each picture where the query stands, in fractions of the height and width.
        captions: what stands above each column of maps.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type, or numbers that differ.
    """
    for picture, row in zip(pictures, maps, strict=True):
        check_photo(picture)
        check_maps(row, captions)
    columns = len(captions) + 1
    cell = WIDTH / columns * pictures[0].shape[0] / pictures[0].shape[1]  # inches
    figure = new_figure(len(pictures) * 0.9 * cell + 0.7, finding)
    axes = figure.subplots(len(pictures), columns, squeeze=False)
    for row, picture, weights, query in zip(axes, pictures, maps, queries, strict=True):
        for ax, shown in zip(row, (picture, *weights), strict=True):
            scale = {"extent": (0, 1, 1, 0), "aspect": picture.shape[0] / picture.shape[1]}
            image = ax.imshow(shown, vmin=0, vmax=1, **scale)
            ax.set(xticks=[], yticks=[])
            ring(ax, query, 17)
    for ax, caption in zip(axes[0], ("the picture", *captions), strict=True):
        ax.set_title(caption, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.9, aspect=12, label="weight")
    return figure


def _beside_photo(photo: np.ndarray, count: int, finding: str) -> tuple[Figure, Axes, list[Axes]]:
    """A row of panels: one for the photograph, and `count` for its maps."""
    side = WIDTH / (count + 1)
    figure = new_figure(side * photo.shape[0] / photo.shape[1] + 0.6, finding)
    first, *others = figure.subplots(1, count + 1)
    for ax in (first, *others):
        ax.axis("off")
    return figure, first, others
