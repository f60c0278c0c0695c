"""What photographs and masks hold, to the last pixel: all is counted, and what is wrong named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags
from tqdm import tqdm

from segformer_edu.data.colors import ColorTable, read_coloured
from segformer_edu.data.folder import RESIZED, Pair, fault_or, unknown_colours
from segformer_edu.data.image_files import QUARTER_TURNS, Fault, open_image
from segformer_edu.data.masks import read_mask
from segformer_edu.data.photos import check_photo

UNTURNED = 1  # the EXIF orientation of a photograph that is stored as it is shown
KINDS = {
    "1": "black and white",
    "L": "grey",
    "P": "with a palette",
    "RGB": "in colours",
    "RGBA": "in colours, with transparency",
    "LA": "grey, with transparency",
    "CMYK": "in CMYK",
}


class Photo(NamedTuple):
    """A photograph: its kind, its upright (width, height), and its EXIF orientation."""

    kind: str
    size: tuple[int, int]
    orientation: int


class Mask(NamedTuple):
    """A mask: its kind, its (width, height), and how many pixels have each number."""

    kind: str
    size: tuple[int, int]
    pixels: np.ndarray


@dataclass
class Inspection:
    """What some pictures hold; what could not be read is in `faults` alone.

    It grows by a few bytes for each picture, so that ten thousand need no more memory than ten.

    Attributes:
        pairs: the photographs and masks that could be read and fit together.
        sizes: of each, (width, height), upright.
        photographs, masks: how many are of each kind.
        turned: the names of those with an EXIF tag that turns them, …
        unrotated: and of these, of those whose masks only fit what is stored, …
        upright: and of those whose masks only fit what is shown.
        pixels: `(256,)` how many pixels have each number: in the masks, or of the table of colours.
        pictures: `(256,)` how many pictures show it.
        largest: `(256,)` the place in `pairs` of the picture that shows most of it.
        faults: all that is wrong.
    """

    pairs: list[Pair] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    photographs: Counter[str] = field(default_factory=Counter)
    masks: Counter[str] = field(default_factory=Counter)
    turned: list[str] = field(default_factory=list)
    unrotated: list[str] = field(default_factory=list)
    upright: list[str] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    pictures: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    largest: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))
    faults: list[Fault] = field(default_factory=list)
    _most: np.ndarray = field(default_factory=lambda: np.zeros(256, dtype=np.int64))

    def add(self, pair: Pair, photo: Photo | Fault, mask: Mask | Fault) -> None:
        """Count one picture, or note what is wrong with it."""
        name = pair[0].name
        if isinstance(photo, Fault) or isinstance(mask, Fault):
            self.faults += [each for each in (photo, mask) if isinstance(each, Fault)]
            return
        quarter = photo.orientation in QUARTER_TURNS
        stored = photo.size[::-1] if quarter else photo.size
        if mask.size not in (photo.size, stored):
            sizes = [" × ".join(map(str, size)) for size in (mask.size, photo.size)]
            self.faults.append(
                Fault(f"{pair[1]} has {sizes[0]} pixels, {pair[0]} {sizes[1]}", RESIZED)
            )
            return
        if photo.orientation != UNTURNED:
            self.turned.append(name)
        if stored != photo.size:
            (self.upright if mask.size == photo.size else self.unrotated).append(name)
        better = mask.pixels > self._most
        self.largest[better], self._most[better] = len(self.pairs), mask.pixels[better]
        self.pairs.append(pair)
        self.sizes.append(photo.size)
        self.photographs[photo.kind] += 1
        self.masks[mask.kind] += 1
        self.pixels += mask.pixels
        self.pictures += mask.pixels > 0


def inspect(pairs: Sequence[Pair], colors: ColorTable | None = None) -> Inspection:
    """Read photographs and masks, several at a time, with a progress bar.

    Args:
        pairs: photographs and their masks.
        colors: the table by which masks in colours become numbers: classes, or 255.
    """
    found = Inspection()
    with ThreadPoolExecutor() as pool:
        looks = pool.map(partial(look, colors=colors), pairs)
        bar = tqdm(looks, "reading", len(pairs), unit=" pictures", delay=1, leave=False)
        for pair, (photo, mask) in zip(pairs, bar, strict=True):
            found.add(pair, photo, mask)
    return found


def look(pair: Pair, colors: ColorTable | None) -> tuple[Photo | Fault, Mask | Fault]:
    """What a photograph and its mask hold, or what is wrong with either."""
    return fault_or(look_at_photo, pair), fault_or(partial(look_at_mask, colors=colors), pair)


def look_at_photo(pair: Pair) -> Photo:
    path, _ = pair
    with open_image(path) as file:
        kind = kind_of(file.format, file.mode)
        # of a TIFF, Pillow gives the upright size and pixels
        orientation = UNTURNED if file.format == "TIFF" else orientation_of(file.getexif())
    height, width = check_photo(path)
    return Photo(kind, (width, height), orientation)


def orientation_of(exif: Mapping[int, object]) -> int:
    """The EXIF orientation, 1 … 8; 1 for a tag that says nothing."""
    given = exif.get(ExifTags.Base.Orientation, UNTURNED)
    return given if isinstance(given, int) and 1 <= given <= 8 else UNTURNED


def look_at_mask(pair: Pair, colors: ColorTable | None) -> Mask:
    _, path = pair
    with open_image(path) as file:
        kind = kind_of(file.format, file.mode)
    if colors:
        numbers, strange = colors.label(read_coloured(path))
        if strange:
            raise unknown_colours(path, strange, numbers.size, colors)
    else:
        numbers = read_mask(path)
    height, width = numbers.shape
    return Mask(kind, (width, height), np.bincount(numbers.ravel(), minlength=256))


def kind_of(form: str | None, mode: str) -> str:
    """
    >>> kind_of("PNG", "P")
    'PNG with a palette'
    """
    return f"{form} {KINDS.get(mode, f'in {mode}')}"


def has_colours(path: Path) -> bool:
    """Whether a mask shows colours that are no palette; not if it cannot be read."""
    try:
        with open_image(path) as file:
            return file.mode in ("RGB", "RGBA")
    except Fault:
        return False
