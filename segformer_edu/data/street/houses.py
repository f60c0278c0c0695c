"""Houses along a street: walls with windows, roofs, awnings."""

from __future__ import annotations

import math

import numpy as np

from segformer_edu.data.street.canvas import Canvas, Facade, Surface
from segformer_edu.data.street.classes import BUILDING
from segformer_edu.data.street.colors import Color, any_color, pick, shaded, varied
from segformer_edu.data.street.greenery import park
from segformer_edu.data.street.site import Site

WALLS: tuple[Color, ...] = (
    (0.62, 0.36, 0.29), (0.50, 0.30, 0.25), (0.72, 0.52, 0.38),  # brick
    (0.86, 0.79, 0.66), (0.80, 0.72, 0.50), (0.90, 0.88, 0.84),  # plaster
    (0.66, 0.66, 0.66), (0.52, 0.54, 0.56), (0.44, 0.47, 0.52),  # concrete
    (0.58, 0.64, 0.70), (0.36, 0.46, 0.56), (0.55, 0.62, 0.52),  # panels
    (0.74, 0.58, 0.58), (0.40, 0.36, 0.34),
)  # fmt: skip
ROOFS: tuple[Color, ...] = ((0.48, 0.28, 0.22), (0.30, 0.30, 0.33), (0.38, 0.34, 0.30))
NEAREST = 1.0  # metres ahead where a house is cut off: no picture shows what is nearer
DEPTH = 14.0  # metres from the street to the back of a house
JUNCTION = 6.0  # metres that houses keep from the middle of a crossing road
CORNICE = 0.35  # metres
Place = tuple[float, float]  # (x, z) on the ground


class House:
    """A building's looks, drawn by lot: its walls share colour, storeys and windows."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator, storeys: int) -> None:
        self.canvas = canvas
        self.color = varied(rng, pick(rng, WALLS), 0.12)
        self.roof = pick(rng, ROOFS)
        self.storey = rng.uniform(2.9, 3.8)
        self.height = storeys * self.storey + rng.uniform(0.3, 1.2)
        bay, office = rng.uniform(1.8, 4.2), rng.random() < 0.25
        facade = Facade(
            bay=bay,
            storey=self.storey,
            wide=rng.uniform(0.75, 0.93) if office else rng.uniform(0.36, 0.62),
            tall=rng.uniform(0.6, 0.9) if office else rng.uniform(0.42, 0.62),
            shop=float(rng.random() < 0.4),
            frame=rng.uniform(0.05, 0.14),
            joints=rng.uniform(0.1, 0.35) if rng.random() < 0.5 else 0.0,
            mirror=rng.uniform(0.1, 0.55),
            number=float(rng.integers(256)),
            top=storeys * self.storey,
        )
        self.has_shop = facade.shop > 0
        canvas.facades.append(facade)
        self.facade = len(canvas.facades) - 1

    def wall(self, start: Place, end: Place, light: float, windows: bool = True) -> int:
        """Paint an upright wall between two places of the ground; returns its surface."""
        (x0, z0), (x1, z1) = start, end
        length = max(math.hypot(x1 - x0, z1 - z0), 1e-3)
        along_x, along_z = (x1 - x0) / length, (z1 - z0) / length
        surface = self.canvas.surface(
            Surface(
                self.canvas.camera.wall(start, end),
                along_x,
                along_z,
                x0 * along_x + z0 * along_z,
                frequency=0.7,
                contrast=0.14,
                facade=self.facade if windows else -1,
            )
        )
        for color, low in (
            (self.color, 0.0),
            (shaded(self.color, 0.7), self.height - CORNICE),
        ):
            self.canvas.polygon(
                self.canvas.paint(BUILDING, surface, shaded(color, light)),
                [(x0, low, z0), (x1, low, z1), (x1, self.height, z1), (x0, self.height, z0)],
            )
        return surface


def build_houses(site: Site) -> None:
    """Both sides of the street, and what ends it."""
    for side in (-1, 1):
        _build_row(site, side)
    if site.rng.random() < 0.55:
        _build_end(site)


def _build_row(site: Site, side: int) -> None:
    """Houses of one side from the camera on, with gaps for parks, alleys and a crossing road."""
    rng, street = site.rng, site.street
    z = -rng.uniform(0, 12)
    storeys = rng.uniform(2, 6)
    green = rng.random()  # this side's share of parks grows with its square
    while z < min(street.length, 130):
        end = z + rng.uniform(8, 24)
        if street.crossing is not None and abs((z + end) / 2 - street.crossing) < (
            JUNCTION + (end - z) / 2
        ):
            if street.crossing - JUNCTION - z <= 4:
                z = street.crossing + JUNCTION
                continue
            end = street.crossing - JUNCTION
        if end > 4:
            if rng.random() < 0.12 + 0.5 * green * green:
                park(site, side, max(z, 2.0), end)
            else:
                _build_house(site, side, z, end, max(1, round(rng.uniform(0.6, 1.5) * storeys)))
        z = end + (rng.uniform(1.5, 5) if rng.random() < 0.25 else 0.0)


def _build_house(site: Site, side: int, start: float, end: float, storeys: int) -> None:
    """A house between two depths, its front along the street."""
    rng, street, sun = site.rng, site.street, site.weather.sun
    setback = rng.uniform(0.0, 3.0) if rng.random() < 0.4 else 0.0
    house = House(site.canvas, rng, storeys)
    start = max(start, NEAREST)
    offset = street.edge(side) + side * setback
    near, far = (street.x(offset, start), start), (street.x(offset, end), end)
    relief = 0.15 + 0.35 * site.weather.shade
    slant = math.hypot(*sun, 1)
    front_light = 1 - relief * (0.5 - side * sun[0] / slant)
    end_light = 1 - relief * (0.5 - sun[1] / slant)
    gabled = rng.random() < 0.35
    awning = house.has_shop and rng.random() < 0.6
    cloth = any_color(rng, 0.15, 0.9)

    def paint() -> None:
        if start > NEAREST:
            behind = (near[0] + side * DEPTH, start)
            gable = house.wall(near, behind, end_light, rng.random() < 0.6)
            if gabled:
                _paint_gable(house, gable, near, side * 5.0, end_light)
        front = house.wall(near, far, front_light)
        if gabled:
            roof = site.canvas.paint(BUILDING, front, shaded(house.roof, front_light))
            eaves, ridge = house.height - 0.2, house.height + 3.5
            _paint_slope(site.canvas, roof, near, far, (-side * 0.4, eaves), (side * 5.0, ridge))
        if awning:
            fabric = site.canvas.paint(BUILDING, front, shaded(cloth, front_light))
            high, low = house.storey * 0.95, house.storey * 0.75
            _paint_slope(site.canvas, fabric, near, far, (0.0, high), (-side * 1.1, low))

    site.stand(end, paint)
    if sun[0] * -side > 0 and site.weather.sunny:
        reach_x, reach_z = sun[0] * house.height, sun[1] * house.height
        far_tip, near_tip = ((x + reach_x, z + reach_z) for x, z in (far, near))
        site.canvas.shade([near, far, far_tip, near_tip])


def _paint_gable(house: House, surface: int, near: Place, half: float, light: float) -> None:
    """The triangle under the end of a pitched roof."""
    x, z = near
    paint = house.canvas.paint(BUILDING, surface, shaded(house.color, light))
    high = house.height
    house.canvas.polygon(paint, [(x, high, z), (x + half, high + 3.5, z), (x + 2 * half, high, z)])


def _paint_slope(
    canvas: Canvas, paint: int, near: Place, far: Place, first: Place, second: Place
) -> None:
    """A sloping band along a wall, between two edges given as (metres from the wall, height)."""
    (out, low), (back, high) = first, second
    canvas.polygon(
        paint,
        [(near[0] + out, low, near[1]), (far[0] + out, low, far[1]),
         (far[0] + back, high, far[1]), (near[0] + back, high, near[1])],
    )  # fmt: skip


def _build_end(site: Site) -> None:
    """Houses that face the camera across the end of the street, or round its bend."""
    rng, street = site.rng, site.street
    z = street.length + rng.uniform(4, 12)
    x = street.x(0, z) - rng.uniform(25, 40)
    end = x + 75
    while x < end:
        length = rng.uniform(10, 22)
        house = House(site.canvas, rng, 1 + int(rng.random() * 6))

        def paint(house: House = house, left: float = x, right: float = x + length) -> None:
            house.wall((left, z), (right, z), 0.9)

        site.stand(z + 1, paint)
        x += length
