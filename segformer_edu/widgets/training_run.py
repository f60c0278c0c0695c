"""Lesson 08's widget: what a model predicts for street scenes in the course of its training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from segformer_edu.data.scenes import CLASSES, scene
from segformer_edu.plots.style import BLUE, GREY, INK, ORANGE, PALE, class_colors
from segformer_edu.training.metrics import Scores, scores
from segformer_edu.training.pictures import VALIDATION_SEED
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

STEPS = (0, 10, 25, 50, 100, 150, 250, 400, 550, 700, 850, 1000)
SHOWN = (0, 1, 2, 3, 4, 5)  # which of the unseen scenes
SIDE, GAP, TOP = 198, 12, 58  # of a panel, between panels, where they begin
CHART, CHART_WIDTH, CHART_TOP, CHART_HEIGHT = 34, 400, 312, 150
HIGHEST_LOSS = 2.5  # in the chart
BARS = 500  # where the classes are listed
RUN = Path(__file__).with_suffix(".npz")
TASK = (
    "Find the first step at which 60 % of all pixels are right. Which class does the model hardly "
    "know by then? Then find the scene on which it does worst at the end, and say how the wrong "
    "pixels there differ from those of scene 1."
)


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders."""

    step: int = choice("Steps of training", STEPS, 100)
    scene: int = choice("Unseen scene", SHOWN, 0, lambda number: str(number + 1))


class Run(NamedTuple):
    """A run as `experiments/training.py` saves it.

    Attributes:
        predictions: `(scenes, steps, 96, 96)` uint8.
        confusions: `(steps, K, K)` int64, on all unseen scenes.
        losses: `(1000,)`, of every step.
    """

    predictions: np.ndarray
    confusions: np.ndarray
    losses: np.ndarray


@cache
def saved() -> Run:
    with np.load(RUN) as file:
        return Run(*(file[name] for name in Run._fields))


@cache
def unseen(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An unseen scene and its labels, `(96, 96, 3)` and `(96, 96)` uint8."""
    return scene(VALIDATION_SEED, 96, number)


@cache
def found_at(step: int) -> Scores:
    """The scores of the model after a step, on all unseen scenes."""
    return scores(torch.from_numpy(saved().confusions[STEPS.index(step)]))


@cache
def unseen_files(number: int) -> tuple[bytes, bytes]:
    """The same two as files for a `Raster`."""
    image, labels = unseen(number)
    return jpeg(image), label_map(labels)


@cache
def loss_curve() -> list[tuple[int, float]]:
    """Every tenth step, and how far from the top of the chart its running mean of the loss lies."""
    losses = saved().losses
    ends = range(10, len(losses) + 1, 10)
    return [(end, 1 - float(losses[max(0, end - 20) : end].mean()) / HIGHEST_LOSS) for end in ends]


def draw(state: State) -> Picture:
    """The picture of a state."""
    photo_file, labels_file = unseen_files(state.scene)
    _, labels = unseen(state.scene)
    predicted = saved().predictions[SHOWN.index(state.scene), STEPS.index(state.step)]
    right = float((predicted == labels).mean())
    wrong = np.where(predicted == labels, 255, labels)
    panels = {
        "the scene": photo_file,
        "its labels": labels_file,
        "what the model says": label_map(predicted),
        "missed: what it should have said": label_map(wrong),
    }
    shapes: list[Shape] = [Text(4, 20, finding(state), 15, bold=True)]
    for number, (caption, file) in enumerate(panels.items()):
        x = 4 + number * (SIDE + GAP)
        shapes += [
            Text(x, TOP - 8, caption, 11),
            Raster(x, TOP, SIDE, SIDE, file, map_=number > 0),
            Rectangle(x, TOP, SIDE, SIDE, stroke=GREY),
        ]
    shapes += [
        Text(4, 290, f"{percent(right)} of this scene's pixels are right.", 12),
        *curves(state),
        *bars(state),
    ]
    return Picture(506, shapes, finding(state), description(state, right), table_of(state))


class TrainingRun(Explorer):
    """The steps of a run, an unseen scene, and the curves and scores that go with them."""

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {unseen_files: ["scene"]}


def label_map(labels: np.ndarray) -> bytes:
    """Labels in the colours of their classes, 255 in white, as a file for a `Raster`."""
    colors = class_colors(256)
    colors[255] = 255
    return paletted(labels.astype(np.uint8), colors)


# Panels.


def curves(state: State) -> list[Shape]:
    """The loss as a running mean, and mIoU and pixel accuracy where they were measured."""
    last = len(saved().losses)
    lines = {
        GREY: loss_curve(),
        BLUE: [(step, 1 - found_at(step).miou) for step in STEPS],
        ORANGE: [(step, 1 - found_at(step).pixel_accuracy) for step in STEPS],
    }
    shapes: list[Shape] = [
        Rectangle(CHART, CHART_TOP, CHART_WIDTH, CHART_HEIGHT, stroke=PALE),
        Text(CHART, CHART_TOP + CHART_HEIGHT + 16, "0", 11),
        Text(
            CHART + CHART_WIDTH, CHART_TOP + CHART_HEIGHT + 16, f"step {last:,}", 11, anchor="end"
        ),
        Text(CHART - 6, CHART_TOP + 10, "1", 11, anchor="end"),
        Text(CHART - 6, CHART_TOP + CHART_HEIGHT, "0", 11, anchor="end"),
    ]
    for color, line in lines.items():
        on_paper = [
            (CHART + CHART_WIDTH * step / last, CHART_TOP + CHART_HEIGHT * max(0.0, float(down)))
            for step, down in line
        ]
        segments = [(*here, *there) for here, there in zip(on_paper, on_paper[1:], strict=False)]
        shapes.append(Lines(segments, color, 1 if color == GREY else 2))
    x = CHART + CHART_WIDTH * state.step / last
    shapes.append(Lines([(x, CHART_TOP, x, CHART_TOP + CHART_HEIGHT)], INK, 1.5))
    legend = {"pixel accuracy": ORANGE, "mIoU": BLUE, f"loss (top: {HIGHEST_LOSS})": GREY}
    for number, (name, color) in enumerate(legend.items()):
        y = CHART_TOP + CHART_HEIGHT + 32
        left = CHART + 140 * number
        shapes += [Lines([(left, y - 4, left + 18, y - 4)], color, 3), Text(left + 24, y, name, 11)]
    return shapes


def bars(state: State) -> list[Shape]:
    """The IoU of each class, in its colour, with its name."""
    shapes: list[Shape] = [Text(BARS, 290, "IoU of each class, on 200 unseen scenes", 12)]
    classes = zip(CLASSES, class_colors(len(CLASSES)), found_at(state.step).iou, strict=True)
    for row, (name, color, iou) in enumerate(classes):
        y = CHART_TOP + 21 * row
        fill = "#" + "".join(f"{value:02X}" for value in color)
        shapes += [
            Text(BARS, y + 12, name, 12),
            Rectangle(BARS + 82, y, 200, 15, PALE),
            Rectangle(BARS + 82, y, max(200 * iou, 1), 15, fill, stroke=INK, thickness=0.5),
            Text(BARS + 290, y + 12, f"{iou:.2f}", 12),
        ]
    return shapes


def table_of(state: State) -> list[tuple[str, str]]:
    found = found_at(state.step)
    return [
        ("class", "IoU"),
        *((name, f"{iou:.2f}") for name, iou in zip(CLASSES, found.iou, strict=True)),
        ("mean", f"{found.miou:.2f}"),
        ("pixel accuracy", f"{found.pixel_accuracy:.2f}"),
    ]


# Words.


def finding(state: State) -> str:
    found = found_at(state.step)
    return (
        f"After {state.step:,} steps: mIoU {found.miou:.2f}, and "
        f"{percent(found.pixel_accuracy)} of the pixels right."
    )


def description(state: State, right: float) -> str:
    iou = found_at(state.step).iou
    order = np.argsort(iou)
    return (
        f"Unseen scene {state.scene + 1}, its labels and what the model says of it: "
        f"{percent(right)} of its pixels are right. Of all classes, {CLASSES[order[-1]]} is "
        f"learned best (IoU {iou[order[-1]]:.2f}), {CLASSES[order[0]]} least ({iou[order[0]]:.2f})."
    )


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"
