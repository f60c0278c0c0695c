"""What the stages of the encoder hand on, as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from segformer_edu.plots.style import GREY, new_figure, styled, title


@styled
def feature_maps(maps: Sequence[np.ndarray], finding: str = "", channels: int = 5) -> Figure:
    """The liveliest channels of each stage, one row a stage.

    Each channel is drawn on its own scale, from its least value to its greatest.

    Args:
        maps: for each stage a `(C, H, W)` array, the finest first.
        finding: the title.
        channels: how many channels to draw, those that vary most over the picture.

    Raises:
        ValueError: arrays of other shapes, or no maps.
    """
    check_maps(maps)
    height, width = maps[0].shape[1:]
    cell = 1.25 * height / width  # inches
    figure = new_figure(len(maps) * (cell + 0.2) + 0.35 * bool(finding))
    if finding:
        title(figure, finding)
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


def check_maps(maps: Sequence[np.ndarray]) -> None:
    """Refuse what is not one `(C, H, W)` array a stage."""
    shapes = [np.shape(stage_map) for stage_map in maps]
    if not shapes or any(len(shape) != 3 for shape in shapes):
        raise ValueError(
            f"maps holds one (C, H, W) array a stage; got shapes {shapes}. Take map[0].numpy()."
        )


def liveliest(stage_map: np.ndarray, count: int) -> np.ndarray:
    """The channels that vary most over the picture, in their own order."""
    spread = stage_map.std(axis=(1, 2))
    return np.sort(np.argsort(-spread, kind="stable")[:count])
