"""The page that `check-data --out` writes: what it found, and pictures with their masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segformer_edu.commands.findings import Findings
from segformer_edu.commands.parser import Parser
from segformer_edu.data.augment import IGNORE
from segformer_edu.data.colors import read_colors, read_coloured
from segformer_edu.data.folder import Pair
from segformer_edu.data.masks import read_mask
from segformer_edu.data.photos import read_photo
from segformer_edu.plots import size_scatter
from segformer_edu.plots.page import (
    Element,
    Node,
    commands,
    html_page,
    labelled,
    legend,
    listing,
    percent,
    picture,
    section,
    sheet,
    table,
)

SHOWN = 8  # pictures on the sheet


def data_page(findings: Findings, parser: Parser) -> bytes:
    """The page, in UTF-8."""
    return html_page(
        f"{len(findings.seen.pairs):,} pictures with their masks", *sections(findings, parser)
    )


def sections(findings: Findings, parser: Parser) -> Iterator[Element]:
    """What stands on the page, from above."""
    if not findings.usable:
        wrong: list[Node] = []
        for problems, remedy in findings.mended():
            wrong.append(listing(parser.in_flags(each) for each in problems))
            wrong += [parser.in_flags(remedy)] if remedy else []
        yield section("To be mended first", *wrong)
    heading = "To train" if findings.usable else "To train, after that"
    trial: list[Node] = []
    if findings.trial:
        why, command = findings.trial
        trial = [why, commands([command])]
    yield section(heading, commands([findings.command]), *trial)
    if findings.advice:
        advice = [parser.in_flags(each) for each in findings.advice]
        yield section("Good to know", listing(advice))
    facts = list(findings.facts().items())
    yield section("Files", table("What was found.", ["what", "which"], facts))
    if not findings.seen.pairs:
        return
    rows = findings.classes()
    words = "Of each class: its share of all pixels, and how many pictures show it."
    yield section("Classes", table(words, ["class", "share", "pictures"], rows, shares=(1,)))
    yield section(
        "Pictures with their masks",
        "Look whether the colours lie where the things are. Each picture shows most of one of the "
        "rarest classes. What is ignored has no colour.",
        legend(findings.class_names, notes(findings)),
        sheet(shown(findings)),
    )
    sides = np.array(findings.seen.sizes)
    bounds = zip(sides.min(0), sides.max(0), strict=True)
    width, height = (f"{least} to {most}" for least, most in bounds)
    alt = f"The widths of the pictures are {width} pixels, and their heights {height}."
    yield section("Sizes", picture(size_scatter(sides), alt, alt))


def notes(findings: Findings) -> dict[int, str]:
    """For the legend: the share of each class, of those that occur."""
    rows = findings.classes()[: len(findings.class_names)]
    return {label: percent(share) for label, (_, share, _) in enumerate(rows) if share}


def shown(findings: Findings) -> Iterator[Element]:
    """The pictures that show most of each class, from the rarest class on, with their labels."""
    seen = findings.seen
    ranked = [n for n in np.argsort(seen.pixels, kind="stable") if seen.pixels[n]]
    rarest = [n for n in ranked if findings.labels[n] != IGNORE] or ranked
    places = dict.fromkeys([int(seen.largest[n]) for n in rarest] + list(range(SHOWN)))
    for place in [each for each in places if each < len(seen.pairs)][:SHOWN]:
        pair = seen.pairs[place]
        labels = labels_of(findings, pair)
        photo = read_photo(pair[0], findings.settings.upright)
        if photo.shape[:2] != labels.shape:  # a mask that was drawn with, or without, the turn
            photo = read_photo(pair[0], not findings.settings.upright)
        names = [findings.class_names[n] for n in np.unique(labels) if n != IGNORE]
        alt = f"{pair[0].name} with its mask, which shows {', '.join(names) or 'no class'}."
        yield picture(labelled(photo, labels), alt, pair[0].name)


def labels_of(findings: Findings, pair: Pair) -> np.ndarray:
    """The classes in a mask, `(H, W)` uint8; 255 for what is none."""
    if findings.settings.colors:
        labels, _ = read_colors(findings.settings.colors).label(read_coloured(pair[1]))
        return labels
    return findings.labels[read_mask(pair[1])]
