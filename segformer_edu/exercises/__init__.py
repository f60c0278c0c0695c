"""The exercises of the lessons: `check` an answer, ask for a `hint`, see the `solution`; and
`compare` a prediction with what came out.

Each lesson's exercises are in lessonNN.py beside this file; exercise.py says how one is written.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from functools import cache
from typing import Any

from segformer_edu.exercises.exercise import REGISTRY, Exercise, Text, Verdict, judge
from segformer_edu.exercises.prediction import compare

__all__ = ["check", "compare", "hint", "solution"]

_hints_shown: Counter[str] = Counter()


def check(exercise_id: str, answer: Any) -> Verdict:
    """Whether an answer is right: Correct, Incorrect with a diagnosis, or Not attempted.

    Args:
        exercise_id: as in the lesson, "03.1".
        answer: what the lesson asks for: a number, a tensor, a function, a class. `...`, and a
            function that holds nothing else, are Not attempted.

    Raises:
        ValueError: an id that no lesson has.
    """
    return judge(_find(exercise_id), answer)


def hint(exercise_id: str) -> Text:
    """The next hint of an exercise; each call goes one step further.

    Raises:
        ValueError: an id that no lesson has.
    """
    hints = _find(exercise_id).hints
    step = min(_hints_shown[exercise_id], len(hints) - 1)
    _hints_shown[exercise_id] += 1
    last = step == len(hints) - 1
    more = f"solution({exercise_id!r}) shows the answer" if last else "call again for the next"
    return Text(f"Hint {step + 1} of {len(hints)}: {hints[step]} ({more})")


def solution(exercise_id: str) -> Text:
    """The answer to an exercise, as code, and why it is right.

    Raises:
        ValueError: an id that no lesson has.
    """
    return Text(_find(exercise_id).solution_text)


@cache
def all_exercises() -> dict[str, Exercise]:
    """Every exercise by its id, in order."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        importlib.import_module(module.name)
    return dict(sorted(REGISTRY.items()))


def _find(exercise_id: str) -> Exercise:
    exercises = all_exercises()
    if exercise_id not in exercises:
        known = ", ".join(exercises)
        raise ValueError(f"There is no exercise {exercise_id!r}; the exercises are {known}.")
    return exercises[exercise_id]
