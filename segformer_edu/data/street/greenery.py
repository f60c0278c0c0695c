"""Trees of several kinds, bushes, hedges, and parks of them."""

from __future__ import annotations

import functools
import math

import numpy as np

from segformer_edu.data.street.canvas import Canvas, Surface
from segformer_edu.data.street.classes import VEGETATION
from segformer_edu.data.street.colors import Color, pick, shaded
from segformer_edu.data.street.site import Site

LEAVES: tuple[Color, ...] = (
    (0.22, 0.42, 0.16), (0.32, 0.52, 0.20), (0.16, 0.32, 0.18), (0.42, 0.52, 0.22),
    (0.28, 0.38, 0.20), (0.62, 0.50, 0.18), (0.64, 0.36, 0.16), (0.38, 0.44, 0.32),
)  # fmt: skip
EVERGREEN = LEAVES[:5]
BARK: tuple[Color, ...] = ((0.34, 0.27, 0.21), (0.34, 0.27, 0.21), (0.48, 0.46, 0.42))
CORNERS = 22  # of a ragged round of leaves
TURNS = [2 * math.pi * k / CORNERS for k in range(CORNERS)]
AROUND = np.array([[math.cos(turn), math.sin(turn)] for turn in TURNS])  # (CORNERS, 2)


def plant(site: Site, x: float, z: float, height: float) -> None:
    """A tree at (x, z), and its shadow."""
    site.stand(z, functools.partial(paint_tree, site.canvas, site.rng, x, z, height))
    site.cast(x, z, height * 0.65, height * 0.3)


def park(site: Site, side: int, start: float, end: float) -> None:
    """Open ground between two depths of a side of the street, with trees and perhaps a hedge."""
    rng, street = site.rng, site.street
    edge = street.edge(side)
    if rng.random() < 0.5:
        height, depth = rng.uniform(0.8, 2.2), side * rng.uniform(0.6, 1.2)
        near, far = (street.x(edge, start), start), (street.x(edge, end), end)
        site.stand(end, functools.partial(paint_hedge, site.canvas, rng, near, far, height, depth))
    for _ in range(int(rng.uniform(1, 4))):
        z = rng.uniform(start, end)
        x = street.x(edge + side * rng.uniform(1.5, 8), z)
        if 4 < z < 60:
            plant(site, x, z, rng.uniform(5, 12))


def paint_tree(canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float) -> None:
    """A round tree, a poplar or a conifer that stands at (x, z)."""
    surface = _leafy(canvas, z)
    leaf = shaded(pick(rng, LEAVES), rng.uniform(0.75, 1.2))
    dark, middle, bright = (
        canvas.paint(VEGETATION, surface, shaded(leaf, f)) for f in (0.6, 0.85, 1.12)
    )
    bark = canvas.paint(VEGETATION, surface, pick(rng, BARK))
    kind = rng.random()
    crown = height * (0.12 if kind > 0.8 else rng.uniform(0.28, 0.45))  # where its leaves begin
    half = 0.0225 * height * rng.uniform(0.7, 1.2)
    lean, top = rng.uniform(-0.04, 0.04) * height, crown * 1.3
    stem = [(-half, 0.0), (half, 0.0), (lean + half / 2, top), (lean - half / 2, top)]
    canvas.board(x, z, [(bark, stem)])
    if kind > 0.8:
        _paint_conifer(canvas, rng, x, z, crown, height, (dark, middle, bright))
        return
    tall = (height - crown) / 2
    wide = height * (0.16 if kind > 0.65 else rng.uniform(0.28, 0.42))
    offsets = (rng.random((11, 2)) * 2 - 1) * 0.55
    offsets[0] = 0
    offsets[:4, 1] -= 0.1  # the shade is below, the light above
    offsets[8:, 1] += 0.25
    sizes = np.array([0.85, *[0.52] * 6, *[0.32] * 4])
    half_axes = np.array((wide, tall))
    middles = np.array((x + lean, crown + tall)) + offsets * half_axes
    paints = [dark] * 4 + [middle] * 4 + [bright] * 3
    _paint_leaves(canvas, rng, middles, sizes[:, None] * half_axes, z, paints)


def _leafy(canvas: Canvas, z: float) -> int:
    """A surface of leaves that faces the camera."""
    return canvas.surface(Surface(canvas.camera.facing(z), frequency=1.3, contrast=0.55))


def _paint_leaves(
    canvas: Canvas,
    rng: np.random.Generator,
    middles: np.ndarray,
    half_axes: np.ndarray,
    z: float,
    paints: list[int],
) -> None:
    """Ragged rounds of leaves: middles and half axes `(n, 2)`, and a paint for each."""
    ragged = 0.8 + 0.4 * rng.random((len(middles), CORNERS, 1))
    outline = middles[:, None] + half_axes[:, None] * ragged * AROUND  # (n, CORNERS, 2)
    points = np.full((outline.shape[0] * CORNERS, 3), z)
    points[:, :2] = outline.reshape(-1, 2)
    points[:, 1] = np.maximum(points[:, 1], 0.02)
    canvas.polygons(points, [(CORNERS, paint) for paint in paints])


def _paint_conifer(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    z: float,
    crown: float,
    height: float,
    paints: tuple[int, int, int],
) -> None:
    """Tiers of drooping branches, one above the other."""
    dark, middle, bright = paints
    parts, tiers, teeth = [], 5, 8
    for tier in range(tiers):
        low = crown + (height - crown) * tier / tiers * 0.9
        high = min(height, low + (height - crown) * 0.42)
        wide = 0.24 * height * (1 - 0.8 * tier / tiers)
        hem = [
            (wide * (2 * k / teeth - 1), low + (0.05 * height * rng.random() if k % 2 else 0.0))
            for k in range(teeth + 1)
        ]
        tip = [(0.02 * height, high), (-0.02 * height, high)]
        parts.append((middle if tier % 2 else dark, [*hem, *tip]))
        parts.append((bright, [hem[2], hem[4], (0.0, high)]))
    canvas.board(x, z, parts)


def paint_bush(canvas: Canvas, rng: np.random.Generator, x: float, z: float, size: float) -> None:
    """A bush that stands at (x, z)."""
    surface = _leafy(canvas, z)
    leaf = shaded(pick(rng, LEAVES), rng.uniform(0.75, 1.15))
    paints = [canvas.paint(VEGETATION, surface, shaded(leaf, f)) for f in (0.65, 0.9, 1.15)]
    middles = np.array((x, 0.0)) + size * np.array(((0, 0.45), (-0.4, 0.35), (0.3, 0.6)))
    half_axes = size * np.array(((0.7, 0.7), (0.5, 0.5), (0.4, 0.4)))
    _paint_leaves(canvas, rng, middles, half_axes, z, paints)


def paint_hedge(
    canvas: Canvas,
    rng: np.random.Generator,
    near: tuple[float, float],
    far: tuple[float, float],
    height: float,
    depth: float,
) -> None:
    """A clipped hedge between two places (x, z); it is `depth` thick, away from the street."""
    (x0, z0), (x1, z1) = near, far
    length = math.hypot(x1 - x0, z1 - z0)
    along_x, along_z = (x1 - x0) / length, (z1 - z0) / length
    surface = canvas.surface(
        Surface(canvas.camera.wall(near, far), along_x, along_z, frequency=1.5, contrast=0.5)
    )
    leaf = shaded(pick(rng, EVERGREEN), rng.uniform(0.75, 1.1))
    back0, back1 = x0 + depth, x1 + depth
    for shade, corners in (
        (1.15, [(x0, height, z0), (x1, height, z1), (back1, height, z1), (back0, height, z0)]),
        (0.7, [(x0, 0, z0), (back0, 0, z0), (back0, height, z0), (x0, height, z0)]),
        (0.9, [(x0, 0, z0), (x1, 0, z1), (x1, height, z1), (x0, height, z0)]),
    ):
        canvas.polygon(canvas.paint(VEGETATION, surface, shaded(leaf, shade)), corners)
