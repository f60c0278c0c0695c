"""Cars, vans and buses: a profile, drawn out to the width of the vehicle, with what is on its sides."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from segformer_edu.data.street.canvas import Canvas, Color
from segformer_edu.data.street.classes import VEHICLE

BODY, SIDE, TOP, GLASS, SIDE_GLASS, TYRE, HUB, LAMP, PLATE, TRIM = range(
    10
)  # what a part is made of
Corners = list[tuple[float, float, float]]
Part = tuple[int, Corners]


class Model(NamedTuple):
    """A kind of vehicle, in metres.

    Attributes:
        profile: (from the rear, height) from the rear bumper over the roof to the front one.
        cabin: which of its corners are the cabin's: the first and the last lie on the belt.
        half_width, taper: half its width, and what of it is left at the roof.
        wheels: their distances from the rear.
        radius: of a wheel.
    """

    profile: tuple[tuple[float, float], ...]
    cabin: tuple[int, int]
    half_width: float
    taper: float
    wheels: tuple[float, ...]
    radius: float


MODELS = {
    "sedan": Model(
        ((0.05, 0.3), (0, 0.6), (0.05, 0.95), (0.8, 1.0), (1.4, 1.42), (2.6, 1.45), (3.4, 1.0),
         (4.35, 0.84), (4.5, 0.55), (4.45, 0.3)),
        (3, 6), 0.9, 0.78, (0.85, 3.65), 0.33,
    ),
    "hatchback": Model(
        ((0.05, 0.3), (0, 0.6), (0.05, 1.0), (0.45, 1.46), (2.2, 1.5), (3.0, 1.02), (3.75, 0.86),
         (3.9, 0.55), (3.85, 0.3)),
        (2, 5), 0.86, 0.8, (0.65, 3.15), 0.32,
    ),
    "suv": Model(
        ((0.05, 0.38), (0, 0.7), (0.05, 1.12), (0.4, 1.72), (2.7, 1.75), (3.4, 1.16), (4.4, 1.04),
         (4.6, 0.65), (4.55, 0.38)),
        (2, 5), 0.95, 0.84, (0.85, 3.7), 0.38,
    ),
    "van": Model(
        ((0.03, 0.35), (0, 0.7), (0.0, 1.2), (0.1, 2.2), (3.9, 2.25), (4.5, 1.25), (5.1, 1.1),
         (5.25, 0.7), (5.2, 0.35)),
        (2, 5), 1.0, 0.92, (1.0, 4.3), 0.36,
    ),
    "bus": Model(
        ((0.02, 0.35), (0, 0.8), (0.0, 1.2), (0.1, 3.0), (10.7, 3.05), (10.95, 1.2), (11.0, 0.8),
         (10.98, 0.35)),
        (2, 5), 1.27, 0.96, (2.4, 8.4), 0.48,
    ),
}  # fmt: skip
COLORS: tuple[Color, ...] = (
    (0.92, 0.92, 0.92), (0.75, 0.76, 0.78), (0.52, 0.53, 0.55), (0.16, 0.16, 0.18),
    (0.30, 0.31, 0.34), (0.62, 0.10, 0.12), (0.80, 0.18, 0.14), (0.12, 0.22, 0.50),
    (0.25, 0.45, 0.72), (0.14, 0.36, 0.26), (0.86, 0.72, 0.20), (0.58, 0.42, 0.30),
    (0.70, 0.66, 0.56), (0.44, 0.26, 0.22), (0.50, 0.62, 0.40), (0.88, 0.50, 0.18),
)  # fmt: skip


class Template(NamedTuple):
    """Parts of a vehicle as numbers: the corners of all of them, and (corners, material) of each."""

    corners: np.ndarray
    parts: tuple[tuple[int, int], ...]


def disc(s: float, y: float, radius: float, t: float, count: int) -> Corners:
    """A round thing on a vehicle's side."""
    turns = [2 * math.pi * k / count for k in range(count)]
    return [(s + radius * math.cos(a), t, y + radius * math.sin(a)) for a in turns]


@functools.cache
def template(name: str, side: bool, end: str) -> Template:
    """All parts of a model that can be seen, the furthest first.

    Corners are (metres from the rear, half widths to the side seen, height).

    Args:
        side: its side is seen.
        end: the end that is seen: "rear", "front", or "" where neither is.
    """
    model = MODELS[name]
    first, last = model.cabin

    def at(index: int, t: float) -> tuple[float, float, float]:
        s, y = model.profile[index]
        return s, t * (model.taper if first < index < last else 1), y

    corners = range(len(model.profile))
    parts: list[Part] = []
    for s in model.wheels:
        parts.append((TYRE, disc(s, model.radius, model.radius, -0.95, 10)))
    if end:
        s = model.wheels[0] if end == "rear" else model.wheels[-1]
        for t in (-0.98, 0.72):
            parts.append((TYRE, [(s, t, 0.0), (s, t + 0.26, 0.0), (s, t + 0.26, 0.6), (s, t, 0.6)]))
    parts.append((SIDE, [at(i, -1) for i in corners]))
    edges = list(corners)[:-1]
    for i in reversed(edges) if end == "rear" else edges:
        quad = [at(i, -1), at(i + 1, -1), at(i + 1, 1), at(i, 1)]
        is_glass = i in (first, last - 1)
        is_top = abs(model.profile[i][1] - model.profile[i + 1][1]) < 0.2
        parts.append((TOP if is_top else BODY, quad))
        if is_glass:
            parts.append((GLASS, _inset(quad, 0.12)))
    if end:
        parts += _end(model, end)
    if side:
        parts += _side(model, at)
    points = np.array([corner for _, part in parts for corner in part])
    return Template(points, tuple((len(part), material) for material, part in parts))


def _inset(corners: Corners, share: float) -> Corners:
    """A polygon drawn in towards its middle."""
    middle = [sum(c[k] for c in corners) / len(corners) for k in range(3)]
    return [
        tuple(c[k] + share * (middle[k] - c[k]) for k in range(3))  # type: ignore[misc]
        for c in corners
    ]


def _side(model: Model, at) -> list[Part]:
    """Body, cabin, windows, doors and wheels of the side that is seen."""
    first, last = model.cabin
    low = [at(i, 1) for i in range(len(model.profile)) if i <= first or i >= last]
    cabin = [at(i, 1) for i in range(first, last + 1)]
    parts: list[Part] = [(SIDE, low), (SIDE, cabin)]
    # Windows lie between two heights of the cabin, cut where its pillars stand.
    (s0, y0), (s1, y1) = model.profile[first], model.profile[first + 1]
    (s2, _), (s3, y3) = model.profile[last - 1], model.profile[last]
    length = s3 - s0
    count = max(2, round(length / 1.4))
    low_y, high_y = max(y0, y3) + 0.04, y1 - 0.1

    def edge(share: float, high: bool) -> tuple[float, float, float]:
        y = high_y if high else low_y
        up = (y - y0) / (y1 - y0)
        left, right = s0 + (s1 - s0) * up + 0.1, s3 + (s2 - s3) * up - 0.1
        return left + (right - left) * share, 1 + (model.taper - 1) * up, y

    gap = 0.06 / length * 2
    for k in range(count):
        a, b = k / count + gap / 2, (k + 1) / count - gap / 2
        parts.append((SIDE_GLASS, [edge(a, False), edge(b, False), edge(b, True), edge(a, True)]))
        if 0 < k < count and length < 4:
            s = edge(k / count, False)[0]
            parts.append((TRIM, [(s, 1, 0.45), (s + 0.03, 1, 0.45), (s + 0.03, 1, y0), (s, 1, y0)]))
            parts.append(
                (TRIM, [(s - 0.3, 1, y0 - 0.14), (s - 0.1, 1, y0 - 0.14),
                        (s - 0.1, 1, y0 - 0.1), (s - 0.3, 1, y0 - 0.1)])
            )  # fmt: skip
    for s in model.wheels:
        parts.append((TRIM, disc(s, model.radius, model.radius * 1.18, 1, 14)))
        parts.append((TYRE, disc(s, model.radius, model.radius, 1, 14)))
        parts.append((HUB, disc(s, model.radius, model.radius * 0.6, 1, 10)))
        parts.append((TRIM, disc(s, model.radius, model.radius * 0.18, 1, 6)))
    return parts


def _end(model: Model, end: str) -> list[Part]:
    """Lamps, number plate, bumper and tyres of the end that is seen."""
    profile = model.profile if end == "rear" else model.profile[::-1]
    s, outward = profile[1][0], -0.01 if end == "rear" else 0.01
    belt, floor = profile[2][1] if end == "rear" else profile[1][1] + 0.25, profile[0][1]
    s += outward

    def box(material: int, left: float, right: float, low: float, high: float) -> Part:
        return material, [(s, left, low), (s, right, low), (s, right, high), (s, left, high)]

    high, middle = min(belt, floor + 0.75), floor + 0.25
    parts = [
        box(TRIM, -0.98, 0.98, floor - 0.08, middle - 0.08),
        box(LAMP, -0.94, -0.62, middle + 0.12, high - 0.05),
        box(LAMP, 0.62, 0.94, middle + 0.12, high - 0.05),
        box(PLATE, -0.28, 0.28, middle + 0.02, middle + 0.16),
    ]
    if end == "front":
        parts.append(box(TRIM, -0.55, 0.55, middle + 0.2, high - 0.06))
    return parts


def vehicle(
    canvas: Canvas,
    name: str,
    color: Color,
    x: float,
    z: float,
    yaw: float,
    lit: bool = False,
) -> None:
    """A vehicle whose middle stands at (x, z).

    Args:
        name: one of MODELS.
        yaw: which way it looks, in radians: 0 is ahead, away from the camera.
        lit: its lamps are on.
    """
    model = MODELS[name]
    length, half = model.profile[-2][0], model.half_width
    ahead_x, ahead_z = math.sin(yaw), math.cos(yaw)
    # the camera in the vehicle's own directions: from the rear, and to the right
    along = -x * ahead_x - z * ahead_z + length / 2
    aside = -x * ahead_z + z * ahead_x
    end = "rear" if along < 0 else "front" if along > length else ""
    corners, parts = template(name, abs(aside) > half, end)
    forward = corners[:, 0] - length / 2
    right = corners[:, 1] * math.copysign(half, aside)
    points = np.stack(
        (
            x + forward * ahead_x + right * ahead_z,
            corners[:, 2],
            np.maximum(z + forward * ahead_z - right * ahead_x, 0.5),
        ),
        axis=-1,
    )
    surface = canvas.facing(z)
    r, g, b = color
    lamp = (0.75, 0.08, 0.06) if end == "rear" else (0.95, 0.93, 0.82)
    materials: tuple[Color, ...] = (
        (r, g, b), (0.82 * r, 0.82 * g, 0.82 * b), (0.15 + 0.9 * r, 0.15 + 0.9 * g, 0.15 + 0.9 * b),
        (0.24, 0.29, 0.34), (0.17, 0.21, 0.25), (0.07, 0.07, 0.08), (0.62, 0.63, 0.65),
        lamp, (0.92, 0.91, 0.84), (0.12, 0.12, 0.13),
    )  # fmt: skip
    glow = [0.9 if lit and material == LAMP else 0.0 for material in range(len(materials))]
    paints = [
        canvas.paint(VEHICLE, surface, c, shine) for c, shine in zip(materials, glow, strict=True)
    ]
    canvas.polygons(points, [(count, paints[material]) for count, material in parts])


def footprint(name: str, x: float, z: float, yaw: float, grow: float = 0.0) -> list:
    """The corners `(x, z)` of the ground under a vehicle."""
    model = MODELS[name]
    half_length, half = model.profile[-2][0] / 2 + grow, model.half_width + grow
    c, s = math.cos(yaw), math.sin(yaw)
    return [
        (x + a * s + b * c, z + a * c - b * s)
        for a, b in (
            (-half_length, -half), (-half_length, half), (half_length, half), (half_length, -half)
        )
    ]  # fmt: skip
