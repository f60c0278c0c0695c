"""Where a folder keeps its pictures and masks, found by the names that people usually give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from segformer_edu.data.folder import ENDINGS
from segformer_edu.data.patterns import composed

IMAGE_FOLDERS = (
    *("images", "image", "imgs", "img", "photos", "photographs", "pictures", "jpegimages"),
    *("leftimg8bit", "rgb", "inputs", "input", "bilder", "fotos"),
)
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass"),
    *("gtfine", "segmentations", "segmentation", "gt", "groundtruth", "ground_truth", "targets"),
    *("target", "masken"),
)
LISTS = "ImageSets/Segmentation"  # of Pascal VOC, most of whose photographs have no mask; and CVAT
TRAINING = ("train", "training")
VALIDATION = ("val", "valid", "validation")
IMAGE_MARKS = ("", "_image", "_img", "_sat", "_rgb", "_leftImg8bit")  # after a photograph's name
MASK_WORDS = ("trainids", "labelids", "label", "mask", "seg", "gt")  # of several masks, the first
ENOUGH = 4  # of so many files one at least is a mask with a partner: Cityscapes has four for each
TRIED = 5  # photographs whose masks are looked for, to learn how masks are called
PEEK = 2**16  # characters of a JSON file that show what it holds


class Place(NamedTuple):
    """Photographs and masks, as the settings `images` and `masks` name them."""

    images: str
    masks: str


class Layout(NamedTuple):
    """Where the pictures to train on are, and those to validate on, if they stand apart; or the
    files that list which are which, and leave out others.
    """

    training: Place
    validation: Place | None = None
    lists: tuple[str, str] | None = None


class Mark(NamedTuple):
    """What stands before and after a picture's name in the names of files, such as _mask."""

    before: str = ""
    after: str = ""

    def names(self, files: Sequence[Path]) -> set[str]:
        """The pictures' names in the names of files; files without the mark have none."""
        found = set()
        for path in files:
            text = composed(path.name if "." in self.after else path.stem)
            name = text.removeprefix(self.before).removesuffix(self.after)
            if name and len(text) == len(self.before + name + self.after):
                found.add(name)
        return found


def find_layout(folder: Path) -> Layout:
    """Where a folder keeps photographs and masks: the first of these ways that it shows.

    - Two folders, images and masks (or photos, labels, annotations, …), with the same names in
      both, or with masks whose names have an addition, as in cat.jpg and cat_mask.png. Folders
      train and val in them are told apart (ADE20K), and searched at any depth (Cityscapes).
    - The same in a folder train, with a folder val beside it.
    - Both in one folder.

    Raises:
        ValueError: none of them; says what is there.
    """
    found = two_folders(folder)
    if found:
        texts = {path.stem.lower(): str(path) for path in sorted((folder / LISTS).glob("*.txt"))}
        lists = [
            next((texts[name] for name in names if name in texts), "")
            for names in (TRAINING, VALIDATION)
        ]
        return found._replace(lists=(lists[0], lists[1])) if all(lists) else found
    inside = folders_in(folder)
    for name in TRAINING:
        if name in inside and (training := side_by_side(inside[name])):
            others = (side_by_side(inside[each]) for each in VALIDATION if each in inside)
            return Layout(training, next(filter(None, others), None))
    if place := place_of(folder, folder):
        return Layout(place)
    files = Counter(path.suffix.lower() for path in folder.iterdir() if path.is_file())
    held = [f"the folders {', '.join(each.name for each in inside.values())}"] if inside else []
    held += [f"{kind or 'unnamed'} files ({count})" for kind, count in files.most_common(3)]
    raise ValueError(
        f"{folder} shows no photographs with masks that share their names; it holds "
        f"{', '.join(held) or 'nothing'}. Say where they are with images = … and masks = …."
    )


def two_folders(folder: Path) -> Layout | None:
    """Photographs in one folder and masks in another, perhaps each with folders train and val."""
    inside = folders_in(folder)
    for one, other in product(IMAGE_FOLDERS, MASK_FOLDERS):
        if one not in inside or other not in inside:
            continue
        images, masks = inside[one], inside[other]
        if training := part_of(images, masks, TRAINING):
            return Layout(training, part_of(images, masks, VALIDATION))
        if place := place_of(images, masks):
            return Layout(place)
    return None


def part_of(images: Path, masks: Path, names: Iterable[str]) -> Place | None:
    """Photographs and masks in folders of the same name in two others."""
    shared = [name for name in names if (images / name).is_dir() and (masks / name).is_dir()]
    return next(filter(None, (place_of(images / name, masks / name) for name in shared)), None)


def side_by_side(folder: Path) -> Place | None:
    """Photographs and masks in two folders in this one, or both in this one."""
    found = two_folders(folder)
    return found.training if found else place_of(folder, folder)


def place_of(images: Path, masks: Path) -> Place | None:
    """Two folders, or patterns for the files in them, in which names belong together."""
    photographs, drawn = files_in(images), files_in(masks)
    ranked: list[tuple[int, int, Mark, Mark]] = []
    for mark, mask_mark in dict.fromkeys(marks(photographs, drawn, images == masks)):
        shared = mark.names(photographs) & mask_mark.names(drawn)
        words = [word in mask_mark.after.lower() for word in (*MASK_WORDS, "")]
        ranked.append((len(shared), -words.index(True), mark, mask_mark))
    count, _, *best = max(ranked, default=(0, 0), key=lambda each: each[:2])
    if not count or ENOUGH * count < len(drawn):  # names such as 1 and 10 are in part the same
        return None
    return Place(
        *(
            path_of(folder, files, mark)
            for folder, files, mark in zip((images, masks), (photographs, drawn), best, strict=True)
        )
    )


def marks(
    photographs: Sequence[Path], drawn: Sequence[Path], together: bool
) -> Iterator[tuple[Mark, Mark]]:
    """What photographs and masks may have before and after the names that they share."""
    if not together:
        yield Mark(), Mark()
    else:
        kinds = {path.suffix for path in drawn}
        yield from (
            (Mark(after=one), Mark(after=other))
            for one, other in product(kinds, kinds)
            if one.lower() in (".jpg", ".jpeg") and other.lower() not in (".jpg", ".jpeg")
        )
    for photograph, end in product(photographs[:TRIED], IMAGE_MARKS):
        name = photograph.stem.removesuffix(end)
        if not photograph.stem.endswith(end) or not name:
            continue
        for path in drawn:
            before, found, after = path.stem.partition(name)
            if found and before + after and (before, after) != ("", end):
                yield Mark(after=end), Mark(before, after + path.suffix * ("." in after))


def path_of(folder: Path, files: Sequence[Path], mark: Mark) -> str:
    """A folder if all its files count, a pattern otherwise."""
    deep = any(path.parent != folder for path in files)
    if not deep and mark == Mark():
        return str(folder)
    return str(folder.joinpath(*["**"] * deep, f"{mark.before}*{mark.after}"))


def files_in(folder: Path) -> list[Path]:
    """The image files of a folder, or, if it has none, of the folders in it at any depth."""
    return sorted(filter(is_image, folder.iterdir())) or sorted(
        path for path in folder.rglob("*") if is_image(path)
    )


def is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def folders_in(folder: Path) -> dict[str, Path]:
    """The folders in a folder by their names in small letters, except hidden ones."""
    return {
        path.name.lower(): path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }


class Annotations(NamedTuple):
    """Outlines in JSON, of which masks can be made."""

    path: Path
    kind: str  # COCO or labelme


def find_annotations(folder: Path) -> Annotations | None:
    """A file in COCO's format, or a folder of labelme's files, in this folder or one in it."""
    for each in (folder, *folders_in(folder).values()):
        for path in sorted(each.glob("*.json")):
            with path.open(encoding="utf-8", errors="replace") as file:
                start = file.read(PEEK)
            if '"shapes"' in start:
                return Annotations(each, "labelme")
            if '"annotations"' in start or '"images"' in start:
                return Annotations(path, "COCO")
    return None


def images_beside(folder: Path) -> Path:
    """Where the photographs of a folder with annotations are."""
    inside = folders_in(folder)
    named = [inside[name] for name in IMAGE_FOLDERS if name in inside]
    return next(filter(files_in, [*named, *inside.values()]), folder)
