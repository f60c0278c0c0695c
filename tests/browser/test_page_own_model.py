"""The page with a model of one's own: opened as a file, and in a notebook's output."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.page import Picture, page_html
from tests.conftest import randomize
from tools.lab import Server, open_in_lab, run_cells, shut_down

pytestmark = pytest.mark.timeout(900)  # seconds, where other tests keep the machine busy

PATIENCE = 120_000  # milliseconds
CONFIG = SegFormerConfig.named("nano", num_classes=3, class_names=("rest", "cat", "dog"))


def opened(browser: Browser, path: Path, html: str) -> Iterator[Page]:
    path.write_text(html, encoding="utf-8")
    page, wrong = browser.new_page(), []
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    page.wait_for_selector("#answer[aria-busy=false]")
    yield page
    page.close()
    assert not wrong


@pytest.fixture
def mine(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """Half of the picture is a cat, and the other half does not count."""
    image = np.full((40, 60, 3), 90, np.uint8)
    labels = np.repeat([[1] * 30 + [255] * 30], 40, axis=0).astype(np.uint8)
    model = randomize(SegFormer(CONFIG)).eval()
    html = page_html(model, [Picture("one", image, labels), Picture("two", image)])
    yield from opened(browser, tmp_path / "mine.html", html)


@pytest.fixture
def large(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A model that shall see 320 pixels a side."""
    model = randomize(SegFormer(CONFIG)).eval()
    image = np.full((400, 600, 3), 90, np.uint8)
    html = page_html(model, [Picture("one", image)], fit=320)
    yield from opened(browser, tmp_path / "large.html", html)


@pytest.fixture
def empty(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    model = randomize(SegFormer(CONFIG.replace(num_classes=1, class_names=("cat",)))).eval()
    yield from opened(browser, tmp_path / "empty.html", page_html(model))


def ask(mine: Page, row: int, column: int) -> None:
    mine.evaluate(f"moveTo({row}, {column}); change()")
    mine.wait_for_selector("#answer[aria-busy=false]")


def test_what_does_not_count_is_no_truth(mine: Page) -> None:
    ask(mine, 20, 10)
    expect(mine.locator("#pixel-says")).to_contain_text("and it is cat")
    ask(mine, 20, 50)
    expect(mine.locator("#pixel-says")).to_contain_text("sure.")
    mine.get_by_label("Errors").check()
    colour = "[...$('answer').getContext('2d').getImageData(59, 39, 1, 1).data]"
    assert mine.evaluate(colour) == [128, 128, 128, 255]


def test_switches_that_this_model_was_not_trained_for_are_off(mine: Page) -> None:
    expect(mine.get_by_label("Reduction ratio of stage 1")).to_be_disabled()
    expect(mine.locator("#tasks")).not_to_contain_text("ratio")
    expect(mine.locator("#tasks li")).to_have_count(9)
    mine.get_by_role("radio", name="two").click()
    mine.wait_for_selector("#answer[aria-busy=false]")
    expect(mine.locator("#word")).to_contain_text("for you to judge")


def test_the_model_sees_as_many_pixels_as_in_its_training(large: Page) -> None:
    """And so it does of a photograph that is chosen later; others can be chosen by hand."""
    sizes = "[...$('size').options].map((each) => each.value)"
    assert large.evaluate(sizes) == ["64", "96", "128", "192", "256", "320"]
    seen = "[state.picture, answer].map(({ height, width }) => [height, width])"
    assert large.evaluate(f"[asTrained(), ...{seen}]") == [True, [213, 320], [213, 320]]
    file = io.BytesIO()
    Image.new("RGB", (900, 450)).save(file, "PNG")
    photo = {"name": "new.png", "mimeType": "image/png", "buffer": file.getvalue()}
    large.locator("#file").set_input_files(photo)
    large.wait_for_function("() => state.picture.name === 'new.png'")
    large.wait_for_selector("#answer[aria-busy=false]")
    assert large.evaluate(f"[asTrained(), ...{seen}]") == [True, [160, 320], [160, 320]]


def test_without_a_picture_there_is_an_empty_canvas_and_tasks_that_need_no_truth(
    empty: Page,
) -> None:
    expect(empty.get_by_role("radio", name="An empty canvas")).to_be_visible()
    expect(empty.locator("#tasks li")).to_have_count(3)
    assert empty.evaluate("data.classes") == ["class 0", "cat"]
    empty.get_by_label("Paint").check()
    empty.locator("#picture").click()
    empty.wait_for_selector("#answer[aria-busy=false]")
    assert empty.evaluate("state.picture.touched.some(Boolean)")


def test_a_notebook_shows_it_apart_from_jupyter(server: Server, page: Page) -> None:
    open_in_lab(page, server, "page.ipynb")
    assert run_cells(page, [0]) == []
    frame = page.frame_locator("iframe[title='SegFormer, live']")
    frame.locator("body[data-ready]").wait_for()
    expect(frame.locator("#figures")).to_contain_text("mIoU")
    frame.get_by_role("radio", name="Scene 2", exact=True).click()
    frame.locator("#answer[aria-busy=false]").wait_for()
    inside = frame.locator("body")
    assert inside.evaluate("state.picture.name") == "Scene 2"
    assert inside.evaluate("origin") == "null"
    shut_down(page)
