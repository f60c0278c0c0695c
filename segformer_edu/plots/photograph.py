"""A photograph as it is."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from segformer_edu.plots.style import check_photo, new_figure, styled, title


@styled
def photograph(photo: np.ndarray, finding: str = "", width: float = 4) -> Figure:
    """A photograph with nothing on it.

    Args:
        photo: `(H, W, 3)` uint8.
        finding: the title.
        width: of the picture, in inches.

    Raises:
        ValueError: an array of another shape or type.
    """
    check_photo(photo)
    figure = new_figure(width * photo.shape[0] / photo.shape[1] + 0.3 * bool(finding), width)
    if finding:
        title(figure, finding)
    ax = figure.subplots()
    ax.imshow(photo, interpolation="antialiased")
    ax.axis("off")
    return figure
