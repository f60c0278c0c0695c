"""Lesson 07: what a token answers to, how a map is enlarged, and which stage said what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
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

DIVERGING = "PuOr_r"  # for and against: orange and violet, apart for all eyes, white between
FAINTEST = 1e-3  # of the strongest pixel: what is weaker is drawn black


@styled
def receptive_fields(
    rows: Mapping[str, Sequence[np.ndarray]], captions: Mapping[str, Sequence[str]], finding: str
) -> Figure:
    """Receptive fields, a row for each network and a column for each stage.

    Colours are logarithmic, each panel's own: from a thousandth of its strongest pixel up.

    Args:
        rows: name → one `(H, W)` array a stage.
        captions: name → what stands above each panel of its row.
        finding: the title.

    Raises:
        ValueError: rows of different lengths, or captions that do not fit.
    """
    columns = {len(fields) for fields in rows.values()}
    lengths = {name: len(texts) for name, texts in captions.items()}
    if len(columns) != 1 or lengths != {name: len(fields) for name, fields in rows.items()}:
        raise ValueError("give every row as many fields as the others, and a caption for each.")
    (count,) = columns
    side = (WIDTH - 1) / count
    figure = new_figure(len(rows) * (side + 0.2) + 0.4)
    title(figure, finding)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for row, (name, fields) in zip(axes, rows.items(), strict=True):
        for ax, field, caption in zip(row, fields, captions[name], strict=True):
            strongest = float(field.max())
            shown = np.clip(field, FAINTEST * strongest, None)
            ax.imshow(shown, norm=LogNorm(FAINTEST * strongest, strongest))
            ax.set_title(caption, fontsize=8, loc="center")
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=9)
    return figure


@styled
def class_bars(
    names: Sequence[str], series: Mapping[str, Sequence[float]], finding: str = ""
) -> Figure:
    """IoU of each class, a bar for each series.

    Args:
        names: of the classes.
        series: name → IoU of each class, 0 to 1.
        finding: the title.

    Raises:
        ValueError: a series of another length than the names.
    """
    figure = new_figure(2.8)
    title(figure, finding)
    ax = figure.subplots()
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        if len(values) != len(names):
            raise ValueError(f"{name} has {len(values)} values for {len(names)} classes.")
        left = np.arange(len(names)) + (number - (len(series) - 1) / 2) * width
        hatch = ("", "//", "..")[number % 3]
        ax.bar(
            left, values, width, color=OKABE_ITO[number], edgecolor=PAPER, hatch=hatch, label=name
        )
    ax.set(xticks=range(len(names)), xticklabels=names, ylabel="IoU", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=len(series))
    return figure


def sample_positions(small: int, large: int, align_corners: bool) -> np.ndarray:
    """Where each of `large` new samples lies on a row of `small` old ones, 0 to small − 1.

    With aligned corners the first and last samples coincide, and steps are (small − 1) /
    (large − 1). Otherwise pixels are squares, whose centres are mapped, and kept inside.
    """
    index = np.arange(large)
    if align_corners:
        return index * (small - 1) / (large - 1)
    return np.clip((index + 0.5) * small / large - 0.5, 0, small - 1)


@styled
def resized_rows(values: Sequence[float], large: int, finding: str = "") -> Figure:
    """A row of numbers enlarged in both ways: where each new sample looks, and what it gets.

    Old pixels are squares of `large / len(values)` new ones. A line leads from each new pixel to
    the point of the old row that it reads.

    Args:
        values: the old row.
        large: new samples.
        finding: the title.

    Raises:
        ValueError: fewer than two values, or a row that would shrink.
    """
    small = len(values)
    if small < 2 or large <= small:
        raise ValueError(f"{small} values to {large}: give two or more, and enlarge them.")
    figure = new_figure(2.6)
    title(figure, finding)
    scale = large / small
    new = np.arange(large) + 0.5
    for ax, aligned in zip(figure.subplots(1, 2), (False, True), strict=True):
        read = (sample_positions(small, large, aligned) + 0.5) * scale
        for old in range(small):
            ax.add_patch(
                Rectangle(
                    (old * scale, 1), scale, 0.28, facecolor="#E4F0F8", edgecolor=OKABE_ITO[0]
                )
            )
            ax.text((old + 0.5) * scale, 1.14, f"{values[old]:g}", ha="center", va="center")
        for x, there in zip(new, read, strict=True):
            ax.plot([x, there], [0.3, 1], color=OKABE_ITO[4] if aligned else GREY, lw=1, ls="-")
            ax.add_patch(Rectangle((x - 0.5, 0), 1, 0.28, facecolor=PAPER, edgecolor=INK, lw=0.6))
        result = np.interp(sample_positions(small, large, aligned), np.arange(small), values)
        for x, value in zip(new, result, strict=True):
            ax.text(x, 0.14, f"{value:.1f}".removeprefix("0"), ha="center", va="center", fontsize=6)
        ax.set(xlim=(-0.2, large + 0.2), ylim=(-0.05, 1.35))
        ax.set_title(f"align_corners={aligned}", fontsize=9)
        ax.axis("off")
    return figure


@styled
def contribution_maps(
    photo: np.ndarray, parts: np.ndarray, captions: Sequence[str], finding: str = ""
) -> Figure:
    """What each stage adds to one class's logit, everywhere, beside the photograph.

    All maps share one scale: orange speaks for the class, violet against it, white is silent.

    Args:
        photo: `(H, W, 3)` uint8.
        parts: `(n, h, w)`, n summands.
        captions: one for each.
        finding: the title.

    Raises:
        ValueError: arrays of other shapes, or another number of captions.
    """
    check_photo(photo)
    if parts.ndim != 3 or len(parts) != len(captions):
        raise ValueError(f"parts of shape {parts.shape} and {len(captions)} captions: give (n, …).")
    side = (WIDTH - 0.5) / (len(parts) + 1)
    figure = new_figure(side * photo.shape[0] / photo.shape[1] + 0.6)
    title(figure, finding)
    first, *others = figure.subplots(1, len(parts) + 1)
    first.imshow(photo, interpolation="antialiased")
    first.set_title("scene", fontsize=9)
    limit = np.abs(parts).max()
    for ax, part, caption in zip(others, parts, captions, strict=True):
        image = ax.imshow(part, cmap=DIVERGING, vmin=-limit, vmax=limit)
        ax.set_title(caption, fontsize=9)
    for ax in (first, *others):
        ax.axis("off")
    bar = figure.colorbar(image, ax=others[-1], fraction=0.05)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("added to the logit", fontsize=7)
    return figure


def signed_colors(values: np.ndarray, limit: float) -> np.ndarray:
    """Numbers as colours, −limit violet, 0 white, limit orange: `(H, W)` → `(H, W, 3)` uint8."""
    return matplotlib.colormaps[DIVERGING](0.5 + values / (2 * limit), bytes=True)[..., :3]
