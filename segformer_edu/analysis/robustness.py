"""Pictures made worse, in five strengths each: noise, blur, fog, brightness, JPEG.

The kinds are those of Hendrycks & Dietterich 2019 (arXiv:1903.12261), one of each of their four
groups and a second of the weather's. The strengths are ours, because theirs are for pictures of 224
pixels: a blur of three pixels leaves little of a picture of 64.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from segformer_edu.checks import check_choice

STRENGTHS = (1, 2, 3, 4, 5)
SIGMAS = (0.04, 0.08, 0.12, 0.18, 0.26)  # of the noise, where the brightest is 1
RADII = (0.4, 0.7, 1.0, 1.5, 2.2)  # of the blur, in pixels
FOGS = (0.2, 0.35, 0.5, 0.65, 0.8)  # the share of the picture that is fog, on average
FOG_COLOUR, CLOUDS = 0.8, 5  # as bright as this; uneven on a grid of so many points a side
LIFTS = (0.1, 0.2, 0.3, 0.4, 0.5)  # what is added to the brightest of a pixel's three colours
QUALITIES = (80, 60, 40, 20, 10)  # of JPEG, 1 … 95


def noise(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Independent normal noise on every number."""
    return picture + rng.normal(0, SIGMAS[strength - 1], picture.shape)


def blur(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian blur."""
    blurred = as_image(picture).filter(ImageFilter.GaussianBlur(RADII[strength - 1]))
    return np.asarray(blurred) / 255


def fog(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Light grey over the picture, in some places up to half more of it than on average."""
    clouds = Image.fromarray(rng.uniform(0.5, 1.5, (CLOUDS, CLOUDS)).astype(np.float32))
    height, width = picture.shape[:2]
    thickness = np.asarray(clouds.resize((width, height), Image.Resampling.BICUBIC))
    share = np.clip(FOGS[strength - 1] * thickness, 0, 1)[:, :, None]
    return picture + share * (FOG_COLOUR - picture)


def brightness(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """More light: a pixel keeps its hue and saturation, and its brightest colour stops at 1."""
    value = picture.max(axis=2, keepdims=True)
    lifted = np.minimum(value + LIFTS[strength - 1], 1)
    return np.where(value > 0, picture / np.maximum(value, 1 / 255), 1) * lifted


def jpeg(picture: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Written as a JPEG, and read again."""
    file = io.BytesIO()
    as_image(picture).save(file, "jpeg", quality=QUALITIES[strength - 1])
    return np.asarray(Image.open(file)) / 255


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "noise": noise,
    "blur": blur,
    "fog": fog,
    "brightness": brightness,
    "JPEG": jpeg,
}


def corrupted(
    picture: np.ndarray, corruption: str, strength: int, rng: np.random.Generator
) -> np.ndarray:
    """A picture made worse.

    Args:
        picture: `(H, W, 3)` uint8; stays as it is.
        corruption: noise, blur, fog, brightness or JPEG.
        strength: 1 to 5.
        rng: where noise and fog come from.

    Shape: → `(H, W, 3)` uint8.

    Raises:
        ValueError: another corruption or strength.
    """
    check_choice(list(CORRUPTIONS), corruption=corruption)
    if strength not in STRENGTHS:
        raise ValueError(f"strength = {strength!r}: give a whole number from 1 to 5.")
    worse = CORRUPTIONS[corruption](picture / 255, strength, rng)
    return as_array(worse)


def as_array(picture: np.ndarray) -> np.ndarray:
    """0 … 1, where what is outside is cut off, as uint8."""
    return np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def as_image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(as_array(picture))
