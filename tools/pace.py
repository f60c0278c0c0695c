"""How long a lesson takes to read, and how often it asks for a prediction.

A heading that ends in "· *further*" marks its section, with the sections inside it, as one that can
be skipped. The rest, except for the exercises, is the core path.
"""

import ast
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
MAX_CORE = 40  # minutes by this rule; readers who looked everything up needed up to 45
MAX_PREDICTIONS = 6
PREDICTION, COMPARISON = "prediction = ...", "compare(prediction, "
HEADING = re.compile(r"(#{2,}) (.+)")
WIDGET = re.compile(r"(?:widgets\.)?[A-Z]\w+\(\)")


class Pace(NamedTuple):
    """Minutes of the core path and of the rest, each rounded up to the next five."""

    core: int
    further: int


def pace(cells: list[NotebookNode]) -> Pace:
    """How long the cells of a lesson take to read, its exercises aside."""
    seconds = {"core": 0.0, "further": 0.0, "exercises": 0.0}
    for kind, is_code, text in _pieces(cells):
        words = 60 * len(text.split()) / WORDS_A_MINUTE
        seconds[kind] += _seconds_of(text) if is_code else words
    return Pace(*(5 * math.ceil(seconds[kind] / 300) for kind in ("core", "further")))


def pace_problems(cells: list[NotebookNode]) -> Iterator[str]:
    """What makes a lesson too long, leaves a prediction without an answer, or stops the reader of
    the core path alone.
    """
    if (core := pace(cells).core) > MAX_CORE:
        yield f"its core path takes {core} minutes, but only {MAX_CORE} are allowed"
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    asked = [index for index, source in enumerate(code) if source.startswith(PREDICTION)]
    if len(asked) > MAX_PREDICTIONS:
        yield f"{len(asked)} predictions, but only {MAX_PREDICTIONS} are allowed"
    for start, end in pairwise([*asked, len(code)]):
        if not any(COMPARISON in source for source in code[start:end]):
            yield f"a prediction that is not compared with what came out: {code[start]!r}"
    yield from _needed_from_further(cells)


def _needed_from_further(cells: list[NotebookNode]) -> Iterator[str]:
    """Names that a core cell uses, and that only cells of further sections define before it."""
    defined: dict[str, set[str]] = {"core": set(), "further": set(), "exercises": set()}
    for kind, is_code, text in _pieces(cells):
        if not is_code:
            continue
        stored, loaded = _names(text)
        defined[kind] |= stored
        if kind == "core":
            for name in sorted((loaded & defined["further"]) - defined["core"]):
                yield f"the core path uses {name!r}, which only a further section defines"


def _names(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell gives a value, inside its functions too, and those that it uses."""
    stored: set[str] = set()
    loaded: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                loaded.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                stored.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                stored.add(name)
            case ast.alias(name=name, asname=other):
                stored.add(other or name.partition(".")[0])
    return stored, loaded


def _pieces(cells: list[NotebookNode]) -> Iterator[tuple[str, bool, str]]:
    """Code cells, and the texts between headings: core, further or exercises; is it code; text."""
    path: list[tuple[int, str]] = []  # the headings that a piece stands under: level and kind
    for cell in cells:
        if cell.cell_type == "code":
            yield _innermost(path), True, cell.source
            continue
        for block in re.split(r"^(?=##)", cell.source, flags=re.MULTILINE):
            if heading := HEADING.match(block):
                level = len(heading[1])
                path = [(above, kind) for above, kind in path if above < level]
                path.append((level, _kind(heading[2])))
            yield _innermost(path), False, block


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
