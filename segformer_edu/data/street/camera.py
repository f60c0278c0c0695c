"""Where a point of the street is seen, and the other way round: planes as the camera sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Plane = tuple[float, float, float]  # (A, B, C): 1 / depth = A right + B up + C along a ray


@dataclass(frozen=True)
class Camera:
    """A pinhole that looks down the street.

    The world is in metres: x to the right, y up from the ground, z ahead of the camera, which is at
    x = z = 0. A picture is one unit high whatever its pixels; its x is 0 in the middle, its y is 0
    at the top.

    Attributes:
        height: of the camera above the ground, in metres.
        focal: the focal length, in heights of the picture.
        horizon: the picture's y of all that is level with the camera and far away.
        vanishing: the picture's x of what is straight ahead.
        roll: how far the camera is tilted to its side, in radians.
    """

    height: float
    focal: float
    horizon: float
    vanishing: float
    roll: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Where points are seen: `(n, 3)` in metres → `(n, 2)` in heights of the picture."""
        scale = self.focal / points[:, 2]
        x = self.vanishing + points[:, 0] * scale
        y = self.horizon + (self.height - points[:, 1]) * scale - 0.5
        c, s = math.cos(self.roll), math.sin(self.roll)
        return np.stack((x * c - y * s, x * s + y * c + 0.5), axis=-1)

    def rays(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """How far right and up each pixel looks, per metre ahead: two `(H W,)` float32 arrays."""
        x = ((np.arange(width, dtype=np.float32) + 0.5) - width / 2) / height
        y = ((np.arange(height, dtype=np.float32) + 0.5) / height - 0.5)[:, None]
        c, s = np.float32(math.cos(self.roll)), np.float32(math.sin(self.roll))
        right = (x * c + y * s - np.float32(self.vanishing)) / np.float32(self.focal)
        up = (np.float32(self.horizon - 0.5) - (y * c - x * s)) / np.float32(self.focal)
        return right.ravel(), up.ravel()

    def ground(self) -> Plane:
        """y = 0."""
        return 0.0, -1 / self.height, 0.0

    def wall(self, start: tuple[float, float], end: tuple[float, float]) -> Plane:
        """The upright plane over the line between two points `(x, z)` of the ground."""
        along_x, along_z = end[0] - start[0], end[1] - start[1]
        distance = along_z * start[0] - along_x * start[1]
        distance = math.copysign(max(abs(distance), 1e-3), distance)  # the camera lies in the wall
        return along_z / distance, 0.0, -along_x / distance

    @staticmethod
    def facing(depth: float) -> Plane:
        """The plane z = depth."""
        return 0.0, 0.0, 1 / depth
