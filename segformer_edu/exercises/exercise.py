"""What an exercise is, and how an answer to it is checked.

An exercise is written as one function, its examiner: it takes the learner's answer and returns the
diagnosis of what is wrong with it, or None when it is right.

    def area(height, width):
        return height * width

    @exercise("99.1", "The area of a map", stars=1, minutes=2, solution=area, hints=["Count."])
    def examine_area(answer):
        mistakes = {"that is the perimeter": lambda height, width: 2 * (height + width)}
        return diagnose(answer, area, [(3, 4), (1, 7)], mistakes)
"""

from __future__ import annotations

import dis
import inspect
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

Examiner = Callable[[Any], str | None]

# The only instructions in a compiled function whose body is empty or `...`.
EMPTY_OPERATIONS = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}


class Text(str):
    """Text that a notebook shows as it is, without quotation marks."""

    def __repr__(self) -> str:
        return str(self)


class NotAttempted(Exception):
    """The learner has not got to this yet."""


@dataclass(frozen=True, repr=False)
class Verdict:
    """What `check` returns; true when the answer is correct."""

    status: str  # "Correct", "Incorrect" or "Not attempted"
    message: str

    def __repr__(self) -> str:
        return f"{self.status}: {self.message}"

    def __bool__(self) -> bool:
        return self.status == "Correct"


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson.

    Args:
        id: lesson and number, "03.1".
        title: what it asks for, in a few words.
        stars: difficulty, 1 to 3.
        minutes: how long it takes.
        solution: the right answer itself: a function, a number, a tensor, a class.
        hints: the ladder, from a nudge to nearly the answer.
        takeaway: one sentence for the learner who got it right.
        examine: returns the diagnosis of a wrong answer, None for a right one.
    """

    id: str
    title: str
    stars: int
    minutes: int
    solution: Any
    hints: tuple[str, ...]
    takeaway: str
    examine: Examiner

    @property
    def solution_text(self) -> str:
        if callable(self.solution):
            return inspect.getsource(self.solution).rstrip()
        return f"{self.solution!r}\n{self.takeaway}"


REGISTRY: dict[str, Exercise] = {}


def exercise(
    exercise_id: str,
    title: str,
    *,
    stars: int,
    minutes: int,
    solution: Any,
    hints: Sequence[str],
    takeaway: str,
) -> Callable[[Examiner], Examiner]:
    """Register the examiner below as an exercise; the arguments are those of `Exercise`.

    Raises:
        ValueError: an id of another form or given twice, stars outside 1 to 3, no hint.
    """
    if not re.fullmatch(r"\d\d\.\d+", exercise_id) or exercise_id in REGISTRY:
        raise ValueError(f"{exercise_id!r} is taken or is not an id such as '03.1': give another.")
    if stars not in (1, 2, 3) or minutes < 1 or not hints or isinstance(hints, str):
        raise ValueError(f"{exercise_id} needs 1 to 3 stars, a minute or more, a list of hints.")

    def register(examine: Examiner) -> Examiner:
        REGISTRY[exercise_id] = Exercise(
            exercise_id, title, stars, minutes, solution, tuple(hints), takeaway, examine
        )
        return examine

    return register


def judge(exercise: Exercise, answer: Any) -> Verdict:
    """The verdict on an answer; whatever the learner's code raises becomes a diagnosis."""
    later = Verdict("Not attempted", f"{exercise.id} {exercise.title}")
    if is_stub(answer):
        return later
    described, fits = expectation(exercise.solution)
    if not fits(answer):
        kind = type(answer).__name__
        return Verdict("Incorrect", f"the answer is {described}; this is of type {kind}.")
    try:
        diagnosis = exercise.examine(_watched(answer))
    except NotAttempted:
        return later
    except Exception as error:  # the examiner runs the learner's code, which may raise anything
        message = str(error).partition("\n")[0]
        if "ellipsis" in message.lower():  # it ran into a `...` that is still to be filled in
            return later
        return Verdict("Incorrect", f"your code stopped with {type(error).__name__}: {message}")
    return Verdict("Incorrect", diagnosis) if diagnosis else Verdict("Correct", exercise.takeaway)


def is_stub(answer: Any) -> bool:
    """Whether an answer is `...`, has one inside, or is a function with nothing else in it."""
    if isinstance(answer, (tuple, list)):
        return any(is_stub(part) for part in answer)
    if not isinstance(answer, FunctionType):
        return answer is ...
    operations = {instruction.opname for instruction in dis.get_instructions(answer)}
    constants = set(answer.__code__.co_consts) - {None, ..., answer.__doc__}
    return operations <= EMPTY_OPERATIONS and not constants


def expectation(solution: Any) -> tuple[str, Callable[[Any], bool]]:
    """The kind of answer that an exercise expects, in words and as a test."""
    if isinstance(solution, type):
        return "a class", lambda answer: isinstance(answer, type)
    if callable(solution):
        takes = ", ".join(inspect.signature(solution).parameters)
        return f"a function of ({takes}): its name, without calling it", callable
    if isinstance(solution, bool):
        return "True or False", lambda answer: isinstance(answer, bool)
    if isinstance(solution, numbers.Real):
        return "a number", _is_number
    if isinstance(solution, (tuple, list)):
        count = len(solution)
        return (
            f"{count} values in round brackets, (…, …)",
            lambda answer: isinstance(answer, (tuple, list)) and len(answer) == count,
        )
    kind = "tensor" if isinstance(solution, Tensor) else type(solution).__name__
    return f"a {kind}", lambda answer: isinstance(answer, type(solution))


def diagnose(
    answer: Callable[..., Any],
    solution: Callable[..., Any],
    cases: Sequence[tuple[Any, ...]],
    mistakes: Mapping[str, Callable[..., Any]],
) -> str | None:
    """Compare a function with the solution on every case, and name the mistake when it is known.

    Args:
        answer: the learner's function.
        solution: what it should agree with.
        cases: arguments to call both with; among them, cases that tell the mistakes apart.
        mistakes: diagnosis → a function that makes this mistake. The answer has made it when the
            two agree on every case.
    """
    results = [_with_tensors(answer(*case)) for case in cases]
    wanted = [solution(*case) for case in cases]
    if same(results, wanted):
        return None
    for diagnosis, mistake in mistakes.items():
        if same(results, [mistake(*case) for case in cases]):
            return diagnosis
    where = next(index for index, want in enumerate(wanted) if not same(results[index], want))
    given = ", ".join(map(_brief, cases[where]))
    return f"for ({given}) it gives {_brief(results[where])}, which is not right."


def same(left: Any, right: Any, tolerance: float = 1e-5) -> bool:
    """Equal in value and shape: numbers and tensors up to rounding, tuples and lists by their
    parts.
    """
    if isinstance(left, (tuple, list)) and isinstance(right, (tuple, list)):
        return len(left) == len(right) and all(
            same(a, b, tolerance) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, Tensor) and isinstance(right, Tensor) and left.shape == right.shape:
        return torch.allclose(left.double(), right.double(), rtol=tolerance, atol=tolerance)
    if _is_number(left) and _is_number(right):
        return math.isclose(left, right, rel_tol=tolerance, abs_tol=1e-12)
    return type(left) is type(right) and not isinstance(left, Tensor) and left == right


def _with_tensors(value: Any) -> Any:
    """NumPy arrays of numbers as tensors, because an answer may be computed with either."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.as_tensor(value)
    if type(value) in (tuple, list):
        return type(value)(map(_with_tensors, value))
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _brief(value: Any) -> str:
    """A value as a diagnosis shows it: a tensor by its shape, a function as "a function", anything
    else as it is.
    """
    if isinstance(value, Tensor) and value.ndim:
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, list):
        return f"[{', '.join(map(_brief, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_brief, value))}{',' * (len(value) == 1)})"
    if callable(value):
        return "a function"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _watched(answer: Any) -> Any:
    """A function that stops the examination when it returns `...`; anything else as it is."""
    if not isinstance(answer, FunctionType):
        return answer

    @wraps(answer)
    def watched(*args: Any, **kwargs: Any) -> Any:
        result = answer(*args, **kwargs)
        if is_stub(result):
            raise NotAttempted
        return result

    return watched
