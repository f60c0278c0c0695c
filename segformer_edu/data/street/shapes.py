"""Outlines from which people, poles and wheels are put together."""

from __future__ import annotations

import math

Point = tuple[float, float]


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


def box(left: float, right: float, low: float, high: float) -> list[Point]:
    """An upright rectangle."""
    return [(left, low), (right, low), (right, high), (left, high)]


def oval(
    x: float, y: float, wide: float, tall: float, turns: tuple[float, float] = (0.0, 1.0)
) -> list[Point]:
    """An ellipse of these half axes, or the part of it between two turns: 0.25 is its top."""
    return polygon(x, y, wide, tall, 20, turns)


def polygon(
    x: float,
    y: float,
    wide: float,
    tall: float,
    corners: int,
    turns: tuple[float, float] = (0.0, 1.0),
) -> list[Point]:
    """Corners at even steps along an ellipse."""
    start, end = turns
    angles = [2 * math.pi * (start + (end - start) * k / corners) for k in range(corners)]
    return [(x + wide * math.cos(a), y + tall * math.sin(a)) for a in angles]
