"""A street under construction: its measures, its camera, and what has been put where."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segformer_edu.data.street.camera import Camera
from segformer_edu.data.street.canvas import Canvas
from segformer_edu.data.street.weather import Weather

NEAR, FAR = 0.8, 300.0  # metres ahead: in front of the lowest ray, and as good as the horizon
BENDS = (2, 4, 7, 11, 16, 23, 33, 48, 70, 110, 180)  # metres ahead: corners of a bent line
CROSSING_HALF = 3.2  # half the width of a road that crosses
Corner = tuple[float, float, float]


@dataclass(frozen=True)
class Street:
    """The street's own measures, in metres.

    Attributes:
        center: of the road, to the right of the camera, at the camera.
        bend: the road's curvature; positive bends to the right.
        half: half the width of the road.
        walks: widths of the left and the right sidewalk.
        crossing: how far ahead another road crosses, or None.
        length: where the street ends.
    """

    center: float
    bend: float
    half: float
    walks: tuple[float, float]
    crossing: float | None
    length: float

    def x(self, offset: float, z: float) -> float:
        """Where a line `offset` metres to the right of the road's middle is, z metres ahead."""
        return self.center + offset + self.bend * z * z / 2

    def edge(self, side: int) -> float:
        """The offset at which the houses of a side stand: −1 is left, 1 is right."""
        return side * (self.half + self.walks[side > 0])

    def near_crossing(self, z: float) -> bool:
        """Whether something there would stand in the way of those who cross."""
        return self.crossing is not None and abs(z - self.crossing) < 9


def draw_street(rng: np.random.Generator) -> Street:
    """One street of many."""
    half = rng.uniform(2.8, 5.6)
    from_sidewalk = rng.random() < 0.2
    center = -half * rng.uniform(-0.6, 0.6)
    if from_sidewalk:
        center = (half + 1.0) * (1 if rng.random() < 0.5 else -1)
    return Street(
        center,
        rng.uniform(-0.008, 0.008) if rng.random() < 0.6 else 0.0,
        half,
        (rng.uniform(2.5, 6.5), rng.uniform(2.5, 6.5)),
        rng.uniform(9, 34) if rng.random() < 0.55 else None,
        rng.uniform(40, 150),
    )


def draw_camera(rng: np.random.Generator) -> Camera:
    """One camera of many."""
    return Camera(
        height=rng.uniform(1.6, 3.4),
        focal=rng.uniform(0.8, 1.35),
        horizon=rng.uniform(0.36, 0.58),
        vanishing=rng.uniform(-0.22, 0.22),
        roll=rng.uniform(-0.045, 0.045),
    )


class Site:
    """Where things are put: the ground is painted at once, what stands on it when all is known.

    Attributes:
        parked: (x, z) of each vehicle, so that nothing is put where one stands.
    """

    def __init__(self, rng: np.random.Generator, weather: Weather) -> None:
        self.rng, self.weather = rng, weather
        self.street = draw_street(rng)
        self.canvas = Canvas(draw_camera(rng))
        self.parked: list[tuple[float, float]] = []
        self._standing: list[tuple[float, Callable[[], None]]] = []

    def stand(self, depth: float, paint: Callable[[], None]) -> None:
        """Have something painted after all that is further away than `depth`."""
        self._standing.append((depth, paint))

    def paint_standing(self) -> None:
        """Paint all that stands, the furthest first."""
        for _, paint in sorted(self._standing, key=lambda item: -item[0]):
            paint()

    def small(self, size: float, z: float, pixels: float) -> bool:
        """Whether `size` metres are so far away that they cover fewer of a picture's 96 pixels."""
        return size * self.canvas.camera.focal / z < pixels / 96

    def taken(self, x: float, z: float, aside: float, ahead: float) -> bool:
        """Whether a vehicle stands so near, to the side and ahead."""
        return any(abs(x - px) < aside and abs(z - pz) < ahead for px, pz in self.parked)

    def strip(self, left: float, right: float, start: float, end: float) -> list[Corner]:
        """A band of ground along the street, between two offsets: its corners."""
        ahead = [start, *(z for z in BENDS if start < z < end), end]
        middle = [(self.street.x(0, z), z) for z in ahead]
        out = [(x + left, 0.0, z) for x, z in middle]
        return out + [(x + right, 0.0, z) for x, z in reversed(middle)]

    def cast(self, x: float, z: float, height: float, crown: float = 0.0) -> None:
        """The shadow of something upright at (x, z), which carries a round crown if it has one."""
        (sun_x, sun_z), thin = self.weather.sun, 0.15
        if not self.weather.sunny:
            return
        tip_x, tip_z = x + sun_x * height, z + sun_z * height
        length = math.hypot(sun_x, sun_z)
        nx, nz = -sun_z / length * thin, sun_x / length * thin
        self.canvas.shade(
            [(x + nx, z + nz), (tip_x + nx, tip_z + nz), (tip_x - nx, tip_z - nz), (x - nx, z - nz)]
        )
        if crown:
            radius = crown * max(1.0, length)
            turns = [2 * math.pi * k / 16 for k in range(16)]
            self.canvas.shade(
                [(tip_x + radius * math.cos(a), tip_z + radius * math.sin(a)) for a in turns]
            )
