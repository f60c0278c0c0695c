"""New pictures from old ones: resized, cropped, flipped, recoloured, and their labels with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segformer_edu.checks import check_rate, is_real, is_whole
from segformer_edu.data.photos import IMAGENET_MEAN

IGNORE = 255  # the label of a pixel that does not count
MEAN_COLOUR = tuple(round(255 * mean) for mean in IMAGENET_MEAN)  # about 0 once normalised
TRIES = 10  # to find a crop that has something to learn from
LARGEST_HUE_TURN = math.pi / 4  # at colour = 1

# A colour is its grey, the mean of red, green and blue, plus what lies across from grey. TURN takes
# the latter a quarter of the way round: red, green and blue sit at 0°, 120° and 240°.
GREY = np.full((3, 3), 1 / 3)
CHROMA = np.eye(3) - GREY
TURN = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)


@dataclass(frozen=True)
class Augment:
    """Random resize, crop, flip and colour, as in section 4.1 of the paper; colour is our addition.

    Called as `augment(image, labels, rng)`. All randomness comes from `rng`, so the same generator
    state gives the same result. A crop without a labelled pixel is drawn again, up to ten times.

    Args:
        size: of the result: a whole number for a square, or (height, width).
        scale: bounds of the factor by which the picture is resized, before the crop. What is then
            smaller than `size` is placed at random in a frame of the mean colour, labelled 255.
        flip: the probability that left and right are exchanged.
        colour: by how much brightness, contrast and saturation change at most, as a share, 0 … 1;
            the hue turns by up to colour × 45°. Of photographs: bands keep their numbers.

    Shape: `(H, W, 3)` uint8, `(H, W)` uint8 → `(*size, 3)` uint8, `size` uint8; bands `(H, W, C)`
        float32 → `(*size, C)` float32. The arguments are not changed.

    Raises:
        ValueError: names the field, its value and the rule that it breaks; or says that image and
            labels do not belong together.
    """

    size: int | Sequence[int]
    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    colour: float = 0.4

    def __post_init__(self) -> None:
        height_and_width(self.size)
        bounds = self.scale
        if (
            not isinstance(bounds, (list, tuple))
            or len(bounds) != 2
            or not all(map(is_real, bounds))
        ):
            raise ValueError(f"scale = {bounds!r}: give two numbers, such as (0.5, 2.0).")
        if not 0 < bounds[0] <= bounds[1] < math.inf:
            raise ValueError(f"scale = {bounds!r}: give the smaller factor first, both above 0.")
        check_rate(flip=self.flip, colour=self.colour)

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        check_pair(image, labels)
        if not isinstance(rng, np.random.Generator):
            raise ValueError(
                f"rng = {rng!r}: give a generator, such as numpy.random.default_rng(0)."
            )
        for _ in range(TRIES):
            new_image, new_labels = self._crop(image, labels, rng)
            if (new_labels != IGNORE).any():
                break
        if rng.random() < self.flip:
            new_image, new_labels = (
                np.ascontiguousarray(each[:, ::-1]) for each in (new_image, new_labels)
            )
        if image.dtype != np.uint8:
            return new_image, new_labels
        brightness, contrast, saturation = 1 + self.colour * rng.uniform(-1, 1, size=3)
        hue = rng.uniform(-1, 1) * self.colour * LARGEST_HUE_TURN
        return recolour(new_image, brightness, contrast, saturation, hue), new_labels

    def _crop(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """A window at a random place of the picture, at a random scale."""
        size, factor = height_and_width(self.size), rng.uniform(*self.scale)
        scaled = [max(1, round(side * factor)) for side in labels.shape]
        spare = [have - want for have, want in zip(scaled, size, strict=True)]
        corner = [int(rng.integers(min(0, room), max(0, room) + 1)) for room in spare]
        return resize_and_crop(image, labels, scaled, corner, size)


def resize_and_crop(
    image: np.ndarray,
    labels: np.ndarray,
    scaled: Sequence[int],
    corner: Sequence[int],
    size: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """The picture resized to `scaled`, seen through a window of `size` with its corner at `corner`.

    Only what the window shows is computed. Images are averaged (bilinear, antialiased). Labels are
    picked (nearest), because a mean of two class numbers would be a third class. Outside the
    picture, the image has the mean colour (bands their own mean) and the labels are 255.

    Shape: `(H, W, 3)`, `(H, W)` → `(*size, 3)`, `size`; uint8. Bands `(H, W, C)` float32 alike.
    """
    box, place = [], []  # the part of the picture that is seen, and where it comes to lie
    for own, side, start, length in zip(labels.shape, scaled, corner, size, strict=True):
        first, last = max(start, 0), min(start + length, side)
        box.append((first * own / side, min(last * own / side, own)))
        place.append(slice(first - start, last - start))
    (top, bottom), (left, right) = box
    shown = [part.stop - part.start for part in place]
    photograph = image.dtype == np.uint8
    planes = [image] if photograph else [*np.moveaxis(image, 2, 0)]
    fills = [MEAN_COLOUR] if photograph else [plane.mean() for plane in planes]
    kinds = [Image.Resampling.BILINEAR] * len(planes) + [Image.Resampling.NEAREST]
    results = []
    for array, fill, resample in zip([*planes, labels], [*fills, IGNORE], kinds, strict=True):
        result = np.full((*size, *array.shape[2:]), fill, dtype=array.dtype)
        seen = Image.fromarray(array).resize(shown[::-1], resample, (left, top, right, bottom))
        result[tuple(place)] = seen
        results.append(result)
    *planes, new_labels = results
    return planes[0] if photograph else np.stack(planes, axis=2), new_labels


def fit(
    image: np.ndarray, labels: np.ndarray, size: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The whole picture, undistorted, as large as fits into `size`, and centred there.

    Shape: as that of `resize_and_crop`. The margins are labelled 255.
    """
    factor = min(want / have for want, have in zip(size, labels.shape, strict=True))
    scaled = [max(1, round(have * factor)) for have in labels.shape]
    corner = [(have - want) // 2 for have, want in zip(scaled, size, strict=True)]
    return resize_and_crop(image, labels, scaled, corner, size)


def recolour(
    image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float
) -> np.ndarray:
    """Change all colours at once: each of the four changes is linear, so one 3 × 3 matrix does it.

    Args:
        brightness: multiplies every value.
        contrast: multiplies the distance from the picture's mean grey.
        saturation: multiplies the distance of each pixel from its own grey.
        hue: angle in radians by which colours turn about grey; 2π/3 turns red into green.

    Shape: `(H, W, 3)` uint8 → the same.
    """
    mix = GREY + saturation * (math.cos(hue) * CHROMA + math.sin(hue) * TURN)
    shift = brightness * (1 - contrast) * image.mean()
    mixed = image.astype(np.float32) @ (brightness * contrast * mix.T).astype(np.float32)
    return np.clip(np.rint(mixed + np.float32(shift)), 0, 255).astype(np.uint8)


def height_and_width(size: int | Sequence[int], least: int = 1) -> tuple[int, int]:
    """The height and the width that a size means: a whole number for a square, or two.

    Raises:
        ValueError: something else, or a side below the least that is allowed.
    """
    sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    if len(sides) != 2 or not all(map(is_whole, sides)) or min(sides) < least:
        raise ValueError(
            f"size = {size!r}: give a whole number of at least {least}, or a pair (height, width)."
        )
    return int(sides[0]), int(sides[1])


def check_pair(image: np.ndarray, labels: np.ndarray) -> None:
    """Refuse what is not a picture and its labels, in shape or type."""
    for name, array, axes in (("image", image, "(H, W, 3)"), ("labels", labels, "(H, W)")):
        known = (np.uint8, np.float32) if name == "image" else (np.uint8,)
        if not isinstance(array, np.ndarray) or array.dtype not in known:
            got = getattr(array, "dtype", type(array).__name__)
            raise ValueError(
                f"{name} is an array of whole numbers 0 … 255, {axes} uint8; got {got}. "
                f"Use what dataset.picture(i) returns."
            )
    fits = image.ndim == 3 and image.shape[:2] == labels.shape and image.size > 0
    if not fits or (image.dtype == np.uint8 and image.shape[2] != 3):
        raise ValueError(
            f"image is (H, W, 3) and labels (H, W) of the same H and W, neither 0; got "
            f"{image.shape} and {labels.shape}. Use what dataset.picture(i) returns."
        )
