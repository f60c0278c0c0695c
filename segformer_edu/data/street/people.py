"""People who stand and walk, dressed for the day."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from segformer_edu.data.street.canvas import Canvas
from segformer_edu.data.street.classes import PERSON
from segformer_edu.data.street.colors import Color, pick, shaded
from segformer_edu.data.street.shapes import Point, box, limb, oval

SKIN: tuple[Color, ...] = (
    (0.93, 0.76, 0.65), (0.82, 0.62, 0.48), (0.62, 0.43, 0.31), (0.42, 0.28, 0.20),
)  # fmt: skip
HAIR: tuple[Color, ...] = (
    (0.12, 0.09, 0.08), (0.30, 0.20, 0.13), (0.60, 0.45, 0.26), (0.62, 0.60, 0.58),
    (0.46, 0.20, 0.12),
)  # fmt: skip
SHOES = (0.1, 0.09, 0.09)
HEIGHT = 1.78  # metres, of the figure as it is drawn before it is scaled
Part = tuple[int, list[Point]]


class Clothes(NamedTuple):
    """The paints of one person."""

    coat: int
    sleeve: int
    near_leg: int
    far_leg: int
    skin: int
    hair: int
    shoe: int
    bag: int


class Pose(NamedTuple):
    """How someone walks.

    Attributes:
        aside: across the view, so that legs and arms swing in it, or along it.
        swing: of the legs from upright, in radians.
        bend: of the knee that is behind.
        broad: half the width of the shoulders.
    """

    aside: bool
    swing: float
    bend: float
    broad: float


def paint_person(
    canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float
) -> None:
    """Someone at (x, z), as tall as `height` in metres."""
    clothes = _dress(canvas, rng, z)
    step = rng.uniform(0.0, 0.55) * (rng.random() < 0.7)
    aside = rng.random() < 0.5
    pose = Pose(aside, step if aside else step * 0.25, 0.35 * step, 0.21 if aside else 0.26)
    far_arm, near_arm = (_arm(rng, clothes, pose, side) for side in (-1, 1))
    parts = [
        *_leg(clothes, pose, -1), *_leg(clothes, pose, 1), *far_arm,
        *_torso(rng, clothes, pose), *near_arm, *_head(rng, clothes, pose),
    ]  # fmt: skip
    scale = height / HEIGHT
    facing = scale if rng.random() < 0.5 else -scale
    canvas.board(
        x, z, [(paint, [(a * facing, b * scale) for a, b in part]) for paint, part in parts]
    )


def _dress(canvas: Canvas, rng: np.random.Generator, z: float) -> Clothes:
    surface = canvas.facing(z)
    hue, grey, vivid = rng.random(3).tolist(), rng.uniform(0.1, 0.9), rng.uniform(0.2, 1.0)
    r, g, b = (grey + (0.05 + 0.9 * part - grey) * vivid for part in hue)
    shade = rng.uniform(0.1, 0.55)
    trousers = (shade * rng.uniform(0.7, 1.1), shade, shade * rng.uniform(0.9, 1.5))
    colors: tuple[Color, ...] = (
        (r, g, b), shaded((r, g, b), 0.82), trousers, shaded(trousers, 0.85), pick(rng, SKIN),
        pick(rng, HAIR), SHOES, shaded((hue[1], hue[2], hue[0]), 0.6),
    )  # fmt: skip
    return Clothes(*(canvas.paint(PERSON, surface, color) for color in colors))


def _leg(clothes: Clothes, pose: Pose, side: int) -> list[Part]:
    """The leg that is behind, −1, or in front, 1."""
    hip_x, hip_y = side * (0.05 if pose.aside else 0.10), 0.93
    angle = side * pose.swing
    knee_x, knee_y = hip_x + 0.45 * math.sin(angle), hip_y - 0.43 * math.cos(angle)
    angle -= pose.bend if side < 0 else 0.0
    foot_x = knee_x + 0.45 * math.sin(angle)
    foot_y = max(0.05, knee_y - 0.45 * math.cos(angle))
    toe = foot_x + (0.16 if pose.aside else 0.08)
    cloth = clothes.near_leg if side > 0 else clothes.far_leg
    return [
        (clothes.shoe, limb((foot_x - 0.08, foot_y - 0.01), (toe, foot_y - 0.02), 0.11, 0.08)),
        (cloth, limb((knee_x, knee_y), (foot_x, foot_y), 0.18, 0.14)),
        (cloth, limb((hip_x, hip_y), (knee_x, knee_y - 0.03), 0.23, 0.18)),
    ]


def _arm(rng: np.random.Generator, clothes: Clothes, pose: Pose, side: int) -> list[Part]:
    shoulder_x, shoulder_y = side * (0.03 if pose.aside else pose.broad - 0.02), 1.42
    angle = -side * pose.swing * 0.9 + (0.0 if pose.aside else side * rng.uniform(0.05, 0.3))
    elbow_x = shoulder_x + 0.3 * math.sin(angle)
    elbow_y = shoulder_y - 0.3 * math.cos(angle)
    hand_x = elbow_x + 0.26 * math.sin(angle * 0.6)
    hand_y = elbow_y - 0.26 * math.cos(angle * 0.6)
    return [
        (clothes.skin, oval(hand_x, hand_y, 0.05, 0.06)),
        (clothes.sleeve, limb((elbow_x, elbow_y), (hand_x, hand_y), 0.13, 0.11)),
        (clothes.sleeve, limb((shoulder_x, shoulder_y), (elbow_x, elbow_y), 0.16, 0.13)),
    ]


def _torso(rng: np.random.Generator, clothes: Clothes, pose: Pose) -> list[Part]:
    """A coat or a jacket with a belt; some carry a bag on their back."""
    kind, broad = rng.random(), pose.broad
    coat = kind < 0.3
    hem, wide = (0.62, broad * 1.15) if coat else (0.86, broad * 0.8)
    right = [(wide, hem), (broad * 0.85, 1.1), (broad, 1.42), (broad * 0.6, 1.5)]
    parts = [(clothes.coat, [*right, *((-a, b) for a, b in reversed(right))])]
    if kind > 0.75:
        parts.append((clothes.bag, oval(-0.2 if pose.aside else 0.0, 1.24, 0.13, 0.2)))
    if not coat:
        parts.append((clothes.shoe, box(-wide, wide, hem, hem + 0.04)))
    return parts


def _head(rng: np.random.Generator, clothes: Clothes, pose: Pose) -> list[Part]:
    parts = [
        (clothes.skin, limb((0, 1.46), (0, 1.56), 0.12, 0.11)),
        (clothes.skin, oval(0, 1.64, 0.1, 0.13)),
        (clothes.hair, oval(0, 1.67, 0.115, 0.12, (-0.03, 0.53))),
    ]
    if rng.random() < 0.4:  # long hair
        parts.append((clothes.hair, oval(-0.07 if pose.aside else 0.0, 1.58, 0.1, 0.16)))
    return parts
