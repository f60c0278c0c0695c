"""Masks in colours: a table of which colour is which class, from a file or from the masks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from segformer_edu.data.augment import IGNORE
from segformer_edu.data.image_files import open_image
from segformer_edu.data.masks import check_kind
from segformer_edu.files import expanded, write_atomically

COLOURED = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # Pillow's modes of 8 bits that show colours
UNKNOWN = 254  # in a table of labels: a colour that no line names
IGNORED = "ignore"  # the class of colours that do not count, …
VOID = "ignored"  # … and what it is called in a labelmap.txt with the labels of Pascal VOC
CITYSCAPES = "cityscapes"  # a table that comes with the package
OTHERS = "*"  # all colours that no line names
FAINT = 100  # times rarer than both of two colours that it lies between: a soft edge of theirs
LINE = re.compile(r"(#[0-9a-fA-F]{6}|\*)\s+(\S.*)")
LABELMAP_LINE = re.compile(r"([^:]*[^:\s])\s*:" + r",".join(3 * [r"\s*(\d{1,3})\s*"]) + r"(?::.*)?")
FORM = "write #rrggbb and the name of its class, such as `#804080 road`"


@dataclass(frozen=True)
class ColorTable:
    """Which colour stands for which class.

    Attributes:
        class_names: what classes 0, 1, 2, … are called.
        path: the file that says so.
        labels: `(2^24,)` uint8, of every colour its class, 255 to ignore it, or 254 if it has no
            meaning. One look into 16 MB is several times faster than a search among the colours.
    """

    class_names: tuple[str, ...]
    path: Path
    labels: np.ndarray = field(repr=False)

    def label(self, colours: np.ndarray) -> tuple[np.ndarray, Counter[str]]:
        """The classes of a mask in colours, and how many pixels have each unknown colour.

        Shape: `(H, W, 3)` uint8 → `(H, W)` uint8: 0 … K − 1, 255 to ignore, 254 where unknown.
        """
        numbers = packed(colours)
        labels = self.labels[numbers]
        strange = numbers[labels == UNKNOWN]
        found = zip(*np.unique(strange, return_counts=True), strict=True)
        return labels, Counter({spelled(colour): int(pixels) for colour, pixels in found})


def read_colors(path: str | Path) -> ColorTable:
    """The table in a text file, or "cityscapes": a line for each colour, `#804080 road`, or, as in
    the labelmap.txt of CVAT, `road:128,64,128::`.

    The name may hold blanks. Several colours may be of one class, and those of a class `ignore` do
    not count. The line `* ignore` says so of all colours that no line names; without it, they are
    refused. Classes are numbered in the order of their first lines. Lines that are empty, or begin
    with `# `, say nothing.

    Raises:
        ValueError: a file that cannot be read, a line in another form, a colour of two classes, no
            class at all, or more than 254.
    """
    if str(path) == CITYSCAPES:
        path = Path(__file__).with_name(f"{CITYSCAPES}.txt")
    try:
        lines = expanded(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"colors = {path} cannot be read as text: {error}") from None
    named: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line == "#" or line.startswith("# "):
            continue
        found = colour_and_class(line)
        if not found:
            raise ValueError(
                f"colors = {path} has in line {number}: {line}. Instead, {FORM} (or, as CVAT does, "
                f"`road:128,64,128::`), or `* ignore` for all other colours; a comment begins with "
                f"`# `."
            )
        colour, name = found
        if named.setdefault(colour, name) != name:
            raise ValueError(
                f"colors = {path} says in line {number} that {colour} is {name}, and before that "
                f"it is {named[colour]}: leave one of them."
            )
    names = tuple(dict.fromkeys(name for name in named.values() if name != IGNORED))
    if not 1 <= len(names) <= UNKNOWN:
        raise ValueError(
            f"colors = {path} names {len(names)} classes, and there can be 1 to {UNKNOWN}: on each "
            f"line, {FORM}."
        )
    labels = np.full(2**24, IGNORE if OTHERS in named else UNKNOWN, dtype=np.uint8)
    for colour, name in named.items():
        if colour != OTHERS:
            labels[int(colour[1:], 16)] = IGNORE if name == IGNORED else names.index(name)
    return ColorTable(names, expanded(path), labels)


def colour_and_class(line: str) -> tuple[str, str] | None:
    """What a line of a table says; None if it has neither form.

    >>> colour_and_class("#804080 road"), colour_and_class("road:128,64,128::")
    (('#804080', 'road'), ('#804080', 'road'))
    """
    if found := LINE.fullmatch(line):
        colour, name = found[1].lower(), found[2]
        return None if colour == OTHERS and name != IGNORED else (colour, name)
    if not (found := LABELMAP_LINE.fullmatch(line)):
        return None
    name, *parts = found.groups()
    numbers = [int(part) for part in parts]
    if max(numbers) > 255:
        return None
    return f"#{bytes(numbers).hex()}", IGNORED if name == VOID else name


def read_coloured(path: Path) -> np.ndarray:
    """The colours of a mask, as they are stored: how transparent they are does not matter.

    Shape: → `(H, W, 3)` uint8.

    Raises:
        Fault: a format that changes colours or has others than red, green and blue, or damaged.
    """
    with open_image(path) as file:
        check_kind(path, file, COLOURED)
        return np.array(file.convert("RGB"))


class FoundColour(NamedTuple):
    """A colour that masks hold.

    Attributes:
        pixels: how many have it.
        blocks: how many squares of 2 × 2 pixels have nothing else. An area is full of them; the
            edge of one that a drawing program has softened has hardly any.
        example: the first mask that holds it.
    """

    pixels: int
    blocks: int
    example: Path


def find_colors(paths: Sequence[Path]) -> dict[str, FoundColour]:
    """The colours that masks hold, the most frequent first, as "#rrggbb".

    Raises:
        Fault: a mask that cannot be read.
    """
    pixels: Counter[int] = Counter()
    blocks: Counter[int] = Counter()
    examples: dict[int, Path] = {}
    with ThreadPoolExecutor() as pool:
        found = pool.map(_colours_of, paths)
        bar = tqdm(found, "finding colours", len(paths), unit=" masks", delay=1, leave=False)
        for path, (each, solid) in zip(paths, bar, strict=True):
            pixels.update(each)
            blocks.update(solid)
            for colour in each:
                examples.setdefault(colour, path)
    return {
        spelled(colour): FoundColour(count, blocks[colour], examples[colour])
        for colour, count in pixels.most_common()
    }


def _colours_of(path: Path) -> tuple[dict[int, int], dict[int, int]]:
    """Of one mask, the pixels and the 2 × 2 blocks of each colour."""
    numbers = packed(read_coloured(path))
    same = (numbers[1:, 1:] == numbers[:-1, :-1]) & (numbers[1:, :-1] == numbers[:-1, 1:])
    same &= numbers[1:, 1:] == numbers[1:, :-1]
    return _counted(numbers), _counted(numbers[1:, 1:][same])


def _counted(numbers: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(numbers, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def classes_among(found: dict[str, FoundColour]) -> list[str]:
    """The colours that seem to stand for classes: those that fill areas, the most frequent first.

    At least a quarter of their pixels begins a block of one colour. A pole two pixels wide reaches
    a half; the soft edges of antialiasing stay near 0. Those of a mask that was enlarged do not,
    but below three quarters, and they are mixtures of two colours of which there is far more.
    """
    solid = {colour: each for colour, each in found.items() if 4 * each.blocks >= each.pixels}
    places = np.array([list(bytes.fromhex(colour[1:])) for colour in solid]).reshape(-1, 3)
    pixels = np.array([each.pixels for each in solid.values()])
    return [
        colour
        for (colour, each), place in zip(solid.items(), places, strict=True)
        if 4 * each.blocks > 3 * each.pixels
        or not _is_between(place, places[pixels > FAINT * each.pixels])
    ]


def _is_between(place: np.ndarray, others: np.ndarray) -> bool:
    """Whether a colour lies on the straight line from one of the others to another.

    Shape: `(3,)`, `(n, 3)` whole numbers.
    """
    lines = others[None] - others[:, None]  # (n, n, 3)
    way = place - others[:, None]
    share = (way * lines).sum(-1) / np.maximum((lines**2).sum(-1), 1)
    apart = np.abs(way - share[..., None] * lines).max(-1, initial=0)
    return bool((apart[(share > 0) & (share < 1)] <= 1).any())  # 1: each was rounded


def write_colors(path: Path, found: dict[str, FoundColour]) -> ColorTable:
    """Write a table of the colours that seem to stand for classes, to be given names by hand.

    The classes are called `class 1`, `class 2`, …, the most frequent first. If other colours are
    left, as at soft edges, `* ignore` leaves them out.

    Raises:
        ValueError: no colour fills an area, or more do than there can be classes.
    """
    colours, every = classes_among(found), sum(each.pixels for each in found.values())
    if not 1 <= len(colours) <= UNKNOWN:
        raise ValueError(
            f"{len(colours)} colours fill areas of the masks, and there can be 1 to {UNKNOWN} "
            f"classes: are these masks, one colour for each class?"
        )
    lines = [
        "# A colour of the masks and its class. Write names in place of class 1, class 2, …: the",
        f"# same for colours of one class, and {IGNORED} for one that does not count.",
    ]
    for number, colour in enumerate(colours, start=1):
        share, example = found[colour].pixels / every, found[colour].example
        lines.append(f"# {share:.2%} of the pixels, for example in {example}")
        lines.append(f"{colour} class {number}")
    if rest := every - sum(found[colour].pixels for colour in colours):
        lines.append(f"# {rest / every:.2%} of the pixels, in {len(found) - len(colours)} colours")
        lines.append(f"{OTHERS} {IGNORED}")
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())
    return read_colors(path)


def packed(colours: np.ndarray) -> np.ndarray:
    """Red, green and blue as one whole number of 24 bits.

    Shape: `(H, W, 3)` uint8 → `(H, W)` int32.
    """
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def spelled(colour: int) -> str:
    """
    >>> spelled(0x804080)
    '#804080'
    """
    return f"#{colour:06x}"
