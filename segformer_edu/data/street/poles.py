"""Poles, and those among them that shine: street lamps and traffic lights."""

from __future__ import annotations

import numpy as np

from segformer_edu.data.street.canvas import Canvas
from segformer_edu.data.street.classes import POLE
from segformer_edu.data.street.colors import Color, pick, shaded
from segformer_edu.data.street.shapes import Point, box, limb, oval

METAL: tuple[Color, ...] = (
    (0.45, 0.46, 0.48), (0.62, 0.63, 0.64), (0.24, 0.25, 0.27), (0.20, 0.28, 0.24),
    (0.50, 0.44, 0.36), (0.72, 0.71, 0.68),
)  # fmt: skip
LAMP_ON, LAMP_OFF = (1.0, 0.92, 0.70), (0.85, 0.86, 0.84)
SIGNALS: tuple[Color, ...] = ((0.10, 0.85, 0.40), (0.94, 0.76, 0.12), (0.95, 0.12, 0.10))
HOUSING, HOUSING_RIM = (0.20, 0.20, 0.20), (0.08, 0.08, 0.09)


class Pole:
    """Flat parts that face the camera, around a shaft at (x, z)."""

    def __init__(self, canvas: Canvas, x: float, z: float) -> None:
        self.canvas, self.x, self.z = canvas, x, z
        self.surface = canvas.facing(z)
        self.parts: list[tuple[int, list[Point]]] = []

    def add(self, color: Color, corners: list[Point], glow: float = 0.0) -> None:
        """One more part, in metres to the right of the shaft and up, before the earlier ones."""
        self.parts.append((self.canvas.paint(POLE, self.surface, color, glow), corners))

    def add_shaft(self, color: Color, width: float, height: float) -> None:
        """A round pole on a foot: the light comes from one side."""
        half = width / 2
        self.add(shaded(color, 0.75), box(-half, half, 0, height))
        self.add(shaded(color, 1.15), box(-half * 0.5, half * 0.1, 0, height))
        self.add(shaded(color, 0.6), box(-half * 1.4, half * 1.4, 0, 0.25))

    def paint(self) -> None:
        """Hand all parts to the canvas."""
        self.canvas.board(self.x, self.z, self.parts)


def paint_lamp(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, toward: int, lit: bool
) -> None:
    """A lantern on a post, or a street lamp whose arm points left, −1, or right, 1."""
    pole, metal = Pole(canvas, x, z), pick(rng, METAL)
    shine, glow = (LAMP_ON, 1.0) if lit else (LAMP_OFF, 0.0)
    if rng.random() < 0.4:
        height, reach = rng.uniform(3.2, 4.4), 0.0
        pole.add_shaft(metal, rng.uniform(0.24, 0.36), height)
        pole.add(metal, oval(0, height + 0.1, 0.2, 0.1))
        pole.add(shine, oval(0, height + 0.42, 0.34, 0.42), glow)
    else:
        height, reach = rng.uniform(5.5, 8.0), toward * rng.uniform(1.2, 2.4)
        pole.add_shaft(metal, rng.uniform(0.26, 0.42), height)
        elbow, tip = (reach * 0.5, height + 0.35), (reach, height + 0.4)
        pole.add(metal, limb((0, height - 0.1), elbow, 0.28, 0.26))
        pole.add(metal, limb(elbow, tip, 0.26, 0.26))
        hood = height + 0.42
        pole.add(metal, limb((reach * 0.85, hood), (reach * 1.3, hood), 0.44, 0.34))
        bulb = height + 0.3
        pole.add(shine, limb((reach * 0.9, bulb), (reach * 1.28, bulb), 0.14, 0.14), glow)
    if lit:
        canvas.lamps.append((x + reach, height, z))
    pole.paint()


def paint_traffic_light(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, toward: int
) -> None:
    """Three lights on a pole; some have three more on an arm that points left, −1, or right, 1."""
    pole, metal = Pole(canvas, x, z), pick(rng, METAL)
    has_arm = rng.random() < 0.5
    height = rng.uniform(5.0, 6.0) if has_arm else rng.uniform(2.6, 3.4)
    pole.add_shaft(metal, rng.uniform(0.26, 0.42), height)
    on = int(rng.random() * len(SIGNALS))
    _add_signals(pole, 0.0, 2.3 if has_arm else height - 0.3, on)
    if has_arm:
        reach = toward * rng.uniform(2.5, 4.5)
        pole.add(metal, limb((0, height - 0.1), (reach, height + 0.1), 0.32, 0.28))
        _add_signals(pole, reach, height - 1.0, on)
    pole.paint()


def _add_signals(pole: Pole, x: float, low: float, on: int) -> None:
    """Green, yellow and red in their housing, one of them on."""
    pole.add(HOUSING_RIM, box(x - 0.34, x + 0.34, low - 0.05, low + 1.2))
    pole.add(HOUSING, box(x - 0.28, x + 0.28, low + 0.01, low + 1.14))
    for k, color in enumerate(SIGNALS):
        lens = oval(x, low + 0.22 + 0.36 * k, 0.14, 0.14)
        pole.add(color if k == on else shaded(color, 0.25), lens, 0.9 if k == on else 0.0)
