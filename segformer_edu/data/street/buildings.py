"""Houses along a street: walls with windows, roofs, awnings, doors."""

from __future__ import annotations

import numpy as np

from segformer_edu.data.street.canvas import Canvas, Color, Surface
from segformer_edu.data.street.classes import BUILDING

WALLS: tuple[Color, ...] = (
    (0.62, 0.36, 0.29),  # brick
    (0.50, 0.30, 0.25),
    (0.72, 0.52, 0.38),
    (0.86, 0.79, 0.66),  # plaster
    (0.80, 0.72, 0.50),
    (0.90, 0.88, 0.84),
    (0.66, 0.66, 0.66),  # concrete
    (0.52, 0.54, 0.56),
    (0.44, 0.47, 0.52),
    (0.58, 0.64, 0.70),  # glass and steel
    (0.36, 0.46, 0.56),
    (0.55, 0.62, 0.52),
    (0.74, 0.58, 0.58),
    (0.40, 0.36, 0.34),
)
ROOFS: tuple[Color, ...] = ((0.48, 0.28, 0.22), (0.30, 0.30, 0.33), (0.38, 0.34, 0.30))


def shaded(color: Color, factor: float) -> Color:
    """A colour under more or less light."""
    r, g, b = color
    return r * factor, g * factor, b * factor


def pick(rng: np.random.Generator, options: tuple) -> tuple:
    """One of several, all as likely."""
    return options[int(rng.random() * len(options))]


class House:
    """One style of building: colour, windows, storeys; its walls share them."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator, storeys: int) -> None:
        self.canvas = canvas
        base = pick(rng, WALLS)
        r, g, b = (c * (1 + d) for c, d in zip(base, rng.uniform(-0.12, 0.12, 3), strict=True))
        self.color: Color = (r, g, b)
        self.roof = pick(rng, ROOFS)
        storey = rng.uniform(2.9, 3.8)
        self.height = storeys * storey + rng.uniform(0.3, 1.2)
        bay = rng.uniform(1.8, 4.2)
        office = rng.random() < 0.25
        wide = rng.uniform(0.75, 0.93) if office else rng.uniform(0.36, 0.62)
        tall = rng.uniform(0.6, 0.9) if office else rng.uniform(0.42, 0.62)
        self.shop = rng.random() < 0.4
        canvas.facades.append(
            (
                bay,
                storey,
                wide,
                tall,
                rng.uniform(0.05, 0.14),
                storeys * storey,
                float(self.shop),
                rng.uniform(0.1, 0.35) if rng.random() < 0.5 else 0.0,
                rng.uniform(0.1, 0.55),
                rng.integers(256),
            )
        )
        self.facade = len(canvas.facades) - 1
        self.storey = storey

    def wall(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        light: float,
        windows: bool = True,
    ) -> int:
        """An upright wall over a line of the ground from (x, z) to (x, z)."""
        dx, dz = end[0] - start[0], end[1] - start[1]
        length = max((dx * dx + dz * dz) ** 0.5, 1e-3)
        surface = self.canvas.surface(
            Surface(
                self.canvas.camera.wall(start, end),
                dx / length,
                dz / length,
                (start[0] * dx + start[1] * dz) / length,
                frequency=0.7,
                contrast=0.14,
                facade=self.facade if windows else -1,
            )
        )
        (x0, z0), (x1, z1) = start, end
        paint = self.canvas.paint(BUILDING, surface, shaded(self.color, light))
        self.canvas.polygon(
            paint, [(x0, 0, z0), (x1, 0, z1), (x1, self.height, z1), (x0, self.height, z0)]
        )
        cornice = self.canvas.paint(BUILDING, surface, shaded(self.color, light * 0.7))
        low = self.height - 0.35
        self.canvas.polygon(
            cornice, [(x0, low, z0), (x1, low, z1), (x1, self.height, z1), (x0, self.height, z0)]
        )
        return surface
