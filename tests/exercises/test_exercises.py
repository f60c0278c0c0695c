"""Every exercise accepts its solution, leaves a stub alone, and tells wrong answers apart."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from segformer_edu.exercises import all_exercises, check, hint, solution
from segformer_edu.exercises.exercise import REGISTRY, Exercise, diagnose, exercise, judge, same

SOURCES = Path(__file__).resolve().parents[2] / "notebooks" / "source"
EVERY = list(all_exercises().values())


def answers(exercise: Exercise) -> ModuleType:
    """tests/exercises/lessonNN.py: RIGHT holds an answer reached in another way than the solution,
    WRONG says which part of a diagnosis each wrong answer should get.
    """
    return importlib.import_module(f"tests.exercises.lesson{exercise.id[:2]}")


@pytest.mark.parametrize("exercise", EVERY, ids=lambda exercise: exercise.id)
class TestEveryExercise:
    def test_the_solution_is_correct(self, exercise: Exercise) -> None:
        assert repr(check(exercise.id, exercise.solution)) == f"Correct: {exercise.takeaway}"

    def test_so_is_an_answer_reached_in_another_way(self, exercise: Exercise) -> None:
        assert check(exercise.id, answers(exercise).RIGHT[exercise.id])

    def test_what_is_not_begun_is_not_attempted(self, exercise: Exercise) -> None:
        stubs = [...]
        if callable(exercise.solution) and not isinstance(exercise.solution, type):
            stubs += [empty, documented, returns_ellipsis, half_begun]
        for stub in stubs:
            assert check(exercise.id, stub).status == "Not attempted", stub

    def test_three_wrong_answers_or_more_each_have_their_own_diagnosis(
        self, exercise: Exercise
    ) -> None:
        wrong = answers(exercise).WRONG[exercise.id]
        verdicts = {part: check(exercise.id, answer) for part, answer in wrong.items()}
        for part, verdict in verdicts.items():
            assert verdict.status == "Incorrect"
            assert part in verdict.message
        assert len({verdict.message for verdict in verdicts.values()}) == len(wrong) >= 3

    def test_a_wrong_type_says_what_is_expected(self, exercise: Exercise) -> None:
        assert repr(check(exercise.id, object())).startswith("Incorrect: the answer is ")

    def test_its_solution_and_hints_are_text(self, exercise: Exercise) -> None:
        assert repr(solution(exercise.id)).strip()
        assert exercise.title and exercise.takeaway and all(exercise.hints)


def test_each_lesson_asks_the_exercises_that_are_written_for_it() -> None:
    for source in SOURCES.glob("[0-9][0-9]_*.py"):
        number = source.name[:2]
        asked = set(re.findall(rf'\bcheck\("({number}\.\d+)"', source.read_text(encoding="utf-8")))
        assert asked == {exercise.id for exercise in EVERY if exercise.id[:2] == number}


def empty(*args): ...


def documented(*args):
    """Only this."""


def returns_ellipsis(*args):
    return ...


def half_begun(*args):
    first = ...
    return first + 1


@pytest.fixture
def scratch() -> Exercise:
    """An exercise about a plain function, on no list."""

    def area(height: int, width: int) -> int:
        return height * width

    def examine(answer):
        mistakes = {"that is the perimeter": lambda height, width: 2 * (height + width)}
        return diagnose(answer, area, [(3, 5), (1, 7)], mistakes)

    return Exercise("99.1", "Area", 1, 1, area, ("Count.",), "it grows twice as fast.", examine)


def test_an_error_in_the_answer_is_a_diagnosis(scratch: Exercise) -> None:
    verdict = judge(scratch, lambda height, width: height / 0)
    assert repr(verdict) == "Incorrect: your code stopped with ZeroDivisionError: division by zero"
    assert "takes 1 positional argument" in judge(scratch, lambda height: height).message


def test_an_unknown_mistake_shows_a_case_and_not_the_answer(scratch: Exercise) -> None:
    verdict = judge(scratch, lambda height, width: 15)
    assert repr(verdict) == "Incorrect: for (1, 7) it gives 15, which is not right."


def test_a_case_is_shown_in_words_where_values_would_not_help() -> None:
    case = (torch.zeros(2, 3), [len, (0.123456,)])
    verdict = diagnose(lambda x, parts: [], lambda x, parts: 1, [case], {})
    assert verdict == (
        "for (a tensor of shape (2, 3), [a function, (0.1235,)]) it gives [], which is not right."
    )


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, 1), lambda x: [[x]]])
def test_arrays_count_as_tensors(wrap) -> None:
    def solution(width):
        return wrap(torch.arange(width) / 2)

    assert diagnose(lambda width: wrap(np.arange(width) / 2), solution, [(3,), (5,)], {}) is None
    verdict = diagnose(lambda width: wrap(np.arange(width)), solution, [(3,)], {})
    assert verdict and "a tensor of shape (3,)" in verdict


def test_a_verdict_is_true_only_when_correct(scratch: Exercise) -> None:
    assert judge(scratch, scratch.solution)
    assert not judge(scratch, ...)
    assert not judge(scratch, lambda height, width: 0)


def test_a_constant_function_is_an_attempt(scratch: Exercise) -> None:
    assert judge(scratch, lambda height, width: 4).status == "Incorrect"
    assert judge(scratch, lambda height, width: height).status == "Incorrect"


@pytest.mark.parametrize(
    ("right", "wrong_kind", "expected"),
    [
        (12, "12", "a number"),
        (1.5, True, "a number"),
        (True, 1, "True or False"),
        ((1, 2), (1, 2, 3), "2 values in round brackets"),
        ("keys", 3, "a str"),
        (torch.ones(2), [1.0, 1.0], "a tensor"),
        (torch.nn.Linear, torch.nn.Linear(1, 1), "a class"),
    ],
)
def test_answers_that_are_values(right, wrong_kind, expected: str) -> None:
    examine = lambda answer: None if same(answer, right) else "no"  # noqa: E731
    asked = Exercise("99.2", "Value", 1, 1, right, ("Look.",), "so it is.", examine)
    assert judge(asked, right)
    assert judge(asked, ...).status == "Not attempted"
    assert f"the answer is {expected}" in judge(asked, wrong_kind).message


def test_a_tuple_with_a_gap_is_not_attempted() -> None:
    asked = Exercise("99.2", "Pair", 1, 1, (1, 2), ("Look.",), "so it is.", lambda answer: None)
    assert judge(asked, (1, ...)).status == "Not attempted"


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True),
        (torch.tensor(2.0), 2, True),
        (torch.zeros(2), torch.zeros(2, 1), False),
        (torch.ones(2), torch.ones(2) + 1e-7, True),
        (torch.ones(2), torch.ones(2) + 1e-3, False),
        ((1, [2]), [1, (2,)], True),
        ((1, 2), (1, 2, 3), False),
        (None, 0, False),
        (True, 1, False),
        ("a", "a", True),
    ],
)
def test_same_compares_value_and_shape(left, right, equal: bool) -> None:
    assert same(left, right) is equal


def test_the_tolerance_holds_for_parts_too() -> None:
    assert not same([torch.ones(2)], [torch.ones(2) + 1e-3])
    assert same([torch.ones(2)], [torch.ones(2) + 1e-3], tolerance=1e-2)


def test_hints_are_a_ladder() -> None:
    hints = all_exercises()["03.2"].hints
    shown = [repr(hint("03.2")) for _ in range(len(hints) + 1)]
    for number, (text, line) in enumerate(zip(hints, shown, strict=False), start=1):
        assert line.startswith(f"Hint {number} of {len(hints)}: {text}")
    assert shown[-1] == shown[-2]
    assert "solution('03.2') shows the answer" in shown[-1]


@pytest.mark.parametrize("ask", [lambda id: check(id, 1), hint, solution])
def test_an_unknown_id_lists_the_known_ones(ask) -> None:
    with pytest.raises(ValueError, match=r"no exercise '3.1'; the exercises are .*03\.1, 03\.2"):
        ask("3.1")


@pytest.mark.parametrize(
    "changes",
    [{"exercise_id": "3.1"}, {"exercise_id": "03.1"}, {"stars": 4}, {"minutes": 0}, {"hints": []}],
)
def test_an_exercise_that_is_not_well_formed_is_refused(changes: dict) -> None:
    valid = {"exercise_id": "99.9", "title": "T", "stars": 1, "minutes": 1}
    with pytest.raises(ValueError):
        exercise(**{**valid, "solution": 1, "hints": ["a"], "takeaway": "b", **changes})
    assert "99.9" not in REGISTRY
