"""Painter's algorithm on a map of paints: the later polygon hides the earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from segformer_edu.data.street.camera import Camera, Plane
from segformer_edu.data.street.colors import Color

OVERSAMPLING = 3  # cells of the map per pixel and side; the middle one decides the pixel's class


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


class Facade(NamedTuple):
    """The windows of a house, in metres, or in shares of what one of them has for itself.

    Attributes:
        bay, storey: width and height that each window has for itself.
        wide, tall: shares of these that it takes up.
        shop: 1 where the ground floor has shop windows.
        frame: width of a window's frame.
        joints: how dark the joints between courses of brick or boards are, 0 to 1.
        mirror: how much of the sky the panes mirror.
        number: of the house; it decides where light is on.
        top: where the windows end.
    """

    bay: float
    storey: float
    wide: float
    tall: float
    shop: float
    frame: float
    joints: float
    mirror: float
    number: float
    top: float


@dataclass(frozen=True)
class Maps:
    """What was painted, seen at one size; all pixels in one row, the top line of the picture first.

    Attributes:
        color: `(3, N)` float32: red, green, blue under white light, averaged over each pixel.
        glow: `(N,)` float32: how much of it shines by itself.
        labels: `(N,)` uint8: the class in the middle of each pixel.
        surface: `(N,)` int32: which surface is seen there.
        shadow: `(N,)` float32: how much of the pixel, if it shows the ground, lies in the shade.
    """

    color: np.ndarray
    glow: np.ndarray
    labels: np.ndarray
    surface: np.ndarray
    shadow: np.ndarray


class Canvas:
    """Collects polygons of the world in the order in which they hide each other."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.surfaces: list[Surface] = []
        self.facades: list[Facade] = []
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
        """Parts that face the camera at depth z: (paint, [(metres right of x, height), …])."""
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
        cells = self._fill("I", self._points, self._polygons, height, width)
        paints = np.array(self._paints)
        label, surface = paints[:, 0].astype(np.uint8), paints[:, 1].astype(np.int32)
        colors = np.rint(np.clip(paints[:, 2:], 0, 1) * 255).astype(np.uint8)
        # Four bytes of a paint, its colour and its glow, travel as one number.
        painted = colors.view(np.uint32)[:, 0].take(np.asarray(cells))
        bands = Image.frombuffer("CMYK", cells.size, painted, "raw", "CMYK", 0, 1)
        averaged = np.asarray(bands.reduce(OVERSAMPLING)).reshape(-1, 4).T / np.float32(255)
        middle = slice(OVERSAMPLING // 2, None, OVERSAMPLING)
        seen = np.asarray(cells)[middle, middle].ravel()
        shade = [(corners, 255) for corners in self._shadow_corners]
        shadow = self._fill("L", self._shadow_points, shade, height, width).reduce(OVERSAMPLING)
        return Maps(
            averaged[:3],
            averaged[3],
            label.take(seen),
            surface.take(seen),
            np.asarray(shadow).ravel() / np.float32(255),
        )

    def _fill(
        self,
        mode: str,
        points: list[np.ndarray],
        polygons: Sequence[tuple[int, int]],
        height: int,
        width: int,
    ) -> Image.Image:
        """Fill polygons, as (corners, value), on a map of OVERSAMPLING cells per pixel and side."""
        image = Image.new(mode, (width * OVERSAMPLING, height * OVERSAMPLING))
        draw, start = ImageDraw.Draw(image), 0
        seen = self.camera.project(np.concatenate(points or [np.zeros((0, 3))]))
        seen = seen * (height * OVERSAMPLING) + (image.width / 2, 0.0)
        cells = np.floor(seen).astype(np.int32).ravel().tolist()
        for corners, value in polygons:
            draw.polygon(cells[start : start + 2 * corners], fill=value)
            start += 2 * corners
        return image
