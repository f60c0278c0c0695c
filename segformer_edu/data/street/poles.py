"""Poles and what they carry: lamps, traffic lights, signs."""

from __future__ import annotations

import math

import numpy as np

from segformer_edu.data.street.buildings import pick
from segformer_edu.data.street.canvas import Canvas, Color
from segformer_edu.data.street.classes import POLE
from segformer_edu.data.street.people import limb, oval

METAL: tuple[Color, ...] = (
    (0.45, 0.46, 0.48), (0.62, 0.63, 0.64), (0.24, 0.25, 0.27), (0.20, 0.28, 0.24),
    (0.50, 0.44, 0.36), (0.72, 0.71, 0.68),
)  # fmt: skip
RED, BLUE, GREEN, YELLOW, WHITE, BLACK = (
    (0.78, 0.10, 0.12), (0.10, 0.28, 0.66), (0.08, 0.44, 0.28), (0.94, 0.76, 0.12),
    (0.95, 0.95, 0.94), (0.08, 0.08, 0.09),
)  # fmt: skip


class Board:
    """A flat thing facing the camera: collects its parts, and paints each colour once."""

    def __init__(self, canvas: Canvas, x: float, z: float) -> None:
        self.canvas, self.x, self.z = canvas, x, z
        self.surface = canvas.facing(z)
        self.parts: list[tuple[int, list]] = []

    def add(self, color: Color, corners: list, glow: float = 0.0) -> None:
        self.parts.append((self.canvas.paint(POLE, self.surface, color, glow), corners))

    def box(self, color: Color, left: float, right: float, low: float, high: float) -> None:
        self.add(color, [(left, low), (right, low), (right, high), (left, high)])

    def shaft(self, color: Color, width: float, height: float) -> None:
        """A round pole: one side of it is brighter."""
        r, g, b = color
        half = width / 2
        self.box((r * 0.75, g * 0.75, b * 0.75), -half, half, 0, height)
        self.box((r * 1.15, g * 1.15, b * 1.15), -half * 0.5, half * 0.1, 0, height)
        self.box((r * 0.6, g * 0.6, b * 0.6), -half * 1.4, half * 1.4, 0, 0.25)

    def draw(self) -> None:
        self.canvas.board(self.x, self.z, self.parts)


def lamp(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, toward: int, lit: bool
) -> None:
    """A street lamp, its arm over the road, or a lantern on a post."""
    board = Board(canvas, x, z)
    metal = pick(rng, METAL)
    glow = 1.0 if lit else 0.0
    shine = (1.0, 0.92, 0.70) if lit else (0.85, 0.86, 0.84)
    if rng.random() < 0.4:
        height = rng.uniform(3.2, 4.4)
        board.shaft(metal, rng.uniform(0.24, 0.36), height)
        board.add(metal, oval(0, height + 0.1, 0.2, 0.1))
        board.add(shine, oval(0, height + 0.42, 0.34, 0.42), glow)
        canvas.lamps.append((x, height, z))
    else:
        height, reach = rng.uniform(5.5, 8.0), toward * rng.uniform(1.2, 2.4)
        thick = rng.uniform(0.26, 0.42)
        board.shaft(metal, thick, height)
        board.add(metal, limb((0, height - 0.1), (reach * 0.5, height + 0.35), 0.28, 0.26))
        board.add(metal, limb((reach * 0.45, height + 0.35), (reach, height + 0.4), 0.26, 0.26))
        board.add(
            metal, limb((reach * 0.85, height + 0.42), (reach * 1.3, height + 0.42), 0.44, 0.34)
        )
        board.add(
            shine, limb((reach * 0.9, height + 0.3), (reach * 1.28, height + 0.3), 0.14, 0.14), glow
        )
        canvas.lamps.append((x + reach, height, z))
    board.draw()


def traffic_light(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, toward: int
) -> None:
    """Three lights on a pole, and three more on an arm over the road."""
    board = Board(canvas, x, z)
    metal = pick(rng, METAL)
    arm = rng.random() < 0.5
    height = rng.uniform(5.0, 6.0) if arm else rng.uniform(2.6, 3.4)
    board.shaft(metal, rng.uniform(0.26, 0.42), height)
    state = int(rng.random() * 3)
    heads = [(0.0, 2.3 if arm else height - 0.3)]
    if arm:
        reach = toward * rng.uniform(2.5, 4.5)
        board.add(metal, limb((0, height - 0.1), (reach, height + 0.1), 0.32, 0.28))
        heads.append((reach, height - 1.0))
    for left, low in heads:
        board.box(BLACK, left - 0.34, left + 0.34, low - 0.05, low + 1.2)
        board.box((0.2, 0.2, 0.2), left - 0.28, left + 0.28, low + 0.01, low + 1.14)
        for k, color in enumerate(((0.1, 0.85, 0.4), YELLOW, (0.95, 0.12, 0.1))):
            on = k == state
            r, g, b = color
            shown = color if on else (r * 0.25, g * 0.25, b * 0.25)
            board.add(shown, oval(left, low + 0.22 + 0.36 * k, 0.14, 0.14), 0.9 * on)
    board.draw()


def sign(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """One or two signs on a pole."""
    board = Board(canvas, x, z)
    height = rng.uniform(2.3, 3.3)
    board.shaft(pick(rng, METAL), rng.uniform(0.2, 0.32), height)
    middle = height
    for _ in range(1 + (rng.random() < 0.3)):
        middle -= _plate(board, rng, middle)
    board.draw()


def _plate(board: Board, rng: np.random.Generator, y: float) -> float:
    """One sign around y; returns the height that it takes."""
    size = rng.uniform(0.42, 0.7)
    kind = int(rng.random() * 6)
    if kind == 0:  # no entry
        board.add(WHITE, oval(0, y, size, size))
        board.add(RED, oval(0, y, size * 0.93, size * 0.93))
        board.box(WHITE, -size * 0.62, size * 0.62, y - size * 0.14, y + size * 0.14)
    elif kind == 1:  # a limit
        board.add(RED, oval(0, y, size, size))
        board.add(WHITE, oval(0, y, size * 0.76, size * 0.76))
        board.box(BLACK, -size * 0.4, -size * 0.08, y - size * 0.35, y + size * 0.35)
        board.box(BLACK, size * 0.08, size * 0.4, y - size * 0.35, y + size * 0.35)
    elif kind == 2:  # a warning
        for color, scale in ((RED, 1.15), (WHITE, 0.8)):
            board.add(color, [(scale * size * math.sin(2 * math.pi * k / 3),
                               y - 0.1 + scale * size * math.cos(2 * math.pi * k / 3))
                              for k in range(3)])  # fmt: skip
        board.box(BLACK, -size * 0.09, size * 0.09, y - size * 0.3, y + size * 0.35)
    elif kind == 3:  # stop
        for color, scale in ((WHITE, 1.0), (RED, 0.9)):
            board.add(color, [(scale * size * math.cos(math.pi * (k / 4 + 0.125)),
                               y + scale * size * math.sin(math.pi * (k / 4 + 0.125)))
                              for k in range(8)])  # fmt: skip
        board.box(WHITE, -size * 0.6, size * 0.6, y - size * 0.2, y + size * 0.2)
    elif kind == 4:  # parking
        board.box(BLUE, -size * 0.85, size * 0.85, y - size * 0.9, y + size * 0.9)
        board.box(WHITE, -size * 0.4, -size * 0.15, y - size * 0.6, y + size * 0.6)
        board.add(WHITE, oval(-size * 0.05, y + size * 0.25, size * 0.42, size * 0.38))
        board.add(BLUE, oval(-size * 0.08, y + size * 0.25, size * 0.2, size * 0.17))
    else:  # a direction
        color = (BLUE, GREEN, YELLOW)[int(rng.random() * 3)]
        text = BLACK if color == YELLOW else WHITE
        wide = size * 1.7
        board.box(text, -wide, wide, y - size * 0.62, y + size * 0.62)
        board.box(color, -wide * 0.96, wide * 0.96, y - size * 0.55, y + size * 0.55)
        for row in (0.15, -0.35):
            board.box(text, -wide * 0.7, wide * rng.uniform(0.1, 0.7), y + size * row,
                      y + size * (row + 0.2))  # fmt: skip
    return 2.1 * size
