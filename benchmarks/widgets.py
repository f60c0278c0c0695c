"""Measure each widget in JupyterLab, from key press to new picture, and write the table.

python -m benchmarks.widgets            # their table in README.md
python -m benchmarks.widgets --quick    # one round that writes nothing
"""

from __future__ import annotations

import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

from playwright.sync_api import Locator, Page
from tqdm import tqdm

from benchmarks.readme import asked, publish
from benchmarks.report import markdown
from benchmarks.runs import here
from segformer_edu.widgets.explorer import Explorer
from tools.browser import opened
from tools.lab import (
    Server,
    handles,
    keys,
    open_in_lab,
    picture_of,
    run_cells,
    serve,
    shut_down,
    write_notebook,
)

LIBRARIES = ("jupyterlab", "ipywidgets")
# The simplest possible widget, without any of our code.
PLAIN = """\
import ipywidgets

slider = ipywidgets.IntSlider(1, 0, 9)
picture = ipywidgets.HTML("<svg><text>1</text></svg>")

def draw(change):
    picture.value = f"<svg><text>{change.new}</text></svg>"

slider.observe(draw, "value")
plain = ipywidgets.VBox([slider, picture])
plain.add_class("plain")
plain"""
# Milliseconds from a key press to the first frame that shows another picture.
STOPWATCH = """([picture, before]) => {
    window.latency = null;
    document.addEventListener("keydown", () => {
        const pressed = performance.now();
        const look = () => picture.innerHTML === before ? requestAnimationFrame(look)
            : window.latency = performance.now() - pressed;
        requestAnimationFrame(look);
    }, {capture: true, once: true});
}"""


def main() -> None:
    options = asked(
        "widgets", __doc__, "one round that writes nothing", rounds=8, each="each slider moves"
    )
    where = here()
    with tempfile.TemporaryDirectory() as folder, opened() as browser:
        home = Path(folder, "home")
        home.mkdir()
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        with serve(Path(folder), home) as server:
            rows = [
                (widget, *measure(page, server, Path(folder), widget, options.rounds))
                for widget in tqdm(Explorer.__subclasses__(), unit="widget")
            ]
        found = report(rows, f"Chromium {browser.version}", where, options.rounds)
    publish("widgets", found, options.quick)


def measure(
    page: Page, server: Server, folder: Path, widget: type[Explorer], rounds: int
) -> tuple[list[float], list[float]]:
    """Milliseconds of the plain slider, and of all sliders of a widget below it on the page. They
    take turns, so that a machine that is busy for a while slows both.
    """
    name = f"{widget.__name__}.ipynb"
    write_notebook(
        folder / name, [PLAIN, f"from segformer_edu import widgets\n\nwidgets.{widget.__name__}()"]
    )
    open_in_lab(page, server, name)
    if errors := run_cells(page, [0, 1]):
        sys.exit("\n".join(errors))
    plain, ours = [], []
    for _ in range(rounds):
        for handle in handles(page.locator(".segformer-explorer")):
            ours += there_and_back(page, page.locator(".segformer-explorer"), handle)
            plain += there_and_back(page, page.locator(".plain"), *handles(page.locator(".plain")))
    shut_down(page)
    return plain, ours


def there_and_back(page: Page, explorer: Locator, handle: Locator) -> list[float]:
    """Milliseconds from each of two key presses to the frame that shows the new picture."""
    return [latency(page, explorer, handle, key) for key in keys(handle)]


def latency(page: Page, explorer: Locator, handle: Locator, key: str) -> float:
    page.wait_for_timeout(120)  # until the kernel is idle: it gets one change at a time
    picture = picture_of(explorer)
    handle.focus()
    page.evaluate(STOPWATCH, [picture.element_handle(), picture.inner_html()])
    page.keyboard.press(key)
    page.wait_for_function("window.latency !== null")
    return page.evaluate("window.latency")


def table(rows: list[tuple[type[Explorer], list[float], list[float]]]) -> str:
    """A Markdown table: a line per widget, "median (ninth decile)" in each cell."""
    lines = [["widget", "plain slider, ms", "ours, ms"], ["---", "---:", "---:"]]
    for widget, *measured in rows:
        cells = [f"{median(times):.0f} ({quantiles(times, n=10)[-1]:.0f})" for times in measured]
        lines.append([widget.__name__, *cells])
    return markdown(lines)


def report(
    rows: list[tuple[type[Explorer], list[float], list[float]]],
    browser: str,
    where: str,
    rounds: int,
) -> str:
    """The text between the markers of README.md."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{table(rows)}\n{where}; rounds: {rounds}. {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {libraries}, {browser}.\n"
    )


if __name__ == "__main__":
    main()
