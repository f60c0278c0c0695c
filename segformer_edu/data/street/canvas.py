"""Painter's algorithm on a map of paints: the later polygon hides the earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from segformer_edu.data.street.camera import Camera, Plane

OVERSAMPLING = 3  # cells of the map per pixel and side; the middle one decides the pixel's class
Color = tuple[float, float, float]  # red, green, blue, 0 … 1, under white light


class Surface(NamedTuple):
    """A plane of the world, and the texture on it.

    Attributes:
        plane: where it is, so that each pixel knows its place in the world.
        along_x, along_z, origin: the texture's first coordinate is along_x x + along_z z − origin.
        ahead: its second is y + ahead z: up a wall, or along the ground.
        frequency, contrast: of the stains on it, per metre and of its brightness.
        facade: which row of `Canvas.facades` it shows, or −1.
        paving: side of its slabs in metres, 0 for none.
    """

    plane: Plane
    along_x: float = 1.0
    along_z: float = 0.0
    origin: float = 0.0
    ahead: float = 0.0
    frequency: float = 1.0
    contrast: float = 0.0
    facade: int = -1
    paving: float = 0.0


@dataclass(frozen=True)
class Maps:
    """What was painted, seen at one size.

    Attributes:
        color: `(H, W, 4)` float32: red, green, blue and glow, averaged over each pixel.
        labels: `(H, W)` uint8.
        surface: `(H, W)` which surface each pixel shows.
        shadow: `(H, W)` float32: the share of each pixel that would be in the shade on the ground.
    """

    color: np.ndarray
    labels: np.ndarray
    surface: np.ndarray
    shadow: np.ndarray


class Canvas:
    """Collects polygons of the world in the order in which they hide each other."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.surfaces: list[Surface] = []
        self.facades: list[Sequence[float]] = []
        self.lamps: list[tuple[float, float, float]] = []  # x, y, z of what shines at night
        self._paints: list[tuple[float, ...]] = []  # label, surface, red, green, blue, glow
        self._points: list[np.ndarray] = []
        self._polygons: list[tuple[int, int]] = []  # number of corners, paint
        self._shadow_points: list[np.ndarray] = []
        self._shadow_corners: list[int] = []

    def surface(self, surface: Surface) -> int:
        self.surfaces.append(surface)
        return len(self.surfaces) - 1

    def facing(self, depth: float) -> int:
        """A plain surface that faces the camera."""
        return self.surface(Surface(Camera.facing(depth)))

    def paint(self, label: int, surface: int, color: Color, glow: float = 0.0) -> int:
        """A paint for polygons of one class on one surface; it shines by itself where it glows."""
        self._paints.append((label, surface, *color, glow))
        return len(self._paints) - 1

    def polygon(self, paint: int, corners: Sequence[Sequence[float]] | np.ndarray) -> None:
        """One polygon in the world: `(n, 3)`."""
        self.polygons(np.asarray(corners), [(len(corners), paint)])

    def polygons(self, points: np.ndarray, polygons: Sequence[tuple[int, int]]) -> None:
        """Several polygons, as (corners, paint), whose corners follow one another in `points`."""
        self._points.append(points)
        self._polygons += polygons

    def board(self, x: float, z: float, parts: Sequence[tuple[int, Sequence]]) -> None:
        """Flat things that face the camera at depth z: (paint, [(metres right of x, height), …])."""
        flat = np.array([corner for _, corners in parts for corner in corners])
        points = np.stack((flat[:, 0] + x, flat[:, 1], np.full(len(flat), z)), axis=-1)
        self.polygons(points, [(len(corners), paint) for paint, corners in parts])

    def shade(self, corners: Sequence[tuple[float, float]] | np.ndarray) -> None:
        """A polygon `(x, z)` of the ground lies in the shade."""
        flat = np.asarray(corners)
        points = np.stack((flat[:, 0], np.zeros(len(flat)), np.maximum(flat[:, 1], 0.5)), axis=-1)
        self._shadow_points.append(points)
        self._shadow_corners.append(len(points))

    def maps(self, height: int, width: int) -> Maps:
        """Everything that was painted, at a size in pixels."""
        shape = width * OVERSAMPLING, height * OVERSAMPLING
        ids = Image.new("I", shape)
        draw = ImageDraw.Draw(ids)
        corners, start = self._cells(self._points, height, width), 0
        for count, paint in self._polygons:
            draw.polygon(corners[start : start + 2 * count], fill=paint)
            start += 2 * count
        cells = np.asarray(ids)
        paints = np.array(self._paints)
        colors = np.rint(np.clip(paints[:, 2:], 0, 1) * 255).astype(np.uint8)
        middle = cells[OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING]
        packed = colors.view(np.uint32)[:, 0]
        color = Image.frombuffer("CMYK", shape, packed[cells], "raw", "CMYK", 0, 1)  # four bytes
        return Maps(
            np.asarray(color.reduce(OVERSAMPLING), dtype=np.float32) / np.float32(255),
            paints[:, 0].astype(np.uint8)[middle],
            paints[:, 1].astype(np.int32)[middle],
            self._shadow(height, width),
        )

    def _shadow(self, height: int, width: int) -> np.ndarray:
        mask = Image.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
        draw = ImageDraw.Draw(mask)
        corners, start = self._cells(self._shadow_points, height, width), 0
        for count in self._shadow_corners:
            draw.polygon(corners[start : start + 2 * count], fill=255)
            start += 2 * count
        return np.asarray(mask.reduce(OVERSAMPLING), dtype=np.float32) / np.float32(255)

    def _cells(self, points: list[np.ndarray], height: int, width: int) -> list[int]:
        """x and y of all corners in turn, in whole cells of the map."""
        if not points:
            return []
        seen = self.camera.project(np.concatenate(points)) * (height * OVERSAMPLING)
        seen[:, 0] += width * OVERSAMPLING / 2
        return np.floor(seen).astype(np.int64).ravel().tolist()
