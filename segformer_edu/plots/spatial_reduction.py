"""Lesson 03: the keys that are left, what they do not see, where queries look, and the bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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

Fractions = tuple[float, float]  # of the height and of the width, 0 to 1

# A short hatch for each colour, so that neighbours in a bar differ in more than their colour.
HATCHES = ("", "//", "..", "\\\\", "xx", "--")


@styled
def key_grids(
    photo: np.ndarray,
    seen: Sequence[np.ndarray],
    ratios: Sequence[int],
    captions: Sequence[str],
    query: Fractions | None = None,
    finding: str = "",
) -> Figure:
    """The windows that become keys, over the photograph, one panel a map of tokens.

    White lines bound the windows, one key each. Tokens that no key sees are grey and hatched.

    Args:
        photo: `(H, W, 3)` uint8.
        seen: for each panel a map of its tokens, `(h, w)` bool, true where some key sees the token.
        ratios: for each panel r, the side of a window in tokens.
        captions: what stands above each panel.
        query: the token at this point is framed, in its own size.
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
                f"seen holds (h, w) arrays of bool, one value a token; got shape {tokens.shape} "
                f"of {tokens.dtype}."
            )
    side = WIDTH / max(len(seen), 2)
    figure = new_figure(side * photo.shape[0] / photo.shape[1] + 0.6, side * len(seen))
    title(figure, finding)
    axes = figure.subplots(1, len(seen), squeeze=False)[0]
    for ax, tokens, ratio, caption in zip(axes, seen, ratios, captions, strict=True):
        _draw_grid(ax, photo, tokens, ratio)
        if query:
            _frame_token(ax, tokens.shape, query)
        ax.set_title(caption, fontsize=9)
    return figure


def _draw_grid(ax: Axes, photo: np.ndarray, seen: np.ndarray, ratio: int) -> None:
    """One panel, measured in tokens."""
    height, width = seen.shape
    ax.imshow(photo, extent=(0, width, height, 0), interpolation="antialiased")
    ax.axis("off")
    ax.autoscale(False)
    veil = np.zeros((height, width, 4))
    veil[~seen] = 0.6, 0.65, 0.7, 0.85
    ax.imshow(veil, extent=(0, width, height, 0))
    rows, columns = height // ratio, width // ratio
    below = Rectangle((0, rows * ratio), width, height - rows * ratio)
    beside = Rectangle((columns * ratio, 0), width - columns * ratio, rows * ratio)
    for margin in (below, beside):
        if margin.get_width() and margin.get_height():
            margin.set(fill=False, edgecolor=INK, hatch="////", lw=0)
            ax.add_patch(margin)
    for row in range(rows + 1):
        ax.plot([0, columns * ratio], [row * ratio] * 2, color=PAPER, lw=0.7, ls="-")
    for column in range(columns + 1):
        ax.plot([column * ratio] * 2, [0, rows * ratio], color=PAPER, lw=0.7, ls="-")


def _frame_token(ax: Axes, tokens: tuple[int, ...], query: Fractions) -> None:
    """Frame the token at a point; one that is too small to be seen gets a wider frame."""
    row, column = (int(part * side) for part, side in zip(query, tokens, strict=True))
    side = max(1.0, tokens[1] / 40)
    corner = column + (1 - side) / 2, row + (1 - side) / 2
    for color, line in ((PAPER, 3.5), (OKABE_ITO[0], 2)):
        ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=color, lw=line, zorder=3))


@styled
def attention_over_keys(
    photo: np.ndarray,
    maps: Sequence[np.ndarray],
    query: Fractions,
    captions: Sequence[str],
    finding: str = "",
) -> Figure:
    """The attention of one query over keys of different sizes, beside the photograph.

    Each map is drawn on its own scale, from its least weight to its greatest.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: `(h, w)` each, a weight for each key.
        query: where it stands.
        captions: one for each map.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type, or another number of captions.
    """
    check_photo(photo)
    if len(maps) != len(captions) or any(weights.ndim != 2 for weights in maps):
        raise ValueError(
            f"maps of shapes {[weights.shape for weights in maps]} and {len(captions)} captions: "
            f"give (h, w) arrays, and a caption for each."
        )
    side = WIDTH / (len(maps) + 1)
    figure = new_figure(side * photo.shape[0] / photo.shape[1] + 0.6)
    title(figure, finding)
    for ax, shown, caption in zip(
        figure.subplots(1, len(maps) + 1), (photo, *maps), ("photograph", *captions), strict=True
    ):
        ax.imshow(shown, extent=(0, 1, 1, 0), aspect=photo.shape[0] / photo.shape[1])
        ax.set_title(caption, fontsize=9)
        ax.axis("off")
        for color, size in ((PAPER, 11), (OKABE_ITO[0], 8)):
            marker = {"marker": "s", "fillstyle": "none", "markeredgewidth": 2}
            ax.plot(query[1], query[0], color=color, markersize=size, **marker)
    return figure


@styled
def stacked_bars(
    bars: Mapping[str, Mapping[str, float]], x_label: str, finding: str = ""
) -> Figure:
    """What each of a few choices costs, part by part, as horizontal bars.

    Args:
        bars: for each bar its parts, the same ones and in the same order in every bar.
        x_label: what is counted.
        finding: the title.

    Raises:
        ValueError: bars of different parts.
    """
    parts = list(next(iter(bars.values()), ()))
    if not parts or any(list(bar) != parts for bar in bars.values()):
        raise ValueError(f"every bar has the same parts in the same order; got {bars}.")
    figure = new_figure(0.42 * len(bars) + 1.3)
    title(figure, finding)
    ax = figure.subplots()
    left = np.zeros(len(bars))
    for number, part in enumerate(parts):
        values = np.array([bar[part] for bar in bars.values()])
        ax.barh(
            list(bars),
            values,
            left=left,
            height=0.7,
            color=OKABE_ITO[number % 7],
            edgecolor=PAPER,
            hatch=HATCHES[number % len(HATCHES)],
            label=part,
        )
        left += values
    for row, total in enumerate(left):
        ax.text(total, row, f" {total:.2f}", va="center")
    ax.set(xlabel=x_label, xlim=(0, 1.08 * left.max()))
    ax.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=len(parts))
    return figure


@styled
def shares(
    sides: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    multiple: int,
    finding: str = "",
) -> Figure:
    """A share, 0 to 1, over the side of a square photograph, one curve for each name.

    Args:
        sides: pixels.
        curves: name → a share for each side.
        multiple: sides that it divides are marked.
        finding: the title.

    Raises:
        ValueError: a curve of another length than the sides.
    """
    for name, values in curves.items():
        if len(values) != len(sides):
            raise ValueError(f"{name} has {len(values)} values for {len(sides)} sides.")
    figure = new_figure(3.0)
    title(figure, finding)
    ax = figure.subplots()
    ticks = [side for side in sides if side % multiple == 0]
    for side in ticks:
        ax.axvline(side, color=GREY, lw=0.6, ls="-", zorder=0)
    for name, values in curves.items():
        ax.plot(sides, 100 * np.asarray(values), label=name, drawstyle="steps-mid")
    ax.set(xlabel="side of the photograph, pixels", ylabel="tokens that a key sees, %")
    ax.set(xticks=ticks, ylim=(0, 105))
    ax.legend(loc="lower right")
    return figure
