"""The widget of each lesson, in the lesson's own page in JupyterLab, by keyboard."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from segformer_edu.widgets.explorer import Choices, Explorer
from tests.browser.moves import move_each_slider
from tools.lab import Server, handles, open_in_lab, run_cells, scroll_to, shut_down

LESSONS = Path(__file__).resolve().parents[2] / "notebooks"
AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
WIDGETS = {widget.__name__: widget for widget in Explorer.__subclasses__()}
SHOWS_A_WIDGET = re.compile(rf"(\w+\.)?({'|'.join(WIDGETS)})\(\)")
pytestmark = pytest.mark.timeout(900)  # seconds, where other tests keep the machine busy


class Lesson(NamedTuple):
    """A notebook, its first cell of code, the one that shows its widget, and how that begins."""

    name: str
    imports: int
    widget: int
    first: Choices


def lessons_with_widgets() -> Iterator[Lesson]:
    for path in sorted(LESSONS.glob("*.ipynb")):
        cells = enumerate(nbformat.read(path, as_version=4).cells)
        code = {index: cell.source for index, cell in cells if cell.cell_type == "code"}
        for index, source in code.items():
            if shown := SHOWS_A_WIDGET.fullmatch(source):
                yield Lesson(path.name, min(code), index, WIDGETS[shown[2]].first)


@pytest.fixture(scope="module", params=lessons_with_widgets(), ids=lambda lesson: lesson.name)
def lesson(request: pytest.FixtureRequest) -> Lesson:
    return request.param


@pytest.fixture(scope="module")
def errors(page: Page, lesson: Lesson) -> Iterator[list[str]]:
    """What the page complains about from here on."""
    found: list[str] = []

    def note_error(error: object) -> None:
        found.append(str(error))

    def note_message(message: object) -> None:
        if message.type == "error":
            found.append(message.text)

    page.on("pageerror", note_error)
    page.on("console", note_message)
    yield found
    page.remove_listener("pageerror", note_error)
    page.remove_listener("console", note_message)


@pytest.fixture(scope="module")
def opened(page: Page, errors: list[str], server: Server, lesson: Lesson) -> Iterator[Lesson]:
    """The lesson as it is stored, open in JupyterLab; nothing has run."""
    open_in_lab(page, server, lesson.name)
    yield lesson
    shut_down(page)


@pytest.fixture(scope="module")
def explorer(page: Page, opened: Lesson) -> Locator:
    """The lesson's widget. Nothing ran before it but the lesson's first cell of code, the imports:
    a reader who comes back for the widget needs no more.
    """
    assert run_cells(page, [opened.imports, opened.widget]) == []
    return scroll_to(page, opened.widget).locator(".segformer-explorer")


def test_an_unrun_lesson_shows_the_picture(page: Page, opened: Lesson) -> None:
    cell = scroll_to(page, opened.widget)
    picture = cell.locator(".jp-OutputArea img")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 0
    assert cell.locator(".segformer-explorer").count() == 0


def test_each_slider_changes_picture_and_words(page: Page, explorer: Locator) -> None:
    move_each_slider(page, explorer)


def test_sliders_have_names_values_and_an_order(page: Page, explorer: Locator) -> None:
    in_order = handles(explorer)
    labels = explorer.locator(".widget-hslider .widget-label").all_text_contents()
    readouts = explorer.locator(".widget-hslider .widget-readout").all_text_contents()
    assert [handle.get_attribute("aria-label") for handle in in_order] == labels
    assert [handle.get_attribute("aria-valuetext") for handle in in_order] == readouts
    cut_off = "labels => labels.filter(label => label.scrollWidth > label.clientWidth).length"
    assert explorer.locator(".widget-label").evaluate_all(cut_off) == 0
    in_order[0].focus()
    for label in labels:  # the tab key goes from one to the next, as they are read
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == label
        page.keyboard.press("Tab")


def test_every_value_can_be_read_whole(explorer: Locator, lesson: Lesson) -> None:
    cut_off = """(readout, longest) => {
        const now = readout.textContent;
        readout.textContent = longest;
        const cut = readout.scrollWidth > readout.clientWidth;
        readout.textContent = now;
        return cut;
    }"""
    handles(explorer)
    readouts = explorer.locator(".widget-hslider .widget-readout").all()
    for readout, field in zip(readouts, dataclasses.fields(lesson.first), strict=True):
        longest = max(map(field.metadata["show"], field.metadata["values"]), key=len)
        assert not readout.evaluate(cut_off, longest), longest


def test_axe_finds_nothing_to_complain_of(page: Page, explorer: Locator) -> None:
    page.evaluate(AXE)
    handles(explorer)
    report = explorer.evaluate("async element => await axe.run(element)")
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in report["violations"]] == []
    assert "aria-input-field-name" in [rule["id"] for rule in report["passes"]]


def test_the_console_stays_silent(explorer: Locator, errors: list[str]) -> None:
    handles(explorer)
    assert errors == []
