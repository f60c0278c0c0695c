"""Every exercise accepts its solution, leaves a stub alone, and tells wrong answers apart."""

import importlib
import random
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from segformer_edu.exercises import all_exercises, check, hint, solution
from segformer_edu.exercises.exercise import (
    REGISTRY,
    Exercise,
    diagnose,
    drawn,
    exercise,
    judge,
    normal,
    same,
    uses,
)

SOURCES = Path(__file__).resolve().parents[2] / "notebooks" / "source"
EVERY = list(all_exercises().values())


def answers(exercise: Exercise) -> ModuleType:
    """tests/exercises/lessonNN.py: RIGHT holds an answer reached in another way than the solution,
    or several; WRONG says which part of a diagnosis each wrong answer should get.
    """
    return importlib.import_module(f"tests.exercises.lesson{exercise.id[:2]}")


@pytest.mark.parametrize("exercise", EVERY, ids=lambda exercise: exercise.id)
class TestEveryExercise:
    def test_the_solution_is_correct(self, exercise: Exercise) -> None:
        assert repr(check(exercise.id, exercise.solution)) == f"Correct: {exercise.takeaway}"

    def test_it_is_correct_where_a_notebook_has_turned_gradients_off(
        self, exercise: Exercise
    ) -> None:
        with torch.no_grad():
            assert check(exercise.id, exercise.solution)

    def test_so_is_an_answer_reached_in_another_way(self, exercise: Exercise) -> None:
        right = answers(exercise).RIGHT[exercise.id]
        for answer in right if isinstance(right, Sequence) else [right]:
            assert check(exercise.id, answer), (answer, check(exercise.id, answer))

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

    def test_each_known_mistake_gets_its_own_diagnosis(
        self, exercise: Exercise, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []

        def noted(answer, right, cases, mistakes, right_where=None):
            calls.append((right, cases, mistakes))

        monkeypatch.setattr(importlib.import_module(exercise.examine.__module__), "diagnose", noted)
        exercise.examine(exercise.solution)
        for right, cases, mistakes in calls:
            for diagnosis, mistake in mistakes.items():
                assert diagnose(mistake, right, cases, mistakes) == diagnosis

    def test_a_wrong_type_says_what_is_expected(self, exercise: Exercise) -> None:
        assert repr(check(exercise.id, object())).startswith("Incorrect: the answer is ")

    def test_its_solution_and_hints_are_text(self, exercise: Exercise) -> None:
        assert repr(solution(exercise.id)).strip()
        assert exercise.title and exercise.takeaway and all(exercise.hints)


def test_each_lesson_asks_the_exercises_that_are_written_for_it() -> None:
    for source in SOURCES.glob("[0-9][0-9]_*.py"):
        number = source.name[:2]
        asked = set(
            re.findall(rf'\bcheck\(\s*"({number}\.\d+)"', source.read_text(encoding="utf-8"))
        )
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
    assert repr(verdict) == (
        "Incorrect: for (3, 5) your code stopped with ZeroDivisionError: division by zero"
    )
    assert "takes 1 positional argument" in judge(scratch, lambda height: height).message


def test_an_unknown_mistake_shows_a_case_and_not_the_answer(scratch: Exercise) -> None:
    verdict = judge(scratch, lambda height, width: 15)
    assert repr(verdict) == "Incorrect: for (1, 7) it gives 15, which is not right."


def test_a_case_is_shown_in_words_where_values_would_not_help() -> None:
    case = (torch.zeros(2, 3), [len, (0.123456,)], torch.nn.ReLU())
    verdict = diagnose(lambda x, parts, layer: [], lambda x, parts, layer: 1, [case], {})
    assert verdict == (
        "for (a tensor of shape (2, 3), [a function, (0.1235,)], a ReLU) it gives [], which is "
        "not right."
    )


def test_a_tensor_is_wrong_in_its_shape_or_in_its_numbers() -> None:
    case = (torch.ones(2, 3),)
    shape = diagnose(lambda x: x.T, lambda x: x, [case], {})
    assert shape and shape.endswith(
        "gives a tensor of shape (3, 2), and the shape should be different."
    )
    numbers = diagnose(lambda x: 2 * x, lambda x: x, [case], {})
    assert numbers and numbers.endswith("(2, 3), and the numbers should be different.")


def test_a_mistake_that_stops_on_some_cases_is_known_by_the_others() -> None:
    cases = [(0,), (1,), (2,)]
    mistakes = {
        "always one": lambda n: 1,
        "upside down": lambda n: 1 / n,
        "square": lambda n: n * n,
    }
    assert diagnose(lambda n: n**-1, lambda n: n, cases, mistakes) == "upside down"
    stopped = diagnose(lambda n: 2 / n, lambda n: n, cases, mistakes)
    assert stopped == "for (0) your code stopped with ZeroDivisionError: division by zero"


def test_an_answer_may_be_right_where_a_condition_holds() -> None:
    cases = [(2, 2), (3, 5), (4, 4)]
    partly = {"never there": lambda h, w: h > 9, "right for squares": lambda h, w: h == w}

    def judged(answer):
        return diagnose(answer, lambda h, w: h * w, cases, {"sum": lambda h, w: h + w}, partly)

    assert judged(lambda h, w: h * h) == "right for squares"
    assert judged(lambda h, w: h * w if h == w else 1 / 0) == "right for squares"
    assert judged(lambda h, w: h + w) == "sum"
    assert judged(lambda h, w: 4) == "for (3, 5) it gives 4, which is not right."
    assert judged(lambda h, w: w * h) is None


def scaled_in_place(x, factor):
    x *= factor
    return x


def scaled_in_place_twice(x, factor):
    x *= factor
    return x * factor


def zeroed(x, factor):
    return x.zero_()


@pytest.fixture
def scaling() -> Exercise:
    def scaled(x, factor):
        return x * factor

    def examine(answer):
        cases = [(torch.ones(2, 3), 2.0), (torch.ones(3), 3.0)]
        mistakes = {"too far": lambda x, factor: scaled_in_place_twice(x, factor)}
        return diagnose(answer, scaled, cases, mistakes)

    return Exercise("99.3", "Scale", 1, 1, scaled, ("Multiply.",), "so it is.", examine)


def test_what_an_answer_does_to_its_inputs_reaches_no_one_else(scaling: Exercise) -> None:
    right = judge(scaling, scaled_in_place)
    assert right and right.message.startswith("so it is. (Your function also changes what it is")
    wrong = judge(scaling, scaled_in_place_twice)
    assert wrong.message.startswith("too far (Your function also changes what it is given")
    assert "the numbers should be different" in judge(scaling, zeroed).message
    assert "changes" not in judge(scaling, scaling.solution).message


@pytest.mark.parametrize(
    ("given", "change", "told"),
    [
        ([3, 1, 2], list.sort, True),
        ([torch.ones(2)], lambda parts: parts[0].zero_(), True),
        ({"a": [1]}, lambda parts: parts["a"].append(2), True),
        (np.ones(2), lambda array: array.fill(0), True),
        (torch.full((2,), torch.nan), lambda x: x.isnan(), False),
        (nn.Linear(2, 1), lambda layer: nn.init.zeros_(layer.weight), False),
        (len, lambda function: function, False),
    ],
)
def test_inputs_of_every_kind_are_the_calls_own(given, change, told: bool) -> None:
    def examine(answer):
        answer(given)

    def answer(value):
        change(value)
        return 1

    def shown() -> str:
        return repr(given.weight) if isinstance(given, nn.Module) else repr(given)

    before = shown()
    asked = Exercise("99.4", "Change", 1, 1, answer, ("No.",), "so it is.", examine)
    assert ("changes what it is given" in judge(asked, answer).message) is told
    assert shown() == before


def test_a_gradient_passes_through_the_copy() -> None:
    x = torch.ones(2, requires_grad=True)
    examine = lambda answer: answer(x).sum().backward()  # noqa: E731
    asked = Exercise("99.4", "Double", 1, 1, examine, ("No.",), "so it is.", examine)
    assert judge(asked, lambda x: 2 * x)
    assert x.grad is not None and x.grad.tolist() == [2, 2]


def test_an_answer_that_calls_what_it_should_do_without_is_found_out() -> None:
    layer = nn.Conv2d(1, 1, 3)
    image = (torch.ones(1, 1, 4, 4),)
    assert uses(layer, image, "conv") and uses(layer, image, "unfold", "conv")
    assert uses(lambda x: nn.Conv2d(1, 1, 3)(x).sum(), image, "conv")
    assert not uses(layer, image, "unfold")
    assert not uses(lambda x: x.unflatten(-1, (2, 2)).sum() * 9, image, "unfold", "conv")


def counted(n):
    return list(range(n))


def each_counted(n):
    yield from range(n)


@pytest.mark.parametrize(
    "answer",
    [
        range,
        np.arange,
        torch.arange,
        lambda n: tuple(range(n)),
        lambda n: map(float, range(n)),
        lambda n: (k for k in range(n)),
        lambda n: dict.fromkeys(range(n)).keys(),
        lambda n: [torch.tensor(k) for k in range(n)],
        lambda n: [np.array(k) for k in range(n)],
        lambda n: [np.float32(k) for k in range(n)],
        lambda n: [Fraction(k, 1) for k in range(n)],
        lambda n: np.array([Decimal(k) for k in range(n)]),
        each_counted,
    ],
)
def test_right_in_another_form_is_right(answer) -> None:
    cases = [(1,), (4,)]
    for right in (counted, torch.arange):
        assert diagnose(answer, right, cases, {}) is None
        assert diagnose(lambda n: answer(n + 1), right, cases, {}) is not None


def test_cases_are_drawn_the_same_each_time_and_the_smallest_first() -> None:
    def draw(rng: random.Random) -> tuple:
        return rng.randint(1, 9), normal(rng, rng.randint(1, 9), 2)

    cases = drawn(draw)
    assert len(cases) == 20 and same(cases, drawn(draw))
    assert len(drawn(draw, count=3)) == 3
    sizes = [number + x.numel() for number, x in cases]
    assert sizes == sorted(sizes) and len(set(sizes)) > 5
    assert not same(normal(random.Random(0), 4), normal(random.Random(1), 4))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, 1), lambda x: [[x]]])
def test_arrays_count_as_tensors(wrap) -> None:
    def solution(width):
        return wrap(torch.arange(width) / 2)

    assert diagnose(lambda width: wrap(np.arange(width) / 2), solution, [(3,), (5,)], {}) is None
    turned = diagnose(
        lambda n: wrap((np.arange(n - 1, -1, -1) / 2)[::-1]), solution, [(3,), (5,)], {}
    )
    assert turned is None
    verdict = diagnose(lambda width: wrap(np.arange(width)), solution, [(3,)], {})
    assert verdict and "a tensor of shape (3,)" in verdict


@pytest.mark.parametrize(
    "half_begun",
    [
        lambda x: x + ...,
        lambda x: torch.relu(...),
        lambda x: torch.einsum("i,i->", x, ...),
        lambda x: torch.tensor(...),
        lambda x: x.view(2, ...),
        lambda x: {1: x}[...],
        lambda x: np.sqrt(...),
    ],
)
def test_what_stops_at_a_gap_is_not_attempted(half_begun) -> None:
    examine = lambda answer: answer(torch.ones(3))  # noqa: E731
    asked = Exercise("99.4", "Gap", 1, 1, scaled_in_place, ("No.",), "so it is.", examine)
    assert judge(asked, half_begun).status == "Not attempted"


@pytest.mark.parametrize("sum_", [torch.einsum, np.einsum])
@pytest.mark.parametrize("subscripts", ["i,ij->j", "i..,ijk->i", "i->i"])
def test_what_einsum_says_of_ellipses_is_no_gap(sum_, subscripts) -> None:
    def answer(x):
        return sum_(subscripts, x[0, 0], x)

    asked = Exercise("99.4", "Sum", 1, 1, answer, ("No.",), "so it is.", lambda answer: answer(x))
    x = torch.ones(2, 2, 2)
    assert "your code stopped with" in judge(asked, answer).message


@pytest.mark.parametrize(
    ("array", "index"),
    [
        (torch.ones(2, 2), len),
        (torch.ones(2, 2), 0.5),
        (np.ones((2, 2)), 0.5),
        (np.ones((2, 2)), (..., 0, ...)),
    ],
)
def test_an_index_that_cannot_be_is_no_gap(array, index) -> None:
    asked = Exercise("99.4", "Take", 1, 1, len, ("No.",), "so it is.", lambda answer: answer(array))
    assert "your code stopped with" in judge(asked, lambda x: x[index]).message


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
        (1.5, np.True_, "a number"),
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


@pytest.mark.parametrize("form", [float, np.float32, np.array, torch.tensor, Fraction, Decimal])
def test_a_number_has_many_forms(form) -> None:
    examine = lambda answer: None if same(answer, 1.5) else "no"  # noqa: E731
    assert judge(Exercise("99.2", "Value", 1, 1, 1.5, ("Look.",), "so it is.", examine), form(1.5))


def test_a_verdict_of_numpy_is_true_or_false() -> None:
    assert diagnose(lambda x: np.float64(x) > 1, lambda x: x > 1, [(0,), (2,)], {}) is None
    examine = lambda answer: None if answer is True else "no"  # noqa: E731
    assert judge(Exercise("99.2", "Value", 1, 1, True, ("Look.",), "so it is.", examine), np.True_)


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
        (torch.tensor(True), True, True),
        ("a", "a", True),
        (10**7, 10**7 + 1, False),
        (10**12, 10**12 + 1, False),
        (10.0**7, 10**7, True),
        (torch.tensor([10**7]), torch.tensor([10**7 + 1]), False),
        (Fraction(1, 3), 1 / 3, True),
        (Fraction(1, 3), 0, False),
        (1e-9 * torch.ones(2), 2e-9 * torch.ones(2), False),
        (1e-9 * torch.ones(2), torch.zeros(2), True),
        (torch.tensor([1.0, 1e-7]), torch.tensor([1.0, 0.0]), True),
        ([1.0, 2.0], torch.tensor([1.0, 2.0]), True),
        ([[1.0], [2.0]], torch.tensor([1.0, 2.0]), False),
        ([[1.0], [2.0, 3.0]], torch.ones(2, 2), False),
        (["a"], torch.ones(1), False),
        (["a", 1.0], torch.ones(1), False),
        ([[1.0], [1.0]], torch.ones(2), False),
        (torch.tensor([1.0, 2.0]), (1, 2), True),
        (torch.tensor([[1.0], [2.0]]), [torch.ones(1), 2 * torch.ones(1)], True),
        (torch.tensor(1.0), [1], False),
        (float("nan"), float("nan"), True),
        (None, float("nan"), True),
        (0.0, float("nan"), False),
        ([None, 1.0], torch.tensor([torch.nan, 1]), True),
        (torch.tensor([torch.nan, 1]), torch.tensor([torch.nan, 1]), True),
        (torch.tensor([torch.inf, 1]), torch.tensor([torch.inf, 1]), True),
        (torch.tensor([torch.inf, 1]), torch.tensor([-torch.inf, 1]), False),
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
