"""The estimate of a lesson's minutes, worked out by hand, and what makes a lesson too long."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

from tools.pace import pace, pace_problems


def words(count: int) -> str:
    return " ".join(["word"] * count)


def section(title: str, minutes: int):
    heading = f"## {title}"
    return new_markdown_cell(f"{heading}\n{words(150 * minutes - len(heading.split()))}")


def test_what_is_marked_further_is_not_on_the_core_path():
    cells = [section("1 · Why?", 9), section("2 · How? · *further*", 4), section("Exercises", 30)]
    assert pace(cells) == (10, 5)


def test_a_further_section_keeps_its_subsections_and_ends_at_the_next_of_its_level():
    inside = new_markdown_cell(f"### Inside\n{words(150 * 9)}")
    assert pace([section("1 · Why? · *further*", 1), inside]) == (0, 15)
    assert pace([section("1 · Why? · *further*", 1), section("2 · How?", 9)]) == (10, 5)


def test_a_subsection_alone_can_be_further():
    text = f"## 1 · Why?\n{words(150)}\n\n### Proof · *further*\n{words(150 * 8)}"
    assert pace([new_markdown_cell(text)]) == (5, 10)


@pytest.mark.parametrize(
    "source, seconds",
    [
        ("x = 1\n\ny = 2\n" * 75, 600),
        ("plots.show(x)\n" * 15, 15 * 44),
        ("widgets.Pyramid()", 180),
        ("Patches()", 180),
        ("prediction = ...  # a number", 45),
    ],
)
def test_code_pictures_widgets_and_predictions_take_time(source, seconds):
    lead = new_markdown_cell(words((900 - seconds) * 150 // 60))  # 15 minutes in all
    assert pace([lead, new_code_cell(source)]).core == 15
    assert pace([lead, new_code_cell(source), new_code_cell("x = 1")]).core == 20


def test_a_core_path_above_40_minutes_is_refused():
    assert list(pace_problems([section("1 · Why?", 40)])) == []
    assert "core path takes 45 minutes" in next(pace_problems([section("1 · Why?", 41)]))


ASK, ANSWER = new_code_cell("prediction = ...  # a number"), new_code_cell("compare(prediction, 3)")


def test_a_seventh_prediction_is_refused():
    assert list(pace_problems([ASK, ANSWER] * 6)) == []
    assert "7 predictions" in next(pace_problems([ASK, ANSWER] * 7))


@pytest.mark.parametrize("cells", [[ASK], [ASK, ASK, ANSWER], [ANSWER, ASK]])
def test_a_prediction_that_nothing_answers_is_refused(cells):
    assert "not compared" in "".join(pace_problems(cells))


def code(*sources: str):
    return [new_code_cell(source) for source in sources]


FURTHER, CORE = new_markdown_cell("## 2 · How? · *further*"), new_markdown_cell("## 3 · Then?")


@pytest.mark.parametrize(
    "definition",
    ["side = 4", "def side():\n    pass", "from math import pi as side", "import side.a"],
)
def test_the_core_path_may_not_need_what_a_further_cell_defines(definition):
    needed = [FURTHER, *code(definition), CORE, *code("print(side)")]
    assert list(pace_problems(needed)) == [
        "the core path uses 'side', which only a further section defines"
    ]
    assert list(pace_problems([*code("side = 3"), *needed])) == []
    assert list(pace_problems(needed[:2])) == []


def test_a_core_function_may_have_a_name_of_its_own_that_a_further_cell_has_too():
    own = "def area(side):\n    other = side\n    return other * side"
    assert list(pace_problems([FURTHER, *code("side = other = 4"), CORE, *code(own)])) == []
