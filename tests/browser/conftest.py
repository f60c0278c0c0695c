"""One JupyterLab and one Chromium for all browser tests of a run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import Browser, Page, sync_playwright

from segformer_edu.widgets.explorer import Explorer
from tests.browser.driver import CHROMIUM_FLAGS, Server, chromium, serve

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
LESSONS = Path(__file__).resolve().parents[2] / "notebooks"
# The least that a widget can do, without anything of ours: the measure of the machine today.
BARE = """\
import ipywidgets

slider = ipywidgets.IntSlider(1, 0, 9)
picture = ipywidgets.HTML("<svg><text>1</text></svg>")

def draw(change):
    picture.value = f"<svg><text>{change.new}</text></svg>"

slider.observe(draw, "value")
bare = ipywidgets.VBox([slider, picture])
bare.add_class("segformer-explorer")
bare"""
BAR = """from segformer_edu.widgets import progress

for _ in progress(range(1234), "steps"):
    pass"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It serves the lessons, a notebook with every widget of the package, the bare one, and one
    with a progress bar; all of them run and stored as the lessons are.
    """
    folder = tmp_path_factory.mktemp("notebooks")
    for lesson in LESSONS.glob("*.ipynb"):
        shutil.copy(lesson, folder)
    widgets = [
        f"from {widget.__module__} import {widget.__name__}\n\n{widget.__name__}()"
        for widget in Explorer.__subclasses__()
    ]
    others = {"every_widget.ipynb": widgets, "bare.ipynb": [BARE], "bar.ipynb": [BAR]}
    for name, sources in others.items():
        cells = [new_markdown_cell(name), *map(new_code_cell, sources)]
        notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
        NotebookClient(notebook, store_widget_state=False, record_timing=False).execute()
        nbformat.write(notebook, folder / name)
    with serve(folder, tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    yield page
    page.close()
