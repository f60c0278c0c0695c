"""`python -m segformer_edu make-masks`: masks from the outlines of an annotation tool."""

from __future__ import annotations

import argparse
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segformer_edu.commands.parser import add_command, class_names
from segformer_edu.data.annotations import BACKGROUND, numbers_of, read_annotations
from segformer_edu.data.augment import IGNORE
from segformer_edu.data.drawn_masks import CLASSES, Drawn, Placed, place_all, write_masks
from segformer_edu.files import expanded

DESCRIPTION = """\
Turn outlines into masks to train on: a COCO file (polygons and run lengths), or a folder of
labelme's files. Each picture of --images that was drawn over gets a PNG, whose palette shows the
classes; classes.txt beside them has their names. What nobody drew is background; where two things
overlap, the smaller one lies over the larger; crowds, and what is labelled "ignore", get 255."""
EXAMPLES = """\
examples:
  python -m segformer_edu make-masks instances.json --images photos --out masks
  python -m segformer_edu make-masks labelme --images photos --out masks
  for a second set, in the order of the first:
    python -m segformer_edu make-masks val.json --images val --out val-masks \\
        --classes masks/classes.txt
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "make-masks",
        run,
        help="masks from COCO's or labelme's outlines",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "annotations",
        metavar="ANNOTATIONS",
        type=Path,
        help="a COCO file (needs the extra `coco`), or a folder of labelme's files",
    )
    parser.add_argument(
        "--images", required=True, metavar="FOLDER", type=Path, help="the pictures of these"
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", type=Path, help="a new folder for the masks"
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="the classes in their order, a list with commas or a .txt file with one name a line; "
        "background comes first unless it is named (default: as the annotations have them)",
    )


def run(options: argparse.Namespace) -> int:
    images, out = expanded(options.images), expanded(options.out)
    if not images.is_dir():
        raise ValueError(f"images = {images} is not a folder: give the path of one that exists.")
    check_new_folder(out)
    annotations = read_annotations(expanded(options.annotations))
    given = class_names(options.classes) if options.classes is not None else ()
    names, numbers = numbers_of(annotations, given)
    placed = place_all(annotations.drawings, images)
    drawn = write_masks(placed, names, numbers, out)
    for note in [*annotations.notes, *notes(names, numbers, drawn)]:
        warnings.warn(note, stacklevel=1)
    print(table(names, drawn, out))
    print(f"To train on them:\n  {command(options.images, options.out, placed)}")
    return 0


def check_new_folder(out: Path) -> None:
    """Refuse, before any work is done, a folder that holds something, or that cannot be made."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out = {out} exists: name a new folder, or an empty one.")
    if not out.parent.is_dir():
        raise ValueError(f"out = {out}: there is no folder {out.parent}; make it first.")
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"out = {out}: {out.parent} may not be written to; choose another.")


def notes(names: Sequence[str], numbers: dict[str, int], drawn: Drawn) -> list[str]:
    """What the masks do not show of the annotations."""
    found = []
    others = [name for name in numbers if name not in (*names, BACKGROUND)]
    if merged := [f"{each} as {names[numbers[each]]}" for each in others if numbers[each] < IGNORE]:
        found.append(f"Spelled otherwise, and taken for one class: {', '.join(merged)}.")
    if drawn.overlaps:
        found.append(
            f"Things of two classes overlap on {drawn.overlaps} pictures: the smaller one lies "
            f"over the larger."
        )
    if drawn.empty:
        found.append(f"{drawn.empty} shapes cover no pixel.")
    return found


def table(names: Sequence[str], drawn: Drawn, out: Path) -> str:
    """A line for each class: its number, its share of all pixels, and how many pictures show it."""
    rows = [*enumerate(names), *([(IGNORE, "ignored")] if drawn.pixels[IGNORE] else [])]
    width, pixels = max(len(name) for _, name in rows), drawn.pixels.sum()
    lines = [f"{out}: masks, and {CLASSES}", f"number  {'class':<{width}}   share  pictures"]
    lines += [
        f"{number:>6}  {name:<{width}}  {drawn.pixels[number] / pixels:6.1%}  "
        f"{drawn.pictures[number]:>8}"
        for number, name in rows
    ]
    return "\n".join(lines)


def command(images: Path, masks: Path, placed: Sequence[Placed]) -> str:
    """What to type to train on the masks."""
    nested = any(len(each.picture.parts) > 1 for each in placed)
    parts = [
        "python -m segformer_edu train --out run --data folder",
        f"--images {quoted(images / '**' / '*' if nested else images)}",
        f"--masks {quoted(masks / '**' / '*' if nested else masks)}",
        f"--classes {quoted(masks / CLASSES)}",
    ]
    as_stored = any(each.upright is False for each in placed)
    return " ".join(parts + ["--no-upright"] * as_stored)


def quoted(path: Path) -> str:
    """A path as a shell takes it, of Unix or of Windows."""
    return str(path) if re.fullmatch(r"[\w./\\:+-]+", str(path)) else f'"{path}"'
