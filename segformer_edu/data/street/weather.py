"""Time of day and weather: the colours of the sky and of the light, what hides and what shines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from segformer_edu.data.street.colors import Color, varied


class Sky(NamedTuple):
    """One kind of weather.

    Attributes:
        percent: of all scenes that have it.
        zenith, horizon: colours of the sky, above and far away.
        light: colour of the light on the street.
        shade: how much of the light a shadow takes away.
        may_be_wet: it may have rained.
    """

    percent: int
    zenith: Color
    horizon: Color
    light: Color
    shade: float
    may_be_wet: bool = False


SKIES = {
    "clear": Sky(33, (0.28, 0.50, 0.82), (0.72, 0.83, 0.93), (1.08, 1.04, 0.97), 0.55),
    "hazy": Sky(12, (0.66, 0.72, 0.78), (0.86, 0.86, 0.84), (1.00, 0.98, 0.94), 0.30),
    "overcast": Sky(18, (0.58, 0.61, 0.65), (0.74, 0.75, 0.77), (0.84, 0.86, 0.90), 0.08, True),
    "storm": Sky(10, (0.26, 0.29, 0.34), (0.46, 0.48, 0.50), (0.69, 0.72, 0.76), 0.05, True),
    "sunset": Sky(12, (0.33, 0.37, 0.60), (0.96, 0.66, 0.42), (1.00, 0.80, 0.65), 0.40),
    "dusk": Sky(9, (0.13, 0.17, 0.34), (0.55, 0.42, 0.48), (0.46, 0.46, 0.60), 0.10, True),
    "night": Sky(6, (0.03, 0.04, 0.09), (0.13, 0.13, 0.19), (0.32, 0.33, 0.43), 0.0, True),
}
DARK = ("dusk", "night")


@dataclass(frozen=True)
class Weather:
    """All that changes how a street looks, and nothing of what stands in it.

    Attributes:
        zenith, horizon: colours of the sky, above and far away.
        light: colour of the light on the street; 1 is white.
        shade: how much of the light a shadow takes away.
        sun: metres that the shadow of one metre falls to the right, and ahead.
        dark: lamps, headlights and windows shine.
        clouds: how much of the sky they cover, about 0 … 1.
        visibility: metres at which fog hides half.
        wet: how much the ground mirrors, 0 … 1.
        exposure: what the camera multiplies all light by.
        contrast: how much of it the camera keeps.
        blur: radius of its unsharpness, in heights of the picture.
        noise: of its sensor, in 1 / 255 of the brightest.
    """

    zenith: Color
    horizon: Color
    light: Color
    shade: float
    sun: tuple[float, float]
    dark: bool
    clouds: float
    visibility: float
    wet: float
    exposure: float
    contrast: float
    blur: float
    noise: float

    @property
    def sunny(self) -> bool:
        """Whether there are shadows that anyone would see."""
        return self.shade >= 0.1


def draw_weather(rng: np.random.Generator) -> Weather:
    """One weather of many."""
    kinds = [kind for kind, sky in SKIES.items() for _ in range(sky.percent)]
    kind = kinds[int(rng.random() * len(kinds))]
    sky, dark = SKIES[kind], kind in DARK
    zenith, horizon, light = (varied(rng, c, 0.09) for c in (sky.zenith, sky.horizon, sky.light))
    foggy = rng.random() < 0.1
    wet = sky.may_be_wet and rng.random() < 0.45
    return Weather(
        zenith=zenith,
        horizon=horizon,
        light=light,
        shade=sky.shade * (0.3 if foggy else 1),
        sun=(rng.uniform(-1.6, 1.6), rng.uniform(-0.8, 0.8)),
        dark=dark,
        clouds=rng.uniform(-0.2, 0.9),
        visibility=rng.uniform(35, 90) if foggy else rng.uniform(250, 1500),
        wet=rng.uniform(0.3, 1.0) if wet else 0.0,
        exposure=rng.uniform(0.85, 1.25),
        contrast=rng.uniform(0.85, 1.15),
        blur=max(0.0, rng.uniform(-0.004, 0.003)),
        noise=rng.uniform(1, 7) * (1.6 if dark else 1),
    )
