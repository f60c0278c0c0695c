"""`python -m segformer_edu check-data`: what pictures and masks hold, and how to train on them."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from segformer_edu.commands.parser import (
    Parser,
    add_command,
    check_out,
    class_names,
    missing_package,
)
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.augment import IGNORE
from segformer_edu.data.colors import (
    FoundColour,
    find_colors,
    read_colors,
    read_coloured,
    write_colors,
)
from segformer_edu.data.folder import Pair, fault_or, match_files
from segformer_edu.data.image_files import Fault
from segformer_edu.data.inspection import Inspection, has_colours, inspect
from segformer_edu.data.layouts import Annotations, find_annotations, find_layout, images_beside
from segformer_edu.data.masks import label_table
from segformer_edu.extras import PACKAGE
from segformer_edu.files import expanded, typed, write_atomically

if TYPE_CHECKING:
    from segformer_edu.training.settings import Settings

SETTINGS = (
    *("weights", "model", "size", "validation", "images", "masks", "classes", "values", "ignore"),
    *("colors", "upright", "validation_images", "validation_masks", "validation_names"),
    *("training_names", "fit"),
)
LOOKED_AT = 20  # masks that show whether all are in colours
COLORS = "colors.txt"  # the table that is drawn from masks in colours, beside them
TRAIN_IDS = "_gtFine_labelTrainIds"
LABEL_IDS = ("_gtFine_labelIds", "7,8,11-13,17,19-28,31-33", "0-6,9,10,14-16,18,29,30,255")
ADE20K, MANY = ("annotations", "training"), 50  # of its 150 classes: others use its folders too
DESCRIPTION = """\
Find the photographs and masks in a folder, read all of them to the last pixel, and say what they
hold: how many, how large, of which kinds, what EXIF tags turn, which files are damaged or have no
partner, how often each class occurs; and the command to train with. For masks in colours, it writes
colors.txt into the folder, in which the classes are given names. --out writes the same as a page
with pictures. The exit code is 1 if something has to be mended before training."""
EXAMPLES = """\
examples:
  a folder with photographs and masks, in two folders or side by side:
    python -m segformer_edu check-data mine --out data.html
  folders of other names, and what their masks mean:
    python -m segformer_edu check-data --images scans --masks drawn --classes rest,crack \\
        --values 0,255 --ignore 1-254
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "check-data",
        run,
        help="what your own pictures and masks hold, and how to train on them",
        usage="%(prog)s [FOLDER] [--out HTML] [--SETTING VALUE …]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.fill = fill


def fill(parser: Parser) -> None:
    """The folder, and the settings that say what is in it."""
    from segformer_edu.commands.settings import add_settings

    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="where to look for pictures"
    )
    parser.add_argument("--out", type=Path, metavar="HTML", help="also write a page with pictures")
    add_settings(parser, SETTINGS)


def run(options: argparse.Namespace) -> int:
    from segformer_edu.commands.settings import Settings, read_settings

    if options.out:
        check_out(options.out, ".html")
        try:
            from segformer_edu.commands.data_page import data_page
        except ModuleNotFoundError as error:
            raise missing_package(error, "For a page with pictures", "lab") from None
    settings = read_settings(options, Settings()).replace(data="folder")
    if not (settings.images or settings.masks or options.folder):
        raise ValueError("Name a FOLDER to look in, or give images = … and masks = ….")
    try:
        settings = located(settings, options.folder)
    except ValueError:
        found = find_annotations(expanded(options.folder)) if options.folder else None
        if not found:
            raise
        print(f"{found.path} holds outlines ({found.kind}). Make masks of them first:")
        print(f"  {typed(masks_command(options.folder, found))}")
        return 1
    findings = find(settings, vars(options).get("classes", ""))
    if options.out:
        write_atomically(options.out, data_page(findings, options.parser))
    print("\n".join(lines(findings, options.parser)))
    if options.out:
        print(f"\n{options.out}: the same with pictures")
    return 0 if findings.usable else 1


def masks_command(folder: Path, found: Annotations) -> list[object]:
    """The command that makes masks of outlines."""
    options = ("--images", images_beside(folder), "--out", folder / "masks")
    return ["python", "-m", PACKAGE, "make-masks", found.path, *options]


def located(settings: Settings, folder: Path | None) -> Settings:
    """The settings, with the places of photographs and masks that nobody gave."""
    if bool(settings.images) != bool(settings.masks):
        missing = "masks" if settings.images else "images"
        raise ValueError(f"{missing} = … is missing: give both, or a FOLDER that holds both.")
    if settings.images or folder is None:
        return settings
    layout = find_layout(expanded(folder))
    settings = settings.replace(images=layout.training.images, masks=layout.training.masks)
    if layout.validation and not settings.validation_images:
        images, masks = layout.validation
        settings = settings.replace(validation_images=images, validation_masks=masks)
    if layout.lists and not (settings.training_names or settings.validation_names):
        training, validation = layout.lists
        settings = settings.replace(training_names=training, validation_names=validation)
    return settings


class Findings(NamedTuple):
    """What check-data found.

    Attributes:
        settings: with which to train.
        pairs: each photograph and its mask.
        seen: what they hold.
        class_names: of the classes, in order.
        labels: `(256,)` uint8, the class of each number in `seen.pixels`; 255 if it is of none.
        problems, advice: sentences.
        command: that trains.
    """

    settings: Settings
    pairs: list[Pair]
    seen: Inspection
    class_names: tuple[str, ...]
    labels: np.ndarray
    problems: list[str]
    advice: list[str]
    command: str

    @property
    def usable(self) -> bool:
        """Whether the command works."""
        return not (self.problems or self.seen.faults)

    def facts(self) -> dict[str, str]:
        """What the files are, a sentence each."""
        seen = self.seen
        facts = {
            "pictures": f"{len(self.pairs):,} photographs with a mask, {len(seen.pairs):,} of them "
            f"without fault",
            "photographs": f"{self.settings.images}: {counted(seen.photographs)}",
            "masks": f"{self.settings.masks}: {counted(seen.masks)}",
        }
        if seen.sizes:
            sides = np.array(seen.sizes)
            ranked = sides[np.argsort(sides.prod(1), kind="stable")]
            least, middle, most = (
                f"{w} × {h}" for w, h in ranked[[0, len(ranked) // 2, -1]].tolist()
            )
            one = f"{least} pixels, all of them"
            facts["sizes"] = one if least == most else f"{least} to {most}, in between {middle}"
        if self.settings.validation_images:
            own = f"{self.settings.validation_images} and {self.settings.validation_masks}"
            facts["validation"] = f"{own}, counted above too"
        return facts

    def classes(self) -> list[tuple[str, float, int]]:
        """Of each class its name, its share of all pixels, and how many pictures show it; then
        what is ignored, if there is any.
        """
        every = max(int(self.seen.pixels.sum()), 1)
        rows = []
        for label, name in [*enumerate(self.class_names), (IGNORE, "(ignored)")]:
            numbers = np.flatnonzero(self.labels == label)
            pixels, pictures = self.seen.pixels[numbers], self.seen.pictures[numbers]
            if label != IGNORE or pixels.sum():
                rows.append((name, float(pixels.sum() / every), int(pictures.max(initial=0))))
        return rows


def find(settings: Settings, typed_classes: str) -> Findings:
    """Read all pictures, and fill in the settings that nobody gave."""
    from segformer_edu.training.own_pictures import listed_names, split_folder
    from segformer_edu.training.proposal import propose

    places = [(settings.images, settings.masks)]
    names = None
    if settings.training_names:
        files = (settings.training_names, settings.validation_names)
        names = [name for file in files for name in listed_names(file, *places[0]) or ()]
    if settings.validation_images:
        places.append((settings.validation_images, settings.validation_masks))
    pairs: list[Pair] = []
    faults: list[Fault] = []
    for images, masks in places:
        found, wrong = match_files(expanded(images), expanded(masks), names)
        pairs += found.values()
        faults += wrong
        names = None
    settings, notes = coloured(settings, pairs)
    colors = read_colors(settings.colors) if settings.colors else None
    seen = inspect(pairs, colors)
    settings, typed_classes = known_set(settings, seen, typed_classes)
    proposal = propose(settings, seen, SegFormerConfig.named("b0").min_image_size)
    settings, problems, advice = proposal.settings, list(proposal.problems), list(proposal.advice)
    class_names = colors.class_names if colors else settings.classes
    labels, _ = label_table(len(class_names), settings.values or None, settings.ignore)
    seen.faults[:0] = faults
    numbers = [np.flatnonzero(labels == label) for label in range(len(class_names))]
    if absent := [
        name for name, n in zip(class_names, numbers, strict=True) if not seen.pixels[n].any()
    ]:
        advice.append(f"No picture shows {', '.join(absent)}: there is nothing to learn it from.")
    if not (seen.faults or problems):
        split_folder(settings)  # which refuses what train would refuse
    command = typed(proposal.command("run", typed_classes))
    return Findings(
        settings, pairs, seen, class_names, labels, problems, [*notes, *advice], command
    )


def known_set(settings: Settings, seen: Inspection, typed_classes: str) -> tuple[Settings, str]:
    """The settings for Cityscapes and ADE20K, told by the names of their files and their numbers,
    and the name of their list of classes; what was given stays.
    """
    if settings.classes or settings.colors:
        return settings, typed_classes
    held = np.flatnonzero(seen.pixels)
    if settings.masks.endswith(TRAIN_IDS):
        name, numbers = "cityscapes", {}
    elif settings.masks.endswith(LABEL_IDS[0]):
        name, numbers = "cityscapes", dict(zip(("values", "ignore"), LABEL_IDS[1:], strict=True))
    elif Path(settings.masks).parts[-2:] == ADE20K and len(held) > MANY and held.max() <= 150:
        name, numbers = "ade20k", {"values": "1-150", "ignore": "0"}
    else:
        return settings, typed_classes
    return settings.replace(classes=class_names(name), **numbers), name


def coloured(settings: Settings, pairs: Sequence[Pair]) -> tuple[Settings, list[str]]:
    """The settings with a table of colours, drawn from the masks if they are in colours and there
    is none, and what to do with it.
    """
    masks = [mask for _, mask in pairs]
    step = max(len(masks) // LOOKED_AT, 1)
    if settings.colors or settings.classes or not any(map(has_colours, masks[::step])):
        return settings, []
    path = Path(os.path.commonpath([mask.parent for mask in masks])) / COLORS
    note = f"{path} says which colour is which class."
    if not path.exists():
        write_colors(path, colours_of(pairs))
        note = f"{path} was written: it has a line for each colour that fills areas of the masks."
    return settings.replace(colors=str(path)), [f"{note} Give the classes names there."]


def colours_of(pairs: Sequence[Pair]) -> dict[str, FoundColour]:
    """The colours of all masks that can be read."""
    try:
        return find_colors([mask for _, mask in pairs])
    except Fault:
        read = (fault_or(lambda pair: read_coloured(pair[1]), pair) for pair in pairs)
        whole = (not isinstance(each, Fault) for each in read)
        return find_colors([mask for (_, mask), good in zip(pairs, whole, strict=True) if good])


def counted(kinds: Counter[str]) -> str:
    """
    >>> counted(Counter({"JPEG in colours": 2, "PNG grey": 1}))
    '2 JPEG in colours, 1 PNG grey'
    """
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) or "none"


def lines(findings: Findings, parser: Parser) -> Iterator[str]:
    """The report as text."""
    facts = findings.facts()
    for name, fact in facts.items():
        yield f"{name:<12} {fact}"
    rows = findings.classes()
    width = max(len("class"), *(len(name) for name, _, _ in rows))
    yield f"\n{'class':<{width}}  {'share':>8}  {'pictures':>8}"
    for name, share, pictures in rows:
        yield f"{name:<{width}}  {share:>8.2%}  {pictures:>8,}"
    if findings.advice:
        yield ""
        yield from (f"- {parser.in_flags(each)}" for each in findings.advice)
    if not findings.usable:
        yield "\nTo be mended first:"
        yield from (f"- {parser.in_flags(each)}" for each in mended(findings))
    yield "\nTo train:" if findings.usable else "\nTo train, after that:"
    yield f"  {findings.command}"


def mended(findings: Findings) -> Iterator[str]:
    """All that is wrong, by name; each remedy once."""
    yield from findings.problems
    yield from (fault.problem for fault in findings.seen.faults)
    yield from filter(None, dict.fromkeys(fault.remedy for fault in findings.seen.faults))
