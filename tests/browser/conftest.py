"""One JupyterLab and one browser for all browser tests of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.widgets import PLAIN
from segformer_edu.widgets.explorer import Explorer
from tools.browser import MISSING, driver, find, start
from tools.lab import Server, serve, write_notebook

LESSONS = Path(__file__).resolve().parents[2] / "notebooks"
PATIENCE = 120_000  # milliseconds that anything may take: no test asks how fast it was
LIVE_PAGE = """from segformer_edu import SegFormer, page

page.show(SegFormer.from_pretrained("nano"))"""
BAR = """from segformer_edu.widgets import progress

for _ in progress(range(1234), "steps"):
    pass"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with driver() as playwright:
        path = find(playwright)
        if path is None and os.environ.get("CI"):
            pytest.fail(MISSING)
        if path is None:
            pytest.skip(MISSING)
        browser = start(playwright, path)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It serves the lessons as they are stored, a notebook with every widget of the package, one
    with a progress bar that was run, one with the page, and one with a slow picture.
    """
    folder = tmp_path_factory.mktemp("notebooks")
    for lesson in LESSONS.glob("*.ipynb"):
        shutil.copy(lesson, folder)
    widgets = [
        f"from {widget.__module__} import {widget.__name__}\n\n{widget.__name__}()"
        for widget in Explorer.__subclasses__()
    ]
    write_notebook(folder / "every_widget.ipynb", widgets)
    write_notebook(folder / "bar.ipynb", [BAR], run=True)
    write_notebook(folder / "page.ipynb", [LIVE_PAGE])
    slow = PLAIN.replace("picture.value =", "time.sleep(0.3); picture.value =")
    write_notebook(folder / "slow.ipynb", [f"import time\n\n{slow}"])
    with serve(folder, tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield page
    page.close()
