"""Where lamps, signs, traffic lights, trees and people stand."""

from __future__ import annotations

import functools

from segformer_edu.data.street.greenery import paint_bush, plant
from segformer_edu.data.street.people import paint_person
from segformer_edu.data.street.poles import paint_lamp, paint_traffic_light
from segformer_edu.data.street.signs import paint_sign
from segformer_edu.data.street.site import Site

POLE_WIDTH, PERSON_WIDTH = 0.32, 0.5  # metres: what must not be too small to be seen


def furnish(site: Site) -> None:
    """Lamps, signs, trees, bushes and traffic lights along both kerbs."""
    canvas, rng, street = site.canvas, site.rng, site.street
    for side in (-1, 1):
        kerb = side * (street.half + 0.5)
        if rng.random() < 0.8:
            z, gap = rng.uniform(4, 14), rng.uniform(9, 16)
            while not site.small(POLE_WIDTH, z, 3.0):
                x = street.x(kerb, z)
                dark = site.weather.dark
                site.stand(z, functools.partial(paint_lamp, canvas, rng, x, z, -side, dark))
                site.cast(x, z, 6.0)
                z += gap
        for _ in range(int(rng.random() * 3.4)):
            z = rng.uniform(3.5, 10)
            x = street.x(kerb + side * rng.uniform(-0.1, 0.6), z)
            site.stand(z, functools.partial(paint_sign, canvas, rng, x, z))
            site.cast(x, z, 2.5)
        if rng.random() < 0.4:
            z, gap, height = rng.uniform(5, 12), rng.uniform(6, 12), rng.uniform(4, 10)
            while z < 45:
                if not street.near_crossing(z):
                    plant(site, street.x(kerb + side * 0.6, z), z, height * rng.uniform(0.8, 1.2))
                z += gap
        for _ in range(int(rng.random() * 2.5)):
            z = rng.uniform(5, 30)
            x = street.x(street.edge(side) - side * 0.5, z)
            size = rng.uniform(0.6, 1.3)
            site.stand(z, functools.partial(paint_bush, canvas, rng, x, z, size))
        if street.crossing is not None and rng.random() < 0.7:
            z = max(4.0, street.crossing - 5)
            x = street.x(kerb, z)
            if not site.small(POLE_WIDTH, z, 2.8):
                site.stand(z, functools.partial(paint_traffic_light, canvas, rng, x, z, -side))


def populate(site: Site) -> None:
    """People on the sidewalks, and some on the road, none of them too small to be seen."""
    rng, street = site.rng, site.street
    for _ in range(2 + int(rng.random() * 8)):
        z = 2.7 + 7 * rng.random() ** 1.2
        side = -1 if rng.random() < 0.5 else 1
        if rng.random() < 0.3:
            offset = rng.uniform(-0.9, 0.9) * street.half
        else:
            offset = side * (street.half + 0.4 + (street.walks[side > 0] - 0.8) * rng.random())
        z = max(z, 2.0 * site.canvas.camera.focal * abs(street.x(offset, z)))  # within the picture
        x = street.x(offset, z)
        if site.small(PERSON_WIDTH, z, 5.0) or site.taken(x, z, 1.6, 3.0):
            continue
        height = rng.uniform(1.5, 1.95) if rng.random() < 0.85 else rng.uniform(1.0, 1.4)
        site.stand(z, functools.partial(paint_person, site.canvas, rng, x, z, height))
        site.cast(x, z, height)
