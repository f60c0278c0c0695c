"""What the model of the lamps looks at when it labels a ball, and what it says without looking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segformer_edu.analysis.attention_heads import attention_between
from segformer_edu.analysis.attention_maps import attention_maps
from segformer_edu.data.lamps import CLASSES, HEIGHT, WIDTH, Disc, Lamps
from segformer_edu.data.photos import normalize
from segformer_edu.segformer import SegFormer


def all_strips(strips: Lamps) -> tuple[Tensor, Tensor]:
    """All strips as a model takes them, and their labels: `(N, 3, 64, 256)`, `(N, 64, 256)`."""
    images, labels = zip(*(strips[number] for number in range(len(strips))), strict=True)
    return torch.stack(images), torch.stack(labels)


def all_relit(strips: Lamps, light: str) -> Tensor:
    """All strips as a model takes them, with another light in their lamps: `(N, 3, 64, 256)`."""
    return torch.cat([normalize(strips.relit(number, light)) for number in range(len(strips))])


def all_lamps_and_balls(strips: Lamps) -> tuple[Tensor, Tensor]:
    """Which pixels are of the lamp, and which of balls, in all strips: `(N, 64, 256)` bool each."""
    lamps, balls = zip(*map(strips.lamp_and_balls, range(len(strips))), strict=True)
    return torch.from_numpy(np.stack(lamps)), torch.from_numpy(np.stack(balls))


def ball_looks(model: SegFormer, strips: Lamps, index: int, stage: int) -> Tensor:
    """What the token in the middle of each ball attends to, in a stage's first block.

    Args:
        model: with one block in each stage, as the one that ships.
        strips: a data set.
        index: which of its strips.
        stage: from 0.

    Shape: → `(balls, heads, h, w)`.
    """
    _, *balls = strips.discs(index)
    (weights,) = attention_maps(model, normalize(strips.draw(index)[0]))[stage][0]
    height, width = weights.shape[1:3]
    tokens = [(int(down * height), int(right * width)) for down, right in middles(balls)]
    return torch.stack([weights[:, row, column] for row, column in tokens])


def middles(discs: Sequence[Disc]) -> list[tuple[float, float]]:
    """How far down and how far right each disc stands, in shares of the strip's sides."""
    return [(each.y / HEIGHT, each.x / WIDTH) for each in discs]


def shares_on_lamp(model: SegFormer, strips: Lamps, stage: int) -> dict[str, tuple[float, float]]:
    """For lamps of each colour, the share of the balls' attention that goes to the lamp, and the
    share that would if all keys got the same, as `attention_between` counts them.

    Args: as of `ball_looks`.
    """
    images, labels = all_strips(strips)
    lamps, balls = all_lamps_and_balls(strips)
    found = {}
    for number, colour in enumerate(CLASSES[1:], start=1):
        of = labels.amax((1, 2)) == number
        found[colour] = attention_between(model, images[of], balls[of], lamps[of])[stage]
    return found


@torch.no_grad()
def rightly_labelled_balls(model: SegFormer, strips: Lamps) -> float:
    """The share of the pixels of balls that get the class of their lamp."""
    images, labels = all_strips(strips)
    _, balls = all_lamps_and_balls(strips)
    said = torch.cat([model.predict(part) for part in images.split(25)])
    return (said == labels)[balls].float().mean().item()
