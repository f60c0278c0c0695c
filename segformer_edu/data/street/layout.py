"""A whole street from one generator."""

from __future__ import annotations

import numpy as np

from segformer_edu.data.street.canvas import Canvas
from segformer_edu.data.street.ground import lay_backdrop, lay_ground
from segformer_edu.data.street.houses import build_houses
from segformer_edu.data.street.sidewalks import furnish, populate
from segformer_edu.data.street.site import Site
from segformer_edu.data.street.traffic import fill_road
from segformer_edu.data.street.weather import Weather


def draw_street_scene(rng: np.random.Generator, weather: Weather) -> Canvas:
    """Everything in a scene, painted from back to front."""
    site = Site(rng, weather)
    lay_backdrop(site)
    lay_ground(site)
    build_houses(site)
    fill_road(site)
    furnish(site)
    populate(site)
    site.paint_standing()
    return site.canvas
