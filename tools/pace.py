"""How long a lesson takes to read, and how often it asks for a prediction.

A heading that ends in "· *further*" marks its section, with the sections inside it, as one that can
be skipped. The rest, except for the exercises, is the core path.
"""

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from nbformat import NotebookNode

# A slow reading, by someone who meets all of it for the first time. These are estimates, and they
# are here so that all lessons are estimated by one rule.
WORDS_A_MINUTE = 150
SECONDS = {"line of code": 4, "picture": 40, "prediction": 45, "widget": 180}
MAX_CORE, MAX_PREDICTIONS = 45, 6  # minutes, predictions a lesson
PREDICTION, COMPARISON = "prediction = ...", "compare(prediction, "
HEADING = re.compile(r"(#{2,}) (.+)")
WIDGET = re.compile(r"widgets\.[A-Z]\w+\(\)")


class Pace(NamedTuple):
    """Minutes of the core path and of the rest, each rounded up to the next five."""

    core: int
    further: int


def pace(cells: list[NotebookNode]) -> Pace:
    """How long the cells of a lesson take to read, its exercises aside."""
    seconds = {"core": 0.0, "further": 0.0, "exercises": 0.0}
    path: list[tuple[int, str]] = []  # the headings that a text stands under: level and kind
    for cell in cells:
        if cell.cell_type == "code":
            seconds[_innermost(path)] += _seconds_of(cell.source)
            continue
        for block in re.split(r"^(?=##)", cell.source, flags=re.MULTILINE):
            if heading := HEADING.match(block):
                level = len(heading[1])
                path = [(above, kind) for above, kind in path if above < level]
                path.append((level, _kind(heading[2])))
            seconds[_innermost(path)] += 60 * len(block.split()) / WORDS_A_MINUTE
    return Pace(*(5 * math.ceil(seconds[kind] / 300) for kind in ("core", "further")))


def pace_problems(cells: list[NotebookNode]) -> Iterator[str]:
    """What makes a lesson too long, or leaves a prediction without an answer."""
    if (core := pace(cells).core) > MAX_CORE:
        yield f"its core path takes {core} minutes, but only {MAX_CORE} are allowed"
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    asked = [index for index, source in enumerate(code) if source.startswith(PREDICTION)]
    if len(asked) > MAX_PREDICTIONS:
        yield f"{len(asked)} predictions, but only {MAX_PREDICTIONS} are allowed"
    for start, end in pairwise([*asked, len(code)]):
        if not any(COMPARISON in source for source in code[start:end]):
            yield f"a prediction that is not compared with what came out: {code[start]!r}"


def _kind(title: str) -> str:
    if title == "Exercises":
        return "exercises"
    return "further" if title.endswith("· *further*") else "core"


def _innermost(path: list[tuple[int, str]]) -> str:
    """The kind of the innermost heading that is not core."""
    return next((kind for _, kind in reversed(path) if kind != "core"), "core")


def _seconds_of(source: str) -> float:
    if source.startswith(PREDICTION):
        return SECONDS["prediction"]
    if WIDGET.fullmatch(source.strip()):
        return SECONDS["widget"]
    lines = [line for line in source.splitlines() if line.strip()]
    pictures = source.count("plots.show(")
    return SECONDS["line of code"] * len(lines) + SECONDS["picture"] * pictures
