"""Turn a figure into what a notebook shows and stores."""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from segformer_edu.plots.style import DPI


def show(figure: Figure, alt: str) -> None:
    """Display a figure in a notebook, with alt text for readers who cannot see it.

    The alt text is also stored as the output's plain text, so that a test of the notebook notices
    when it changes.

    Args:
        figure: what any function of `plots` returns.
        alt: what a reader who cannot see the picture would miss, in one or two sentences.

    Raises:
        ValueError: an alt text with no words in it.
    """
    from IPython.display import display

    check_alt(alt)
    data = {"image/png": base64.b64encode(png(figure)).decode("ascii"), "text/plain": alt}
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def check_alt(alt: str) -> None:
    """Refuse an alt text that says nothing."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(
            f"alt = {alt!r}: say in a sentence what a reader who cannot see the picture would miss."
        )


def png(figure: Figure, dpi: float = DPI) -> bytes:
    """The figure as a PNG file: 256 colours of its own, no date and no program name in it.

    A notebook keeps its pictures for good, and in full colour a photograph is four times as large.
    Maximum coverage preserves the colours of a legend's small patches; a median cut shifts them.
    """
    few = drawn(figure, dpi).quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1)
    file = io.BytesIO()
    few.save(file, format="png", optimize=True)
    return file.getvalue()


def drawn(figure: Figure, dpi: float = DPI) -> Image.Image:
    """The figure as pixels in full colour."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
