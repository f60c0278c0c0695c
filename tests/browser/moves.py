"""What the browser tests do with a widget: move its sliders by keyboard, and read what it shows."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

from tools.lab import handles, keys, picture_of

CHANGED = "([picture, before]) => picture.innerHTML !== before"


def shown(explorer: Locator) -> tuple[str, str]:
    """The picture of a widget, and the words and numbers beside it."""
    picture = explorer.locator("svg")
    words = picture.locator("xpath=following-sibling::*")
    return picture.evaluate("svg => svg.innerHTML"), words.inner_text()


def press(page: Page, explorer: Locator, handle: Locator, key: str) -> None:
    """Move a slider one step with an arrow key, and wait for another picture."""
    picture = picture_of(explorer)
    before = picture.inner_html()
    handle.press(key)
    page.wait_for_function(CHANGED, arg=[picture.element_handle(), before])


def move_each_slider(page: Page, explorer: Locator) -> None:
    """One step and back: picture and words change, and come back."""
    for handle in handles(explorer):
        name, picture, words = handle.get_attribute("aria-label"), *shown(explorer)
        there, back = keys(handle)
        press(page, explorer, handle, there)
        moved = shown(explorer)
        assert moved[0] != picture and moved[1] != words, name
        press(page, explorer, handle, back)
        assert shown(explorer) == (picture, words), name
