"""Use the page at random for some minutes: nothing may go wrong, and its memory must not grow.

python -m benchmarks.random_use               # twenty minutes of segformer.html
python -m benchmarks.random_use --minutes 1
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page

from tools.browser import opened

PAGE = Path(__file__).parents[1] / "segformer.html"
PRESS = "button => button.click()"  # wherever it is on the page, and unless it is disabled
PATIENCE = 120_000  # milliseconds for one move, on a busy machine


def moves(page: Page, rng: random.Random) -> list[Callable[[], object]]:
    """What someone may do with the page; each is a call."""

    def any_of(selector: str) -> object:
        return rng.choice(page.locator(selector).all())

    def choose(selector: str) -> None:
        options = page.locator(f"{selector} option").count()
        page.locator(selector).select_option(index=rng.randrange(options))

    def stroke() -> None:
        box = page.locator("#picture").bounding_box()
        for step, act in enumerate((page.mouse.down, lambda: None, page.mouse.up)):
            across, down = (rng.uniform(-0.2, 1.2) if step else rng.random() for _ in "xy")
            page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
            act()

    def press() -> None:
        page.locator("#picture").focus()
        page.keyboard.press(rng.choice(["ArrowUp", "Shift+ArrowLeft", "Space", "Enter", "Tab"]))

    return [
        stroke,
        press,
        lambda: any_of("#scenes label").click(),
        lambda: any_of("input[name=tool]").check(),
        lambda: any_of("input[name=show]:visible").check(),
        lambda: any_of("#switches input").click(),
        lambda: rng.choice(page.locator("#switches select").all()).select_option(index=0),
        lambda: choose("#stage"),
        lambda: choose("#size"),
        lambda: choose("#padding"),
        lambda: page.locator("#brush").fill(str(rng.randrange(2, 49))),
        lambda: page.locator("#rate").fill(str(rng.randrange(10) / 10)),
        lambda: any_of("#undo, #reset, #forget").click(),
        lambda: page.locator("#roll").evaluate(PRESS),
        lambda: page.locator("#cover").evaluate(PRESS),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_use", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    minutes = parser.parse_args().minutes
    with opened() as browser:
        use(browser, minutes)


def use(browser: Browser, minutes: float) -> None:
    """Say each minute how many moves were made, and what the page's process holds."""
    page, rng = browser.new_page(viewport={"width": 1280, "height": 900}), random.Random(0)
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(PAGE.as_uri())
    page.wait_for_selector("body[data-ready]")
    begun, count, said = time.monotonic(), 0, 0
    while (passed := (time.monotonic() - begun) / 60) < minutes:
        rng.choice(moves(page, rng))()
        count += 1
        if passed >= said:
            print(f"minute {said}: {count} moves, {megabytes(browser):.0f} MB", flush=True)
            said += 1
    print(f"end: {count} moves, {megabytes(browser):.0f} MB; {len(wrong)} errors", *wrong, sep="\n")


def megabytes(browser: Browser) -> float:
    """What the page's process holds in memory; spare ones, which hold less, run beside it."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    pages = [each["id"] for each in processes if each["type"] == "renderer"]
    return max(psutil.Process(each).memory_info().rss for each in pages) / 1e6


if __name__ == "__main__":
    main()
