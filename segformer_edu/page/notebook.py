"""The page in a notebook's output."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

from torch import Tensor

from segformer_edu.page.build import FIT, Picture, page_html
from segformer_edu.segformer import SegFormer


def show(
    model: SegFormer,
    pictures: Iterable[Picture] | None = None,
    reductions: Mapping[str, Tensor] | None = None,
    fit: int = FIT,
    height: int = 900,
) -> None:
    """Display the page below a notebook's cell; the notebook keeps it, some megabytes.

    Its frame may run scripts, and reaches neither Jupyter nor the network.

    Args:
        model, pictures, reductions, fit: as `page_html` takes them.
        height: of the frame, in pixels.

    Raises:
        ValueError: as `page_html` does.
    """
    from IPython.display import display

    page = html.escape(page_html(model, pictures, reductions, fit))
    frame = (
        f'<iframe srcdoc="{page}" sandbox="allow-scripts" title="SegFormer, live" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )
    display({"text/html": frame, "text/plain": "SegFormer, live in this notebook"}, raw=True)
