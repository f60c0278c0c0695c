"""The page as people use it: by mouse and keyboard, on a phone and a projector, with odd files."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.random_use import moves
from segformer_edu.__main__ import main

pytestmark = pytest.mark.timeout(900)  # seconds, where other tests keep the machine busy

PATIENCE = 120_000  # milliseconds
# The same dice for every run of the tests: mulberry32, a generator in the public domain.
DICE = """let dice = 1;
Math.random = () => {
    let t = (dice += 0x6d2b79f5);
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "segformer.html"
    assert main(["export", "--weights", "nano", "--out", str(path)]) == 0
    return path


# What someone does who wants the page as it was when it opened.
AFRESH = """() => {
    const set = (id, value) => {
        $(id).value = value;
        $(id).dispatchEvent(new Event("change"));
    };
    dice = 1;
    $("forget").click();
    pick("tool", "look");
    pick("show", "labels");
    set("brush", 10);
    set("rate", 0.3);
    set("stage", "all");
    $("reset").click();
    $("scenes").firstChild.click();
}"""


class Opened(NamedTuple):
    """A page, and what went wrong in it."""

    page: Page
    wrong: list[str]


@pytest.fixture(scope="module")
def opened(browser: Browser, path: Path) -> Iterator[Opened]:
    """One page for all tests, because to unpack it takes longer than most of them."""
    page, wrong = browser.new_page(), []
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else 0)
    page.add_init_script(DICE)
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-ready]")
    yield Opened(page, wrong)
    page.close()


@pytest.fixture
def page(opened: Opened) -> Iterator[Page]:
    """The page as it opens; whatever goes wrong in it fails the test."""
    page, wrong = opened
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate(AFRESH)
    answered(page)
    yield page
    answered(page)
    found = wrong.copy()
    wrong.clear()
    assert not found


def answered(page: Page) -> None:
    """Wait until the page shows the answer to what it was told last."""
    page.wait_for_selector("#answer[aria-busy=false]")


def point(page: Page, row: int, column: int) -> None:
    """Click on a pixel of the picture, which has 256 a side."""
    box = page.locator("#picture").bounding_box()
    x, y = ((each + 0.5) / 256 for each in (column, row))
    page.locator("#picture").click(position={"x": x * box["width"], "y": y * box["height"]})
    answered(page)


def scene(page: Page, number: int) -> None:
    page.get_by_role("radio", name=f"Scene {number}", exact=True).click()
    answered(page)


def is_solved(page: Page, task: str) -> bool:
    return page.evaluate(f"solved.has('{task}')")


def switch_off(page: Page, *branches: str) -> None:
    for branch in branches:
        page.get_by_label(branch).uncheck()
        answered(page)


def wrong_and_sure(page: Page) -> tuple[int, int]:
    """The first such pixel, found in what the page itself holds."""
    index = page.evaluate(
        "answer.labels.findIndex((label, i) =>"
        " label !== state.picture.truth[i] && answer.confidence[i] >= 0.995)"
    )
    return divmod(index, 256)


def solve_context(page: Page) -> None:
    scene(page, 2)
    page.get_by_label("Erase").check()
    page.locator("#brush").fill("14")
    point(page, 20, 200)


def solve_sure(page: Page) -> None:
    scene(page, 5)
    point(page, *wrong_and_sure(page))


def solve_heads(page: Page) -> None:
    for stage, block in ((4, 2), (4, 1), (3, 2)):
        page.locator("#stage").select_option(str(stage - 1))
        page.locator("#block").select_option(str(block - 1))
        for row in range(16, 256, 32):
            point(page, row, 80)
            if is_solved(page, "heads"):
                return


def solve_stages(page: Page) -> None:
    for row in range(16, 256, 32):
        for column in range(16, 256, 32):
            point(page, row, column)
            if is_solved(page, "stages"):
                return


def solve_poles(page: Page) -> None:
    switch_off(page, "Stage 1, block 1: Mix-FFN")


def solve_spare(page: Page) -> None:
    switch_off(page, *(f"Stage {s}, block {b}: attention" for s, b in ((4, 1), (4, 2), (2, 1))))


def solve_ratio(page: Page) -> None:
    page.get_by_label("Reduction ratio of stage 1").select_option("8")
    answered(page)


def solve_padding(page: Page) -> None:
    page.get_by_label("Padding").select_option("circular")
    answered(page)


def solve_size(page: Page) -> None:
    scene(page, 12)
    page.get_by_label("Side for the model").select_option("192")
    answered(page)


def solve_dice(page: Page) -> None:
    page.locator("#rate").fill("0.7")
    for _ in range(6):
        page.get_by_role("button", name="Roll").click()
        expect(page.get_by_role("button", name="Roll")).to_be_enabled()
        if is_solved(page, "dice"):
            return


SOLUTIONS = {
    name.removeprefix("solve_"): way for name, way in globals().items() if name.startswith("solve_")
}


@pytest.mark.parametrize("task", SOLUTIONS)
def test_each_discovery_can_be_made(page: Page, task: str) -> None:
    assert not is_solved(page, task)
    SOLUTIONS[task](page)
    assert is_solved(page, task)


def test_going_from_picture_to_picture_discovers_nothing(page: Page) -> None:
    for number in (2, 3, 5, 11, 1):
        scene(page, number)
    assert page.evaluate("[...solved]") == []


def test_a_roll_is_held_against_the_whole_model_as_it_is_switched(page: Page) -> None:
    page.get_by_label("Padding").select_option("circular")
    answered(page)
    page.get_by_role("button", name="Roll").click()
    expect(page.get_by_role("button", name="Roll")).to_be_enabled()
    whole = page.evaluate("answer.score.mean")
    assert page.evaluate("before.score.mean") > whole + 0.02
    assert page.evaluate("state.dice.whole") == pytest.approx(whole, abs=1e-6)
    expect(page.locator("#dice-says")).to_contain_text(f"has {whole:.3f}")


def test_a_draw_that_leaves_nothing_out_is_no_smaller_model(page: Page) -> None:
    """At rate 0, all sixteen are the whole model."""
    page.locator("#rate").fill("0")
    page.get_by_role("button", name="Roll").click()
    expect(page.get_by_role("button", name="Roll")).to_be_enabled()
    assert page.evaluate("[state.dice.scores.length, state.dice.smaller.length]") == [16, 0]


def test_discoveries_are_remembered_until_they_are_to_be_forgotten(page: Page) -> None:
    solve_ratio(page)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert is_solved(page, "ratio")
    expect(page.locator("#tasks li.solved")).to_have_count(1)
    page.get_by_role("button", name="Forget what I solved").click()
    expect(page.locator("#tasks li.solved")).to_have_count(0)


def test_there_is_a_way_to_every_discovery(page: Page) -> None:
    assert page.evaluate("TASKS.map((task) => task.id)") == list(SOLUTIONS)


@pytest.mark.parametrize(("number", "row", "column"), [(11, 128, 128), (2, 181, 72), (1, 250, 5)])
def test_the_class_of_a_pixel_is_that_whose_lead_is_explained(
    page: Page, number: int, row: int, column: int
) -> None:
    """In the first two places, another class leads in the nearest token."""
    scene(page, number)
    point(page, row, column)
    label = page.evaluate("names[answer.labels[state.mark.row * 256 + state.mark.column]]")
    expect(page.locator("#pixel-says")).to_contain_text(f"Row {row}, column {column} of 256 × 256")
    expect(page.locator("#pixel-says")).to_contain_text(f": {label}, ")
    expect(page.locator("#shares-says")).to_contain_text(f"the lead of {label} over")
    # and the parts add up to that lead, of logits that are resized as the labels' are
    lead = page.evaluate(
        "() => { const { data } = resize(answer.logits, 256, 256), K = names.length;"
        " const at = (state.mark.row * 256 + state.mark.column) * K;"
        " const [a, b] = [...data.subarray(at, at + K)].sort((a, b) => b - a); return a - b; }"
    )
    assert sum(page.evaluate("state.leads")) == pytest.approx(lead, abs=1e-3)
    assert page.evaluate(
        "leadOf(answer.labels[state.mark.row * 256 + state.mark.column], answer.logits, state.mark)"
    ) == pytest.approx(lead, abs=1e-3)


def test_before_and_after_are_scored_on_the_same_pixels(page: Page) -> None:
    scene(page, 19)
    page.get_by_label("Erase").check()
    page.locator("#brush").fill("48")
    point(page, 200, 128)
    before, after, truth, touched = (
        np.array(page.evaluate(f"Array.from({each})"))
        for each in (
            "before.labels",
            "answer.labels",
            "state.picture.truth",
            "state.picture.touched",
        )
    )
    assert 0.05 < touched.mean() < 0.2
    for labels, shown in ((before, "untouched {:.3f}"), (after, "{:.3f}")):
        pairs = [(labels[touched == 0] == k, truth[touched == 0] == k) for k in range(8)]
        ious = [(a & b).sum() / (a | b).sum() for a, b in pairs if (a | b).any()]
        expect(page.locator("#figures")).to_contain_text(shown.format(np.mean(ious)))
    share = f"{touched.mean():.0%}" if touched.mean() >= 0.1 else f"{touched.mean():.1%}"
    expect(page.locator("#touched-says")).to_contain_text(share.replace("%", "\u00a0%"))


def test_switches_stay_for_another_picture_and_so_does_what_is_said_of_them(page: Page) -> None:
    switch_off(page, "Stage 1, block 1: attention")
    page.get_by_label("Side for the model").select_option("192")
    answered(page)
    scene(page, 2)
    expect(page.locator("#switch-says")).to_contain_text("15 of 16 branches work")
    assert page.evaluate("[answer.width, before.width]") == [192, 128]
    page.get_by_role("button", name="Put everything back").click()
    expect(page.locator("#switch-says")).to_be_empty()
    answered(page)


def test_what_is_said_stands_in_nobodys_way(page: Page) -> None:
    page.evaluate("say('A sentence of some length, which lies over the page for a while.')")
    box = page.get_by_role("alert").bounding_box()
    at = f"{box['x'] + box['width'] / 2}, {box['y'] + box['height'] / 2}"
    assert page.evaluate(f"document.elementFromPoint({at}).id") != "message"
    page.keyboard.press("Escape")
    assert page.evaluate("$('message').textContent") == ""


def test_the_picture_is_worked_by_keyboard(page: Page) -> None:
    page.locator("#picture").focus()
    for key in ("ArrowLeft", "Shift+ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
    answered(page)
    expect(page.locator("#pixel-says")).to_contain_text("Row 121, column 127")
    page.get_by_label("Erase").check()
    page.locator("#picture").focus()
    page.keyboard.press("Space")
    answered(page)
    assert page.evaluate("state.picture.touched.some(Boolean)")
    assert page.evaluate("Array.from(state.picture.at(121, 127))") == [124, 116, 104]


def test_every_control_is_reached_with_the_tab_key(page: Page) -> None:
    wanted = page.evaluate(
        """() => {
            const radios = new Set(); // of a group, the Tab key reaches one
            return [...document.querySelectorAll("button, select, input, [tabindex='0']")]
                .filter((each) => each.checkVisibility() && !each.disabled)
                .filter(({ type, name, checked }) => type !== "radio" || checked)
                .map((each, i) => (each.dataset.stop = i)).length;
        }"""
    )
    reached = set()
    for _ in range(wanted + 20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.stop"))
    assert len(reached - {None}) == wanted


def test_the_pictures_are_one_stop_and_arrow_keys_go_from_one_to_the_next(page: Page) -> None:
    page.get_by_role("radio", name="Scene 1", exact=True).focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    answered(page)
    assert page.evaluate("[state.picture.name, document.activeElement.ariaLabel]") == 2 * [
        "Scene 3"
    ]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"


def test_a_click_on_the_chosen_picture_brings_it_back_as_it_was(page: Page) -> None:
    page.get_by_label("Erase").check()
    point(page, 40, 40)
    assert page.evaluate("state.picture.touched.some(Boolean)")
    scene(page, 1)
    assert not page.evaluate("state.picture.touched.some(Boolean)")


def test_a_stamp_copies_a_piece_elsewhere(page: Page) -> None:
    page.get_by_label("Stamp").check()
    point(page, 40, 40)  # takes
    before = page.evaluate("state.picture.at(40, 40)")
    point(page, 200, 200)
    assert page.evaluate("state.picture.at(200, 200)") == before
    page.keyboard.press("Control+z")
    answered(page)
    assert not page.evaluate("state.picture.touched.some(Boolean)")


def drag(page: Page, *places: tuple[int, int]) -> None:
    box = page.locator("#picture").bounding_box()
    for step, (row, column) in enumerate(places):
        x, y = ((each + 0.5) / 256 * box["width"] for each in (column, row))
        page.mouse.move(box["x"] + x, box["y"] + y)
        if not step:
            page.mouse.down()
    page.mouse.up()
    answered(page)


def test_a_drag_that_takes_a_piece_paints_nothing_and_another_can_be_taken(page: Page) -> None:
    page.get_by_label("Stamp").check()
    expect(page.get_by_role("button", name="Take another piece")).to_be_hidden()
    drag(page, (40, 40), (40, 90))
    assert not page.evaluate("state.picture.touched.some(Boolean)")
    expect(page.locator("#tool-help")).to_contain_text("taken")
    page.get_by_role("button", name="Take another piece").click()
    other = page.evaluate("state.picture.at(120, 200)")
    drag(page, (120, 200), (125, 200))
    drag(page, (200, 60), (200, 70))
    assert page.evaluate("state.picture.touched.some(Boolean)")
    assert page.evaluate("state.picture.at(200, 60)") == other


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def give(page: Page, name: str, content: bytes) -> None:
    page.locator("#file").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def test_a_photograph_of_ones_own_is_labelled_at_its_own_shape(page: Page) -> None:
    give(page, "wide.png", png(700, 300))
    page.wait_for_function("() => state.picture.name === 'wide.png'")
    answered(page)
    assert page.evaluate("[state.picture.height, state.picture.width]") == [110, 256]
    expect(page.locator("#figures")).to_contain_text("confidence")
    expect(page.locator("#word")).to_contain_text("only seen the streets")
    expect(page.get_by_label("Truth")).to_be_hidden()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("notes.txt", b"no picture at all", "notes.txt is no picture"),
        ("broken.png", png(64, 64)[:300], "broken.png is no picture"),
        ("empty.jpg", b"", "empty.jpg is no picture"),
        ("huge.png", bytes(61_000_000), "huge.png has 61 MB"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(
    page: Page, name: str, content: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    page.locator("#file").set_input_files(tmp_path / name)
    expect(page.get_by_role("alert")).to_contain_text(told)
    assert page.evaluate("state.picture.name") == "Scene 1"


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_the_narrowest_picture_fits_the_window(page: Page, size: tuple[int, int]) -> None:
    give(page, "narrow.png", png(*size))
    page.wait_for_function("() => state.picture.name === 'narrow.png'")
    answered(page)
    box = page.locator("#picture").bounding_box()
    assert 30 < box["width"] < 1280 and 30 < box["height"] < 900


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1920])
def test_it_is_accessible_and_fits(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    violations = Axe().run(page).response["violations"]
    assert not violations, [(each["id"], [n["html"] for n in each["nodes"]]) for each in violations]


def test_a_number_that_is_rounded_to_zero_has_no_sign(page: Page) -> None:
    assert page.evaluate("[-0.004, 0, 0.004, -0.006, 12].map((value) => signed(value))") == [
        *3 * ["0.00"],
        *("−0.01", "+12.00"),
    ]


def test_covering_squares_shows_what_a_pixel_hangs_on(page: Page) -> None:
    page.get_by_role("button", name="Cover one square after another").click()
    expect(page.get_by_role("button", name="Cover one square after another")).to_be_enabled()
    expect(page.locator("#covered")).to_be_visible()
    expect(page.locator("#cover-says")).to_contain_text("squares of 64")


def test_covering_stops_when_another_pixel_is_asked(page: Page) -> None:
    page.get_by_role("button", name="Cover one square after another").click()
    point(page, 40, 40)
    expect(page.locator("#cover-says")).to_contain_text("It stopped")
    expect(page.locator("#covered")).to_be_hidden()


def test_every_head_of_every_block_is_shown_but_of_those_that_are_off(page: Page) -> None:
    expect(page.locator("#heads canvas")).to_have_count(2 * (1 + 2 + 4 + 8))
    switch_off(page, "Stage 4, block 1: attention")
    expect(page.locator("#heads canvas")).to_have_count(2 * (1 + 2 + 4) + 8)
    expect(page.get_by_role("group", name="Stage 4, block 1")).to_contain_text("switched off")


def test_a_stroke_has_no_gaps_and_the_right_button_draws_none(page: Page) -> None:
    page.get_by_label("Erase").check()
    box = page.locator("#picture").bounding_box()
    for button in ("right", "left"):
        assert not page.evaluate("state.picture.touched.some(Boolean)")
        page.mouse.move(box["x"] + 5, box["y"] + 50)
        page.mouse.down(button=button)
        page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 50)
        page.mouse.up(button=button)
        answered(page)
    row = page.evaluate("state.mark.row")
    assert page.evaluate(f"Array(256).keys().every((i) => state.picture.touched[{row * 256} + i])")
    page.get_by_role("button", name="Undo").click()
    answered(page)
    assert not page.evaluate("state.picture.touched.some(Boolean)")


def test_random_use_breaks_nothing(page: Page) -> None:
    rng = random.Random(0)
    for _ in range(60):
        rng.choice(moves(page, rng))()
    for button in ("Roll", "Cover one square after another"):
        expect(page.get_by_role("button", name=button)).to_be_enabled()
    page.locator("#reset").click()
    answered(page)
