"""Photographs: as they are, in a row, or with patches and keys drawn over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segformer_edu.analysis.patches import PatchRow
from segformer_edu.plots.checks import check_photo
from segformer_edu.plots.style import (
    BLUE,
    INK,
    PALE,
    PAPER,
    PATCH_AND_NEIGHBOURS,
    WIDTH,
    frame,
    new_figure,
    styled,
)

CLOSEST = 5  # points between the lines of two patches; closer ones make a moiré


@styled
def photograph(photo: np.ndarray, finding: str = "", width: float = 4) -> Figure:
    """A photograph with nothing drawn over it.

    Args:
        photo: `(H, W, 3)` uint8.
        finding: the title.
        width: of the picture, in inches.

    Raises:
        ValueError: an array of another shape or type.
    """
    check_photo(photo)
    height = width * photo.shape[0] / photo.shape[1] + 0.3 * bool(finding)
    figure = new_figure(height, finding, width)
    ax = figure.subplots()
    ax.imshow(photo, interpolation="antialiased")
    ax.axis("off")
    return figure


@styled
def pictures(shown: Sequence[np.ndarray], captions: Sequence[str], finding: str = "") -> Figure:
    """Pictures in a row, pixel by pixel, each with a caption above it.

    Args:
        shown: `(H, W, 3)` uint8 each, or `(H, W)` numbers, which the colour map draws.
        captions: one each.
        finding: the title.

    Raises:
        ValueError: no picture, or not one caption for each.
    """
    if not shown or len(shown) != len(captions):
        raise ValueError(f"{len(shown)} pictures and {len(captions)} captions: give one for each.")
    shapes = [picture.shape[1] / picture.shape[0] for picture in shown]
    figure = new_figure(WIDTH / sum(shapes) + 0.3 + 0.3 * bool(finding), finding)
    row = figure.subplots(1, len(shown), squeeze=False, width_ratios=shapes)
    for ax, picture, caption in zip(row.flat, shown, captions, strict=True):
        ax.imshow(picture)
        ax.set_title(caption, fontsize=9)
        ax.axis("off")
    return figure


@styled
def patches(
    photo: np.ndarray,
    grids: Sequence[tuple[int, int, int]],
    captions: Sequence[str] = (),
    finding: str = "",
) -> Figure:
    """The patches of one or more grids over a photograph, one panel per grid.

    Thin lines are patches, left out where they would be too close to be told apart. Where patches
    overlap, one near the middle and its neighbours to the right and below are drawn in colour, and
    what they share is hatched. The padding is grey, and so are the pixels that no patch sees.

    Args:
        photo: `(H, W, 3)` uint8.
        grids: (patch_size, stride, padding) of each.
        captions: what stands above each panel; patch_size, stride and padding if none are given.
        finding: the title.

    Raises:
        ValueError: a photograph of the wrong kind, patches that do not fit on it, or not one
            caption for each grid.
    """
    check_photo(photo)
    captions = captions or [f"{k}×{k}, stride {s}, padding {p}" for k, s, p in grids]
    if len(captions) != len(grids):
        raise ValueError(f"{len(grids)} grids and {len(captions)} captions: give one for each.")
    height, width = photo.shape[:2]
    widest = WIDTH / max(len(grids), 2)  # inches: one panel alone takes half the page
    tall = widest * height / width + 0.4 + 0.3 * bool(finding)
    figure = new_figure(tall, finding, widest * len(grids))
    margin = max(padding for _, _, padding in grids)  # the photograph has one size in all panels
    row = figure.subplots(1, len(grids), squeeze=False).flat
    for ax, grid, caption in zip(row, grids, captions, strict=True):
        ax.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
        points = 72 * widest / (width + 2 * margin)  # that a pixel of the photograph is wide
        down, across = _draw_patches(ax, photo, *grid, points=points)
        ax.set_title(f"{caption}\n{down.count}×{across.count} tokens", fontsize=8)
    return figure


def _draw_patches(
    ax: Axes,
    photo: np.ndarray,
    patch_size: int,
    stride: int,
    padding: int,
    points: float,  # that a pixel is wide; dense lines are thinner, to show the photograph
) -> tuple[PatchRow, PatchRow]:
    """One panel; the patches down and across."""
    height, width = photo.shape[:2]
    down, across = (PatchRow(side, patch_size, stride, padding) for side in (height, width))
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    padded = (width + 2 * padding, height + 2 * padding)
    ax.add_patch(Rectangle((-padding, -padding), *padded, facecolor=PALE, zorder=0))
    ax.imshow(photo, extent=(0, width, height, 0))
    covered = np.minimum(down.coverage[:, None], across.coverage) > 0
    ax.imshow(_veil(covered), extent=(0, width, height, 0))
    ax.autoscale(False)
    gap = stride * points  # from patch to patch
    if gap >= CLOSEST:
        outlines = [
            Rectangle((left, top), patch_size, patch_size)
            for top in down.starts
            for left in across.starts
        ]
        thin = min(0.5, gap / 16)
        ax.add_collection(PatchCollection(outlines, fc="none", ec=PAPER, lw=thin, alpha=0.7))
    if down.shared:
        thick = min(1, patch_size * points / 14)  # the frame of a small patch would fill it
        _mark_neighbours(ax, down, across, (3.5 * thick, 2 * thick))
    return down, across


def _mark_neighbours(
    ax: Axes, down: PatchRow, across: PatchRow, widths: tuple[float, float]
) -> None:
    """A patch near the middle, its neighbours to the right and below, and what they share."""
    row, column = (down.count - 1) // 2, (across.count - 1) // 2
    top, left = down.starts[row], across.starts[column]
    size, stride, shared = down.patch_size, down.stride, down.shared
    neighbours = [(left, top)]
    if column + 1 < across.count:
        neighbours.append((left + stride, top))
        _hatch(ax, left + stride, top, shared, size, PAPER)
    if row + 1 < down.count:
        neighbours.append((left, top + stride))
        _hatch(ax, left, top + stride, size, shared, PAPER)
    for corner, color in reversed(list(zip(neighbours, PATCH_AND_NEIGHBOURS, strict=False))):
        frame(ax, (*corner, size, size), color, INK, widths)


@styled
def key_grids(
    photo: np.ndarray,
    seen: Sequence[np.ndarray],
    ratios: Sequence[int],
    captions: Sequence[str],
    query: tuple[float, float] | None = None,
    finding: str = "",
) -> Figure:
    """The windows that become keys, over the photograph, one panel per map of tokens.

    White lines bound the windows, one key each. Tokens that no key sees are grey and hatched.

    Args:
        photo: `(H, W, 3)` uint8.
        seen: for each panel a map of its tokens, `(h, w)` bool, true where some key sees the token.
        ratios: for each panel r, the side of a window in tokens.
        captions: what stands above each panel.
        query: the token at this point is framed, in its own size; the point is given in fractions
            of the height and of the width.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type, or numbers that differ.
    """
    check_photo(photo)
    if not len(seen) == len(ratios) == len(captions) or not len(seen):
        raise ValueError(
            f"{len(seen)} maps, {len(ratios)} ratios, {len(captions)} captions: give one of each "
            f"for every panel."
        )
    for tokens in seen:
        if tokens.ndim != 2 or tokens.dtype != bool:
            raise ValueError(
                f"seen must hold (h, w) arrays of bool, one per token; got shape {tokens.shape} "
                f"of {tokens.dtype}."
            )
    side = WIDTH / max(len(seen), 2)
    height = side * photo.shape[0] / photo.shape[1] + 0.6
    figure = new_figure(height, finding, side * len(seen))
    axes = figure.subplots(1, len(seen), squeeze=False)[0]
    for ax, tokens, ratio, caption in zip(axes, seen, ratios, captions, strict=True):
        _draw_keys(ax, photo, tokens, ratio)
        if query:
            _frame_token(ax, tokens.shape, query)
        ax.set_title(caption, fontsize=9)
    return figure


def _draw_keys(ax: Axes, photo: np.ndarray, seen: np.ndarray, ratio: int) -> None:
    """One panel, measured in tokens."""
    height, width = seen.shape
    ax.imshow(photo, extent=(0, width, height, 0), interpolation="antialiased")
    ax.axis("off")
    ax.autoscale(False)
    ax.imshow(_veil(seen), extent=(0, width, height, 0))
    bottom, right = height // ratio * ratio, width // ratio * ratio  # of the last whole windows
    _hatch(ax, 0, bottom, width, height - bottom, INK)
    _hatch(ax, right, 0, width - right, bottom, INK)
    for row in range(0, bottom + 1, ratio):
        ax.plot([0, right], [row, row], color=PAPER, lw=0.7, ls="-")
    for column in range(0, right + 1, ratio):
        ax.plot([column, column], [0, bottom], color=PAPER, lw=0.7, ls="-")


def _frame_token(ax: Axes, tokens: tuple[int, ...], query: tuple[float, float]) -> None:
    """Frame the token at a point; one that is too small to be seen gets a wider frame."""
    row, column = (int(part * side) for part, side in zip(query, tokens, strict=True))
    side = max(1.0, tokens[1] / 40)
    left, top = column + (1 - side) / 2, row + (1 - side) / 2
    frame(ax, (left, top, side, side), BLUE)
    inside = Rectangle((left, top), side, side, transform=ax.transData)
    for line in ax.patches[-2:]:
        line.set_clip_path(inside)  # or the lines would make a small token look larger


def _veil(seen: np.ndarray) -> np.ndarray:
    """Grey over what is not seen, nothing over the rest: `(H, W)` bool → `(H, W, 4)`."""
    veil = np.zeros((*seen.shape, 4))
    veil[~seen] = 0.6, 0.65, 0.7, 0.85
    return veil


def _hatch(ax: Axes, left: float, top: float, width: float, height: float, color: str) -> None:
    if width and height:
        box = Rectangle((left, top), width, height, fill=False, edgecolor=color, hatch="////", lw=0)
        ax.add_patch(box)
