"""What counted for an answer, and what against it, as maps after the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from segformer_edu.plots.checks import check_maps, check_photo
from segformer_edu.plots.style import DIVERGING, WIDTH, dot, new_figure, styled


@styled
def importance_maps(
    photo: np.ndarray,
    maps: Mapping[str, np.ndarray],
    place: tuple[float, float],
    finding: str = "",
    columns: int = 4,
) -> Figure:
    """Maps of what mattered for one place, after the picture; a dot marks the place.

    Each map is drawn on its own scale. A map that has numbers below zero is drawn for and against:
    orange, white, violet.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: name → `(h, w)`.
        place: in fractions of the height and of the width.
        finding: the title.
        columns: panels in a row.

    Raises:
        ValueError: an array of another shape or type.
    """
    check_photo(photo)
    check_maps(list(maps.values()), list(maps))
    ratio = photo.shape[0] / photo.shape[1]
    rows = -(-(len(maps) + 1) // columns)
    figure = new_figure(rows * (WIDTH / columns * ratio + 0.25) + 0.35, finding)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for ax in axes:
        ax.axis("off")
    panels = {"picture": photo, **maps}
    for ax, (name, shown) in zip(figure.axes, panels.items(), strict=False):
        limit = np.abs(shown).max()
        signed = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit} if shown.min() < 0 else {}
        ax.imshow(shown, extent=(0, 1, 1, 0), aspect=ratio, **signed)
        ax.set_title(name, fontsize=9)
        dot(ax, place, 4)
    return figure


@styled
def contribution_maps(
    photo: np.ndarray, parts: np.ndarray, captions: Sequence[str], finding: str = ""
) -> Figure:
    """What each stage adds to the lead of one class, everywhere, after the photograph.

    The lead is the class's logit less the mean of all. Three panels stand in a row. All maps share
    one scale: orange counts for the class, violet against it, white for neither.

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
    rows = -(-(len(parts) + 1) // 3)
    panel = (WIDTH - 1) / 3 * photo.shape[0] / photo.shape[1]  # inches it is high
    figure = new_figure(rows * (panel + 0.3) + 0.4, finding)
    first, *others = figure.subplots(rows, 3, squeeze=False).flat
    for ax in (first, *others):
        ax.axis("off")
    first.imshow(photo, interpolation="antialiased")
    first.set_title("scene", fontsize=9)
    limit = np.abs(parts).max()
    for ax, part, caption in zip(others, parts, captions, strict=False):
        image = ax.imshow(part, cmap=DIVERGING, vmin=-limit, vmax=limit)
        ax.set_title(caption, fontsize=9)
    figure.colorbar(image, ax=[first, *others], fraction=0.04, label="added to the lead")
    return figure


def signed_colors(values: np.ndarray, limit: float) -> np.ndarray:
    """Numbers as colours, −limit violet, 0 white, limit orange: `(H, W)` → `(H, W, 3)` uint8."""
    return matplotlib.colormaps[DIVERGING](0.5 + values / (2 * limit), bytes=True)[..., :3]
