"""The page, opened from a file: its worker answers as the package does, and asks nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Error, Page
from torch.nn import functional as F

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis.attention_maps import attention_maps
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import scene
from segformer_edu.page import Picture, page_html
from segformer_edu.page.build import half_bits
from segformer_edu.segformer import labels_from_logits
from tests.conftest import randomize

pytestmark = pytest.mark.timeout(900)  # seconds, where other tests keep the machine busy

CONFIG = SegFormerConfig.named(
    "nano", depths=(1, 1, 1, 1), class_names=tuple("abcdefg") + ("</script>@style",)
)
RUN = """async ([rows, request]) => {
    const image = { height: rows.length, width: rows[0].length,
                    data: Uint8ClampedArray.from(rows.flat(2)) };
    const { run, height, width, labels, maps } = await engine.run("a test", { image, ...request });
    return { run, height, width, labels: Array.from(labels),
             maps: maps.map(({ height, width }) => [height, width]) };
}"""


class Opened(NamedTuple):
    """A page, the model that it holds, and what it asked for."""

    page: Page
    model: SegFormer
    asked: list[str]


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    model = randomize(SegFormer(CONFIG)).eval()
    for weight in model.state_dict().values():  # as the page rounds them
        if weight.is_floating_point():
            halves = torch.from_numpy(half_bits(weight).view(np.float16))
            weight.copy_(halves.view(weight.shape))
    path: Path = tmp_path_factory.mktemp("page") / "segformer.html"
    path.write_text(page_html(model, [Picture("x", *scene(1, 32))]), encoding="utf-8")
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate("ready")
    yield Opened(page, model, asked)
    page.close()


def rgba(picture: np.ndarray) -> list[Any]:
    return np.dstack([picture, np.full_like(picture[..., :1], 255)]).tolist()


def same(labels: list[int], expected: torch.Tensor) -> float:
    return float((torch.tensor(labels).view(expected.shape) == expected).float().mean())


def test_the_worker_gives_the_packages_labels(opened: Opened) -> None:
    picture, _ = scene(3, (64, 96))
    found = opened.page.evaluate(RUN, [rgba(picture), {}])
    assert (found["run"], found["height"], found["width"]) == ("a test", 64, 96)
    assert found["maps"] == [[16, 24], [8, 12], [4, 6], [2, 3]]
    assert same(found["labels"], opened.model.predict(normalize(picture))) > 0.999  # but for ties


@pytest.mark.parametrize("size", [(32, 48), (45, 61), (100, 130)])
def test_a_picture_seen_at_another_size_is_resized_as_torch_does(
    opened: Opened, size: tuple[int, int]
) -> None:
    picture, _ = scene(3, (64, 96))
    found = opened.page.evaluate(RUN, [rgba(picture), {"size": size}])
    resized = F.interpolate(normalize(picture), size, mode="bilinear", antialias=True)
    assert (found["height"], found["width"]) == size
    with torch.no_grad():
        expected = labels_from_logits(opened.model(resized), (64, 96))
    assert same(found["labels"], expected) > 0.998


def test_what_is_transparent_is_white(opened: Opened) -> None:
    clear = np.full((32, 32, 4), (200, 0, 90, 0), np.uint8)
    found = opened.page.evaluate(RUN, [clear.tolist(), {}])
    white = normalize(np.full((32, 32, 3), 255, np.uint8))
    assert same(found["labels"], opened.model.predict(white)) > 0.999


def test_attention_and_shares_are_those_of_the_run_that_was_kept(opened: Opened) -> None:
    picture, other = scene(3, (64, 96))[0], scene(4, (64, 96))[0]
    opened.page.evaluate(RUN, [rgba(picture), {"keep": True}])
    opened.page.evaluate(RUN, [rgba(other), {}])
    found = opened.page.evaluate("engine.ask({ attention: { stage: 1, block: 0, pixel: 17 } })")
    expected = attention_maps(opened.model, normalize(picture))[1][0][0].flatten(1, 2)[:, 17]
    rows = torch.tensor(found["attention"]["rows"])
    assert torch.allclose(rows.view(expected.shape), expected, atol=1e-5)
    shares = opened.page.evaluate("engine.ask({ shares: { pixel: 30 } })")["shares"]
    with torch.no_grad():
        logits = opened.model(normalize(picture))[0].flatten(1)[:, 30]
    assert torch.allclose(torch.tensor(shares).sum(0), logits, atol=1e-4)


def test_of_many_requests_of_a_topic_the_newest_is_answered_and_no_topic_is_forgotten(
    opened: Opened,
) -> None:
    """Which of the older ones the worker had begun hangs on the machine; most it never begins."""
    heights = opened.page.evaluate(
        """async (rows) => {
            const image = { height: 64, width: 96, data: Uint8ClampedArray.from(rows.flat(2)) };
            const asked = Array.from({ length: 60 }, (_, i) =>
                engine.run(i % 2 ? "odd" : "even", { image, size: [64 + i, 256] }));
            return (await Promise.all(asked)).map((found) => found && found.height);
        }""",
        rgba(scene(3, (64, 96))[0]),
    )
    assert heights[58:] == [64 + 58, 64 + 59]
    begun = [i for i in range(60) if heights[i] is not None]
    assert [heights[i] for i in begun] == [64 + i for i in begun]
    assert len(begun) < 30


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("engine.run('x', { image: { height: 4, width: 9, data: [] } })", "needs at least"),
        ("engine.ask({ attention: { stage: 0, block: 0, pixel: 0 } })", "was left out"),
    ],
)
def test_what_cannot_be_answered_gets_a_sentence(opened: Opened, question: str, told: str) -> None:
    without = [[{"attention": 0}]]
    picture = rgba(scene(3, (64, 96))[0])
    opened.page.evaluate(RUN, [picture, {"keep": True, "switches": {"branches": without}}])
    with pytest.raises(Error, match=told):
        opened.page.evaluate(question)


def test_the_page_reads_its_data_whatever_the_names(opened: Opened) -> None:
    assert opened.page.evaluate("data.classes") == list(CONFIG.class_names)
    assert opened.page.evaluate("data.pictures[0].width") == 32


def test_no_request_leaves_the_page(opened: Opened) -> None:
    schemes = [url.split(":")[0] for url in opened.asked]
    assert schemes == ["file", "blob"], opened.asked


@pytest.mark.parametrize(
    ("attempt", "refusing"),
    [
        ("fetch('https://a.test').catch(() => {})", "connect-src"),
        ("new Image().src = 'https://a.test'", "img-src"),
        ("add('script')", "script-src-elem"),
        ("add('style')", "style-src-elem"),
    ],
)
def test_the_policy_refuses(opened: Opened, attempt: str, refusing: str) -> None:
    watched = f"""new Promise((resolve) => {{
        const told = ({{ effectiveDirective }}) => resolve(effectiveDirective);
        const add = (name) => document.head.append(
            Object.assign(document.createElement(name), {{ textContent: "p" }}));
        addEventListener("securitypolicyviolation", told, {{ once: true }});
        setTimeout(() => resolve("nobody refuses"), 20_000);
        {attempt};
    }})"""
    assert opened.page.evaluate(watched) == refusing
