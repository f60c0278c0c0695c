"""Patterns that cover a surface, each given by where on it a pixel looks and how much it covers."""

from __future__ import annotations

import functools

import numpy as np

TILE = 256  # side of the table of stains, a power of two; it repeats
CELLS_PER_STAIN = 8  # cells of the table in a stain of size 1


@functools.cache
def stain_table() -> np.ndarray:
    """Smooth blotches of all sizes, −1 … 1, that repeat without a seam: `(TILE, TILE)` float32."""
    rng = np.random.default_rng(0)
    total = np.zeros((TILE, TILE), dtype=np.float32)
    for side, weight in ((4, 0.6), (8, 0.8), (16, 1.0), (32, 1.0), (64, 0.7), (256, 0.5)):
        grid = rng.integers(-1000, 1001, (side, side)).astype(np.float32) / np.float32(1000)
        at = np.arange(TILE) * side
        low, share = at // TILE, ((at % TILE) / TILE).astype(np.float32)
        high = (low + 1) % side
        rows = grid[low] + (grid[high] - grid[low]) * share[:, None]
        total += np.float32(weight) * (rows[:, low] + (rows[:, high] - rows[:, low]) * share)
    return total / np.abs(total).max()


def stain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The stain at a place, where a large one has size 1; linear between cells of the table."""
    u, v = u * CELLS_PER_STAIN, v * CELLS_PER_STAIN
    left, low = np.floor(u), np.floor(v)
    u, v = u - left, v - low
    column, row = left.astype(np.int32) & (TILE - 1), low.astype(np.int32) & (TILE - 1)
    beside = (column + 1) & (TILE - 1)
    row, above = row * TILE, ((row + 1) & (TILE - 1)) * TILE
    table = stain_table().ravel()
    bottom, top = table.take(row + column), table.take(above + column)
    bottom += (table.take(row + beside) - bottom) * u
    top += (table.take(above + beside) - top) * u
    return bottom + (top - bottom) * v


def chance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """A number, −1 … 1, that looks random, for each pair of whole numbers."""
    return stain_table()[first & (TILE - 1), second & (TILE - 1)]


def share_of_pulses(
    at: np.ndarray, width: np.ndarray | float, blur: np.ndarray | float
) -> np.ndarray:
    """How much of [at ± blur / 2] lies in pulses that are `width` wide, one in every unit.

    This is the exact average over a pixel, so that stripes too fine for it turn grey.
    """

    def integral(t: np.ndarray) -> np.ndarray:
        whole = np.floor(t)
        return whole * width + np.minimum(t - whole, width)

    return (integral(at + blur / 2) - integral(at - blur / 2)) / blur
