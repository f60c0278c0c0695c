"""Numbers in the prose of a lesson: computed by a claim, or cited, or refused."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Claims = dict[str, Callable[[], str]]

CLAIM = re.compile(r"\{\{\s*(\w+)\s*\}\}")
CODE_AND_MATH = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$", re.DOTALL)
# Paragraphs, and every heading, list item and table row by itself.
BLOCK_END = re.compile(r"\n\s*\n|\n(?=\s*(?:#|\||[-*+]\s|\d+\.\s))")
CITATION = re.compile(
    r"\]\(https?://"
    r"|\barXiv:\d{4}\.\d{4,5}"
    r"|\b(?:Table|Figure|Section|Appendix|Equation|Eq\.|eq\.)\s\(?(?:\d|[A-Z]\b)"
)
NOT_A_CLAIM = re.compile(
    r"""\]\([^)]*\)                   # the target of a link
    |   https?://\S+
    |   </?[a-zA-Z][^>]*>             # an HTML tag
    |   \b\d+(?:\s?×\s?\d+)+\b        # a size that the author chose, such as 512×512
    |   \b[Ee]xercise\s\d\d\.\d+      # the name of an exercise
    """,
    re.VERBOSE,
)
NUMBER = re.compile(
    r"""(?<![\w.])
    (?: (?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)? | \.\d+ ) (?:e[-+]?\d+)?
    (?P<unit> \s? (?: %|percent\b|×(?!\s?\d)|[kKMGT]i?B\b|[nµm]?s\b|seconds?\b|px\b|pixels?\b
                     |[kMGT]?Hz\b|[MGT]?FLOPs?\b|[kMG]\b|thousand\b|million\b|billion\b ) )?
    """,
    re.VERBOSE,
)


def load_claims(folder: Path, lesson: str) -> Claims:
    """What a lesson may state: the claims of its own file, 03.py for lesson 03, and shared ones."""
    return claims_of(folder / "shared.py") | claims_of(folder / f"{lesson}.py")


def claims_of(path: Path) -> Claims:
    """The public functions of a file without arguments: each computes a number, as text."""
    if not path.exists():
        return {}
    names: dict[str, Any] = {"__name__": "claims"}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    return {
        name: value
        for name, value in names.items()
        if inspect.isfunction(value)
        and value.__module__ == "claims"  # and not imported
        and not name.startswith("_")
        and not inspect.signature(value).parameters
    }


def fill(text: str, claims: Claims) -> str:
    """The text with every {{name}} replaced by what its claim returns."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in claims:
            raise LookupError(f"there is no claim {name}()")
        answer = claims[name]()
        if not isinstance(answer, str):
            raise TypeError(f"the claim {name}() returns {answer!r}, but should return a text")
        return answer

    return CLAIM.sub(value, text)


def bare_numbers(text: str) -> list[str]:
    """The numbers that someone could get wrong, and that are neither claims nor cited."""
    text = CODE_AND_MATH.sub(" ", CLAIM.sub(" ", re.sub(r"^> ?", "", text, flags=re.MULTILINE)))
    return [
        match[0].strip()
        for block in BLOCK_END.split(text)
        if not CITATION.search(block)
        for match in NUMBER.finditer(NOT_A_CLAIM.sub(" ", block))
        if match["unit"] or re.search(r"\d{3}|[.,e]", match[0])
    ]
