"""Lesson 09's widget: what one token attends to, what the model says there, and by which stage.

The street scenes are seen by nano, and the strips by the model that learned lamps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from segformer_edu.analysis import attention_maps
from segformer_edu.analysis.attention_heads import cells
from segformer_edu.analysis.contributions import contributions
from segformer_edu.data.dataset import DrawnDataset
from segformer_edu.data.lamps import Lamps
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import Scenes
from segformer_edu.plots.labels import overlay
from segformer_edu.plots.style import BLUE, INK, SEQUENTIAL
from segformer_edu.segformer import SegFormer
from segformer_edu.widgets.contributions import BARS, PARTS, bars
from segformer_edu.widgets.explorer import Choices, Explorer, choice, token_at
from segformer_edu.widgets.picture import (
    Picture,
    Raster,
    Rectangle,
    Shape,
    Text,
    frame,
    heat_map,
    jpeg,
)
from segformer_edu.widgets.words import percent, plural, signed

COUNT = 24  # pictures of each kind; the parts of a logit are counted from their mean over these
LAMPS = Lamps(COUNT, seed=2026)
DATA: dict[str, tuple[str, DrawnDataset]] = {
    "scene": ("nano", Scenes(COUNT, 128, seed=707)),
    "strip": ("lamps", LAMPS),
}
PICTURES = (
    *(("scene", number) for number in (3, 4, 10, 11)),
    *(("strip", number) for number in (5, 7)),
)
PERCENTS = tuple(range(0, 101, 2))
MEAN = 0  # the head that stands for the mean of all
BLOCKS = ("first", "last")
SIDE, SMALL, TINY = 416, 122, 44  # widths of the attention's panel, of a picture, of a head's map
LEFT, RIGHT, TOP = 4, BARS, 62
THROUGH = 0.5  # opacity of the attention over the picture
TASK = (
    "Put the cursor on a ball of a strip. In which stages does its token look at the lamp, and do "
    "all heads do so? Then find a token of a street scene that looks at little more than one key, "
    "and one that looks nearly everywhere. Can you tell from the maps which stage matters?"
)


@dataclass(frozen=True)
class State(Choices):
    """The values of the sliders; positions are percentages of the picture's height and width."""

    picture: tuple[str, int] = choice(
        "Picture", PICTURES, ("strip", 5), lambda chosen: f"{chosen[0]} {chosen[1]}"
    )
    stage: int = choice("Stage", (1, 2, 3, 4), 2)
    block: str = choice("Block of the stage", BLOCKS, "last")
    head: int = choice(
        "Head", tuple(range(9)), 1, lambda head: str(head) if head else "mean of all"
    )
    down: int = choice("Cursor, from the top", PERCENTS, 26, percent)
    across: int = choice("Cursor, from the left", PERCENTS, 32, percent)


# What the models see and say, computed once.


class Files(NamedTuple):
    """What stands in the panels of a picture."""

    pale: bytes
    photo: bytes
    answer: bytes
    truth: bytes


@cache
def model(kind: str) -> SegFormer:
    return SegFormer.from_pretrained(DATA[kind][0])


@cache
def drawn(picture: tuple[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """The picture and its labels."""
    kind, number = picture
    return DATA[kind][1].picture(number)


@cache
def all_summands(kind: str) -> torch.Tensor:
    """What each part adds to each class's lead: `(pictures, stages + 1, K, h, w)`."""
    images = torch.cat([normalize(drawn((kind, number))[0]) for number in range(COUNT)])
    shares = contributions(model(kind), images)
    return shares - shares.mean(dim=2, keepdim=True)


@cache
def summands(picture: tuple[str, int]) -> np.ndarray:
    """The same at every pixel, `(stages + 1, K, H, W)`: resized, as the logits are."""
    kind, number = picture
    size = drawn(picture)[0].shape[:2]
    return F.interpolate(all_summands(kind)[number], size, mode="bilinear").numpy()


@cache
def attentions(picture: tuple[str, int]) -> list[list[np.ndarray]]:
    """For each stage and block, what each token attends to: `(heads, H_i, W_i, h, w)`."""
    maps = attention_maps(model(picture[0]), normalize(drawn(picture)[0]))
    return [[weights[0].numpy() for weights in stage] for stage in maps]


@cache
def files(picture: tuple[str, int]) -> Files:
    photo, labels = drawn(picture)
    pale = (photo.mean(-1, keepdims=True).repeat(3, -1) + 255) / 2  # seen under a dark map, too
    answer = summands(picture).sum(0).argmax(0)
    return Files(
        jpeg(pale.astype(np.uint8)),
        jpeg(photo),
        jpeg(overlay(photo, answer, 0.75)),
        jpeg(overlay(photo, labels, 0.75)),
    )


@cache
def on_classes(picture: tuple[str, int], keys: tuple[int, int]) -> np.ndarray:
    """How much of the pixels that a key is made from are of each class: `(K, h, w)`."""
    labels = torch.from_numpy(drawn(picture)[1]).long()
    each = F.one_hot(labels, len(DATA[picture[0]][1].class_names)).permute(2, 0, 1).float()
    return F.adaptive_avg_pool2d(each, keys).numpy()


class Seen(NamedTuple):
    """What is seen from the cursor.

    Attributes:
        token: row and column of the query.
        heads: what each head's query attends to, `(heads, h, w)`.
        weights: the same of the chosen head, or their mean, `(h, w)`.
        on: the share of these weights that lies on each class, `(K,)`.
        parts: what each part of the model adds to each class's lead here, `(stages + 1, K)`.
        probabilities: of each class, `(K,)`.
        true: the class that is right here.
    """

    token: tuple[int, int]
    heads: np.ndarray
    weights: np.ndarray
    on: np.ndarray
    parts: np.ndarray
    probabilities: np.ndarray
    true: int

    @property
    def winner(self) -> int:
        return int(self.probabilities.argmax())

    @property
    def second(self) -> int:
        return int(self.probabilities.argsort()[-2])

    @property
    def lead(self) -> np.ndarray:
        """What each part adds to the lead of the winner over the second, `(stages + 1,)`."""
        return self.parts[:, self.winner] - self.parts[:, self.second]

    @property
    def spread(self) -> float:
        """How many keys, attended to alike, have the entropy of these weights."""
        p = self.weights[self.weights > 0]
        return float(np.exp(-(p * np.log(p)).sum()))


def seen(state: State) -> Seen:
    """What is seen in a state.

    Raises:
        ValueError: a head that the stage does not have.
    """
    maps = attentions(state.picture)[state.stage - 1][0 if state.block == "first" else -1]
    count = len(maps)
    if state.head > count:
        raise ValueError(
            f"Stage {state.stage} has {plural(count, 'head')}, so it has no head {state.head}: "
            f"choose a lower number, or the mean of all."
        )
    token = token_at(maps.shape[1:3], state.down, state.across)
    heads = maps[:, *token]
    weights = heads.mean(0) if state.head == MEAN else heads[state.head - 1]
    labels = drawn(state.picture)[1]
    row, column = token_at(labels.shape, state.down, state.across)
    parts = summands(state.picture)[..., row, column]
    leads = parts.sum(0)
    powers = np.exp(leads - leads.max())
    on = (on_classes(state.picture, weights.shape) * weights).sum((1, 2))
    return Seen(token, heads, weights, on, parts, powers / powers.sum(), int(labels[row, column]))


def draw(state: State) -> Picture:
    """The picture of a state.

    Raises:
        ValueError: a head that the stage does not have.
    """
    found = seen(state)
    tall = drawn(state.picture)[0].shape[0] / drawn(state.picture)[0].shape[1]
    middle = TOP + SMALL * tall + 30
    below = middle + 246
    height = max(TOP + SIDE * tall, below + TINY * tall) + 34
    shapes = [
        Text(LEFT, 20, finding(state, found), 15, bold=True),
        *attention_panel(state, found, tall),
        *pictures(state, found, tall),
        Text(RIGHT, middle, verdict(state, found)),
        Text(RIGHT, middle + 20, f"What makes {lead_of(state, found)}:"),
        *bars(found.lead, middle + 32),
        *head_maps(state, found, below, tall),
    ]
    return Picture(
        height, shapes, finding(state, found), description(state, found), table(state, found)
    )


class Attention(Explorer):
    """Cursor, stage, block and head; the attention from there, the label, and the stages' parts."""

    first, draw, task = State(), staticmethod(draw), TASK
    slow = {files: ["picture"], attentions: ["picture"]}


# Panels.


def attention_panel(state: State, found: Seen, tall: float) -> list[Shape]:
    """The weights over the picture, with a frame around the query's token."""
    (row, column), weights = found.token, found.weights
    rows, columns = attentions(state.picture)[state.stage - 1][0].shape[1:3]
    cell = SIDE * tall / rows, SIDE / columns
    low, high, even = map(weight, (weights.min(), weights.max(), 1 / weights.size))
    return [
        Text(LEFT, TOP - 12, f"{name_of(state)}: {plural(weights.size, 'weight')}"),
        Raster(LEFT, TOP, SIDE, SIDE * tall, files(state.picture).pale),
        Raster(
            LEFT,
            TOP,
            SIDE,
            SIDE * tall,
            heat_map(weights, SEQUENTIAL),
            map_=True,
            opacity=THROUGH,
        ),
        *frame(LEFT + column * cell[1], TOP + row * cell[0], cell[1], cell[0], BLUE),
        Text(
            LEFT,
            TOP + SIDE * tall + 18,
            f"dark {low}, bright {high}; all alike: {even}. Framed: the token that asks.",
            11,
        ),
    ]


def pictures(state: State, found: Seen, tall: float) -> list[Shape]:
    """The picture, the model's answer and the truth, each with the cursor."""
    height, width = drawn(state.picture)[1].shape
    row, column = token_at((height, width), state.down, state.across)
    _, *three = files(state.picture)
    shapes: list[Shape] = []
    for index, (name, file) in enumerate(
        zip((state.picture[0], "the model's answer", "the truth"), three, strict=True)
    ):
        left = RIGHT + index * (SMALL + 13)
        x, y = left + (column + 0.5) * SMALL / width, TOP + (row + 0.5) * SMALL * tall / height
        shapes += [
            Text(left, TOP - 12, name),
            Raster(left, TOP, SMALL, SMALL * tall, file),
            *frame(x - 4, y - 4, 8, 8, BLUE),
        ]
    return shapes


def head_maps(state: State, found: Seen, y: float, tall: float) -> list[Shape]:
    """The weights of every head of the block, small, each in colours of its own."""
    shapes: list[Shape] = [
        Text(RIGHT, y - 18, f"All heads of the {state.block} block of stage {state.stage}:")
    ]
    for head, weights in enumerate(found.heads, start=1):
        x, chosen = RIGHT + (head - 1) * (TINY + 5), head == state.head
        shapes += [
            Raster(x, y, TINY, TINY * tall, heat_map(weights, SEQUENTIAL), map_=True),
            Rectangle(
                x, y, TINY, TINY * tall, stroke=BLUE if chosen else INK, thickness=3 * chosen or 0.5
            ),
            Text(x + TINY / 2, y + TINY * tall + 14, str(head), 11, chosen, "middle"),
        ]
    return shapes


# Words.


def classes(state: State) -> tuple[str, ...]:
    return DATA[state.picture[0]][1].class_names


def name_of(state: State) -> str:
    head = "mean of all heads" if state.head == MEAN else f"head {state.head}"
    return f"Stage {state.stage}, {state.block} block, {head}"


def finding(state: State, found: Seen) -> str:
    kind, number = state.picture
    if kind == "strip":
        lamp = torch.from_numpy(LAMPS.lamp_and_balls(number)[0])
        keys = cells(lamp[None], found.weights.shape)[0].numpy()
        share, target = found.weights[keys].sum(), "keys that the lamp touches"
    else:
        top = int(found.on.argmax())
        share, target = found.on[top], f"pixels of {classes(state)[top]}"
    return (
        f"The weights are as spread as over {found.spread:.1f} of {found.weights.size} keys; "
        f"{percent(round(100 * share))} lie on {target}."
    )


def verdict(state: State, found: Seen) -> str:
    names, sure = classes(state), found.probabilities[found.winner]
    return (
        f"Here: {names[found.winner]}, with probability {probability(sure)}; true: "
        f"{names[found.true]}"
    )


def lead_of(state: State, found: Seen) -> str:
    names = classes(state)
    return f"the lead of {names[found.winner]} over {names[found.second]}"


def weight(share: float) -> str:
    """A weight of attention, without powers of ten."""
    return "under 0.0001" if share < 1e-4 else f"{share:#.2g}"


def probability(share: float) -> str:
    """A probability in percent, 100 % only where nothing is left."""
    return "over 99.9 %" if 1 > share > 0.9995 else f"{100 * share:.1f} %"


def description(state: State, found: Seen) -> str:
    row, column = np.unravel_index(found.weights.argmax(), found.weights.shape)
    rows, columns = found.weights.shape
    spoken = ", ".join(
        f"{part} {signed(value)}" for part, value in zip(PARTS, found.lead, strict=True)
    )
    return (
        f"{name_of(state)}. {state.picture[0].capitalize()} {state.picture[1]}, {state.down} % "
        f"from the top and {state.across} % from the left. The key with most weight "
        f"({found.weights.max():.2g}) is in row {row + 1} of {rows} and column {column + 1} of "
        f"{columns}. {verdict(state, found)}. {lead_of(state, found).capitalize()} is "
        f"{signed(found.lead.sum())}, the sum of {spoken}. Small maps show "
        f"{plural(len(found.heads), 'head')} of this block."
    )


def table(state: State, found: Seen) -> list[tuple[str, ...]]:
    """Class by class: the attention on it, its area, its probability, and who adds to its lead."""
    area = on_classes(state.picture, found.weights.shape).mean((1, 2))
    rows: list[tuple[str, ...]] = [
        ("class", "attention on its pixels", "area", "probability", *PARTS, "lead")
    ]
    for label, name in enumerate(classes(state)):
        parts = found.parts[:, label]
        shares = (found.on[label], area[label], found.probabilities[label])
        rows.append(
            (
                name,
                *(f"{100 * share:.1f} %" for share in shares),
                *map(signed, parts),
                signed(parts.sum()),
            )
        )
    return rows
