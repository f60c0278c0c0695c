"""Your own pictures: photographs in one folder, masks of the same names in another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from segformer_edu.checks import is_whole
from segformer_edu.data.augment import IGNORE, fit, height_and_width
from segformer_edu.data.bands import open_bands, read_bands
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.image_files import Fault, is_turned, open_image
from segformer_edu.data.masks import check_kind, label_table, read_mask
from segformer_edu.data.photos import check_photo, read_photo
from segformer_edu.files import expanded

ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic", ".heif"),
    ".npy",
)
SHOWN = 10  # faults that a message names, of however many there are

Pair = tuple[Path, Path]  # a photograph and its mask
Found = TypeVar("Found")

PARTNERS = "A photograph and its mask share a name up to the ending, such as cat.jpg and cat.png."
RESIZED = (
    "A mask has one number for each pixel of its photograph: make it again at that size. Resized "
    "by anything but nearest-neighbour, it shows classes that are not there."
)


class Survey(NamedTuple):
    """What some pictures of a folder hold.

    Attributes:
        sizes: `(n, 2)` the height and width of each picture, fitted into `size` if there is one.
        counts: `(n, K)` how many pixels of each picture are of each class.
        numbers: `(n, 256)` how many pixels of each mask hold each number, classes or not.
    """

    sizes: np.ndarray
    counts: np.ndarray
    numbers: np.ndarray

    def of(self, rows: slice) -> Survey:
        """What some of the pictures hold."""
        return Survey(*(each[rows] for each in self))


class Folder(SegmentationDataset):
    """Photographs from one folder, with masks from another: cat.jpg goes with cat.png.

    The names, sizes and kinds of all files are compared at the start, which takes about three
    seconds for 20,000 pictures on a local disk; one error lists all that does not fit. The pixels
    are read when a picture is asked for; `check()` reads all of them beforehand.

    Args:
        images: the folder of photographs. Hidden files, files other than images, and folders in it
            do not count.
        masks: the folder of masks: files of their photograph's size, grey or with a palette, whose
            numbers (not colours) are the classes. PNG, or TIFF or BMP, but not JPEG.
        classes: names of classes 0, 1, 2, …, or how many there are.
        values: the number of each class in the masks; 0, 1, 2, … if left out. For a mask in black
            and white: classes=("rest", "cat"), values=(0, 255), ignore_index=().
        ignore_index: the number, or numbers, in the masks that do not stand for a class.
        size: fit every picture into this size, a whole number or (height, width), undistorted; what
            it does not fill is ignored. If left out, pictures keep their own sizes.
        names: use only these, without endings, as in the list of a split; all if left out.
        upright: whether the masks were drawn over photographs that were turned as their EXIF tag
            says, which is how viewers show them, or (False) over what the files store. A quarter
            turn shows in the sizes, and is refused if it does not fit; a half turn does not show.
            TIFF and HEIC files are always upright.
        bands: read the pictures as so many bands, `(H, W, C)` float32, from TIFF or .npy files
            (`data.bands`); 0 reads photographs.

    Raises:
        ValueError: an impossible argument, or files that do not fit together: the first ten by
            name, the number of all, and what to do.
    """

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        classes: int | Sequence[str],
        *,
        values: Sequence[int] | None = None,
        ignore_index: int | Sequence[int] = IGNORE,
        size: int | Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        upright: bool = True,
        bands: int = 0,
    ) -> None:
        self.class_names = class_names_of(classes)
        self.size = None if size is None else height_and_width(size)
        self.upright, self.bands = upright, bands
        self._labels, self._known = label_table(len(self.class_names), values, ignore_index)
        self.images, self.masks = expanded(images), expanded(masks)
        self.pairs, faults = match_files(self.images, self.masks, names)
        _, more = self._look_at(self.pairs, self._compare_headers, "comparing sizes")
        self._refuse(faults + more)

    def __len__(self) -> int:
        return len(self.pairs)

    def picture(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One photograph and its labels, fitted into `size` if there is one.

        Shape: → `(H, W, 3)` uint8, and `(H, W)` uint8: classes 0 … K − 1, or 255 to ignore.

        Raises:
            ValueError: names the file that is damaged or holds a number without a meaning.
        """
        image_path, mask_path = self.pairs[index]
        if self.bands:
            image = read_bands(image_path, self.bands)
        else:
            image = read_photo(image_path, self.upright)
        labels = self._labels[self._numbers(image_path, image.shape[:2], mask_path)]
        return (image, labels) if self.size is None else fit(image, labels, self.size)

    def check(self, indices: Sequence[int] | None = None) -> Survey:
        """Read photographs and masks to the last pixel, several at a time, with a progress bar.

        Args:
            indices: the pictures to read; all if left out.

        Raises:
            ValueError: lists the files that are damaged or hold a number without a meaning.
        """
        pairs = self.pairs if indices is None else [self.pairs[index] for index in indices]
        found, faults = self._look_at(pairs, self._count, "reading pixels")
        self._refuse(faults)
        sizes = [self.size or shape for shape, _ in found]
        numbers = np.array([numbers for _, numbers in found]).reshape(-1, 256)
        values = [int(self._labels.tolist().index(k)) for k in range(len(self.class_names))]
        return Survey(np.array(sizes).reshape(-1, 2), numbers[:, values], numbers)

    def _look_at(
        self, pairs: Sequence[Pair], look: Callable[[Pair], Found], description: str
    ) -> tuple[list[Found], list[Fault]]:
        """What looking at every pair finds, several at a time, and everything that is wrong."""
        found, faults = [], []
        with ThreadPoolExecutor() as pool:
            looks = pool.map(partial(fault_or, look), pairs)
            for each in tqdm(
                looks, description, len(pairs), unit=" pictures", delay=1, leave=False
            ):
                if isinstance(each, Fault):
                    faults.append(each)
                else:
                    found.append(each)
        return found, faults

    def _refuse(self, faults: list[Fault]) -> None:
        """Raise one error for all faults, if there are any."""
        if not faults:
            return
        lines = [f"{len(faults)} of the pictures cannot be used:"]
        lines += [f"  {fault.problem}" for fault in faults[:SHOWN]]
        if len(faults) > SHOWN:
            lines.append(f"  … and {len(faults) - SHOWN} more")
        raise ValueError("\n".join([*lines, *dict.fromkeys(fault.remedy for fault in faults)]))

    def _compare_headers(self, pair: Pair) -> None:
        image_path, mask_path = pair
        with open_image(mask_path) as mask:
            check_kind(mask_path, mask)
            mask_size = mask.size
        if self.bands:
            with open_bands(image_path, self.bands) as file:
                self._compare_sizes(image_path, file.size[::-1], mask_path, mask_size)
            return
        with open_image(image_path) as image:
            # PNG may store its EXIF data after the pixels; if the sizes agree, it stays unread.
            late = image.format == "PNG" and "exif" not in image.info and image.size == mask_size
            turned = self.upright and not late and is_turned(image)
            image_size = image.size[::-1] if turned else image.size
        self._compare_sizes(image_path, image_size, mask_path, mask_size)

    def _compare_sizes(
        self,
        image_path: Path,
        image_size: tuple[int, ...],
        mask_path: Path,
        mask_size: tuple[int, ...],
    ) -> None:
        """Sizes are (width, height), as Pillow and viewers have them."""
        if image_size == mask_size:
            return
        swapped = (
            f"Where height and width are swapped, an EXIF tag turns the photograph, and the mask "
            f"was drawn {'without' if self.upright else 'after'} that turn: give "
            f"upright={not self.upright} if that is so for all."
        )
        raise Fault(
            f"{mask_path} has {' × '.join(map(str, mask_size))} pixels, "
            f"{image_path} {' × '.join(map(str, image_size))}",
            swapped if image_size == mask_size[::-1] else RESIZED,
        )

    def _count(self, pair: Pair) -> tuple[tuple[int, int], np.ndarray]:
        """The height and width of a picture, and how many pixels of its mask hold each number."""
        image_path, mask_path = pair
        if self.bands:
            height, width, _ = read_bands(image_path, self.bands).shape
            shape = height, width
        else:
            shape = check_photo(image_path, self.upright)
        numbers = self._numbers(image_path, shape, mask_path)
        return shape, np.bincount(numbers.ravel(), minlength=256)

    def _numbers(self, image_path: Path, shape: tuple[int, ...], mask_path: Path) -> np.ndarray:
        """The numbers in the mask of a photograph of this height and width: all have a meaning."""
        numbers = read_mask(mask_path)
        self._compare_sizes(image_path, shape[::-1], mask_path, numbers.shape[::-1])
        if not self._known[numbers].all():
            strange = np.unique(numbers[~self._known[numbers]])
            raise Fault(
                f"{mask_path} holds {listed(strange)}",
                f"Of the numbers that masks may hold, {listed(np.flatnonzero(self._known))} have a "
                f"meaning here: correct the masks, or say with classes=…, values=… and "
                f"ignore_index=… what theirs mean.",
            )
        return numbers


def fault_or(look: Callable[[Pair], Found], pair: Pair) -> Found | Fault:
    """What a look at a pair finds, or the fault that it raises."""
    try:
        return look(pair)
    except Fault as fault:
        return fault


def match_files(
    images: Path, masks: Path, names: Sequence[str] | None
) -> tuple[list[Pair], list[Fault]]:
    """The photographs and masks that share a name, in order, and the faults of all others."""
    photographs, drawn = files_of(images, masks)
    if names is None:
        names = sorted({*photographs, *drawn})
    if isinstance(names, str) or not len(names):
        raise ValueError(f"names = {names!r}: give a list of names without endings, not empty.")
    pairs, faults = [], []
    for name in names:
        for files in (photographs[name], drawn[name]):
            if len(files) > 1:
                same = " and ".join(map(str, files))
                faults.append(Fault(f"{same} share a name", "Rename or remove all but one."))
        if not photographs[name]:
            owner = drawn[name][0] if drawn[name] else name
            faults.append(Fault(f"{owner} has no photograph in {images}", PARTNERS))
        elif not drawn[name]:
            faults.append(Fault(f"{photographs[name][0]} has no mask in {masks}", PARTNERS))
        else:
            pairs.append((photographs[name][0], drawn[name][0]))
    return pairs, faults


def names_in(images: str | Path, masks: str | Path) -> list[str]:
    """The names, without endings, of all photographs and masks in two folders.

    Raises:
        ValueError: folders that do not exist, are the same, or hold no photograph.
    """
    photographs, drawn = files_of(expanded(images), expanded(masks))
    return sorted({*photographs, *drawn})


def files_of(
    images: Path, masks: Path
) -> tuple[defaultdict[str, list[Path]], defaultdict[str, list[Path]]]:
    """The photographs and the masks in two folders, by name."""
    for what, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise ValueError(
                f"{what} = {folder} is not a folder: give the path of one that exists."
            )
    if images.resolve() == masks.resolve():
        raise ValueError(f"images and masks are both {images}: give each a folder of its own.")
    photographs = by_name(images)
    if not photographs:
        raise ValueError(
            f"images = {images} holds no photograph: their names end in {', '.join(ENDINGS)}. "
            f"Folders inside it are not searched."
        )
    return photographs, by_name(masks)


def by_name(folder: Path) -> defaultdict[str, list[Path]]:
    """The image files of a folder, except hidden ones, by their names without endings."""
    files = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            files[path.stem].append(path)
    return files


def class_names_of(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Class names as given, or "class 0", "class 1", … for so many classes."""
    names: tuple[str, ...] = ()
    if isinstance(classes, (list, tuple)):
        names = tuple(classes)
    elif is_whole(classes):
        names = tuple(f"class {label}" for label in range(min(classes, IGNORE + 1)))
    if not 1 <= len(names) <= IGNORE or not all(isinstance(x, str) and x for x in names):
        raise ValueError(
            f"classes = {classes!r}: give a list of names, or how many classes there are, from 1 "
            f"to {IGNORE}."
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"classes = {classes!r} names {twice[0]} twice: give each class its own name."
        )
    return names


def listed(numbers: np.ndarray) -> str:
    """A few numbers in words.

    >>> listed(np.arange(30))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …'
    """
    shown = [str(number) for number in numbers[:SHOWN]]
    return ", ".join(shown + ["…"] * (len(numbers) > SHOWN))
