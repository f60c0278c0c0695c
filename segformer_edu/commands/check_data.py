"""`python -m segformer_edu check-data`: what pictures and masks hold, and how to train on them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segformer_edu.commands.parser import Parser, add_command, check_out, missing_package
from segformer_edu.data.layouts import Annotations, find_annotations, find_layout, images_beside
from segformer_edu.extras import PACKAGE
from segformer_edu.files import expanded, typed, write_atomically

if TYPE_CHECKING:
    from segformer_edu.commands.findings import Findings
    from segformer_edu.training.settings import Settings

SETTINGS = (
    *("weights", "model", "size", "validation", "images", "masks", "classes", "values", "ignore"),
    *("colors", "upright", "validation_images", "validation_masks", "validation_names"),
    *("training_names", "fit"),
)
DESCRIPTION = """\
Find the photographs and masks in a folder, read all of them to the last pixel, and say what they
hold: how many, how large, of which kinds, what EXIF tags turn, which files are damaged or have no
partner, how often each class occurs; and the command to train with. Where that takes long for want
of a GPU, it is followed by one for a first try within minutes. For masks in colours, it writes
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
    from segformer_edu.commands.findings import find
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
        for problems, remedy in findings.mended():
            yield from (f"- {parser.in_flags(each)}" for each in problems)
            if remedy:
                yield f"  {parser.in_flags(remedy)}"
    yield "\nTo train:" if findings.usable else "\nTo train, after that:"
    yield f"  {findings.command}"
    if findings.trial:
        why, command = findings.trial
        yield f"\n{why}\n  {command}"
