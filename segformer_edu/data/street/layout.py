"""What stands where: a camera, a street, and everything along it, all from one generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segformer_edu.data.street import vehicles
from segformer_edu.data.street.buildings import ROOFS, House, pick, shaded
from segformer_edu.data.street.camera import Camera
from segformer_edu.data.street.canvas import Canvas, Color, Surface
from segformer_edu.data.street.classes import BUILDING, ROAD, SIDEWALK, SKY, VEGETATION
from segformer_edu.data.street.greenery import bush, hedge, tree
from segformer_edu.data.street.people import person
from segformer_edu.data.street.poles import lamp, sign, traffic_light
from segformer_edu.data.street.weather import Weather

NEAR, FAR = 0.8, 300.0  # metres ahead: in front of the lowest ray, and as good as the horizon
STEPS = (2, 4, 7, 11, 16, 23, 33, 48, 70, 110, 180)  # metres: where a bent line has corners
Corner = tuple[float, float, float]
ASPHALT: tuple[Color, ...] = (
    (0.30, 0.30, 0.31), (0.35, 0.35, 0.36), (0.40, 0.39, 0.39), (0.44, 0.44, 0.45),
    (0.26, 0.27, 0.30), (0.38, 0.36, 0.35),
)  # fmt: skip
SLABS: tuple[Color, ...] = (
    (0.66, 0.64, 0.60), (0.60, 0.59, 0.58), (0.76, 0.71, 0.63), (0.68, 0.52, 0.44),
    (0.56, 0.56, 0.58), (0.72, 0.60, 0.46), (0.65, 0.57, 0.53),
)  # fmt: skip


@dataclass(frozen=True)
class Street:
    """The street's own measures, in metres.

    Attributes:
        center: of the road, to the right of the camera, at the camera.
        bend: the road's curvature; positive bends to the right.
        half: half the width of the road.
        walks: widths of the left and the right sidewalk.
        crossing: where another road crosses, or None.
        length: where the street ends.
    """

    center: float
    bend: float
    half: float
    walks: tuple[float, float]
    crossing: float | None
    length: float

    def x(self, offset: float, z: float) -> float:
        """Where a line `offset` metres to the right of the road's middle is, z metres ahead."""
        return self.center + offset + self.bend * z * z / 2

    def edge(self, side: int) -> float:
        """The offset at which the houses of a side stand."""
        return side * (self.half + self.walks[side > 0])


class Scene:
    """Fills a canvas: the ground first, then all that stands on it, the furthest first."""

    def __init__(self, rng: np.random.Generator, weather: Weather) -> None:
        self.rng, self.weather = rng, weather
        half = rng.uniform(2.8, 5.6)
        on_walk = rng.random() < 0.2
        center = -half * rng.uniform(-0.6, 0.6)
        if on_walk:
            center = (half + 1.0) * (1 if rng.random() < 0.5 else -1)
        self.street = Street(
            center,
            rng.uniform(-0.008, 0.008) if rng.random() < 0.6 else 0.0,
            half,
            (rng.uniform(2.5, 6.5), rng.uniform(2.5, 6.5)),
            rng.uniform(9, 34) if rng.random() < 0.55 else None,
            rng.uniform(40, 150),
        )
        camera = Camera(
            rng.uniform(1.6, 3.4),
            rng.uniform(0.8, 1.35),
            rng.uniform(0.36, 0.58),
            rng.uniform(-0.22, 0.22),
            rng.uniform(-0.045, 0.045),
        )
        self.canvas = Canvas(camera)
        self.standing: list[tuple[float, Callable[[], None]]] = []  # (how far, draw it)
        self.taken: list[tuple[float, float]] = []  # where vehicles stand: (x, z)

        self._backdrop()
        self._ground()
        self._houses()
        self._vehicles()
        self._furniture()
        self._people()
        for _, draw in sorted(self.standing, key=lambda item: -item[0]):
            draw()

    def small(self, size: float, z: float, pixels: float) -> bool:
        """Whether `size` metres are so far away that they cover fewer of a picture's 96 pixels."""
        return size * self.canvas.camera.focal / z < pixels / 96

    def strip(self, left: float, right: float, start: float, end: float) -> list[Corner]:
        """A band of ground along the street, between two offsets: its corners."""
        ahead = [start, *(z for z in STEPS if start < z < end), end]
        middle = [(self.street.x(0, z), z) for z in ahead]
        out = [(x + left, 0.0, z) for x, z in middle]
        return out + [(x + right, 0.0, z) for x, z in reversed(middle)]

    # What lies behind everything

    def _backdrop(self) -> None:
        canvas, rng = self.canvas, self.rng
        sky = canvas.paint(SKY, canvas.surface(Surface((0.0, 0.0, 0.0))), (0.5, 0.5, 0.5))
        wide, z = 4 * FAR, FAR
        canvas.polygon(
            sky, [(-wide, -wide, z), (wide, -wide, z), (wide, wide, z), (-wide, wide, z)]
        )
        far = canvas.surface(Surface(Camera.facing(z * 0.6), frequency=0.05, contrast=0.3))
        x = -wide / 3
        hills = rng.random() < 0.4
        hill = canvas.paint(VEGETATION, far, shaded((0.3, 0.42, 0.26), rng.uniform(0.7, 1.1)))
        if hills:
            steps = np.arange(25)
            tops = 8 + 14 * rng.random(25)
            ridge = [(x + 35 * k, t, z) for k, t in zip(steps.tolist(), tops.tolist(), strict=True)]
            canvas.polygon(hill, [*ridge, (-x, 0, z), (x, 0, z)])
        while x < wide / 3:
            width, tall = rng.uniform(12, 40), rng.uniform(8, 40)
            if rng.random() < 0.6:
                grey = rng.uniform(0.35, 0.7)
                block = canvas.paint(BUILDING, far, (grey, grey * 0.98, grey * 0.97))
                canvas.polygon(block, [(x, 0, z), (x + width, 0, z), (x + width, tall, z),
                                       (x, tall, z)])  # fmt: skip
            x += width

    # The ground

    def _ground(self) -> None:
        canvas, rng, street = self.canvas, self.rng, self.street
        plane = canvas.camera.ground()

        def lay(frequency: float, contrast: float, paving: float = 0.0) -> int:
            return canvas.surface(
                Surface(plane, ahead=1.0, frequency=frequency, contrast=contrast, paving=paving)
            )

        grass = canvas.paint(
            VEGETATION, lay(1.2, 0.35), shaded((0.30, 0.44, 0.20), rng.uniform(0.7, 1.2))
        )
        tone = pick(rng, ASPHALT)
        self.asphalt = lay(0.5, 0.12)
        road = canvas.paint(ROAD, self.asphalt, shaded(tone, rng.uniform(0.85, 1.15)))
        slabs = lay(0.6, 0.10, rng.uniform(0.6, 1.3) if rng.random() < 0.85 else 0.0)
        stone = shaded(pick(rng, SLABS), rng.uniform(0.85, 1.15))
        walk, kerb = (
            canvas.paint(SIDEWALK, slabs, stone),
            canvas.paint(SIDEWALK, self.asphalt, shaded(stone, rng.uniform(1.0, 1.3))),
        )
        wide = 200.0
        for side in (-1, 1):
            open_land = grass if rng.random() < 0.5 else walk
            edge = street.edge(side)
            canvas.polygon(open_land, self.strip(0, side * wide, NEAR, FAR))
            canvas.polygon(walk, self.strip(0, edge + side * 0.5, NEAR, FAR))
            if street.walks[side > 0] > 4.2 and rng.random() < 0.5:  # a verge
                start = side * (street.half + 0.25)
                canvas.polygon(
                    grass, self.strip(start, start + side * rng.uniform(1.2, 2.2), NEAR, FAR)
                )
        canvas.polygon(kerb, self.strip(-street.half - 0.22, street.half + 0.22, NEAR, FAR))
        canvas.polygon(road, self.strip(-street.half, street.half, NEAR, FAR))
        if street.crossing is not None:
            self._cross(street.crossing, walk, kerb, road)
        self._mark()

    def _cross(self, z: float, walk: int, kerb: int, road: int) -> None:
        """Another road across, at z."""
        canvas, street = self.canvas, self.street
        wide, half = 150.0, 3.2

        def across(paint: int, near: float, far: float) -> None:
            canvas.polygon(
                paint, [(-wide, 0, near), (wide, 0, near), (wide, 0, far), (-wide, 0, far)]
            )

        across(walk, z - half - 2.5, z + half + 2.5)
        canvas.polygon(road, self.strip(-street.half, street.half, z - half - 3, z + half + 3))
        across(kerb, z - half - 0.22, z + half + 0.22)
        across(road, z - half, z + half)
        canvas.polygon(road, self.strip(-street.half, street.half, z - half - 1, z + half + 1))

    def _mark(self) -> None:
        """Lane marks, edge lines, patches, manholes, and a zebra crossing."""
        canvas, rng, street = self.canvas, self.rng, self.street
        worn = rng.uniform(0.65, 0.95)
        color = (worn, worn, worn * 0.97) if rng.random() < 0.7 else (worn, worn * 0.8, worn * 0.3)
        white = canvas.paint(ROAD, self.asphalt, color)
        stop = street.crossing - 5.5 if street.crossing is not None else None
        patch = canvas.paint(ROAD, self.asphalt, (0.24, 0.24, 0.25))
        for _ in range(int(rng.random() * 4)):
            z, offset = rng.uniform(4, 20), rng.uniform(-0.8, 0.4) * street.half
            if rng.random() < 0.5:
                canvas.polygon(patch, self.strip(offset, offset + rng.uniform(0.8, 1.6), z,
                                                 z + rng.uniform(1, 4)))  # fmt: skip
            else:
                x = street.x(offset, z)
                turns = [2 * math.pi * k / 12 for k in range(12)]
                canvas.polygon(patch, [(x + 0.35 * math.cos(a), 0, z + 0.35 * math.sin(a))
                                       for a in turns])  # fmt: skip
        lines = (0.0,) if street.half < 4.8 else (-street.half / 2, 0.0, street.half / 2)
        if rng.random() < 0.8:
            dash, gap, phase = rng.uniform(1.5, 4), rng.uniform(2, 5), rng.uniform(0, 5)
            solid = rng.random() < 0.25
            for offset in lines:
                if solid and offset == 0:
                    for shift in (-0.14, 0.14):
                        canvas.polygon(white, self.strip(shift - 0.07, shift + 0.07, NEAR, 90))
                    continue
                z = NEAR + phase
                while z < 70:
                    if stop is None or not stop - dash < z < stop + 11:
                        canvas.polygon(white, self.strip(offset - 0.08, offset + 0.08, z, z + dash))
                    z += dash + gap
        if rng.random() < 0.35:
            for side in (-1, 1):
                offset = side * (street.half - 0.35)
                canvas.polygon(white, self.strip(offset - 0.06, offset + 0.06, NEAR, FAR))
        zebra = stop if stop is not None else rng.uniform(6, 22)
        if rng.random() < 0.6 and zebra > 3:
            offset = -street.half + 0.3
            while offset < street.half - 0.5:
                canvas.polygon(white, self.strip(offset, offset + 0.5, zebra, zebra + 2.4))
                offset += 1.0

    # Houses, parks, and the end of the street

    def _houses(self) -> None:
        for side in (-1, 1):
            self._row(side)
        if self.rng.random() < 0.55:
            self._end()
        self._park_end = 0.0

    def _row(self, side: int) -> None:
        """Houses of one side, from the camera to the end, with gaps for parks and roads."""
        rng, street = self.rng, self.street
        z = -rng.uniform(0, 12)
        tall = rng.uniform(2, 6)
        green = rng.random()  # how much of this side is parks
        while z < min(street.length, 130):
            length = rng.uniform(8, 24)
            end = z + length
            if (
                street.crossing is not None
                and z < street.crossing + 6
                and end > street.crossing - 6
            ):
                if street.crossing - 6 - z > 4:
                    end = street.crossing - 6
                else:
                    z = street.crossing + 6
                    continue
            if end > 4:
                if rng.random() < 0.12 + 0.5 * green * green:
                    self._park(side, max(z, 2.0), end)
                else:
                    storeys = max(1, round(rng.uniform(0.6, 1.5) * tall))
                    setback = rng.uniform(0.0, 3.0) if rng.random() < 0.4 else 0.0
                    self._house(side, z, end, storeys, setback)
            z = end + (rng.uniform(1.5, 5) if rng.random() < 0.25 else 0.0)

    def _house(self, side: int, start: float, end: float, storeys: int, setback: float) -> None:
        rng, street, weather = self.rng, self.street, self.weather
        house = House(self.canvas, rng, storeys)
        origin = start
        start = max(start, 1.0)
        edge = street.edge(side) + side * setback
        near, far = (street.x(edge, start), start), (street.x(edge, end), end)
        behind = (near[0] + side * 14, start)
        sun_x, sun_z = weather.sun
        norm = math.hypot(sun_x, sun_z, 1)
        relief = 0.15 + 0.35 * weather.shade
        to_street = 1 - relief * (0.5 - side * sun_x / norm)
        to_camera = 1 - relief * (0.5 - sun_z / norm)
        gable = rng.random() < 0.35
        awning = house.shop and rng.random() < 0.6
        cloth = tuple(rng.uniform(0.15, 0.9, 3).tolist())

        def draw() -> None:
            high = house.height
            if start > 1.0:
                surface = house.wall(near, behind, to_camera, bool(rng.random() < 0.6))
            wall = house.wall(near, far, to_street)
            if gable:
                slate = self.canvas.paint(BUILDING, wall, shaded(house.roof, to_street))
                deep, up = side * 5.0, 3.5
                if start > 1.0:
                    face = self.canvas.paint(BUILDING, surface, shaded(house.color, to_camera))
                    self.canvas.polygon(face, [
                        (near[0], high, start), (near[0] + deep, high + up, start),
                        (near[0] + 2 * deep, high, start)])  # fmt: skip
                self.canvas.polygon(slate, [
                    (near[0] - side * 0.4, high - 0.2, start), (far[0] - side * 0.4, high - 0.2, end),
                    (far[0] + deep, high + up, end), (near[0] + deep, high + up, start)])  # fmt: skip
            if awning:
                low, out = house.storey * 0.75, -side * 1.1
                fill = self.canvas.paint(BUILDING, wall, shaded(cloth, to_street))
                self.canvas.polygon(fill, [
                    (near[0], house.storey * 0.95, start), (far[0], house.storey * 0.95, end),
                    (far[0] + out, low, end), (near[0] + out, low, start)])  # fmt: skip

        self.standing.append((end, draw))
        if sun_x * -side > 0 and weather.shade > 0.1:
            length = house.height
            self.canvas.shade([
                near, far, (far[0] + sun_x * length, far[1] + sun_z * length),
                (near[0] + sun_x * length, near[1] + sun_z * length)])  # fmt: skip
        del origin

    def _park(self, side: int, start: float, end: float) -> None:
        """Open ground beside the sidewalk, with trees, bushes and a hedge."""
        rng, street = self.rng, self.street
        edge = street.edge(side)
        if rng.random() < 0.5:
            height, depth = rng.uniform(0.8, 2.2), side * rng.uniform(0.6, 1.2)
            line = ((street.x(edge, start), start), (street.x(edge, end), end))
            self.standing.append((end, lambda: hedge(self.canvas, rng, *line, height, depth)))
        for _ in range(int(rng.uniform(1, 4))):
            z = rng.uniform(start, end)
            x = street.x(edge + side * rng.uniform(1.5, 8), z)
            if 4 < z < 60:
                self._tree(x, z, rng.uniform(5, 12))

    def _tree(self, x: float, z: float, height: float) -> None:
        rng = self.rng
        self.standing.append((z, lambda: tree(self.canvas, rng, x, z, height)))
        self._cast(x, z, height * 0.65, height * 0.3)

    def _end(self) -> None:
        """Houses across the end of the street, or round its bend."""
        rng, street = self.rng, self.street
        z = street.length + rng.uniform(4, 12)
        x = street.x(0, z) - rng.uniform(25, 40)
        limit = x + 75
        while x < limit:
            length = rng.uniform(10, 22)
            house = House(self.canvas, rng, 1 + int(rng.random() * 6))
            ends = ((x, z), (x + length, z))
            self.standing.append(
                (z + 1, lambda house=house, ends=ends: house.wall(*ends, 0.9) and None)
            )
            x += length

    # Vehicles

    def _vehicles(self) -> None:
        rng, street = self.rng, self.street
        for side in (-1, 1):
            if rng.random() < 0.65:  # a row parked along the kerb
                z = rng.uniform(4.0, 14)
                while z < 60:
                    if rng.random() < 0.65 and not self._near_crossing(z):
                        self._vehicle(side * (street.half - 1.05), z, 0.0 if side > 0 else math.pi)
                    z += rng.uniform(5.6, 8.0)
            z = rng.uniform(5, 45)
            for _ in range(int(rng.random() * 3)):  # and some that drive
                offset = side * street.half * rng.uniform(0.25, 0.45)
                self._vehicle(offset, z, 0.0 if side > 0 else math.pi, rng.random() < 0.5)
                z += rng.uniform(9, 30)
        if street.crossing is not None and rng.random() < 0.55:
            for _ in range(1 + (rng.random() < 0.4)):
                yaw = math.pi / 2 * (1 if rng.random() < 0.5 else -1)
                z = street.crossing - 1.5 * math.copysign(1, yaw)
                self._vehicle(rng.uniform(-8, 8), z, yaw)
        elif rng.random() < 0.15:  # one that turns round
            self._vehicle(rng.uniform(-1, 1), rng.uniform(7, 18), rng.uniform(0.6, 2.5))

    def _near_crossing(self, z: float) -> bool:
        return self.street.crossing is not None and abs(z - self.street.crossing) < 9

    def _vehicle(self, offset: float, z: float, yaw: float, lit: bool = False) -> None:
        rng, street = self.rng, self.street
        x = street.x(offset, z)
        yaw += math.atan(street.bend * z) + rng.uniform(-0.04, 0.04)
        name = ("sedan", "hatchback", "suv", "sedan", "hatchback", "suv", "van", "bus")[
            int(rng.random() * 8)
        ]
        if name == "bus" and (z < 13 or rng.random() < 0.4):
            name = "suv"
        length = vehicles.MODELS[name].profile[-2][0]
        reach = abs(math.cos(yaw)) * length / 2
        if z - reach < 2.2 or self.small(1.8, z, 6.0):
            return
        if any(abs(z - zz) < 5.5 and abs(x - xx) < 3.5 for xx, zz in self.taken):
            return
        self.taken.append((x, z))
        color = pick(rng, vehicles.COLORS)
        if rng.random() < 0.25:
            color = tuple(rng.uniform(0.1, 0.9, 3).tolist())
        lit = lit or (self.weather.dark and rng.random() < 0.6)
        self.standing.append(
            (z, lambda: vehicles.vehicle(self.canvas, name, color, x, z, yaw, lit))
        )
        self.canvas.shade(vehicles.footprint(name, x, z, yaw, 0.12))
        sun_x, sun_z = self.weather.sun
        self.canvas.shade(
            [(a + sun_x * 0.9, b + sun_z * 0.9) for a, b in vehicles.footprint(name, x, z, yaw)]
        )

    # Lamps, signs, trees

    def _furniture(self) -> None:
        rng, street = self.rng, self.street
        for side in (-1, 1):
            kerb = side * (street.half + 0.5)
            if rng.random() < 0.8:  # street lamps
                z, gap = rng.uniform(4, 14), rng.uniform(9, 16)
                while not self.small(0.32, z, 3.0):
                    self._lamp(kerb, z, -side)
                    z += gap
            for _ in range(int(rng.random() * 3.4)):
                z = rng.uniform(3.5, 10)
                x = street.x(kerb + side * rng.uniform(-0.1, 0.6), z)
                self.standing.append((z, lambda x=x, z=z: sign(self.canvas, rng, x, z)))
                self._cast(x, z, 2.5, 0.1)
            if rng.random() < 0.4:  # a row of trees
                z, gap, height = rng.uniform(5, 12), rng.uniform(6, 12), rng.uniform(4, 10)
                while z < 45:
                    if not self._near_crossing(z):
                        self._tree(
                            street.x(kerb + side * 0.6, z), z, height * rng.uniform(0.8, 1.2)
                        )
                    z += gap
            for _ in range(int(rng.random() * 2.5)):
                z = rng.uniform(5, 30)
                x = street.x(street.edge(side) - side * 0.5, z)
                size = rng.uniform(0.6, 1.3)
                self.standing.append(
                    (z, lambda x=x, z=z, size=size: bush(self.canvas, rng, x, z, size))
                )
            if street.crossing is not None and rng.random() < 0.7:
                z = max(4.0, street.crossing - 5)
                x = street.x(kerb, z)
                if not self.small(0.32, z, 2.8):
                    self.standing.append(
                        (
                            z,
                            lambda x=x, z=z, side=side: traffic_light(
                                self.canvas, rng, x, z, -side
                            ),
                        )
                    )

    def _lamp(self, offset: float, z: float, toward: int) -> None:
        x = self.street.x(offset, z)
        rng, lit = self.rng, self.weather.dark
        self.standing.append((z, lambda: lamp(self.canvas, rng, x, z, toward, lit)))
        self._cast(x, z, 6.0, 0.1)

    # People

    def _people(self) -> None:
        rng, street = self.rng, self.street
        for _ in range(2 + int(rng.random() * 8)):
            z = 2.7 + 7 * rng.random() ** 1.2
            side = -1 if rng.random() < 0.5 else 1
            if rng.random() < 0.3:
                offset = rng.uniform(-0.9, 0.9) * street.half
            else:
                offset = side * (street.half + 0.4 + (street.walks[side > 0] - 0.8) * rng.random())
            z = max(z, 2.0 * self.canvas.camera.focal * abs(street.x(offset, z)))  # within view
            x = street.x(offset, z)
            if self.small(0.5, z, 5.0) or any(abs(z - zz) < 3 and abs(x - xx) < 1.6 for xx, zz in self.taken):
                continue
            height = rng.uniform(1.5, 1.95) if rng.random() < 0.85 else rng.uniform(1.0, 1.4)
            self.standing.append(
                (z, lambda x=x, z=z, height=height: person(self.canvas, rng, x, z, height))
            )
            self._cast(x, z, height, 0.22)

    def _cast(self, x: float, z: float, height: float, radius: float) -> None:
        """The shadow of something upright and round."""
        sun_x, sun_z = self.weather.sun
        if self.weather.shade < 0.1:
            return
        tip = (x + sun_x * height, z + sun_z * height)
        thin = min(radius, 0.15)
        length = math.hypot(sun_x, sun_z)
        nx, nz = -sun_z / length * thin, sun_x / length * thin
        self.canvas.shade([
            (x + nx, z + nz), (tip[0] + nx, tip[1] + nz), (tip[0] - nx, tip[1] - nz),
            (x - nx, z - nz)])  # fmt: skip
        if radius > 0.5:
            stretch = max(1.0, length)
            self.canvas.shade(
                [
                    (
                        tip[0] + radius * stretch * math.cos(a),
                        tip[1] + radius * stretch * math.sin(a),
                    )
                    for a in [2 * math.pi * k / 16 for k in range(16)]
                ]
            )
