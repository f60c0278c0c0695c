"""Where vehicles stand and drive."""

from __future__ import annotations

import functools
import math

from segformer_edu.data.street.colors import any_color, pick
from segformer_edu.data.street.site import Site
from segformer_edu.data.street.vehicles import COLORS, MODELS, footprint, paint_vehicle

COMMON = ("sedan", "hatchback", "suv", "sedan", "hatchback", "suv", "van", "bus")
AHEAD, TOWARDS = 0.0, math.pi  # the yaw of vehicles that go with the camera, and against it


def fill_road(site: Site) -> None:
    """Rows parked along the kerbs, some that drive, and some that cross or turn."""
    rng, street = site.rng, site.street
    for side, yaw in ((-1, TOWARDS), (1, AHEAD)):
        if rng.random() < 0.65:
            z = rng.uniform(4.0, 14)
            while z < 60:
                if rng.random() < 0.65 and not street.near_crossing(z):
                    _put(site, side * (street.half - 1.05), z, yaw)
                z += rng.uniform(5.6, 8.0)
        z = rng.uniform(5, 45)
        for _ in range(int(rng.random() * 3)):
            _put(site, side * street.half * rng.uniform(0.25, 0.45), z, yaw, rng.random() < 0.5)
            z += rng.uniform(9, 30)
    if street.crossing is not None and rng.random() < 0.55:
        for _ in range(1 + (rng.random() < 0.4)):
            side = 1 if rng.random() < 0.5 else -1
            _put(site, rng.uniform(-8, 8), street.crossing - 1.5 * side, side * math.pi / 2)
    elif rng.random() < 0.15:
        _put(site, rng.uniform(-1, 1), rng.uniform(7, 18), rng.uniform(0.6, 2.5))


def _put(site: Site, offset: float, z: float, yaw: float, lit: bool = False) -> None:
    """A vehicle of any kind, unless it is too near, too far, or the place is taken."""
    rng, street = site.rng, site.street
    x = street.x(offset, z)
    yaw += math.atan(street.bend * z) + rng.uniform(-0.04, 0.04)
    name = pick(rng, COMMON)
    if name == "bus" and (z < 13 or rng.random() < 0.4):
        name = "suv"
    rear = z - abs(math.cos(yaw)) * MODELS[name].length / 2
    if rear < 2.2 or site.small(1.8, z, 6.0) or site.taken(x, z, 3.5, 5.5):
        return
    site.parked.append((x, z))
    color = pick(rng, COLORS)
    if rng.random() < 0.25:
        color = any_color(rng, 0.1, 0.9)
    lit = lit or (site.weather.dark and rng.random() < 0.6)
    site.stand(z, functools.partial(paint_vehicle, site.canvas, name, color, x, z, yaw, lit))
    sun_x, sun_z = site.weather.sun
    site.canvas.shade(footprint(name, x, z, yaw, 0.12))
    site.canvas.shade([(a + 0.9 * sun_x, b + 0.9 * sun_z) for a, b in footprint(name, x, z, yaw)])
