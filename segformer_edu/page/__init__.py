"""The model in JavaScript, and the one HTML file that runs it (README, segformer.html)."""

from segformer_edu.page.build import FIT, SIDES, Picture, drawn_scenes, page_html, reductions_of
from segformer_edu.page.notebook import show

__all__ = ["FIT", "SIDES", "Picture", "drawn_scenes", "page_html", "reductions_of", "show"]
