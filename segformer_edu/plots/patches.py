"""Lesson 01: patches drawn over a photograph, and what becomes of them when the image moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segformer_edu.analysis.patches import PatchRow
from segformer_edu.plots.style import (
    GREY,
    INK,
    OKABE_ITO,
    PAPER,
    WIDTH,
    check_photo,
    new_figure,
    styled,
    title,
)

MARKED = (OKABE_ITO[6], OKABE_ITO[5], OKABE_ITO[1])  # a patch, and its neighbours: bright colours


@styled
def patches(photo: np.ndarray, grids: Sequence[tuple[int, int, int]], finding: str = "") -> Figure:
    """The patches of one or more grids over a photograph, one panel a grid.

    Thin lines are patches; a patch near the middle and its neighbours to the right and below are
    drawn in colour, what neighbours share is hatched. The padding is grey, and so is what no patch
    sees.

    Args:
        photo: `(H, W, 3)` uint8.
        grids: (patch_size, stride, padding) of each.
        finding: the title.

    Raises:
        ValueError: another kind of photograph, or patches that do not fit on it.
    """
    check_photo(photo)
    height, width = photo.shape[:2]
    widest = WIDTH / max(len(grids), 2)  # inches: one panel alone takes half the page
    figure = new_figure(widest * height / width + 0.4 + 0.3 * bool(finding), widest * len(grids))
    if finding:
        title(figure, finding)
    margin = max(padding for _, _, padding in grids)  # the photograph has one size in all panels
    for ax, grid in zip(figure.subplots(1, len(grids), squeeze=False).flat, grids, strict=True):
        ax.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
        points = 72 * widest / (width + 2 * margin)  # that a pixel of the photograph is wide
        _draw_grid(ax, photo, *grid, line_width=min(0.5, grid[1] * points / 16))
    return figure


def _draw_grid(
    ax: Axes,
    photo: np.ndarray,
    patch_size: int,
    stride: int,
    padding: int,
    line_width: float,  # thinner where lines are dense, which would hide the photograph
) -> None:
    height, width = photo.shape[:2]
    down, across = (PatchRow(side, patch_size, stride, padding) for side in (height, width))
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.spines[:].set_visible(False)
    frame = (width + 2 * padding, height + 2 * padding)
    ax.add_patch(Rectangle((-padding, -padding), *frame, facecolor="#D5DBE1", zorder=0))
    ax.imshow(photo, extent=(0, width, height, 0), zorder=1)
    unseen = np.minimum(down.coverage[:, None], across.coverage) == 0
    grey = np.zeros((height, width, 4))
    grey[unseen] = 0.6, 0.65, 0.7, 0.85
    ax.imshow(grey, extent=(0, width, height, 0), zorder=1)
    ax.autoscale(False)
    outlines = [
        Rectangle((left, top), patch_size, patch_size)
        for top in down.starts
        for left in across.starts
    ]
    ax.add_collection(
        PatchCollection(outlines, fc="none", ec=PAPER, linewidth=line_width, alpha=0.7, zorder=2)
    )
    _mark_neighbours(ax, down, across)
    ax.set_title(
        f"{patch_size}×{patch_size}, stride {stride}, padding {padding}\n"
        f"{down.count}×{across.count} tokens",
        fontsize=8,
    )


def _mark_neighbours(ax: Axes, down: PatchRow, across: PatchRow) -> None:
    """A patch near the middle, the next to its right, the next below, and what they share."""
    row, column = (down.count - 1) // 2, (across.count - 1) // 2
    top, left = down.starts[row], across.starts[column]
    size, stride, shared = down.patch_size, down.stride, down.shared
    neighbours = [(top, left)]
    if column + 1 < across.count:
        neighbours.append((top, left + stride))
        _hatch(ax, left + stride, top, shared, size)
    if row + 1 < down.count:
        neighbours.append((top + stride, left))
        _hatch(ax, left, top + stride, size, shared)
    for (y, x), color in reversed(list(zip(neighbours, MARKED, strict=False))):
        for line, width in ((INK, 3.5), (color, 2)):
            ax.add_patch(
                Rectangle((x, y), size, size, fill=False, edgecolor=line, lw=width, zorder=4)
            )


def _hatch(ax: Axes, left: float, top: float, width: float, height: float) -> None:
    if width and height:
        ax.add_patch(
            Rectangle(
                (left, top),
                width,
                height,
                fill=False,
                edgecolor=PAPER,
                hatch="////",
                lw=0,
                zorder=3,
            )
        )


@styled
def pictures(shown: Sequence[np.ndarray], captions: Sequence[str], finding: str = "") -> Figure:
    """Pictures in a row, pixel by pixel, each with a caption above it.

    Args:
        shown: `(H, W, 3)` uint8 each, or `(H, W)` numbers, which the colour map draws.
        captions: one each.
        finding: the title.

    Raises:
        ValueError: no picture, or another number of captions.
    """
    if not shown or len(shown) != len(captions):
        raise ValueError(f"{len(shown)} pictures and {len(captions)} captions: give one for each.")
    shapes = [picture.shape[1] / picture.shape[0] for picture in shown]
    height = WIDTH / sum(shapes)
    figure = new_figure(height + 0.3 + 0.3 * bool(finding))
    if finding:
        title(figure, finding)
    row = figure.subplots(1, len(shown), squeeze=False, width_ratios=shapes)
    for ax, picture, caption in zip(row.flat, shown, captions, strict=True):
        ax.imshow(picture)
        ax.set_title(caption, fontsize=9)
        ax.axis("off")
    return figure


@styled
def shift_curves(
    shifts: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    what: str,
    stride: int,
    finding: str = "",
) -> Figure:
    """What a shift of the image does to its tokens, one curve for each kind of patches.

    Args:
        shifts: pixels.
        curves: name → a value for each shift.
        what: label of the vertical axis.
        stride: pixels from token to token; whole multiples are marked.
        finding: the title.

    Raises:
        ValueError: a curve of another length than the shifts.
    """
    for name, values in curves.items():
        if len(values) != len(shifts):
            raise ValueError(f"{name} has {len(values)} values for {len(shifts)} shifts.")
    figure = new_figure(3.2)
    if finding:
        title(figure, finding)
    ax = figure.subplots()
    for shift in shifts:
        if shift % stride == 0:
            ax.axvline(shift, color=GREY, lw=0.6, ls="-", zorder=0)
    for name, values in curves.items():
        ax.plot(shifts, values, marker="o", label=name)
    ax.set(xlabel="shift in pixels (lines: whole tokens)", ylabel=what, xticks=list(shifts))
    ax.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=len(curves))
    return figure
