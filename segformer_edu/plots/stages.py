"""What the stages of a network see and hold: receptive fields, and the maps of their channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from segformer_edu.plots.checks import check_photo, check_stages
from segformer_edu.plots.style import GREY, PAPER, WIDTH, new_figure, styled

FAINTEST = 1e-4  # of a receptive field's strongest pixel: anything weaker is drawn black


@styled
def receptive_fields(
    rows: Mapping[str, Sequence[np.ndarray]],
    captions: Mapping[str, Sequence[str]],
    finding: str = "",
    zoom: Sequence[int] = (),
) -> Figure:
    """Receptive fields, a row for each network and a column for each stage.

    Colours are logarithmic, each panel's own: from a ten-thousandth of its strongest pixel up.

    Args:
        rows: name → one `(H, W)` array per stage.
        captions: name → what stands above each panel of its row.
        finding: the title.
        zoom: for the first columns the side, in pixels, of the middle that is drawn once more, as
            over two fifths of the panel's width, in its upper left corner.

    Raises:
        ValueError: rows of different lengths, or captions that do not fit.
    """
    columns = {len(fields) for fields in rows.values()}
    lengths = {name: len(texts) for name, texts in captions.items()}
    if len(columns) != 1 or lengths != {name: len(fields) for name, fields in rows.items()}:
        raise ValueError("give every row as many fields as the others, and a caption for each.")
    (count,) = columns
    side = (WIDTH - 1) / count
    figure = new_figure(len(rows) * (side + 0.2) + 0.4, finding)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for row, (name, fields) in zip(axes, rows.items(), strict=True):
        for ax, field, caption in zip(row, fields, captions[name], strict=True):
            _draw_field(ax, field)
            ax.set_title(caption, fontsize=8, loc="center")
        for ax, field, side in zip(row, fields, zoom, strict=False):
            _magnify_middle(ax, field, side)
        row[0].set_ylabel(name, fontsize=9)
    return figure


def _draw_field(ax: Axes, field: np.ndarray) -> None:
    strongest = float(field.max())
    shown = np.clip(field, FAINTEST * strongest, None)
    ax.imshow(shown, norm=LogNorm(FAINTEST * strongest, strongest))
    ax.set(xticks=[], yticks=[])


def _magnify_middle(ax: Axes, field: np.ndarray, side: int) -> None:
    """Draw the middle of a field once more in the panel's corner, with lines that lead to it."""
    height, width = field.shape
    inset = ax.inset_axes((0.0, 0.6, 0.4, 0.4))
    _draw_field(inset, field)
    left, top = (width - side) / 2 - 0.5, (height - side) / 2 - 0.5
    inset.set(xlim=(left, left + side), ylim=(top + side, top))
    inset.spines[:].set(visible=True, color=PAPER)
    ax.indicate_inset_zoom(inset, edgecolor=PAPER, alpha=1)


@styled
def feature_maps(maps: Sequence[np.ndarray], finding: str = "", channels: int = 5) -> Figure:
    """The channels of each stage that vary most, one row per stage.

    Each channel is drawn on its own scale, from its least value to its greatest.

    Args:
        maps: for each stage a `(C, H, W)` array, the finest first.
        finding: the title.
        channels: how many channels to draw, those that vary most over the picture.

    Raises:
        ValueError: arrays of other shapes, or no maps.
    """
    check_stages(maps)
    height, width = maps[0].shape[1:]
    cell = 1.25 * height / width  # inches
    figure = new_figure(len(maps) * (cell + 0.2) + 0.35 * bool(finding), finding)
    axes = figure.subplots(len(maps), channels + 1, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for stage, (row, stage_map) in enumerate(zip(axes, maps, strict=True), start=1):
        count, rows, columns = stage_map.shape
        row[0].text(
            1,
            0.5,
            f"stage {stage}\n{rows} × {columns} tokens\n{count} channels",
            ha="right",
            va="center",
            transform=row[0].transAxes,
            linespacing=1.6,
        )
        for ax, channel in zip(row[1:], liveliest(stage_map, channels), strict=False):
            ax.imshow(stage_map[channel])
            ax.set_title(f"channel {channel}", fontsize=7, color=GREY, pad=2)
    return figure


@styled
def maps_beside(
    photo: np.ndarray, maps: Sequence[np.ndarray], finding: str = "", channels: int = 4
) -> Figure:
    """The channels of each stage that vary most, one row per stage, beside the picture.

    Each channel is drawn on its own scale, from its least value to its greatest.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: for each stage a `(C, h, w)` array, the finest first.
        finding: the title.
        channels: how many channels to draw, those that vary most over the picture.

    Raises:
        ValueError: arrays of other shapes, or no maps.
    """
    check_photo(photo)
    check_stages(maps)
    cell = WIDTH / (channels + 1.2) * photo.shape[0] / photo.shape[1]  # inches
    figure = new_figure(len(maps) * (cell + 0.2) + 0.3, finding)
    axes = figure.subplots(len(maps), channels + 1)
    for ax in axes[:, 0]:
        ax.axis("off")
    axes[0, 0].imshow(photo, interpolation="antialiased")
    axes[0, 0].set_title("picture")
    scale = axes[1, 0].inset_axes((0.05, 0.6, 0.9, 0.1))
    scale.imshow(np.linspace(0, 1, 256)[None], extent=(0, 1, 0, 1), aspect="auto")
    scale.set_xticks((0, 1), ("least", "greatest"))
    for label, side in zip(scale.get_xticklabels(), ("left", "right"), strict=True):
        label.set_ha(side)  # within the bar's width, off the neighbours
    scale.set(yticks=[], title="in its channel")
    for stage, (row, stage_map) in enumerate(zip(axes[:, 1:], maps, strict=True), start=1):
        row[0].set_ylabel("stage {}: {} × {}".format(stage, *stage_map.shape[1:]))
        for ax, channel in zip(row, liveliest(stage_map, channels), strict=True):
            ax.imshow(stage_map[channel])
            ax.set(xticks=[], yticks=[], title=f"channel {channel}")
    return figure


def liveliest(stage_map: np.ndarray, count: int) -> np.ndarray:
    """The channels that vary most over the picture, in their own order."""
    spread = stage_map.std(axis=(1, 2))
    return np.sort(np.argsort(-spread, kind="stable")[:count])
