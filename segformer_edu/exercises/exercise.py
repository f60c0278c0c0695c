"""What an exercise is, and how an answer to it is checked.

An exercise is written as one function, its examiner: it takes the learner's answer and returns the
diagnosis of what is wrong with it, or None when it is right.

    def area(height, width):
        return height * width

    @exercise("99.1", "The area of a map", stars=1, minutes=2, solution=area, hints=["Count."])
    def examine_area(answer):
        def draw(rng):
            return rng.randint(1, 20), rng.randint(1, 20)

        mistakes = {"that is the perimeter": lambda height, width: 2 * (height + width)}
        return diagnose(answer, area, [(3, 4), (1, 7), *drawn(draw)], mistakes)

Two things hold for all examiners. Every call of the answer gets inputs of its own, so what it does
to them reaches neither the reference nor the next call. And an answer that is right in another form
is right: an array or a tensor for a list, a `map` or a generator for a tuple, a fraction for a
number.
"""

from __future__ import annotations

import copy
import dis
import inspect
import math
import numbers
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import update_wrapper
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
    answer = _plain(answer)
    if not fits(answer):
        kind = type(answer).__name__
        return Verdict("Incorrect", f"the answer is {described}; this is of type {kind}.")
    if callable(answer) and not isinstance(answer, type):
        answer = _Watched(answer)
    try:
        diagnosis = exercise.examine(answer)
    except NotAttempted:
        return later
    except Exception as error:  # the examiner runs the learner's code, which may raise anything
        diagnosis = f"your code stopped with {_Stopped(error)}"
    status, message = ("Incorrect", diagnosis) if diagnosis else ("Correct", exercise.takeaway)
    if isinstance(answer, _Watched) and answer.changed_inputs:
        message += f" ({CHANGES_INPUTS})"
    return Verdict(status, message)


CHANGES_INPUTS = (
    "Your function also changes what it is given, and its caller may still need that. It is safer "
    "to work on a copy, such as x.clone(), and without += and methods whose name ends in _."
)


def is_stub(answer: Any) -> bool:
    """Whether an answer is `...`, has one inside, or is a function with nothing else in it."""
    if isinstance(answer, (tuple, list)):
        return any(is_stub(part) for part in answer)
    if not isinstance(answer, FunctionType):
        return answer is ...
    operations = {instruction.opname for instruction in dis.get_instructions(answer)}
    constants = set(answer.__code__.co_consts) - {None, ..., answer.__doc__}
    return operations <= EMPTY_OPERATIONS and not constants


# Errors about another ellipsis: the dots of einsum's subscripts, and what an index may be.
OTHER_ELLIPSES = re.compile(r"einsum\(\):|einstein sum|only integers, slices|single ellipsis")


def is_unfilled(message: str) -> bool:
    """Whether an error speaks of a `...` that is still to be filled in."""
    return "ellipsis" in message.lower() and not OTHER_ELLIPSES.search(message)


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
        return "a number, without brackets", _is_number
    if isinstance(solution, (tuple, list)):
        count = len(solution)
        return (
            f"{count} values in round brackets, (…, …)",
            lambda answer: isinstance(answer, (tuple, list)) and len(answer) == count,
        )
    kind = "tensor" if isinstance(solution, Tensor) else type(solution).__name__
    return f"a {kind}", lambda answer: isinstance(answer, type(solution))


# How far a known mistake may lie from an answer that makes it in another order of sums. Wider than
# for what is right, because parts of a mistake may cancel, and what is left rounds as they do.
MISTAKEN = 1e-4


def diagnose(
    answer: Callable[..., Any],
    solution: Callable[..., Any],
    cases: Sequence[tuple[Any, ...]],
    mistakes: Mapping[str, Callable[..., Any]],
    right_where: Mapping[str, Callable[..., Any]] | None = None,
) -> str | None:
    """Compare a function with the solution on every case, and name the mistake when it is known.

    Args:
        answer: the learner's function.
        solution: what it should agree with.
        cases: arguments to call both with; among them, cases that tell the mistakes apart.
        mistakes: diagnosis → a function that makes this mistake. The answer has made it when the
            two agree on every case.
        right_where: diagnosis → which cases an answer without a known mistake has right, one of
            them at least and every one of them.
    """
    results = [_outcome(answer, case) for case in cases]
    wanted = [_plain(solution(*_own(case))) for case in cases]
    wrong = [index for index, want in enumerate(wanted) if not same(results[index], want)]
    if not wrong:
        return None
    for diagnosis, mistake in mistakes.items():
        if all(
            same(result, _outcome(mistake, case), MISTAKEN)
            for result, case in zip(results, cases, strict=True)
        ):
            return diagnosis
    for diagnosis, condition in (right_where or {}).items():
        expected = [index for index, case in enumerate(cases) if condition(*case)]
        if expected and not set(expected) & set(wrong):
            return diagnosis
    where = wrong[0]
    result, want = results[where], wanted[where]
    given = ", ".join(map(_brief, cases[where]))
    if isinstance(result, _Stopped):
        return f"for ({given}) your code stopped with {result}"
    if isinstance(result, Tensor) and isinstance(want, Tensor) and result.ndim and want.ndim:
        what = "shape" if result.shape != want.shape else "numbers"
        return f"for ({given}) it gives {_brief(result)}, and the {what} should be different."
    return f"for ({given}) it gives {_brief(result)}, which is not right."


def drawn(draw: Callable[[random.Random], tuple[Any, ...]], count: int = 20) -> list[tuple]:
    """Cases drawn at random, always the same ones, the smallest first, so that a diagnosis shows
    that one.

    Args:
        draw: makes one case, from all that the exercise allows, of the numbers that it is given.
        count: how many.
    """
    return sorted((draw(random.Random(seed)) for seed in range(count)), key=_size)


def normal(rng: random.Random, *shape: int) -> Tensor:
    """Normally distributed numbers, for a case that is drawn."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(rng.getrandbits(32)))


def uses(answer: Callable[..., Any], case: tuple[Any, ...], *words: str) -> bool:
    """Whether an answer calls a function of torch that has one of these words in its name, for
    exercises that ask to do without it.
    """
    with _Calls() as calls:
        answer(*_own(case))
    return any(word in name for word in words for name in calls.names)


class _Calls(TorchFunctionMode):
    """Keeps the names of the functions of torch that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.names.add(getattr(function, "__name__", ""))
        return function(*args, **(kwargs or {}))


def same(left: Any, right: Any, tolerance: float = 1e-5) -> bool:
    """Whether `left`, in whatever form, has the values and the shape of `right`.

    Whole numbers are compared exactly, other numbers up to rounding, and tensors up to rounding of
    their largest number. nan equals itself, and None where nan is meant.
    """
    if isinstance(left, Tensor) and isinstance(right, Tensor) and left.shape == right.shape:
        return _close(left, right, tolerance)
    if isinstance(left, (tuple, list)) and isinstance(right, (tuple, list)):
        return len(left) == len(right) and all(
            same(a, b, tolerance) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, (tuple, list)) and isinstance(right, Tensor):
        stacked = _stacked(left)
        return (
            stacked is not None
            and stacked.shape == right.shape
            and _close(stacked, right, tolerance)
        )
    if isinstance(left, Tensor) and isinstance(right, (tuple, list)):
        return same(left.tolist(), right, tolerance)
    left, right = _single(left), _single(right)
    if _is_number(left) and _is_number(right):
        if isinstance(left, numbers.Rational) and isinstance(right, numbers.Rational):
            return left == right
        whole = isinstance(right, numbers.Integral)
        relative = min(tolerance, COUNTING) if whole else tolerance
        return math.isclose(left, right, rel_tol=relative, abs_tol=1e-12) or (
            math.isnan(left) and math.isnan(right)
        )
    if left is None and _is_number(right):
        return math.isnan(right)
    return type(left) is type(right) and not isinstance(left, Tensor) and left == right


COUNTING = 1e-9  # how far a float may lie from a whole number, relatively, and still mean it


def _close(left: Tensor, right: Tensor, tolerance: float) -> bool:
    """`same` for tensors of one shape."""
    tolerance = tolerance if right.is_floating_point() else min(tolerance, COUNTING)
    left, right = left.double(), right.double()
    finite = right[right.isfinite()].abs()
    scale = finite.max().item() if finite.numel() else 0.0
    allowed = tolerance * (scale or 0.01)  # of zeros alone, as much as a sum of small numbers errs
    return torch.allclose(left, right, rtol=0, atol=allowed, equal_nan=True)


def _stacked(parts: Any) -> Tensor | None:
    """Lists of numbers or tensors as one tensor; None where their shapes do not agree."""
    if isinstance(parts, (tuple, list)):
        tensors = [tensor for part in parts if (tensor := _stacked(part)) is not None]
        alike = len(tensors) == len(parts) and len({tensor.shape for tensor in tensors}) == 1
        return torch.stack(tensors) if alike else None
    if isinstance(parts, Tensor):
        return parts.double()
    if parts is None or isinstance(parts, numbers.Real):
        return torch.tensor(math.nan if parts is None else float(parts), dtype=torch.float64)
    return None


def _plain(value: Any) -> Any:
    """A value in the form in which examiners read it: arrays as tensors, whatever hands out values
    one by one as a list, numbers of other libraries as Python's.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        numeric = value.dtype.kind in "biuf"  # copied, since torch takes no array turned round
        return torch.as_tensor(value.copy()) if numeric else _plain(value.tolist())
    if isinstance(value, Decimal):
        return float(value)
    if type(value) is tuple:
        return tuple(map(_plain, value))
    one = (str, bytes, Mapping, set, frozenset, type, Tensor, nn.Module)
    if isinstance(value, Iterable) and not isinstance(value, one):
        return list(map(_plain, value))
    return value


def _single(value: Any) -> Any:
    """A tensor of one number and no axis as that number."""
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value


def _is_number(value: Any) -> bool:
    value = _single(value)
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _size(value: Any) -> float:
    """How large a case is, to find the smallest."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, (tuple, list)):
        return len(value) + sum(map(_size, value))
    return abs(value) if _is_number(value) else 0


def _brief(value: Any) -> str:
    """A value as a diagnosis shows it: a tensor by its shape, a layer by its class, a function
    as "a function", anything else as it is.
    """
    if isinstance(value, Tensor) and value.ndim:
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, list):
        return f"[{', '.join(map(_brief, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_brief, value))}{',' * (len(value) == 1)})"
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    if callable(value):
        return "a function"
    value = _single(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Stopped:
    """An exception in place of a result; equal to another of its type."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stopped) and type(self.error) is type(other.error)

    def __str__(self) -> str:
        first_line = str(self.error).partition("\n")[0]
        return f"{type(self.error).__name__}: {first_line}"


def _outcome(function: Callable[..., Any], case: tuple[Any, ...]) -> Any:
    """What a function gives for inputs of its own, or how it stopped."""
    try:
        return _plain(function(*_own(case)))
    except NotAttempted:
        raise
    except Exception as error:  # the learner's code may raise anything
        return _Stopped(error)


class _Watched:
    """The learner's function. Each call gets inputs of its own, and gives its result in plain form;
    the examination stops when that is `...`.
    """

    def __init__(self, answer: Callable[..., Any]) -> None:
        update_wrapper(self, answer)  # inspect.unwrap leads back to it
        self.answer, self.changed_inputs = answer, False

    def __call__(self, *args: Any) -> Any:
        own = _own(args)
        try:
            result = _plain(self.answer(*own))
        except Exception as error:
            if is_unfilled(str(error)):
                raise NotAttempted from error
            raise
        if is_stub(result):
            raise NotAttempted
        self.changed_inputs |= _was_changed(own, args)
        return result


def _own(value: Any) -> Any:
    """A copy that shares no memory with the value; only functions are handed on as they are."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, np.ndarray | nn.Module):
        return copy.deepcopy(value)
    if isinstance(value, tuple | list):
        return type(value)(map(_own, value))
    if isinstance(value, dict):
        return {key: _own(part) for key, part in value.items()}
    return value


def _was_changed(own: Any, given: Any) -> bool:
    """Whether an input, `own`, is no longer what it was copied from."""
    if isinstance(given, Tensor):
        return not same(own, given, tolerance=0)
    if isinstance(given, np.ndarray):
        return not np.array_equal(own, given)
    if isinstance(given, dict):
        own, given = [*own.items()], [*given.items()]
    if isinstance(given, tuple | list):
        return len(own) != len(given) or any(map(_was_changed, own, given))
    return isinstance(given, (numbers.Number, str)) and own != given
