"""Masks: image files whose numbers stand for classes, read exactly or refused by name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ImageFile

from segformer_edu.checks import is_whole
from segformer_edu.data.augment import IGNORE
from segformer_edu.data.image_files import Fault, open_image, pages_of

EXACT = ("PNG", "TIFF", "BMP", "GIF")  # formats that keep the numbers they are given
ONE_NUMBER = ("P", "L", "1", "I", "I;16", "I;16B")  # Pillow's palette, greys, and black and white
RANGE = re.compile(r"(0|[1-9]\d*)(?:\s*-\s*(0|[1-9]\d*))?")  # 7, or 1-150
MANY = 10  # numbers that a message lists one by one
RARE = 0.005  # of all pixels: numbers that have less, and are many, come from softened edges
MOST, FEW = 0.9, 5  # of all pixels in black and white; of rare numbers, the least that are many
GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow spreads grey of 2 and 4 bits over 0 … 255


def read_mask(path: Path) -> np.ndarray:
    """The numbers in a mask: the indices of a palette, or the grey values as they were saved.

    Shape: → `(H, W)` uint8.

    Raises:
        Fault: a format that changes numbers, colours, a number outside 0 … 255, or damaged.
    """
    return read_with_palette(path)[0]


def read_with_palette(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers in a mask, and the colours that its palette has for them, if it has one.

    Shape: → `(H, W)` uint8, and `(n, 3)` uint8: red, green and blue of numbers 0 … n − 1.
    """
    with open_image(path) as file:
        check_kind(path, file)
        arguments = file.tile[0][3] if file.tile else ""
        kind = arguments[0] if isinstance(arguments, tuple) else arguments
        numbers = np.array(file)
        colours = file.getpalette("RGB")
    if numbers.min() < 0 or numbers.max() > 255:
        strange = numbers.min() if numbers.min() < 0 else numbers.max()
        raise Fault(
            f"{path} holds {strange}, and masks hold 0 … 255",
            "Give classes smaller numbers; what numbers objects, not classes, is no mask.",
        )
    palette = np.array(colours, dtype=np.uint8).reshape(-1, 3) if colours else None
    return numbers.astype(np.uint8) // GREY_STEPS.get(kind or "", 1), palette


def check_kind(path: Path, file: ImageFile.ImageFile, modes: Sequence[str] = ONE_NUMBER) -> None:
    """Refuse a file that cannot hold classes, as its header shows.

    Args:
        modes: Pillow's modes in which they may stand.
    """
    kind = file.format or ""
    if file.info.get("compression") == "jpeg":
        kind = "TIFF with JPEG's compression"
    if kind not in EXACT:
        raise Fault(
            f"{path} is {kind}, which changes the numbers it stores",
            "Make the masks again, as PNG.",
        )
    if (pages := pages_of(file)) > 1:
        raise Fault(
            f"{path} has {pages} pages, and masks have 1", "Save the one that counts as a PNG."
        )
    if file.mode == "F":
        raise Fault(f"{path} holds real numbers", "Save it again in whole numbers, as PNG.")
    if file.mode in modes:
        return
    if modes == ONE_NUMBER:
        raise Fault(
            f"{path} holds colours ({file.mode}), and masks one number a pixel",
            "Say which colour is which class: give colors=… a text file with a line such as "
            "`#804080 road` for each. The command check-data writes one for the colours that it "
            "finds.",
        )
    raise Fault(
        f"{path} holds {file.mode}, of which no pixel is a colour with 8 bits of red, green, blue",
        "Make the masks again, as PNG in RGB.",
    )


def label_table(
    num_classes: int,
    values: int | str | Sequence[int | str] | None,
    ignore_index: int | str | Sequence[int | str],
) -> tuple[np.ndarray, np.ndarray]:
    """What each number in a mask means.

    Args:
        num_classes: classes K.
        values: the number of each class in the mask; 0 … K − 1 if None.
        ignore_index: the number or numbers that do not stand for a class.

    Shape: → `(256,)` uint8, the label of each number; `(256,)` bool, whether it may occur.

    Raises:
        ValueError: numbers outside 0 … 255, not one for each class, or with two meanings.
    """
    ignored = numbers_of("ignore_index", ignore_index)
    values = tuple(range(num_classes)) if values is None else numbers_of("values", values)
    if len(values) != num_classes or len(set(values)) != num_classes:
        shown = values if len(values) <= MANY else as_ranges(values)
        raise ValueError(
            f"values = {shown!r}: give each of the {num_classes} classes a number of its own."
        )
    if twice := sorted(set(values) & set(ignored)):
        raise ValueError(
            f"{twice[0]} stands for a class and is ignored: change values = … or ignore_index = …; "
            f"ignore_index=() ignores nothing."
        )
    labels, known = np.full(256, IGNORE, dtype=np.uint8), np.zeros(256, dtype=bool)
    labels[list(values)] = range(num_classes)
    known[[*values, *ignored]] = True
    return labels, known


def numbers_of(name: str, given: object) -> tuple[int, ...]:
    """Numbers that masks hold: one, several, or ranges of them.

    >>> numbers_of("values", "1-3, 7")
    (1, 2, 3, 7)

    Raises:
        ValueError: names the setting, its value, and the rule that it breaks.
    """
    if isinstance(given, str):
        parts: list[Any] = [part for part in given.split(",") if part.strip()]
    else:
        parts = list(given) if isinstance(given, (list, tuple, range)) else [given]
    numbers: list[Any] = []
    for part in parts:
        found = RANGE.fullmatch(part.strip()) if isinstance(part, str) else None
        if found:
            first, last = int(found[1]), min(int(found[2] or found[1]), 256)
            numbers += range(first, last + 1) or [part]
        else:
            numbers.append(part)
    if not all(map(_is_byte, numbers)):
        shown = (given,) if is_whole(given) else given
        raise ValueError(
            f"{name} = {shown!r}: give whole numbers that a mask can hold, 0 … 255, or ranges of "
            f"them, such as 1-150."
        )
    return tuple(numbers)


class Meaning(NamedTuple):
    """What the numbers in masks seem to mean.

    Attributes:
        values: the number of each class.
        ignored: the numbers that stand for none.
        reason: a sentence that says why they seem to.
        sure: whether nothing is left out that may well be a class.
    """

    values: tuple[int, ...]
    ignored: tuple[int, ...]
    reason: str
    sure: bool = True

    def __str__(self) -> str:
        values, ignored = as_ranges(self.values), as_ranges(self.ignored)
        return f"{self.reason} values='{values}' and ignore_index='{ignored}' read them so."


def likely_meaning(pixels: np.ndarray, num_classes: int = 0) -> Meaning | None:
    """What the numbers in masks most probably mean; None if they show no way to read them.

    Args:
        pixels: `(256,)` how many pixels hold each number.
        num_classes: classes K; 0 if nobody has said how many there are.
    """
    readings = _readings(pixels, num_classes)
    return next((each for each in readings if num_classes in (0, len(each.values))), None)


def _readings(pixels: np.ndarray, num_classes: int) -> Iterator[Meaning]:
    """The ways in which the numbers may be read, the most probable first."""
    held = np.flatnonzero(pixels).tolist()
    inner = [number for number in held if number != IGNORE]
    gaps = inner != list(range(len(inner)))
    ends = pixels[[0, IGNORE]]
    black_and_white = gaps and ends.all() and ends.sum() > MOST * pixels.sum()
    frequent = [number for number in held if pixels[number] > RARE * pixels.sum()]
    if black_and_white:
        frequent = [0, IGNORE]
    few = 1 if black_and_white and num_classes == 2 else max(FEW, len(frequent))
    if len(frequent) > 1 and len(held) - len(frequent) >= few:
        reason = (
            f"The numbers beside {as_ranges(frequent)} are rare, as in the softened edges of a "
            f"drawing program, and better left out."
        )
        yield Meaning(tuple(frequent), all_but(frequent), reason)
    if held == [0, IGNORE]:
        reason = "The masks are black and white: 0 and 255 are the two classes."
        yield Meaning((0, IGNORE), all_but(held), reason)
    if not gaps:
        reason = "The numbers are those of the classes, and 255 is none."
        yield Meaning(tuple(inner), (IGNORE,), reason)
    from_one = [number for number in inner if number]
    last = max(inner, default=0)
    most = last == num_classes and (2 * len(from_one) > last or len(inner) > 2)
    if most or inner == list(range(1, last + 1)):
        reason = "No mask holds 0, so the classes are numbered from 1."
        if pixels[0]:
            reason = (
                "The classes seem to be numbered from 1. If 0 is a class too, name it first in "
                "classes=…, and if it is none, ignore it."
            )
        yield Meaning(tuple(range(1, last + 1)), (0, IGNORE), reason, sure=not pixels[0])
    if IGNORE in held and last > 2 * len(held):
        reason = "The numbers are spread over 0 … 255, so 255 is taken for a class too."
        yield Meaning(tuple(held), all_but(held), reason)
    reason = "The classes are not numbered without gaps: the values say which numbers occur."
    yield Meaning(tuple(inner), (IGNORE,), reason)


def all_but(numbers: Sequence[int]) -> tuple[int, ...]:
    """All numbers of 0 … 255 but some."""
    return tuple(sorted({*range(256)} - {*numbers}))


def as_ranges(numbers: Sequence[int]) -> str:
    """Numbers as people write them.

    >>> as_ranges([0, 1, 2, 3, 7, 9, 8])
    '0-3,7,9,8'
    """
    runs = itertools.groupby(enumerate(numbers), key=lambda each: each[1] - each[0])
    spans = [[number for _, number in run] for _, run in runs]
    return ",".join(
        f"{span[0]}-{span[-1]}" if len(span) > 2 else ",".join(map(str, span)) for span in spans
    )


def _is_byte(value: object) -> bool:
    return is_whole(value) and 0 <= value <= 255
