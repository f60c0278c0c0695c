"""Lesson 07's widget: which stage added what to the lead of a class at one pixel.

The lead of a class is its logit less the mean of all classes' logits there, which decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from segformer_edu.analysis.contributions import contributions
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES, scene
from segformer_edu.plots.importance import signed_colors
from segformer_edu.plots.labels import overlay
from segformer_edu.plots.style import AGAINST, BLUE, FOR, INK
from segformer_edu.segformer import SegFormer, labels_from_logits
from segformer_edu.widgets.explorer import Choices, Explorer, choice, token_at
from segformer_edu.widgets.picture import (
    Lines,
    Picture,
    Raster,
    Rectangle,
    Shape,
    Text,
    frame,
    jpeg,
    png,
)
from segformer_edu.widgets.words import percent, signed

SEED, COUNT, SIZE = 707, 24, 128  # the scenes of the lesson
SCENES = (3, 4, 6, 10, 11, 23)  # those among them that can be chosen
PERCENTS = tuple(range(0, 101, 4))
PARTS = ("stage 1", "stage 2", "stage 3", "stage 4", "constants")
SIDE, TOP, HEIGHT = 196, 62, 432  # of a panel, where the first row begins, of the whole picture
BARS, ZERO, NUMBERS = 444, 652, 836  # where the bars' names, their zero and their numbers stand
REACH = 128  # of the longest bar
TASK = (
    "Find a pixel on which the stages disagree: stage 1 counts against the class that wins there, "
    "and the other stages outvote it. Then put the point on a pole. Which stage adds most to the "
    "lead of “pole”, and does it still do so when you move one step away?"
)


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders; positions are percentages of the scene's height and width."""

    scene: int = choice("Scene", SCENES, 4)
    label: int = choice("Class", tuple(range(len(CLASSES))), 7, CLASSES.__getitem__)
    down: int = choice("Point, from the top", PERCENTS, 72, percent)
    across: int = choice("Point, from the left", PERCENTS, 92, percent)


# The model's answers, computed once.


@cache
def model() -> SegFormer:
    return SegFormer.from_pretrained("nano")


@cache
def photograph(number: int) -> np.ndarray:
    return scene(SEED, SIZE, number)[0]


@cache
def photograph_file(number: int) -> bytes:
    return jpeg(photograph(number))


@cache
def all_summands() -> np.ndarray:
    """What each part adds to each class's lead, everywhere: `(scenes, stages + 1, K, h, w)`.

    Each part is counted from its mean over all scenes of the lesson.
    """
    images = torch.cat([normalize(photograph(number)) for number in range(COUNT)])
    shares = contributions(model(), images)
    return (shares - shares.mean(dim=2, keepdim=True)).numpy()


def summands(number: int) -> np.ndarray:
    return all_summands()[number]


@cache
def answer_file(number: int) -> bytes:
    """The scene, overlaid with the classes that the model predicts."""
    leads = torch.from_numpy(summands(number).sum(0))[None]  # the largest where the logit is
    labels = labels_from_logits(leads, (SIZE, SIZE))[0].numpy()
    return jpeg(overlay(photograph(number), labels, 0.75))


@cache
def map_file(number: int, label: int, part: int) -> bytes:
    """One summand of one class, everywhere, in colours; one scale for all parts of the class."""
    values = summands(number)[:, label]
    return png(signed_colors(values[part], float(np.abs(values).max())))


def draw(state: State) -> Picture:
    """The picture of a state."""
    sums = summands(state.scene)  # (stages + 1, K, h, w)
    point = token_at(sums.shape[2:], state.down, state.across)
    here = sums[:, :, *point]  # (stages + 1, K)
    chosen, total = here[:, state.label], here.sum(0)
    winner = int(total.argmax())
    right = SIDE + 16
    shapes = [
        Text(4, 20, finding(state, chosen, winner), 15, bold=True),
        *panel(4, TOP, "scene", photograph_file(state.scene), point, sums.shape),
        *panel(right, TOP, "the model's answer", answer_file(state.scene), point, sums.shape),
        Text(BARS, 50, f"lead of “{CLASSES[state.label]}” here, part by part", bold=True),
        *bars(chosen),
        *runners_up(state, total),
        *stage_maps(state, sums, point),
    ]
    return Picture(
        HEIGHT, shapes, finding(state, chosen, winner), description(state, here), table(here)
    )


class Contributions(Explorer):
    """Scene, class and point; the class's lead there as a sum over the stages, and everywhere."""

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {photograph_file: ["scene"], answer_file: ["scene"]}


# Panels.


def panel(
    x: float, y: float, name: str, file: bytes, point: tuple[int, int], shape: tuple[int, ...]
) -> list[Shape]:
    return [
        Text(x, y - 12, name),
        Raster(x, y, SIDE, SIDE, file),
        *marker(x, y, SIDE, point, shape),
    ]


def marker(
    x: float, y: float, side: float, point: tuple[int, int], shape: tuple[int, ...]
) -> list[Shape]:
    """A frame around the point."""
    row, column = (
        (index + 0.5) * side / count for index, count in zip(point, shape[2:], strict=True)
    )
    return frame(x + column - 5, y + row - 5, 10, 10, BLUE)


def bars(chosen: np.ndarray, top: float = TOP) -> list[Shape]:
    """One bar per part, to the right for the class and to the left against it; their sum below."""
    longest = max(np.abs(chosen).max(), abs(chosen.sum()), 1e-6)
    rows = [*zip(PARTS, chosen, strict=True), ("together", chosen.sum())]
    shapes: list[Shape] = []
    for index, (name, value) in enumerate(rows):
        y = top + 6 + 26 * index + 8 * (name == "together")
        width = REACH * abs(value) / longest
        color = INK if name == "together" else FOR if value > 0 else AGAINST
        shapes += [
            Text(BARS, y + 13, name, bold=name == "together"),
            Rectangle(ZERO - width * (value < 0), y, width, 16, color),
            Text(NUMBERS, y + 13, signed(value), anchor="end"),
        ]
    shapes.append(Lines([(ZERO, top, ZERO, top + 176)], INK, 1))
    return shapes


def runners_up(state: State, total: np.ndarray) -> list[Shape]:
    """The classes with the largest leads here, in a line."""
    best = np.argsort(-total, kind="stable")[:3]
    line = ", ".join(f"{CLASSES[k]} {total[k]:+.1f}" for k in best)
    return [Text(BARS, TOP + SIDE, f"largest leads here: {line}", 11)]


def stage_maps(state: State, sums: np.ndarray, point: tuple[int, int]) -> list[Shape]:
    """The summands of the chosen class everywhere, one small map per part."""
    side, y = 112, 304
    shapes: list[Shape] = [
        Text(4, y - 24, f"What each part adds to “{CLASSES[state.label]}”, everywhere:", bold=True),
        Text(380, y - 24, "orange for it, violet against it, one scale for all", 11),
    ]
    for part, name in enumerate(PARTS):
        x = 4 + part * (side + 12)
        shapes += [
            Text(x, y - 6, name, 11),
            Raster(x, y, side, side, map_file(state.scene, state.label, part), map_=True),
            Rectangle(x, y, side, side, stroke=INK, thickness=0.5),
            *marker(x, y, side, point, sums.shape),
        ]
    return shapes


# Words.


def finding(state: State, chosen: np.ndarray, winner: int) -> str:
    loudest = int(np.abs(chosen[:-1]).argmax())
    side = "for" if chosen[loudest] > 0 else "against"
    name = CLASSES[state.label]
    outcome = f"{name} wins here" if winner == state.label else f"{CLASSES[winner]} wins here"
    return f"{PARTS[loudest].capitalize()} contributes most, {side} “{name}”; {outcome}."


def description(state: State, here: np.ndarray) -> str:
    chosen, total = here[:, state.label], here.sum(0)
    spoken = ", ".join(f"{name} {value:+.2f}" for name, value in zip(PARTS, chosen, strict=True))
    order = ", ".join(CLASSES[k] for k in np.argsort(-total, kind="stable")[:3])
    return (
        f"Scene {state.scene}, {state.down} % from the top and {state.across} % from the left: the "
        f"lead of {CLASSES[state.label]} is {chosen.sum():+.2f}, the sum of {spoken}. The largest "
        f"leads here are those of {order}. Five small maps show the same parts everywhere."
    )


def table(here: np.ndarray) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("class", *PARTS, "lead")]
    for name, parts in zip(CLASSES, here.T, strict=True):
        rows.append((name, *(f"{value:+.2f}" for value in parts), f"{parts.sum():+.2f}"))
    return rows
