"""Trees of several kinds, hedges and bushes."""

from __future__ import annotations

import math

import numpy as np

from segformer_edu.data.street.buildings import pick, shaded
from segformer_edu.data.street.canvas import Canvas, Color, Surface
from segformer_edu.data.street.classes import VEGETATION

LEAVES: tuple[Color, ...] = (
    (0.22, 0.42, 0.16), (0.32, 0.52, 0.20), (0.16, 0.32, 0.18), (0.42, 0.52, 0.22),
    (0.28, 0.38, 0.20), (0.62, 0.50, 0.18), (0.64, 0.36, 0.16), (0.38, 0.44, 0.32),
)  # fmt: skip
CORNERS = 22
TURNS = 2 * math.pi * np.arange(CORNERS) / CORNERS
AROUND = np.stack(([math.cos(a) for a in TURNS], [math.sin(a) for a in TURNS]))


def foliage(canvas: Canvas, z: float) -> int:
    """A surface of leaves that faces the camera."""
    return canvas.surface(Surface(canvas.camera.facing(z), frequency=1.3, contrast=0.55))


def blobs(
    canvas: Canvas,
    rng: np.random.Generator,
    middles: np.ndarray,
    radii: np.ndarray,
    z: float,
    paints: list[int],
) -> None:
    """Ragged rounds of leaves: `(n, 2)` middles (x, y), `(n,)` or `(n, 2)` radii, a paint for each."""
    count = len(middles)
    ragged = 0.8 + 0.4 * rng.random((count, CORNERS))
    radii = np.broadcast_to(radii.reshape(count, -1), (count, 2))
    x = middles[:, :1] + radii[:, :1] * ragged * AROUND[0]
    y = np.maximum(middles[:, 1:] + radii[:, 1:] * ragged * AROUND[1], 0.02)
    points = np.stack((x, y, np.full_like(x, z)), axis=-1).reshape(-1, 3)
    canvas.polygons(points, [(CORNERS, paint) for paint in paints])


def tree(canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float) -> None:
    """A tree that stands at (x, z): round, like a poplar, or a conifer."""
    surface = foliage(canvas, z)
    leaf = pick(rng, LEAVES)
    tint = rng.uniform(0.75, 1.2)
    dark, middle, bright = (
        canvas.paint(VEGETATION, surface, shaded(leaf, tint * f)) for f in (0.6, 0.85, 1.12)
    )
    bark = (0.34, 0.27, 0.21) if rng.random() < 0.7 else (0.48, 0.46, 0.42)
    trunk = canvas.paint(VEGETATION, surface, bark)
    kind = rng.random()
    thick = 0.045 * height * rng.uniform(0.7, 1.2)
    crown = height * (0.12 if kind > 0.8 else rng.uniform(0.28, 0.45))  # where the leaves begin
    lean = rng.uniform(-0.04, 0.04) * height
    stem = [(-thick / 2, 0), (thick / 2, 0), (lean + thick / 4, crown * 1.3),
            (lean - thick / 4, crown * 1.3)]  # fmt: skip
    canvas.board(x, z, [(trunk, stem)])
    if kind > 0.8:
        _conifer(canvas, rng, x, z, height, crown, (dark, middle, bright))
        return
    slim = 0.16 if kind > 0.65 else rng.uniform(0.28, 0.42)
    tall = (height - crown) / 2
    center = np.array((x + lean, crown + tall))
    spread = np.array((slim * height, tall))
    count = 11
    offsets = (rng.random((count, 2)) * 2 - 1) * 0.55
    offsets[0] = 0
    middles = center + offsets * spread
    radii = np.stack((np.full(count, 0.52), np.full(count, 0.5)), axis=-1) * spread
    radii[0] = 0.85 * spread
    radii[7:] *= 0.6
    order = [dark] * 4 + [middle] * 4 + [bright] * 3
    middles[:4, 1] -= 0.1 * spread[1]
    middles[8:, 1] += 0.25 * spread[1]
    blobs(canvas, rng, middles, radii, z, order)


def _conifer(
    canvas: Canvas,
    rng: np.random.Generator,
    x: float,
    z: float,
    height: float,
    crown: float,
    paints: tuple[int, int, int],
) -> None:
    """Tiers of drooping branches."""
    tiers = 5
    parts = []
    for tier in range(tiers):
        low = crown + (height - crown) * tier / tiers * 0.9
        high = min(height, low + (height - crown) * 0.42)
        wide = 0.24 * height * (1 - 0.8 * tier / tiers)
        teeth = 8
        hem = [
            (wide * (2 * k / teeth - 1), low + (0.05 * height * rng.random() if k % 2 else 0))
            for k in range(teeth + 1)
        ]
        parts.append((paints[tier % 2], [*hem, (0.02 * height, high), (-0.02 * height, high)]))
        parts.append((paints[2], [hem[2], hem[4], (0.0, high)]))
    canvas.board(x, z, parts)


def bush(canvas: Canvas, rng: np.random.Generator, x: float, z: float, size: float) -> None:
    """A bush that stands at (x, z)."""
    surface = foliage(canvas, z)
    leaf = shaded(pick(rng, LEAVES), rng.uniform(0.75, 1.15))
    paints = [canvas.paint(VEGETATION, surface, shaded(leaf, f)) for f in (0.65, 0.9, 1.15)]
    middles = np.array(
        ((x, size * 0.45), (x - size * 0.4, size * 0.35), (x + size * 0.3, size * 0.6))
    )
    blobs(canvas, rng, middles, np.array((0.7, 0.5, 0.4)) * size, z, paints)


def hedge(
    canvas: Canvas, rng: np.random.Generator, start: tuple, end: tuple, height: float, depth: float
) -> None:
    """A clipped hedge over a line of the ground, `depth` metres thick away from the street."""
    (x0, z0), (x1, z1) = start, end
    dx, dz = x1 - x0, z1 - z0
    length = math.hypot(dx, dz)
    surface = canvas.surface(
        Surface(
            canvas.camera.wall(start, end), dx / length, dz / length, frequency=1.5, contrast=0.5
        )
    )
    leaf = shaded(pick(rng, LEAVES[:5]), rng.uniform(0.75, 1.1))
    near, side, top = (canvas.paint(VEGETATION, surface, shaded(leaf, f)) for f in (0.7, 0.9, 1.15))
    canvas.polygon(top, [(x0, height, z0), (x1, height, z1), (x1 + depth, height, z1),
                         (x0 + depth, height, z0)])  # fmt: skip
    canvas.polygon(near, [(x0, 0, z0), (x0 + depth, 0, z0), (x0 + depth, height, z0),
                          (x0, height, z0)])  # fmt: skip
    canvas.polygon(side, [(x0, 0, z0), (x1, 0, z1), (x1, height, z1), (x0, height, z0)])
