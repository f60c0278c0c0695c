"""Lesson 05's second widget: a trained network without some of its branches, and beside it one that
was trained with branches missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from segformer_edu.analysis.branches import Branch, branches, drawn_branches, without_branches
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES, scene
from segformer_edu.plots.style import BLUE, BROWN, GREY, INK, PALE, PALE_BLUE, class_colors
from segformer_edu.segformer import SegFormer
from segformer_edu.widgets.explorer import Choices, Explorer, choice
from segformer_edu.widgets.picture import (
    Lines,
    Picture,
    Raster,
    Rectangle,
    Shape,
    Text,
    jpeg,
    paletted,
)

MODELS = {"nano": "nothing dropped", "nano-drop-path": "DropPath"}  # → how it was trained
COLORS = {"nano": BLUE, "nano-drop-path": BROWN}
NAMES = {"attention": "attention", "mix_ffn": "Mix-FFN"}
BRANCHES = tuple(range(17))  # none, or one of a nano's sixteen
RATES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
DRAWS = (1, 2, 3, 4)
SEED, SIZE, SCENES = 2026, 128, tuple(range(4))  # four of the hundred scenes of the table
TABLE = Path(__file__).with_suffix(".npz")  # written by experiments/branches.py
STRIP, CELL, BOX = 66, 49, 44  # top of the branches, from one to the next, how wide one is
SIDE, COLUMN, TOP, BELOW = 160, 176, 164, 354  # of the panels: size, distance, the two rows
RIGHT, BAR = 544, 236  # where the scores stand, and the bar of mIoU 1
TASK = (
    "At rate 0, leave out one branch at a time. Which do both networks miss most, and which does "
    "neither miss? Then leave out none for certain, and raise the rate in draw 3. Where do the two "
    "part?"
)


def in_words(branch: Branch) -> str:
    """Where a branch is, counted from 1, and what it is."""
    return f"{branch.stage + 1}.{branch.block + 1} {NAMES[branch.kind]}"


def shown(number: int) -> str:
    """A value of the first slider, short enough to be seen whole: "1.2 M"."""
    if not number:
        return "none"
    stage, block, kind = every_branch()[number - 1]
    return f"{stage + 1}.{block + 1} {letter(kind)}"


def letter(kind: str) -> str:
    """What stands in the box of a branch."""
    return NAMES[kind][0].upper()


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders."""

    branch: int = choice("Left out for certain", BRANCHES, 0, shown)
    rate: float = choice("Drop rate of the last block", RATES, 0.6)
    draw: int = choice("Draw", DRAWS, 3)
    scene: int = choice("Unseen scene", SCENES, 2, lambda number: str(number + 1))


# The models and their answers, computed once.


@cache
def model(name: str) -> SegFormer:
    return SegFormer.from_pretrained(name).eval()


@cache
def every_branch() -> list[Branch]:
    return branches(model("nano"))


@cache
def missing(branch: int, rate: float, draw: int) -> tuple[Branch, ...]:
    """What is left out: the chosen branch, and those that are drawn."""
    chosen = every_branch()[branch - 1 : branch] if branch else []
    return tuple(sorted({*chosen, *drawn_branches(model("nano"), rate, draw)}))


@cache
def miou_table() -> np.ndarray:
    """mIoU on 100 unseen scenes: `(models, branches, rates, draws)`."""
    with np.load(TABLE) as file:
        return file["miou"]


def miou(name: str, branch: int, rate: float, draw: int) -> float:
    where = BRANCHES.index(branch), RATES.index(rate), DRAWS.index(draw)
    return float(miou_table()[(list(MODELS).index(name), *where)])


@cache
def unseen(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A scene and its labels, `(128, 128, 3)` and `(128, 128)` uint8."""
    return scene(SEED, SIZE, number)


@cache
def scene_files(number: int) -> tuple[bytes, bytes]:
    """The same two as files for a `Raster`."""
    image, labels = unseen(number)
    return jpeg(image), label_map(labels)


@cache
def labels_of(name: str, left_out: tuple[Branch, ...]) -> np.ndarray:
    """What a model says of all scenes without some branches: `(scenes, 128, 128)` uint8."""
    images = torch.cat([normalize(unseen(number)[0]) for number in SCENES])
    shorter = without_branches(model(name), left_out)
    return shorter.predict(images).numpy().astype(np.uint8)


@cache
def whole_networks() -> None:
    """Load both models, and let them answer."""
    for name in MODELS:
        labels_of(name, ())


class Answer(NamedTuple):
    """What a model says without some branches, as files; the share of pixels that are right, and of
    those that changed.
    """

    labels: bytes
    changes: bytes
    right: float
    changed: float


@cache
def answer(name: str, left_out: tuple[Branch, ...], number: int) -> Answer:
    said, before = (labels_of(name, missing)[number] for missing in (left_out, ()))
    changes = np.where(said == before, np.uint8(255), said)
    right, changed = (said == unseen(number)[1]).mean(), (said != before).mean()
    return Answer(label_map(said), label_map(changes), float(right), float(changed))


def label_map(labels: np.ndarray) -> bytes:
    """Labels in the colours of their classes, 255 in white, as a file for a `Raster`."""
    colors = class_colors(256)
    colors[255] = 255
    return paletted(labels, colors)


def draw(state: State) -> Picture:
    """The picture of a state."""
    left_out = missing(state.branch, state.rate, state.draw)
    answers = {name: answer(name, left_out, state.scene) for name in MODELS}
    photo, labels = scene_files(state.scene)
    title = finding(state, left_out)
    shapes = [
        Text(4, 20, title, 15, bold=True),
        *strip(left_out),
        *panel(0, TOP, f"unseen scene {state.scene + 1}", photo),
        *panel(0, BELOW, "its true labels", labels),
    ]
    for column, (name, training) in enumerate(MODELS.items(), start=1):
        shapes += panel(column, TOP, f"trained with {training}", answers[name].labels)
        shapes += panel(column, BELOW, "what changed, as it is now", answers[name].changes)
    rows = table_of(state, answers)
    shapes += [*scores(state, answers), *legend()]
    return Picture(BELOW + SIDE + 8, shapes, title, description(state, left_out, answers), rows)


class Branches(Explorer):
    """A branch to leave out, others drawn at a rate, a scene; two networks without them."""

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {miou_table: [], scene_files: ["scene"], whole_networks: []}


# Panels.


def strip(left_out: Sequence[Branch]) -> list[Shape]:
    """A box per branch, in the order of computation; crossed out where it is missing."""
    note = "A: attention; M: Mix-FFN; crossed out: missing, so that its input passes unchanged"
    shapes: list[Shape] = [Text(4, 50, note, 11)]
    crosses = []
    for index, branch in enumerate(every_branch()):
        x = 4 + CELL * index + 16 * branch.stage
        gone = branch in left_out
        if branch.kind == "attention":
            place = f"stage {branch.stage + 1}, block {branch.block + 1}"
            shapes.append(Text(x, STRIP + 56, place, 11))
        shapes += [
            Rectangle(x, STRIP, BOX, 38, "none" if gone else PALE_BLUE, GREY if gone else BLUE),
            Text(x + BOX / 2, STRIP + 25, letter(branch.kind), 15, True, "middle"),
        ]
        if gone:
            right, bottom = x + BOX, STRIP + 38
            crosses += [(x, STRIP, right, bottom), (x, bottom, right, STRIP)]
    return [*shapes, Lines(crosses, INK, 2)]


def panel(column: int, y: float, caption: str, file: bytes) -> list[Shape]:
    x = 4 + COLUMN * column
    return [
        Text(x, y - 8, caption, 11),
        Raster(x, y, SIDE, SIDE, file, map_=file.startswith(b"\x89PNG")),
        Rectangle(x, y, SIDE, SIDE, stroke=GREY),
    ]


def scores(state: State, answers: dict[str, Answer]) -> list[Shape]:
    """For each model a bar up to its mIoU, and a mark where it stands with all branches."""
    shapes: list[Shape] = [Text(RIGHT, TOP + 8, "mIoU on 100 unseen scenes", 12, bold=True)]
    for row, (name, training) in enumerate(MODELS.items()):
        y = TOP + 34 + 84 * row
        now, before = miou(name, state.branch, state.rate, state.draw), miou(name, 0, 0.0, 1)
        mark = RIGHT + BAR * before
        right, changed = percent(answers[name].right), percent(answers[name].changed)
        shapes += [
            Text(RIGHT, y, f"trained with {training}"),
            Rectangle(RIGHT, y + 8, BAR, 18, PALE),
            Rectangle(RIGHT, y + 8, BAR * now, 18, COLORS[name]),
            Lines([(mark, y + 5, mark, y + 29)], INK, 2),
            Text(RIGHT + BAR + 8, y + 22, f"{now:.3f}", bold=True),
            Text(RIGHT, y + 43, f"mark: with all 16 branches, {before:.3f}", 11),
            Text(RIGHT, y + 58, f"{right} of this scene right, {changed} changed", 11),
        ]
    return shapes


def legend() -> list[Shape]:
    """The colour of each class, and white."""
    shapes: list[Shape] = []
    colors = [*class_colors(len(CLASSES)), (255, 255, 255)]
    for index, (name, color) in enumerate(zip((*CLASSES, "as before"), colors, strict=True)):
        x, y = RIGHT + 140 * (index % 2), BELOW + 14 + 26 * (index // 2)
        fill = "#" + "".join(f"{value:02X}" for value in color)
        shapes += [
            Rectangle(x, y, 16, 16, fill, stroke=INK, thickness=0.5),
            Text(x + 24, y + 13, name, 12),
        ]
    return shapes


def table_of(state: State, answers: dict[str, Answer]) -> list[tuple[str, ...]]:
    whole = [miou(name, 0, 0.0, 1) for name in MODELS]
    now = [miou(name, state.branch, state.rate, state.draw) for name in MODELS]
    return [
        ("quantity", *MODELS.values()),
        ("mIoU with all branches", *(f"{each:.3f}" for each in whole)),
        ("mIoU without those missing", *(f"{each:.3f}" for each in now)),
        ("pixels of this scene right", *(percent(each.right) for each in answers.values())),
        ("pixels of this scene changed", *(percent(each.changed) for each in answers.values())),
    ]


# Words.


def finding(state: State, left_out: Sequence[Branch]) -> str:
    now = [
        f"{miou(name, state.branch, state.rate, state.draw):.3f} ({training})"
        for name, training in MODELS.items()
    ]
    which = f"Without {len(left_out)} of 16" if left_out else "With all 16"
    return f"{which} branches: mIoU {' and '.join(now)}."


def description(state: State, left_out: Sequence[Branch], answers: dict[str, Answer]) -> str:
    gone = ", ".join(map(in_words, left_out)) or "nothing"
    changed = " and ".join(percent(each.changed) for each in answers.values())
    return (
        f"Missing, by stage and block: {gone}. Drop rate {state.rate:g}, draw {state.draw}. Unseen "
        f"scene {state.scene + 1}, its true labels, and for a network trained with nothing dropped "
        f"and one with DropPath what it says now and where it says another class than with all "
        f"branches: {changed} of the pixels."
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
