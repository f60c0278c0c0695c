"""What the model of the lamps looks at when it labels a ball, and what it says without looking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segformer_edu.analysis.attention_heads import cells
from segformer_edu.analysis.attention_maps import attention_maps
from segformer_edu.data.lamps import CLASSES, HEIGHT, WIDTH, Disc, Lamps
from segformer_edu.data.photos import normalize
from segformer_edu.segformer import SegFormer


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


def keys_of_the_lamp(strips: Lamps, index: int, key_size: Sequence[int]) -> Tensor:
    """Which keys are made of pixels of the lamp, `(h, w)`."""
    lamp, _ = strips.lamp_and_balls(index)
    height, width = key_size
    return cells(torch.from_numpy(lamp)[None], (height, width))[0]


def shares_on_lamp(model: SegFormer, strips: Lamps, stage: int) -> dict[str, tuple[float, float]]:
    """For lamps of each colour, the share of a ball's attention that goes to the lamp's keys, and
    the share that would if all keys got the same: means over balls and heads.

    Args: as of `ball_looks`.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CLASSES[1:]}
    for index in range(len(strips)):
        looks = ball_looks(model, strips, index, stage)
        lamp = keys_of_the_lamp(strips, index, looks.shape[2:])
        shares = looks[..., lamp].sum(-1).mean(1)  # (balls,)
        colour = CLASSES[strips.draw(index)[1].max()]
        found[colour] += [(share, lamp.float().mean().item()) for share in shares.tolist()]
    return {colour: tuple(np.mean(each, axis=0).tolist()) for colour, each in found.items()}


@torch.no_grad()
def rightly_labelled_balls(model: SegFormer, strips: Lamps) -> float:
    """The share of the pixels of balls that get the class of their lamp."""
    images, labels = map(
        torch.stack, zip(*map(strips.__getitem__, range(len(strips))), strict=True)
    )
    _, balls = all_lamps_and_balls(strips)
    said = torch.cat([model.predict(part) for part in images.split(25)])
    return (said == labels)[balls].float().mean().item()
