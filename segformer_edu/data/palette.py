"""The colours of the classes, in pictures and in masks: readable without colour vision."""

from __future__ import annotations

import functools

import numpy as np

# Okabe and Ito's eight colours, chosen to stay apart in every kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY_BLUE, YELLOW, BLACK = "#D55E00", "#56B4E9", "#F0E442", "#000000"
OKABE_ITO = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY_BLUE, YELLOW, BLACK)


def class_colors(count: int) -> np.ndarray:
    """Colours of `count` classes, the same for a class however many follow it.

    Okabe and Ito's eight, then one after another the colour that lies furthest from all before it,
    for the least favourable of four kinds of colour vision.

    Shape: → `(count, 3)` uint8.

    Raises:
        ValueError: a count outside 1 … 256.
    """
    if not 1 <= count <= 256:
        raise ValueError(f"count = {count}: there are colours for 1 to 256 classes.")
    return _all_class_colors()[:count].copy()


@functools.cache
def _all_class_colors() -> np.ndarray:
    first = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in OKABE_ITO])
    steps = np.linspace(0, 255, 16).round().astype(int)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    seen = _as_seen(candidates)
    nearest = np.min([_distance(seen, look) for look in np.moveaxis(_as_seen(first), 1, 0)], axis=0)
    chosen = list(first)
    while len(chosen) < 256:
        furthest = int(nearest.argmax())
        chosen.append(candidates[furthest])
        nearest = np.minimum(nearest, _distance(seen, seen[:, furthest]))
    return np.array(chosen, dtype=np.uint8)


# Colour blindness on linear RGB, severity 1: Machado, Oliveira and Fernandes 2009, table 1.
EYES = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)
# Linear RGB to Oklab, where a distance is about how different two colours look: Ottosson 2020.
TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _as_seen(colors: np.ndarray) -> np.ndarray:
    """Oklab of each colour, `(n, 3)` of 0 … 255, for each kind of colour vision: `(4, n, 3)`."""
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ EYES.transpose(0, 2, 1), 0, 1)
    return np.cbrt(seen @ TO_LMS.T) @ TO_OKLAB.T


def _distance(seen: np.ndarray, color: np.ndarray) -> np.ndarray:
    """The least distance of each colour from one: `(4, n, 3)`, `(4, 3)` → `(n,)`."""
    return np.linalg.norm(seen - color[:, None], axis=-1).min(axis=0)
