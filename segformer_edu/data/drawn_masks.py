"""Masks from outlines: every thing is filled with the number of its class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unicodedata import normalize

import numpy as np
from PIL import Image
from tqdm import tqdm

from segformer_edu.data.annotations import BACKGROUND, Drawing
from segformer_edu.data.folder import ENDINGS
from segformer_edu.data.image_files import Fault, is_turned, open_image, refuse
from segformer_edu.data.palette import class_colors

CLASSES = "classes.txt"  # beside the masks: a name on each line


class Placed(NamedTuple):
    """A drawing, and where its picture is.

    Attributes:
        picture: the path of the picture in its folder.
        size: the height and width that the mask will have.
        upright: whether the drawing is of the picture as its EXIF tag turns it; None if both ways
            have one size.
    """

    drawing: Drawing
    picture: Path
    size: tuple[int, int]
    upright: bool | None

    @property
    def mask(self) -> Path:
        """The path of the mask in its folder."""
        return self.picture.with_suffix(".png")


class Drawn(NamedTuple):
    """What masks hold.

    Attributes:
        pixels: `(256,)` how many pixels hold each number.
        pictures: `(256,)` on how many pictures it stands.
        empty: shapes that cover no pixel.
        overlaps: pictures in which things of two classes overlap.
    """

    pixels: np.ndarray
    pictures: np.ndarray
    empty: int
    overlaps: int


def place_all(drawings: Sequence[Drawing], images: Path) -> list[Placed]:
    """Find the picture of every drawing; those that are not there are left out, with a warning.

    Raises:
        ValueError: pictures of another size than they were drawn at, two whose masks would have one
            name, or none at all.
    """
    placed, faults, missing = [], [], []
    for each in tqdm(drawings, "comparing sizes", unit=" pictures", delay=1, leave=False):
        picture = picture_of(each.picture, images)
        try:
            if picture is None:
                missing.append(each.picture)
            else:
                placed.append(place(each, picture, images))
        except Fault as fault:
            faults.append(fault)
    if missing and len(missing) == len(drawings):
        raise Fault(
            f"images = {images} holds none of the {len(drawings)} pictures, such as {missing[0]}",
            "Give the folder in which these are.",
        )
    faults += [
        Fault(f"{first.picture} and {second.picture} would have one mask", "Rename one of them.")
        for first, second in namesakes(placed)
    ]
    ways = {each.upright: each for each in placed if each.upright is not None}
    if len(ways) == 2:
        faults.append(
            Fault(
                f"{ways[True].picture} was drawn over as its EXIF tag turns it, and "
                f"{ways[False].picture} as it is stored",
                "Draw all of them in one way.",
            )
        )
    refuse(faults)
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(drawings)} pictures are not in {images}, such as "
            f"{missing[0]}, and get no mask.",
            stacklevel=2,
        )
    nested = any(len(each.picture.parts) > 1 for each in placed)
    found = images.rglob("*") if nested else images.glob("*")
    others = {path.relative_to(images) for path in found if path.suffix.lower() in ENDINGS}
    others = {path for path in others if not path.name.startswith(".")}
    if others := others - {each.picture for each in placed}:
        warnings.warn(
            f"Nothing was drawn over {len(others)} pictures of {images}, such as {min(others)}: "
            f"they get no mask. To train without them, move them out of the folder.",
            stacklevel=2,
        )
    return placed


def picture_of(written: str, images: Path) -> Path | None:
    """The picture that a path in annotations means, in its folder: the path from another machine
    may have folders in front that are not here.
    """
    parts = [part for part in PureWindowsPath(written).parts if part not in ("..", "/", "\\")]
    tails = (str(Path(*parts[first:])) for first in range(len(parts)))
    # macOS may store ü as two characters, and write it as one
    spelled = ((tail, normalize("NFC", tail), normalize("NFD", tail)) for tail in tails)
    found = (each for spellings in spelled for each in spellings if (images / each).is_file())
    return next(map(Path, found), None)


def place(drawing: Drawing, picture: Path, images: Path) -> Placed:
    """Compare the size of a picture with the one that was drawn over."""
    with open_image(images / picture) as file:
        stored = file.size[::-1]
        late = file.format == "PNG" and "exif" not in file.info and drawing.size == stored
        turned = not late and is_turned(file)  # as `Folder` sees it
    shown = stored[::-1] if turned else stored
    size = drawing.size or shown
    if size not in (stored, shown):
        raise Fault(
            f"{images / picture} has {shown[1]} × {shown[0]} pixels, and was drawn over at "
            f"{size[1]} × {size[0]}",
            "Take the pictures that were drawn over, not resized ones.",
        )
    return Placed(drawing, picture, size, None if stored == shown else size == shown)


def namesakes(placed: Sequence[Placed]) -> list[tuple[Placed, Placed]]:
    """Pairs of drawings whose masks would have one name."""
    first: dict[Path, Placed] = {}
    return [
        (first[each.mask], each) for each in placed if first.setdefault(each.mask, each) is not each
    ]


def write_masks(
    placed: Sequence[Placed], names: Sequence[str], numbers: Mapping[str, int], out: Path
) -> Drawn:
    """Write all masks and the names of their classes into a new folder, or nothing.

    Args:
        placed: what was drawn, and over which picture.
        names: the classes.
        numbers: the number of each name that a shape may have, and of "background".
        out: the folder, which does not exist, or is empty.

    Raises:
        ValueError: lists the shapes that are damaged.
    """
    palette = class_colors(256).tobytes()

    def write(each: Placed) -> Drawn | Fault:
        try:
            labels, drawn = draw(each.drawing, each.size, numbers)
        except Fault as fault:
            return fault
        picture = Image.fromarray(labels)
        picture.putpalette(palette)
        (folder / each.mask).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / each.mask)
        return drawn

    with TemporaryDirectory(prefix=".make-masks", dir=out.parent) as temporary:
        folder, faults = Path(temporary, "masks"), []
        total = Drawn(np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64), 0, 0)
        folder.mkdir()
        pool = ThreadPoolExecutor()
        try:
            bar = tqdm(pool.map(write, placed), "drawing", len(placed), unit=" masks", delay=1)
            for found in bar:
                if isinstance(found, Fault):
                    faults.append(found)
                else:
                    total = Drawn(*(a + b for a, b in zip(total, found, strict=True)))
        finally:
            pool.shutdown(cancel_futures=True)
        refuse(faults, "drawings")
        if total.empty == sum(len(each.drawing.shapes) for each in placed) > 0:
            raise ValueError(
                f"None of the {total.empty} shapes covers a pixel: give outlines in pixels of the "
                f"picture, not in shares of its sides."
            )
        (folder / CLASSES).write_text("\n".join([*names, ""]), encoding="utf-8")
        if out.exists():
            out.rmdir()
        folder.rename(out)
    return total


def draw(
    drawing: Drawing, size: tuple[int, int], numbers: Mapping[str, int]
) -> tuple[np.ndarray, Drawn]:
    """One mask: background where nothing was drawn, and the smaller of two things that overlap.

    Every shape is drawn twice, first for its area, so that no two are in memory at once.

    Shape: → `(H, W)` uint8, and what it holds.
    """
    labels = np.full(size, numbers[BACKGROUND], dtype=np.uint8)
    covered = np.zeros(size, dtype=bool)
    areas = [int(shape.draw(*size).sum()) for shape in drawing.shapes]
    overlaps = False
    for _, shape in sorted(zip(areas, drawing.shapes, strict=True), key=lambda each: -each[0]):
        inside, number = shape.draw(*size), numbers[shape.name]
        overlaps |= bool((labels[inside & covered] != number).any())
        labels[inside] = number
        covered |= inside
    pixels = np.bincount(labels.ravel(), minlength=256)
    return labels, Drawn(pixels, (pixels > 0).astype(int), areas.count(0), int(overlaps))
