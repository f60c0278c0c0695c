"""What models are trained and tested on: each made once a process, and kept."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from experiments.claims.settings import LAID_ANEW, SIDE, Condition, Run
from segformer_edu.analysis.robustness import corrupted
from segformer_edu.data.dataset import as_tensors
from segformer_edu.data.scenes import Scenes, scene
from segformer_edu.training import balanced_weights

Pictures = tuple[Tensor, Tensor]  # (N, 3, H, W) float32, normalised; (N, H, W) uint8
TEST_SEED = 2026  # which never trained
TRAINING_SEEDS = {"scenes": 0, "tiles": 0, "negatives": 1}
BLOCK = 800  # training pictures are made so many at a time, so that runs of any number share them


def in_one(pictures: list[tuple[np.ndarray, np.ndarray]]) -> Pictures:
    images, labels = zip(*(as_tensors(*each) for each in pictures), strict=True)
    return torch.stack(images), torch.stack(labels).byte()


def training_picture(style: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    image, labels = scene(TRAINING_SEEDS[style], 2 * SIDE if style == "tiles" else SIDE, index)
    if style == "negatives":
        image = 255 - image
    if style == "tiles":
        top, left = (SIDE * number for number in divmod(index % 4, 2))
        here = slice(top, top + SIDE), slice(left, left + SIDE)
        image, labels = image[here], labels[here]
    return image, labels


@cache
def block(style: str, number: int) -> Pictures:
    return in_one([training_picture(style, number * BLOCK + index) for index in range(BLOCK)])


def training_pictures(style: str, scenes: int) -> Pictures:
    """The first of a style."""
    blocks = [block(style, number) for number in range(-(-scenes // BLOCK))]
    images, labels = (torch.cat(part)[:scenes] for part in zip(*blocks, strict=True))
    return images, labels


@cache
def class_weights() -> Tensor:
    """1 / √frequency, the same for all runs."""
    return balanced_weights(Scenes(500, SIDE))


def test_pictures(condition: Condition, run: Run) -> Pictures:
    """What a run is tested on: unseen scenes, or those of its own that it saw first."""
    if condition.pictures == "seen":
        return training_pictures(run.style, min(run.scenes, condition.scenes))
    return unseen(condition)


@cache
def unseen(condition: Condition) -> Pictures:
    kind, amount, count = condition.pictures, condition.amount, condition.scenes
    if kind == "scene":
        return in_one(scenes(count, round(amount * SIDE)))
    if kind in ("mosaic", LAID_ANEW):
        return mosaics(*unseen(Condition(scenes=count)), round(amount))
    if kind == "tiles":
        return tiles(*unseen(Condition("scene", amount, count)), round(amount))
    chances = (np.random.default_rng([TEST_SEED, index]) for index in range(count))
    return in_one(
        [
            (corrupted(image, kind, round(amount), chance), labels)
            for (image, labels), chance in zip(scenes(count, SIDE), chances, strict=True)
        ]
    )


def scenes(count: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    dataset = Scenes(count, size, TEST_SEED)
    return [dataset.picture(index) for index in range(count)]


def mosaics(images: Tensor, labels: Tensor, n: int) -> Pictures:
    """Every n × n pictures side by side as one: more tokens, things as large as before.

    Shape: `(N, 3, H, W)`, `(N, H, W)` → `(M, 3, n H, n W)`, `(M, n H, n W)`, M = ⌊N / n²⌋.
    """
    count = len(images) // n**2

    def together(x: Tensor) -> Tensor:
        x = x[: count * n**2].unflatten(0, (count, n, n))  # (M, n, n, ..., H, W)
        return x.movedim((1, 2), (-4, -2)).flatten(-4, -3).flatten(-2, -1)

    return together(images), together(labels)


def tiles(images: Tensor, labels: Tensor, n: int) -> Pictures:
    """Each picture cut into n × n: as many tokens as before, things larger.

    Shape: `(N, 3, n H, n W)`, `(N, n H, n W)` → `(n² N, 3, H, W)`, `(n² N, H, W)`.
    """

    def apart(x: Tensor) -> Tensor:
        x = x.unflatten(-1, (n, -1)).unflatten(-3, (n, -1))  # (N, ..., n, H, n, W)
        return x.movedim((-4, -2), (1, 2)).flatten(0, 2)

    return apart(images), apart(labels)
