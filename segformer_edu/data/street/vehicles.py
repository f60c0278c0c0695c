"""Cars, vans and buses: a profile drawn out to the width of the vehicle, and what is on it."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from segformer_edu.data.street.canvas import Canvas
from segformer_edu.data.street.classes import VEHICLE
from segformer_edu.data.street.colors import Color, shaded
from segformer_edu.data.street.shapes import polygon

# What a part is made of
BODY, SIDE, TOP, GLASS, SIDE_GLASS, TYRE, HUB, LAMP, PLATE, TRIM = range(10)
MATERIALS: dict[int, Color] = {
    GLASS: (0.24, 0.29, 0.34),
    SIDE_GLASS: (0.17, 0.21, 0.25),
    TYRE: (0.07, 0.07, 0.08),
    HUB: (0.62, 0.63, 0.65),
    PLATE: (0.92, 0.91, 0.84),
    TRIM: (0.12, 0.12, 0.13),
}
REAR_LAMP, HEADLAMP = (0.75, 0.08, 0.06), (0.95, 0.93, 0.82)
Corner = tuple[float, float, float]  # metres from the rear, half widths to the side, height
Part = tuple[int, list[Corner]]


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

    @property
    def length(self) -> float:
        return self.profile[-2][0]

    def at(self, index: int, t: float) -> Corner:
        """A corner of the profile, t half widths to the side."""
        s, y = self.profile[index]
        first, last = self.cabin
        return s, t * (self.taper if first < index < last else 1), y


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
    """A vehicle as seen from one side: corners of all parts, and (corners, material) of each."""

    corners: np.ndarray
    parts: tuple[tuple[int, int], ...]


@functools.cache
def template(name: str, side: bool, end: str) -> Template:
    """All parts of a model that can be seen, the furthest first.

    Args:
        side: its side is seen; t = 1 lies there.
        end: the end that is seen: "rear", "front", or "" where neither is.
    """
    model = MODELS[name]
    parts = [(TYRE, _disc(s, model.radius, model.radius, -0.95, 10)) for s in model.wheels]
    if end:
        s = model.wheels[0] if end == "rear" else model.wheels[-1]
        parts += [(TYRE, _across(s, left, left + 0.26, 0.0, 0.6)) for left in (-0.98, 0.72)]
    parts += _hull(model, end)
    if end:
        parts += _end(model, end)
    if side:
        parts += _side(model)
    points = np.array([corner for _, part in parts for corner in part])
    return Template(points, tuple((len(part), material) for material, part in parts))


def _disc(s: float, y: float, radius: float, t: float, corners: int) -> list[Corner]:
    """A round thing in the plane of a side, as far as it is above the ground."""
    return [(along, t, max(up, 0.0)) for along, up in polygon(s, y, radius, radius, corners)]


def _across(s: float, left: float, right: float, low: float, high: float) -> list[Corner]:
    """An upright rectangle across the vehicle."""
    return [(s, left, low), (s, right, low), (s, right, high), (s, left, high)]


def _hull(model: Model, end: str) -> list[Part]:
    """The side that is turned away, then the skin between both sides, with its windows."""
    first, last = model.cabin
    count = len(model.profile)
    parts: list[Part] = [(SIDE, [model.at(i, -1) for i in range(count)])]
    edges = range(count - 1)
    for i in reversed(edges) if end == "rear" else edges:
        quad = [model.at(i, -1), model.at(i + 1, -1), model.at(i + 1, 1), model.at(i, 1)]
        flat = abs(model.profile[i][1] - model.profile[i + 1][1]) < 0.2
        parts.append((TOP if flat else BODY, quad))
        if i in (first, last - 1):
            parts.append((GLASS, _inset(quad, 0.12)))
    return parts


def _inset(corners: list[Corner], share: float) -> list[Corner]:
    """A polygon drawn in towards its middle."""
    points = np.array(corners)
    return [(s, t, y) for s, t, y in (points + share * (points.mean(axis=0) - points)).tolist()]


def _side(model: Model) -> list[Part]:
    """Body, cabin, windows, doors and wheels of the side that is seen."""
    first, last = model.cabin
    count = len(model.profile)
    low = [model.at(i, 1) for i in range(count) if i <= first or i >= last]
    cabin = [model.at(i, 1) for i in range(first, last + 1)]
    parts: list[Part] = [(SIDE, low), (SIDE, cabin), *_side_windows(model)]
    wheel = ((TRIM, 1.18, 14), (TYRE, 1.0, 14), (HUB, 0.6, 10), (TRIM, 0.18, 6))
    for s in model.wheels:
        for material, share, corners in wheel:
            parts.append((material, _disc(s, model.radius, share * model.radius, 1, corners)))
    return parts


def _side_windows(model: Model) -> list[Part]:
    """Windows between belt and roof, and below them the seams and handles of a car's doors."""
    first, last = model.cabin
    (rear, belt), (rear_top, roof) = model.profile[first], model.profile[first + 1]
    (front_top, _), (front, front_belt) = model.profile[last - 1], model.profile[last]
    length = front - rear
    sill, head = max(belt, front_belt) + 0.04, roof - 0.1

    def at(share: float, y: float) -> Corner:
        up = (y - belt) / (roof - belt)
        left = rear + (rear_top - rear) * up + 0.1
        right = front + (front_top - front) * up - 0.1
        return left + (right - left) * share, 1 + (model.taper - 1) * up, y

    parts: list[Part] = []
    count, pillar = max(2, round(length / 1.4)), 0.06 / length
    for k in range(count):
        a, b = k / count + pillar, (k + 1) / count - pillar
        parts.append((SIDE_GLASS, [at(a, sill), at(b, sill), at(b, head), at(a, head)]))
        if k and length < 4:
            s = at(k / count, sill)[0]
            for left, right, low, high in (
                (s, s + 0.03, 0.45, belt),
                (s - 0.3, s - 0.1, belt - 0.14, belt - 0.1),
            ):
                mark: list[Corner] = [
                    (left, 1, low), (right, 1, low), (right, 1, high), (left, 1, high)
                ]  # fmt: skip
                parts.append((TRIM, mark))
    return parts


def _end(model: Model, end: str) -> list[Part]:
    """Lamps, number plate, bumper and grille of the end that is seen."""
    rear = end == "rear"
    profile = model.profile if rear else model.profile[::-1]
    s = profile[1][0] + (-0.01 if rear else 0.01)  # in front of the hull
    floor = profile[0][1]
    belt = profile[2][1] if rear else profile[1][1] + 0.25
    low, high = floor + 0.25, min(belt, floor + 0.75)
    parts = [
        (TRIM, _across(s, -0.98, 0.98, floor - 0.08, low - 0.08)),
        (LAMP, _across(s, -0.94, -0.62, low + 0.12, high - 0.05)),
        (LAMP, _across(s, 0.62, 0.94, low + 0.12, high - 0.05)),
        (PLATE, _across(s, -0.28, 0.28, low + 0.02, low + 0.16)),
    ]
    if not rear:
        parts.append((TRIM, _across(s, -0.55, 0.55, low + 0.2, high - 0.06)))
    return parts


def paint_vehicle(
    canvas: Canvas, name: str, color: Color, x: float, z: float, yaw: float, lit: bool
) -> None:
    """A vehicle whose middle stands at (x, z).

    Args:
        name: one of MODELS.
        yaw: where it looks, in radians: 0 is ahead, away from the camera; positive to the right.
        lit: its lamps are on.
    """
    model = MODELS[name]
    ahead_x, ahead_z = math.sin(yaw), math.cos(yaw)
    # The camera, as the vehicle sees it: metres from its rear, and to its right.
    along = -x * ahead_x - z * ahead_z + model.length / 2
    aside = -x * ahead_z + z * ahead_x
    end = "rear" if along < 0 else "front" if along > model.length else ""
    corners, parts = template(name, abs(aside) > model.half_width, end)
    forward = corners[:, 0] - model.length / 2
    right = corners[:, 1] * math.copysign(model.half_width, aside)
    points = np.empty_like(corners)
    points[:, 0] = x + forward * ahead_x + right * ahead_z
    points[:, 1] = corners[:, 2]
    points[:, 2] = np.maximum(z + forward * ahead_z - right * ahead_x, 0.5)
    r, g, b = color
    materials = MATERIALS | {
        BODY: color,
        SIDE: shaded(color, 0.82),
        TOP: (0.15 + 0.9 * r, 0.15 + 0.9 * g, 0.15 + 0.9 * b),  # it mirrors the sky
        LAMP: REAR_LAMP if end == "rear" else HEADLAMP,
    }
    surface = canvas.facing(z)
    paints = {
        material: canvas.paint(VEHICLE, surface, tone, 0.9 if lit and material == LAMP else 0.0)
        for material, tone in materials.items()
    }
    canvas.polygons(points, [(count, paints[material]) for count, material in parts])


def footprint(
    name: str, x: float, z: float, yaw: float, margin: float = 0.0
) -> list[tuple[float, float]]:
    """The corners (x, z) of the ground under a vehicle, and a margin around it."""
    model = MODELS[name]
    half_length, half_width = model.length / 2 + margin, model.half_width + margin
    c, s = math.cos(yaw), math.sin(yaw)
    return [
        (x + ahead * s + right * c, z + ahead * c - right * s)
        for ahead, right in (
            (-half_length, -half_width), (-half_length, half_width),
            (half_length, half_width), (half_length, -half_width),
        )
    ]  # fmt: skip
