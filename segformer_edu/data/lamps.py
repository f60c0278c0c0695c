"""Strips of night in which a lamp at one end decides the class of the balls at the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segformer_edu.data.dataset import DrawnDataset, whole_number

CLASSES = ("night", "red", "green")
HEIGHT, WIDTH = 64, 256  # pixels of a strip
DISTANCE = 141  # pixels from lamp to ball; nano with one block a stage and no attention sees 140
FARTHEST = 150
LIGHTS = {"red": (235, 60, 45), "green": (45, 210, 80)}
SKY, GROUND, BALL = (26, 28, 44), (40, 38, 40), (140, 140, 146)
NOISE = 12  # standard deviation, of 255
TRIES = 100  # to place balls where there is room; then there are fewer


class Disc(NamedTuple):
    """A lamp or a ball: its centre and its radius, in pixels."""

    x: float
    y: float
    radius: float

    def raster(self) -> tuple[np.ndarray, np.ndarray]:
        """How much of each pixel it covers, and how far a ball stands out there, both from 0 to 1.

        Shape: → `(64, 256)`, `(64, 256)`.
        """
        rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        x, y, radius = self
        distance = np.hypot(columns - x, rows - y)
        lit = np.hypot(columns - x + radius / 3, rows - y + radius / 3)  # from above
        return (radius - distance + 0.5).clip(0, 1), (1 - lit / (2 * radius)).clip(0, 1)


class Lamps(DrawnDataset):
    """Strips of 64 × 256 pixels: a lamp, red or green, at one end, and grey balls at the other.

    A ball is of the lamp's class, and nothing near it tells which that is: whoever labels it has to
    look at the lamp, which is of that class, too.

    Args:
        n: how many.
        seed: a whole number from 0; another seed gives other strips.
        distance: the least number of pixels from the lamp's edge to that of a ball.

    Raises:
        ValueError: not a whole number from 0, or no room for the balls at that distance.
    """

    class_names = CLASSES

    def __init__(self, n: int, seed: int = 0, distance: int = DISTANCE) -> None:
        super().__init__(n, seed)
        self.distance = whole_number("distance", distance)
        if distance > FARTHEST:
            raise ValueError(
                f"distance = {distance!r}: give at most {FARTHEST} pixels, so that four balls have "
                f"room in a strip of {WIDTH}."
            )

    def discs(self, index: int) -> list[Disc]:
        """Where lamp and balls stand in strip number `index`, the lamp first."""
        _, mirrored, discs = self._layout(np.random.default_rng([self.seed, index]))
        return [each._replace(x=WIDTH - each.x) if mirrored else each for each in discs]

    def lamp_and_balls(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Which pixels of strip number `index` the lamp touches, and which the balls cover by half
        at least: `(64, 256)`, `(64, 256)` bool.
        """
        lamp, *balls = (disc.raster()[0] for disc in self.discs(index))
        return lamp > 0, np.max(balls, axis=0) > 0.5

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Strip number `index` and its labels: `(64, 256, 3)` uint8, `(64, 256)` uint8."""
        colour, *_ = self._layout(np.random.default_rng([self.seed, index]))
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        for disc in self.discs(index):
            labels[disc.raster()[0] > 0.5] = colour
        return self.relit(index, CLASSES[colour]), labels

    def relit(self, index: int, light: str) -> np.ndarray:
        """Strip number `index`, the lamp in a light of choice, and all else as it is.

        Args:
            index: which strip.
            light: "red", "green", or "night" for a strip without its lamp.

        Shape: → `(64, 256, 3)` uint8.

        Raises:
            ValueError: another light.
        """
        if light not in CLASSES:
            raise ValueError(f"light = {light!r}: choose one of {CLASSES}.")
        rng = np.random.default_rng([self.seed, index])
        _, mirrored, (lamp, *balls) = self._layout(rng)
        night = np.linspace(SKY, GROUND, HEIGHT)[:, None]  # (H, 1, 3)
        image = np.broadcast_to(night, (HEIGHT, WIDTH, 3)).copy()
        if light != "night":
            image += lamp.raster()[0][..., None] * (LIGHTS[light] - image)
        for ball in balls:
            cover, height = ball.raster()
            shade = np.array(BALL) * (0.55 + 0.45 * height)[..., None]
            image += cover[..., None] * (shade - image)
        image += rng.normal(0, NOISE, image.shape)
        image = image.clip(0, 255).astype(np.uint8)
        return image[:, ::-1].copy() if mirrored else image

    def _layout(self, rng: np.random.Generator) -> tuple[int, bool, list[Disc]]:
        """The class of all; whether the strip is mirrored; before that, the lamp, on the left, and
        two to four balls that do not touch, or fewer where there is no room.
        """
        colour = int(rng.integers(1, len(CLASSES)))
        mirrored = bool(rng.random() < 0.5)
        radius = rng.uniform(4, 6)
        lamp = Disc(
            rng.uniform(radius + 2, 16), rng.uniform(radius + 2, HEIGHT - radius - 2), radius
        )
        nearest = lamp.x + lamp.radius + self.distance
        balls: list[Disc] = []
        wanted = rng.integers(2, 5)
        for _ in range(TRIES):
            if len(balls) == wanted:
                break
            size = rng.uniform(6, 10)
            x = rng.uniform(nearest + size, WIDTH - size - 2)
            y = rng.uniform(size + 2, HEIGHT - size - 2)
            if all(np.hypot(x - a, y - b) > size + c + 2 for a, b, c in balls):
                balls.append(Disc(x, y, size))
        return colour, mirrored, [lamp, *balls]
