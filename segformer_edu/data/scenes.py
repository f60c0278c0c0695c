"""Street scenes, drawn from a seed: any number, at any size, with the class of every pixel."""

from __future__ import annotations

import numpy as np

from segformer_edu.data.augment import height_and_width
from segformer_edu.data.dataset import DrawnDataset, whole_number
from segformer_edu.data.street.classes import CLASSES
from segformer_edu.data.street.layout import draw_street_scene
from segformer_edu.data.street.shading import photograph
from segformer_edu.data.street.weather import draw_weather

__all__ = ["CLASSES", "Scenes", "scene"]

MIN_SIZE = 16  # pixels: in a smaller picture there is nothing left to recognise


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
    seed, index = whole_number("seed", seed), whole_number("index", index)
    height, width = height_and_width(size, MIN_SIZE)
    rng = np.random.default_rng([seed, index])
    weather = draw_weather(rng)
    canvas = draw_street_scene(rng, weather)
    return photograph(canvas, weather, height, width, np.random.default_rng([seed, index, 1]))


class Scenes(DrawnDataset):
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
        super().__init__(n, seed)
        self.size = height_and_width(size, MIN_SIZE)

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Scene number `index` and its labels: `(H, W, 3)` uint8, `(H, W)` uint8."""
        return scene(self.seed, self.size, index)
