"""The pages that check-data and a run write: narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from segformer_edu.__main__ import main
from segformer_edu.training import train
from tests.training.rectangles import TINY, data, write_files

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
WIDTHS, SCHEMES = (360, 800, 1400), ("light", "dark")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("reports")
    train(TINY, folder / "run", data=data(), progress=False)
    write_files(folder / "pictures with a rather long name", count=12)
    (folder / "pictures with a rather long name/masks/03.png").unlink()
    main(
        [
            "check-data",
            str(folder / "pictures with a rather long name"),
            "--out",
            str(folder / "data.html"),
        ]
    )
    return {"run": folder / "run/report.html", "data": folder / "data.html"}


@pytest.fixture(
    params=product(("run", "data"), WIDTHS, SCHEMES), ids=lambda x: "-".join(map(str, x))
)
def report(
    browser: Browser, reports: dict[str, Path], request: pytest.FixtureRequest
) -> Iterator[Page]:
    """A page at one width and in one scheme, which asks for no other file."""
    kind, width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(reports[kind].as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [reports[kind].as_uri()]
    yield page
    page.close()


def test_axe_finds_nothing_to_complain_of_and_the_page_does_not_scroll_sideways(
    report: Page,
) -> None:
    wide, seen = report.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= seen
    report.evaluate(AXE)
    found = report.evaluate("axe.run()")
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]] == []
    assert {"image-alt", "scrollable-region-focusable"} & {x["id"] for x in found["passes"]}
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert report.evaluate(broken) == 0 and report.locator("img").count() > 3
