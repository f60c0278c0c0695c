"""The widgets in a browser outside JupyterLab: in Voilà and as bare SVG; and a progress bar."""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.widgets import there_and_back
from segformer_edu.widgets.explorer import Explorer
from segformer_edu.widgets.picture import WIDTH
from tests.browser.moves import move_each_slider
from tools.lab import Server, handles, open_in_lab, run_cells

pytestmark = pytest.mark.timeout(900)  # seconds, where other tests keep the machine busy


@pytest.mark.parametrize("widget", Explorer.__subclasses__())
def test_the_png_shows_what_the_svg_shows(browser: Browser, widget: type[Explorer]) -> None:
    picture = widget.picture_of(widget.first)
    page = browser.new_page(viewport={"width": WIDTH, "height": round(picture.height)})
    page.set_content(f"<style>body {{margin: 0}}</style>{picture.svg()}")
    drawn = Image.open(BytesIO(page.screenshot())).convert("RGB")
    page.close()
    painted = Image.open(BytesIO(picture.png())).convert("RGB").resize(drawn.size)
    difference = np.abs(np.asarray(drawn, float) - np.asarray(painted, float))
    assert difference.mean() < 6  # of 255: letters and edges fall on other pixels
    assert np.percentile(difference, 90) < 20


def test_a_bar_fills_and_leaves_words(page: Page, server: Server) -> None:
    open_in_lab(page, server, "bar.ipynb")
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs).to_have_text(["1,234 steps"])
    assert run_cells(page, [0]) == []
    bar = page.get_by_role("progressbar", name="steps")
    expect(bar).to_have_js_property("value", 1234)
    expect(bar).to_have_js_property("max", 1234)
    expect(outputs).to_have_text([re.compile("1,234 of 1,234 steps, [0-9]+ s$")])


def test_voila_runs_the_widgets(page: Page, server: Server) -> None:
    page.goto(server.voila("every_widget.ipynb"), wait_until="commit")
    explorers = page.locator(".segformer-explorer")
    expect(explorers).to_have_count(len(Explorer.__subclasses__()))
    for explorer in explorers.all():
        move_each_slider(page, explorer)


def test_the_benchmark_waits_for_the_new_picture(page: Page, server: Server) -> None:
    """The kernel sleeps for 300 ms before each picture, so that none can be there sooner."""
    open_in_lab(page, server, "slow.ipynb")
    assert run_cells(page, [0]) == []
    slow = page.locator(".plain")
    times = there_and_back(page, slow, *handles(slow))
    assert len(times) == 2 and min(times) >= 300
    expect(slow.locator("text")).to_have_text("1")  # where it began
