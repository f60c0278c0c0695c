"""Colours of things under white light: red, green and blue, 0 … 1."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

Color = tuple[float, float, float]
Option = TypeVar("Option")


def shaded(color: Color, factor: float) -> Color:
    """A colour under more or less light."""
    r, g, b = color
    return r * factor, g * factor, b * factor


def varied(rng: np.random.Generator, color: Color, spread: float) -> Color:
    """A colour with more or less of each of its parts, up to a share of it."""
    r, g, b = (c * (1 + d) for c, d in zip(color, rng.uniform(-spread, spread, 3), strict=True))
    return r, g, b


def any_color(rng: np.random.Generator, low: float, high: float) -> Color:
    """Any colour at all, each of its parts between two bounds."""
    r, g, b = rng.uniform(low, high, 3).tolist()
    return r, g, b


def pick(rng: np.random.Generator, options: tuple[Option, ...]) -> Option:
    """One of several, all as likely."""
    return options[int(rng.random() * len(options))]
