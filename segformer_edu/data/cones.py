"""Street scenes with traffic cones: a ninth class, for a model that knows eight (lesson 08)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.scenes import CLASSES

ORANGE, WHITE = (240, 90, 20), (230, 230, 230)


class Cones(SegmentationDataset):
    """Scenes with cones on their roads, smaller the further up they stand, labelled 8.

    Args:
        scenes: the same streets without cones.
    """

    class_names = (*CLASSES, "cone")

    def __init__(self, scenes: SegmentationDataset) -> None:
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Scene number `index` with its cones, and the labels: `(H, W, 3)`, `(H, W)` uint8."""
        return with_cones(*self.scenes.picture(index), np.random.default_rng(index))


def with_cones(
    image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A scene with up to three cones on its road.

    Shape: `(H, W, 3)` uint8, `(H, W)` uint8 → the same.
    """
    rows, columns = np.nonzero(labels == CLASSES.index("road"))
    day, picture, map_ = image.max() / 255, Image.fromarray(image), Image.fromarray(labels)
    for i in sorted(rng.choice(len(rows), 3), key=lambda i: rows[i]):  # the nearest last
        x, y, tall = columns[i], rows[i], 4 + 0.45 * (rows[i] - rows.min())
        cone = [(x - 0.3 * tall, y), (x + 0.3 * tall, y), (x, y - tall)]
        band = [(x - 0.18 * tall, y - 0.4 * tall), (x + 0.18 * tall, y - 0.4 * tall)]
        light = rng.uniform(0.5, 1) * day
        ImageDraw.Draw(picture).polygon(cone, fill=tuple(int(light * each) for each in ORANGE))
        ImageDraw.Draw(picture).line(band, fill=WHITE, width=max(1, int(tall / 8)))
        ImageDraw.Draw(map_).polygon(cone, fill=len(CLASSES))
    return np.array(picture), np.array(map_)
