"""Outlines from annotation tools: COCO's JSON, and the JSON files of labelme."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from segformer_edu.checks import is_real
from segformer_edu.data.augment import IGNORE
from segformer_edu.data.image_files import Fault, refuse
from segformer_edu.extras import install_command

BACKGROUND = "background"  # what nobody drew
IGNORED = "ignore"  # what does not count, such as a crowd
FARTHEST = 10  # sides of a picture that an outline may reach beyond it
REDRAW = "Draw it again, or take it out of the file."


class Shape(NamedTuple):
    """What was drawn around one thing.

    Attributes:
        name: its class, as it is spelled there.
        draw: given a height and a width, which pixels it covers, (H, W) bool.
    """

    name: str
    draw: Callable[[int, int], np.ndarray]


class Drawing(NamedTuple):
    """What was drawn over one picture.

    Attributes:
        picture: the path of the picture, as it is written there.
        size: the height and width that it had there, or None.
        shapes: in any order; where they overlap, the smaller one lies over the larger.
    """

    picture: str
    size: tuple[int, int] | None
    shapes: list[Shape]


class Annotations(NamedTuple):
    """All that a file or a folder of annotations holds.

    Attributes:
        names: the classes that it names, in its order.
        drawings: one for each picture.
        notes: what its reader should know of how it was taken.
    """

    names: list[str]
    drawings: list[Drawing]
    notes: list[str]


def read_annotations(path: Path) -> Annotations:
    """What annotation tools wrote: a COCO file, or a folder of labelme's files, or one of them.

    Raises:
        ValueError: files that are missing, damaged, or of another kind.
    """
    if path.is_dir():
        return read_labelme(path, sorted(path.rglob("*.json")))
    content = read_json(path)
    if isinstance(content, dict) and "shapes" in content:
        return read_labelme(path.parent, [path])
    if isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content):
        return read_coco(path, content)
    raise Fault(
        f"{path} is neither COCO's (images, annotations, categories) nor labelme's (shapes)",
        "Export the annotations as one of these from the tool that made them.",
    )


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Fault(
            f"{path} cannot be read as JSON ({reason})", "Check the path, or export it again."
        ) from None


# COCO


def read_coco(path: Path, content: dict[str, Any]) -> Annotations:
    """Polygons and run lengths of COCO's format.

    Crowds are ignored, and so is the box of a thing that has no outline. Classes come in the order
    of their numbers, which may have gaps.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError(
            f"To read COCO's outlines, pycocotools is needed: run {install_command('coco')}."
        ) from None
    warnings.filterwarnings("ignore", "__array__ implementation")  # pycocotools's own, of NumPy 2
    boxes = crowds = 0
    try:
        classes = {each["id"]: str(each["name"]) for each in content["categories"]}
        drawings = {each["id"]: coco_drawing(each) for each in content["images"]}
        for each in content["annotations"]:
            if "segments_info" in each:
                raise Fault(f"{path} is panoptic", "Its PNG files are masks already.")
            where = f"annotation {each['id']} of {drawings[each['image_id']].picture}"
            outline, name = each.get("segmentation"), classes[each["category_id"]]
            if not outline:
                boxes += 1
                x, y, width, height = each["bbox"]
                right, lower = x + width, y + height
                outline, name = [[x, y, right, y, right, lower, x, lower]], IGNORED
            elif each.get("iscrowd"):
                crowds += 1
                name = IGNORED
            draw = partial(coco_pixels, where, outline)
            drawings[each["image_id"]].shapes.append(Shape(name, draw))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, Fault):
            raise
        raise Fault(
            f"{path} is not in COCO's format ({type(error).__name__}: {error})",
            "Its images have an id and a file_name; its annotations an id, an image_id, a "
            "category_id and a segmentation. Export it again.",
        ) from None
    if boxes == len(content["annotations"]) > 0:
        raise Fault(f"{path} holds boxes and no outlines", "Export it with segmentation.")
    notes = []
    if crowds:
        notes.append(f"{crowds} crowds are ignored.")
    if boxes:
        notes.append(f"{boxes} things have a box and no outline: their boxes are ignored.")
    return Annotations([classes[key] for key in sorted(classes)], [*drawings.values()], notes)


def coco_drawing(image: dict[str, Any]) -> Drawing:
    return Drawing(str(image["file_name"]), size_of(image.get("height"), image.get("width")), [])


def coco_pixels(where: str, outline: Any, height: int, width: int) -> np.ndarray:
    """The pixels inside of polygons, or those that run lengths count. → `(H, W)` bool."""
    from pycocotools import mask

    if isinstance(outline, list):
        polygons = outline if isinstance(outline[0], list) else [outline]
        flat = [points_of(where, each, height, width) for each in polygons]
        runs = [each.ravel().tolist() for each in flat if len(each) > 2]
        if not runs:
            return np.zeros((height, width), dtype=bool)
        encoded = mask.merge(mask.frPyObjects(runs, height, width))
        return mask.decode(encoded).astype(bool)
    try:
        size, counts = list(outline["size"]), outline["counts"]
        counts = unpacked(counts) if isinstance(counts, str) else [int(each) for each in counts]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Fault(f"{where} has damaged run lengths ({error})", REDRAW) from None
    if size != [height, width] or min(counts, default=0) < 0 or sum(counts) != height * width:
        raise Fault(
            f"{where} has run lengths of {sum(counts)} pixels, {' × '.join(map(str, size[::-1]))}, "
            f"and its picture is of {width} × {height}",
            REDRAW,
        )
    inside = np.arange(len(counts)) % 2 == 1  # the first run is outside of the thing
    return np.repeat(inside, counts).reshape(width, height).T  # COCO counts along columns


def unpacked(text: str) -> list[int]:
    """Run lengths from COCO's text: five bits a letter, the lowest first, from "0" on; a sixth says
    that more follow. From the fourth on, each number is the difference to the last but one.

    pycocotools does this, too, but ends Python where the text is damaged.
    """
    counts: list[int] = []
    number = shift = 0
    for letter in text.encode():
        bits = letter - ord("0")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    return counts


# labelme


def read_labelme(folder: Path, paths: Sequence[Path]) -> Annotations:
    """Shapes of labelme's files, one for each picture. Classes come in alphabetical order, spelled
    as most of their shapes are.
    """
    drawings, faults = [], []
    for path in paths:
        try:
            drawings.append(labelme_drawing(path, path.parent.relative_to(folder)))
        except Fault as fault:
            faults.append(fault)
    refuse(faults, "annotation files")
    if not drawings:
        raise Fault(f"{folder} holds no JSON file", "Give the folder of labelme's, or COCO's file.")
    counts = Counter(shape.name for each in drawings for shape in each.shapes)
    names = {folded(name): name for name, _ in reversed(counts.most_common())}
    return Annotations([names[key] for key in sorted(names)], drawings, [])


def labelme_drawing(path: Path, place: Path) -> Drawing:
    """What one file of labelme holds. The picture that it may embed is not needed."""
    content = read_json(path)
    try:
        shapes = [labelme_shape(path, each) for each in content["shapes"]]
        size = size_of(content.get("imageHeight"), content.get("imageWidth"))
        picture = PureWindowsPath(content["imagePath"]).name
    except (KeyError, TypeError, AttributeError) as error:
        raise Fault(
            f"{path} is not in labelme's format ({type(error).__name__}: {error})",
            "Save it again in labelme, or take it out of the folder.",
        ) from None
    return Drawing(str(place / picture), size, shapes)


def labelme_shape(path: Path, shape: dict[str, Any]) -> Shape:
    kind = shape.get("shape_type") or "polygon"
    if kind not in LABELME:
        raise Fault(
            f"{path} holds a {kind}, which covers no pixels", "Draw a polygon around what it means."
        )
    name = " ".join(str(shape["label"]).split())
    if not name:
        raise Fault(f"{path} holds a {kind} without a label", "Give it one.")
    return Shape(name, partial(LABELME[kind], f"a {kind} of {path}", shape))


def canvas(height: int, width: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("1", (width, height))
    return picture, ImageDraw.Draw(picture)


def polygon(where: str, shape: dict[str, Any], height: int, width: int) -> np.ndarray:
    picture, pen = canvas(height, width)
    points = points_of(where, shape["points"], height, width)
    if len(points) > 2:
        pen.polygon([*map(tuple, points.tolist())], fill=1, outline=1)
    return np.array(picture)


def rectangle(where: str, shape: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Two opposite corners, or all four of one that is turned."""
    points = points_of(where, shape["points"], height, width)
    if len(points) != 2:
        return polygon(where, shape, height, width)
    picture, pen = canvas(height, width)
    pen.rectangle([*points.min(0), *points.max(0)], fill=1, outline=1)
    return np.array(picture)


def circle(where: str, shape: dict[str, Any], height: int, width: int) -> np.ndarray:
    """The centre, and a point of the rim."""
    picture, pen = canvas(height, width)
    (x, y), (rim_x, rim_y) = points_of(where, shape["points"], height, width, 2)
    radius = math.hypot(rim_x - x, rim_y - y)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
    return np.array(picture)


def bitmap(where: str, shape: dict[str, Any], height: int, width: int) -> np.ndarray:
    """A small picture in black and white, and the corners of the box that it fills."""
    points = points_of(where, shape["points"], height, width, 2)
    left, top = (round(each) for each in points.min(0))
    try:
        small = Image.open(io.BytesIO(base64.b64decode(shape["mask"]))).convert("1")
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise Fault(f"{where} holds a damaged mask ({error})", REDRAW) from None
    picture, _ = canvas(height, width)
    picture.paste(small, (left, top))
    return np.array(picture)


LABELME = {
    "polygon": polygon,
    "rectangle": rectangle,
    "oriented_rectangle": rectangle,
    "circle": circle,
    "mask": bitmap,
}


# Both


def points_of(
    where: str, points: Any, height: int, width: int, count: int | None = None
) -> np.ndarray:
    """Points of an outline, `(n, 2)`: x to the right and y down, in pixels."""
    try:
        found = np.array(points, dtype=float).reshape(-1, 2)
        sound = bool((np.abs(found) < FARTHEST * max(height, width)).all())
    except (TypeError, ValueError):
        sound = False
    if not sound or (count and len(found) != count):
        raise Fault(
            f"{where} has other points than {count or 'pairs of'} finite numbers near its picture",
            REDRAW,
        )
    return found


def size_of(height: Any, width: Any) -> tuple[int, int] | None:
    """A height and a width, if both are known."""
    return (int(height), int(width)) if is_real(height) and is_real(width) else None


def folded(name: str) -> str:
    """What names have in common that differ in case, hyphens, underscores and blanks only.

    >>> folded("_Traffic  Light_") == folded("traffic-light")
    True
    """
    return " ".join(re.sub(r"[\s_-]+", " ", name.casefold()).split())


def numbers_of(
    annotations: Annotations, given: Sequence[str] = ()
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The classes, and the number of each name in the annotations. Background comes first unless
    the given names have it elsewhere; what is called "ignore" gets 255.

    Args:
        annotations: of which the names are taken in their order if none are given.
        given: names of the classes, in their order.

    Raises:
        ValueError: a shape whose name is not among the given; names that differ in nothing but
            case, or more than a mask can number.
    """
    named: dict[str, str] = {}
    for name in given or annotations.names:
        first = named.setdefault(folded(name), name)
        if given and first != name:
            raise ValueError(f"classes = {','.join(given)}: {first} and {name} are one class.")
    named.pop(IGNORED, None)
    if not given or BACKGROUND not in named:
        named = {BACKGROUND: named.get(BACKGROUND, BACKGROUND)} | named
    order = tuple(named.values())
    if len(order) > IGNORE:
        raise ValueError(
            f"There are {len(order)} classes, and masks can number {IGNORE}: choose those that "
            f"matter, and give their names to the others."
        )
    table = {key: number for number, key in enumerate(named)} | {IGNORED: IGNORE}
    used = Counter(shape.name for each in annotations.drawings for shape in each.shapes)
    if strangers := [name for name in used if folded(name) not in table]:
        counted = ", ".join(f"{name} ({used[name]} times)" for name in strangers[:10])
        raise ValueError(
            f"The annotations show what classes = {','.join(order)} does not name: {counted}. Name "
            f"it, too; or call it ignore in the annotations, if it does not count."
        )
    return order, {name: table[folded(name)] for name in [BACKGROUND, *used]}
