"""Every examiner refuses its solution's mutants, except those for which a lesson gives a reason.

tests/exercises/lessonNN.py lists them in SURVIVORS: exercise → changed line → "same: why the change
computes the same" or "allowed: why it may compute something else".
"""

import pytest

from segformer_edu.exercises.exercise import Exercise, diagnose
from tests.exercises.mutants import Count, count, main, mutants, with_code


@pytest.fixture(scope="module", params=with_code(), ids=lambda exercise: exercise.id)
def counted(request) -> Count:
    return count(request.param)


def test_a_mutant_survives_only_for_a_reason_that_is_given(counted: Count) -> None:
    assert counted.total > 5
    assert set(counted.survivors) == set(counted.reasons)
    assert all(reason.startswith(("same: ", "allowed: ")) for reason in counted.reasons.values())


def test_of_those_that_change_what_it_computes_19_of_20_are_refused(counted: Count) -> None:
    assert counted.share_refused >= 0.95


def largest(numbers, least=1):
    """The largest number, and not below the least."""
    best = least
    for number in numbers:
        if number > best:
            best = number
    return best


def halved(number):
    steps = 0
    while number > 1:
        number = number // 2
        steps += 1
    return steps


class Doubler:
    def __call__(self, number):
        return 2 * number


def test_a_mutant_differs_in_one_place() -> None:
    assert list(mutants(largest)) == [
        "def largest(numbers, least=2):",
        "def largest(numbers, least=0):",
        "if True:",
        "if False:",
        "if number >= best:",
        "if number <= best:",
        "pass",
    ]
    assert mutants(largest)["if number <= best:"]([3, 0, 2]) == 0
    assert mutants(Doubler)["return 2 + number"]()(5) == 7


def test_a_mutant_whose_loop_does_not_end_is_stopped() -> None:
    for text in ("number = number // 1", "number = number // 0", "pass"):
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            mutants(halved)[text](8)
    assert mutants(halved)["while number > 0:"](8) == 4


def test_the_table_shows_who_survives(capsys) -> None:
    def examine(answer):
        return diagnose(answer, halved, [(8,), (9,)], {})

    asked = Exercise("99.1", "Halve", 1, 1, halved, ("Halve.",), "so it is.", examine)
    survived = Count(10, ("pass", "steps = 1"), {"pass": "same: it is no use."})
    main([asked], lambda exercise: survived)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "99.1           10        8      89%",
        "          pass",
        "              same: it is no use.",
        "          steps = 1",
        "              no reason given",
    ]
