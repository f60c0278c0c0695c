"""Street scenes, drawn from a seed: any number, at any size, with the class of every pixel."""

from __future__ import annotations

import operator

import numpy as np

from segformer_edu.data.augment import height_and_width
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.street.classes import CLASSES
from segformer_edu.data.street.layout import draw_street_scene
from segformer_edu.data.street.shading import photograph
from segformer_edu.data.street.weather import draw_weather

__all__ = ["CLASSES", "Scenes", "scene"]

MIN_SIZE = 16  # pixels: in a smaller picture there is nothing left to recognise
LIMIT = 2**32  # of seeds and scenes: below it, no two of them start the same random numbers


def scene(
    seed: int, size: int | tuple[int, int] = 96, index: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """One street scene, and which of `CLASSES` each of its pixels is.

    What stands where depends on the seed and the index alone; the size says how finely it is seen.
    A wider picture sees more to the left and right.

    Args:
        seed: a whole number from 0; another seed gives other scenes.
        size: pixels of a square, or (height, width); 16 at least.
        index: which of the seed's scenes.

    Shape: → `(H, W, 3)` uint8, `(H, W)` uint8.

    Raises:
        ValueError: a seed, index or size that is not such a number.
    """
    seed, index = _whole("seed", seed), _whole("index", index)
    height, width = height_and_width(size, MIN_SIZE)
    rng = np.random.default_rng([seed, index])
    weather = draw_weather(rng)
    canvas = draw_street_scene(rng, weather)
    return photograph(canvas, weather, height, width, np.random.default_rng([seed, index, 1]))


class Scenes(SegmentationDataset):
    """A number of street scenes; each is drawn when it is asked for, the same one every time.

    Args:
        n: how many.
        size: pixels of a square, or (height, width); 16 at least.
        seed: a whole number from 0; another seed gives other scenes, all of them.

    Raises:
        ValueError: a negative or fractional number, or a size below 16.
    """

    class_names = CLASSES

    def __init__(self, n: int, size: int | tuple[int, int] = 96, seed: int = 0) -> None:
        self.n, self.seed = _whole("n", n), _whole("seed", seed)
        self.size = height_and_width(size, MIN_SIZE)

    def __len__(self) -> int:
        return self.n

    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Scene number `index` and its labels; −1 is the last.

        Shape: → `(H, W, 3)` uint8, `(H, W)` uint8.

        Raises:
            IndexError: there is no such scene.
        """
        try:
            number = operator.index(index)
        except TypeError:
            raise ValueError(f"index = {index!r}: a scene's number is a whole number.") from None
        if not -self.n <= number < self.n:
            raise IndexError(f"index = {number}: there are {self.n} scenes, 0 to {self.n - 1}.")
        return scene(self.seed, self.size, number % self.n)


def _whole(name: str, value: int) -> int:
    """The value, if it is a whole number from 0 and below LIMIT; a refusal otherwise."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < LIMIT or isinstance(value, bool):
        raise ValueError(f"{name} = {value!r}: give a whole number from 0 to {LIMIT - 1}.")
    return number
