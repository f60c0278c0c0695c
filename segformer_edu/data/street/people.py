"""People who stand and walk, dressed for the day."""

from __future__ import annotations

import math

import numpy as np

from segformer_edu.data.street.buildings import pick, shaded
from segformer_edu.data.street.canvas import Canvas, Color
from segformer_edu.data.street.classes import PERSON

SKIN: tuple[Color, ...] = (
    (0.93, 0.76, 0.65), (0.82, 0.62, 0.48), (0.62, 0.43, 0.31), (0.42, 0.28, 0.20),
)  # fmt: skip
HAIR: tuple[Color, ...] = (
    (0.12, 0.09, 0.08), (0.30, 0.20, 0.13), (0.60, 0.45, 0.26), (0.62, 0.60, 0.58),
    (0.46, 0.20, 0.12),
)  # fmt: skip
Point = tuple[float, float]
OVAL = 20  # corners of what is round


def limb(start: Point, end: Point, thick: float, thin: float) -> list[Point]:
    """A tapered stroke from one joint to the next."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = math.hypot(dx, dy) or 1.0
    nx, ny = -dy / length / 2, dx / length / 2
    return [
        (start[0] + thick * nx, start[1] + thick * ny),
        (end[0] + thin * nx, end[1] + thin * ny),
        (end[0] - thin * nx, end[1] - thin * ny),
        (start[0] - thick * nx, start[1] - thick * ny),
    ]


def oval(
    x: float, y: float, wide: float, tall: float, start: float = 0.0, turn: float = 1.0
) -> list[Point]:
    """Corners of an ellipse, or of that part of it from `start` on, in turns."""
    return [
        (
            x + wide * math.cos(2 * math.pi * (start + turn * k / OVAL)),
            y + tall * math.sin(2 * math.pi * (start + turn * k / OVAL)),
        )
        for k in range(OVAL)
    ]


def person(canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float) -> None:
    """Someone at (x, z), as tall as `height` in metres."""
    surface = canvas.facing(z)
    dress = (rng.random(), rng.random(), rng.random())
    grey = rng.uniform(0.1, 0.9)
    vivid = rng.uniform(0.2, 1.0)
    coat: Color = tuple(grey + (0.05 + 0.9 * c - grey) * vivid for c in dress)  # type: ignore
    shade = rng.uniform(0.1, 0.55)
    legs: Color = (shade * rng.uniform(0.7, 1.1), shade, shade * rng.uniform(0.9, 1.5))
    skin, hair = pick(rng, SKIN), pick(rng, HAIR)

    def paint(color: Color) -> int:
        return canvas.paint(PERSON, surface, color)

    top, sleeve, trousers, calf = paint(coat), paint(shaded(coat, 0.82)), paint(legs), None
    calf = paint(shaded(legs, 0.85))
    face, crown, shoe = paint(skin), paint(hair), paint((0.1, 0.09, 0.09))
    step = rng.uniform(0.0, 0.55) * (rng.random() < 0.7)
    aside = rng.random() < 0.5  # walks across the view: legs and arms swing in it
    broad = 0.21 if aside else 0.26
    kind = rng.random()
    parts: list[tuple[int, list[Point]]] = []
    swing = step if aside else step * 0.25
    stance = 0.05 if aside else 0.10
    for sign, cloth in ((-1, calf), (1, trousers)):
        hip = (sign * stance, 0.93)
        angle = sign * swing
        knee = (hip[0] + 0.45 * math.sin(angle), 0.93 - 0.43 * math.cos(angle))
        bend = angle - (0.35 * step if sign < 0 else 0.0)
        foot = (knee[0] + 0.45 * math.sin(bend), max(0.05, knee[1] - 0.45 * math.cos(bend)))
        parts.append((shoe, limb((foot[0] - 0.08, 0.04 + foot[1] - 0.05),
                                 (foot[0] + (0.16 if aside else 0.08), 0.03 + foot[1] - 0.05),
                                 0.11, 0.08)))  # fmt: skip
        parts.append((cloth, limb(knee, foot, 0.18, 0.14)))
        parts.append((cloth, limb(hip, (knee[0], knee[1] - 0.03), 0.23, 0.18)))
    arms = []
    for sign in (-1, 1):
        shoulder = (sign * (0.03 if aside else broad - 0.02), 1.42)
        angle = -sign * swing * 0.9 + (0.0 if aside else sign * rng.uniform(0.05, 0.3))
        elbow = (shoulder[0] + 0.3 * math.sin(angle), 1.42 - 0.3 * math.cos(angle))
        hand = (elbow[0] + 0.26 * math.sin(angle * 0.6), elbow[1] - 0.26 * math.cos(angle * 0.6))
        arms.append([
            (face, oval(hand[0], hand[1], 0.05, 0.06)),
            (sleeve, limb(elbow, hand, 0.13, 0.11)),
            (sleeve, limb(shoulder, elbow, 0.16, 0.13)),
        ])  # fmt: skip
    parts += arms[0]
    hem = 0.62 if kind < 0.3 else 0.86
    wide = broad * (1.15 if kind < 0.3 else 0.8)
    torso = [
        (-wide, hem), (wide, hem), (broad * 0.85, 1.1), (broad, 1.42), (broad * 0.6, 1.5),
        (-broad * 0.6, 1.5), (-broad, 1.42), (-broad * 0.85, 1.1),
    ]  # fmt: skip
    parts.append((top, torso))
    if kind > 0.75:  # a backpack
        bag = paint(shaded((dress[1], dress[2], dress[0]), 0.6))
        parts.append((bag, oval(-0.2 if aside else 0.0, 1.24, 0.13, 0.2)))
    if hem > 0.8:
        parts.append((shoe, [(-wide, hem), (wide, hem), (wide, hem + 0.04), (-wide, hem + 0.04)]))
    parts += arms[1]
    parts.append((face, limb((0, 1.46), (0, 1.56), 0.12, 0.11)))
    parts.append((face, oval(0, 1.64, 0.1, 0.13)))
    long_hair = rng.random() < 0.4
    parts.append((crown, oval(0, 1.67, 0.115, 0.12, -0.03, 0.56)))
    if long_hair:
        parts.append((crown, oval(-0.07 if aside else 0.0, 1.58, 0.09 if aside else 0.11, 0.16)))
    scale = height / 1.78
    facing = 1 if rng.random() < 0.5 else -1
    canvas.board(
        x, z, [(fill, [(px * scale * facing, py * scale) for px, py in c]) for fill, c in parts]
    )
