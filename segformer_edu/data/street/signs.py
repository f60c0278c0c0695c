"""Traffic signs: one or two plates on a pole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segformer_edu.data.street.canvas import Canvas
from segformer_edu.data.street.colors import Color, pick
from segformer_edu.data.street.poles import METAL, Pole
from segformer_edu.data.street.shapes import box, oval, polygon

RED, BLUE, GREEN, YELLOW, WHITE, BLACK = (
    (0.78, 0.10, 0.12), (0.10, 0.28, 0.66), (0.08, 0.44, 0.28), (0.94, 0.76, 0.12),
    (0.95, 0.95, 0.94), (0.08, 0.08, 0.09),
)  # fmt: skip


def paint_sign(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A sign at (x, z), and now and then another below it."""
    pole, height = Pole(canvas, x, z), rng.uniform(2.3, 3.3)
    pole.add_shaft(pick(rng, METAL), rng.uniform(0.2, 0.32), height)
    y = height
    for _ in range(1 + (rng.random() < 0.3)):
        size = rng.uniform(0.42, 0.7)
        pick(rng, PLATES)(pole, rng, y, size)
        y -= 2.1 * size
    pole.paint()


def _no_entry(pole: Pole, rng: np.random.Generator, y: float, size: float) -> None:
    pole.add(WHITE, oval(0, y, size, size))
    pole.add(RED, oval(0, y, size * 0.93, size * 0.93))
    pole.add(WHITE, box(-size * 0.62, size * 0.62, y - size * 0.14, y + size * 0.14))


def _speed_limit(pole: Pole, rng: np.random.Generator, y: float, size: float) -> None:
    pole.add(RED, oval(0, y, size, size))
    pole.add(WHITE, oval(0, y, size * 0.76, size * 0.76))
    for middle in (-0.24, 0.24):  # two figures, too far away to read
        left, right = size * (middle - 0.16), size * (middle + 0.16)
        pole.add(BLACK, box(left, right, y - size * 0.35, y + size * 0.35))


def _warning(pole: Pole, rng: np.random.Generator, y: float, size: float) -> None:
    for color, radius in ((RED, 1.15 * size), (WHITE, 0.8 * size)):
        pole.add(color, polygon(0, y - 0.1, radius, radius, 3, (0.25, 1.25)))
    pole.add(BLACK, box(-size * 0.09, size * 0.09, y - size * 0.3, y + size * 0.35))


def _stop(pole: Pole, rng: np.random.Generator, y: float, size: float) -> None:
    for color, radius in ((WHITE, size), (RED, 0.9 * size)):
        pole.add(color, polygon(0, y, radius, radius, 8, (1 / 16, 17 / 16)))
    pole.add(WHITE, box(-size * 0.6, size * 0.6, y - size * 0.2, y + size * 0.2))


def _parking(pole: Pole, rng: np.random.Generator, y: float, size: float) -> None:
    pole.add(BLUE, box(-size * 0.85, size * 0.85, y - size * 0.9, y + size * 0.9))
    pole.add(WHITE, box(-size * 0.4, -size * 0.15, y - size * 0.6, y + size * 0.6))
    bow = y + size * 0.25
    pole.add(WHITE, oval(-size * 0.05, bow, size * 0.42, size * 0.38))
    pole.add(BLUE, oval(-size * 0.08, bow, size * 0.2, size * 0.17))


def _direction(pole: Pole, rng: np.random.Generator, y: float, size: float) -> None:
    color = pick(rng, (BLUE, GREEN, YELLOW))
    text: Color = BLACK if color == YELLOW else WHITE
    wide = size * 1.7
    pole.add(text, box(-wide, wide, y - size * 0.62, y + size * 0.62))
    pole.add(color, box(-wide * 0.96, wide * 0.96, y - size * 0.55, y + size * 0.55))
    for low in (y + size * 0.15, y - size * 0.35):
        pole.add(text, box(-wide * 0.7, wide * rng.uniform(0.1, 0.7), low, low + size * 0.2))


PLATES: tuple[Callable[[Pole, np.random.Generator, float, float], None], ...] = (
    _no_entry, _speed_limit, _warning, _stop, _parking, _direction,
)  # fmt: skip
