"""What lies flat: sky and horizon behind all, then road and sidewalks, and marks on the road."""

from __future__ import annotations

import math

from segformer_edu.data.street.camera import Camera
from segformer_edu.data.street.canvas import Surface
from segformer_edu.data.street.classes import BUILDING, ROAD, SIDEWALK, SKY, VEGETATION
from segformer_edu.data.street.colors import Color, pick, shaded
from segformer_edu.data.street.site import CROSSING_HALF, FAR, NEAR, Site

ASPHALT: tuple[Color, ...] = (
    (0.30, 0.30, 0.31), (0.35, 0.35, 0.36), (0.40, 0.39, 0.39), (0.44, 0.44, 0.45),
    (0.26, 0.27, 0.30), (0.38, 0.36, 0.35),
)  # fmt: skip
SLABS: tuple[Color, ...] = (
    (0.66, 0.64, 0.60), (0.60, 0.59, 0.58), (0.76, 0.71, 0.63), (0.68, 0.52, 0.44),
    (0.56, 0.56, 0.58), (0.72, 0.60, 0.46), (0.65, 0.57, 0.53),
)  # fmt: skip
GRASS, HILLS = (0.30, 0.44, 0.20), (0.30, 0.42, 0.26)
DARK_PATCH = (0.24, 0.24, 0.25)
KERB = 0.22  # metres
OPEN_LAND = 2000.0  # metres to either side: beyond what any picture shows


def lay_backdrop(site: Site) -> None:
    """The sky, and before it hills and the houses of a town far away."""
    canvas, rng = site.canvas, site.rng
    sky = canvas.paint(SKY, canvas.surface(Surface((0.0, 0.0, 0.0))), (0.5, 0.5, 0.5))
    wide, z = 4 * FAR, FAR
    canvas.polygon(sky, [(-wide, -wide, z), (wide, -wide, z), (wide, wide, z), (-wide, wide, z)])
    haze = canvas.surface(Surface(Camera.facing(z * 0.6), frequency=0.05, contrast=0.3))
    x, end = -wide / 3, wide / 3
    hilly, tone = rng.random() < 0.4, rng.uniform(0.7, 1.1)
    if hilly:
        hill = canvas.paint(VEGETATION, haze, shaded(HILLS, tone))
        ridge = [(x + 35 * k, t, z) for k, t in enumerate((8 + 14 * rng.random(25)).tolist())]
        canvas.polygon(hill, [*ridge, (end, 0, z), (x, 0, z)])
    while x < end:
        width, tall = rng.uniform(12, 40), rng.uniform(8, 40)
        if rng.random() < 0.6:
            grey = rng.uniform(0.35, 0.7)
            block = canvas.paint(BUILDING, haze, (grey, grey * 0.98, grey * 0.97))
            right = x + width
            canvas.polygon(block, [(x, 0, z), (right, 0, z), (right, tall, z), (x, tall, z)])
        x += width


def lay_ground(site: Site) -> None:
    """Open land, sidewalks with their verges, the road, and one that crosses it."""
    canvas, rng, street = site.canvas, site.rng, site.street
    plane = canvas.camera.ground()

    def surface(frequency: float, contrast: float, paving: float = 0.0) -> int:
        return canvas.surface(
            Surface(plane, ahead=1.0, frequency=frequency, contrast=contrast, paving=paving)
        )

    grass = canvas.paint(VEGETATION, surface(1.2, 0.35), shaded(GRASS, rng.uniform(0.7, 1.2)))
    tar = surface(0.5, 0.12)
    tone = shaded(pick(rng, ASPHALT), rng.uniform(0.85, 1.15))
    road = canvas.paint(ROAD, tar, tone)
    slabs = surface(0.6, 0.10, rng.uniform(0.6, 1.3) if rng.random() < 0.85 else 0.0)
    stone = shaded(pick(rng, SLABS), rng.uniform(0.85, 1.15))
    walk = canvas.paint(SIDEWALK, slabs, stone)
    kerb = canvas.paint(SIDEWALK, tar, shaded(stone, rng.uniform(1.0, 1.3)))
    for side in (-1, 1):
        land = grass if rng.random() < 0.5 else walk
        canvas.polygon(land, site.strip(0, side * OPEN_LAND, NEAR, FAR))
        canvas.polygon(walk, site.strip(0, street.edge(side) + side * 0.5, NEAR, FAR))
        if street.walks[side > 0] > 4.2 and rng.random() < 0.5:
            verge = side * (street.half + KERB)
            end = verge + side * rng.uniform(1.2, 2.2)
            canvas.polygon(grass, site.strip(verge, end, NEAR, FAR))
    outer = street.half + KERB
    canvas.polygon(kerb, site.strip(-outer, outer, NEAR, FAR))
    canvas.polygon(road, site.strip(-street.half, street.half, NEAR, FAR))
    if street.crossing is not None:
        _lay_crossing(site, street.crossing, walk, kerb, road)
    _mark(site, tar)


def _lay_crossing(site: Site, z: float, walk: int, kerb: int, road: int) -> None:
    """A road from side to side, z metres ahead, with sidewalks of its own."""
    street = site.street

    def across(paint: int, half: float) -> None:
        left, right = -OPEN_LAND, OPEN_LAND
        near, far = z - half, z + half
        site.canvas.polygon(
            paint, [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]
        )

    def along(half: float) -> None:
        site.canvas.polygon(road, site.strip(-street.half, street.half, z - half, z + half))

    across(walk, CROSSING_HALF + 2.5)
    along(CROSSING_HALF + 3)
    across(kerb, CROSSING_HALF + KERB)
    across(road, CROSSING_HALF)
    along(CROSSING_HALF + 1)


def _mark(site: Site, tar: int) -> None:
    """Patches, manholes, lines and a zebra crossing."""
    canvas, rng, street = site.canvas, site.rng, site.street
    worn = rng.uniform(0.65, 0.95)
    white = rng.random() < 0.7
    color = (worn, worn, worn * 0.97) if white else (worn, worn * 0.8, worn * 0.3)
    line = canvas.paint(ROAD, tar, color)
    _patch(site, canvas.paint(ROAD, tar, DARK_PATCH))
    stop = None if street.crossing is None else street.crossing - 5.5
    if rng.random() < 0.8:
        _mark_lanes(site, line, stop)
    if rng.random() < 0.35:
        for side in (-1, 1):
            offset = side * (street.half - 0.35)
            canvas.polygon(line, site.strip(offset - 0.06, offset + 0.06, NEAR, FAR))
    zebra = rng.uniform(6, 22) if stop is None else stop
    if rng.random() < 0.6 and zebra > 3:
        offset = -street.half + 0.3
        while offset < street.half - 0.5:
            canvas.polygon(line, site.strip(offset, offset + 0.5, zebra, zebra + 2.4))
            offset += 1.0


def _patch(site: Site, dark: int) -> None:
    """Up to three places where the road was mended, or has a manhole."""
    canvas, rng, street = site.canvas, site.rng, site.street
    for _ in range(int(rng.random() * 4)):
        z, offset = rng.uniform(4, 20), rng.uniform(-0.8, 0.4) * street.half
        if rng.random() < 0.5:
            right, end = offset + rng.uniform(0.8, 1.6), z + rng.uniform(1, 4)
            canvas.polygon(dark, site.strip(offset, right, z, end))
        else:
            x, turns = street.x(offset, z), [2 * math.pi * k / 12 for k in range(12)]
            canvas.polygon(
                dark, [(x + 0.35 * math.cos(a), 0, z + 0.35 * math.sin(a)) for a in turns]
            )


def _mark_lanes(site: Site, line: int, stop: float | None) -> None:
    """Dashes between the lanes, or a double line; none where another road crosses."""
    canvas, rng, half = site.canvas, site.rng, site.street.half
    dash, gap, phase = rng.uniform(1.5, 4), rng.uniform(2, 5), rng.uniform(0, 5)
    double = rng.random() < 0.25
    for offset in (0.0,) if half < 4.8 else (-half / 2, 0.0, half / 2):
        if double and offset == 0:
            for shift in (-0.14, 0.14):
                canvas.polygon(line, site.strip(shift - 0.07, shift + 0.07, NEAR, 90))
            continue
        z = NEAR + phase
        while z < 70:
            if stop is None or not stop - dash < z < stop + 11:
                canvas.polygon(line, site.strip(offset - 0.08, offset + 0.08, z, z + dash))
            z += dash + gap
