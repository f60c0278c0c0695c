"""Your own pictures: photographs and masks of the same names, in folders or by patterns."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from segformer_edu.checks import is_whole
from segformer_edu.data.augment import IGNORE, fit, height_and_width
from segformer_edu.data.bands import open_bands, read_bands
from segformer_edu.data.colors import COLOURED, FORM, ColorTable, read_colors, read_coloured
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.image_files import SHOWN, Fault, is_turned, open_image, refuse
from segformer_edu.data.masks import (
    ONE_NUMBER,
    Meaning,
    check_kind,
    label_table,
    likely_meaning,
    numbers_of,
    read_with_palette,
)
from segformer_edu.data.patterns import Match, Pattern, composed
from segformer_edu.data.photos import check_photo, read_photo
from segformer_edu.files import expanded

ENDINGS = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".heic", ".heif"),
    ".npy",
)

Pair = tuple[Path, Path]  # a photograph and its mask
Files = defaultdict[str, list[Path]]  # by the names of their pictures
Found = TypeVar("Found")

PARTNERS = (
    "A photograph and its mask share a name up to the ending, such as cat.jpg and cat.png, or what "
    "* stands for in both patterns. Add what is missing, or take out what has no partner."
)
RESIZED = (
    "A mask has one number for each pixel of its photograph: make it again at that size. Resized "
    "by anything but nearest-neighbour, it shows classes that are not there."
)
TURNED = (
    "Where height and width are swapped, and no EXIF tag turns the photograph, somebody turned one "
    "of the two: turn it back."
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


class MaskContent(NamedTuple):
    """What a mask holds: its height and width, pixels of each number, and its palette, if any."""

    path: Path
    shape: tuple[int, int]
    numbers: np.ndarray
    palette: np.ndarray | None


class Folder(SegmentationDataset):
    """Photographs and their masks: cat.jpg from one folder goes with cat.png from another.

    The names, sizes and kinds of all files are compared at the start, which takes about three
    seconds for 20,000 pictures on a local disk; one error lists all that does not fit. The pixels
    are read when a picture is asked for; `check()` reads all of them beforehand.

    Args:
        images: the folder of photographs. Hidden files, files other than images, and folders in it
            do not count. Or a pattern, such as photos/*.jpg or photos/**/*.jpg, in which * is the
            name that photograph and mask share, and ** any folders. Where both patterns have a **
            and a name stands in several folders, the folders are a part of it.
        masks: the folder or pattern of the masks, such as photos/*_mask.png. Of two patterns that a
            file fits, the one with more letters has it. Masks are files of their photograph's size,
            grey or with a palette, whose numbers (or colours: see `colors`) are the classes. PNG,
            or TIFF or BMP, but not JPEG.
        classes: names of classes 0, 1, 2, …, or how many there are.
        values: the number of each class in the masks; 0, 1, 2, … if left out. For a mask in black
            and white: classes=("rest", "cat"), values=(0, 255), ignore_index=(). "1-150" is a
            range.
        ignore_index: the number, or numbers, in the masks that do not stand for a class.
        colors: a text file that says which colour of the masks is which class (`read_colors`), in
            place of classes, values and ignore_index.
        size: fit every picture into this size, a whole number or (height, width), undistorted; what
            it does not fill is ignored. If left out, pictures keep their own sizes.
        names: use only these, without endings, as in the list of a split; all if left out.
        upright: whether the masks were drawn over photographs that were turned as their EXIF tag
            says, which is how viewers show them, or (False) over what the files store. A quarter
            turn shows in the sizes, and is refused if it does not fit; a half turn does not show.
            TIFF and HEIC files are always upright.
        bands: read the pictures as so many bands, `(H, W, C)` float32, from TIFF or .npy files
            (`data.bands`); 0 reads photographs.

    Attributes:
        names: of the pictures.
        pairs: the photograph and the mask of each.

    Raises:
        ValueError: an impossible argument, or files that do not fit together: the first ten by
            name, the number of all, and what to do.
    """

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        classes: int | Sequence[str] | None = None,
        *,
        values: str | Sequence[int | str] | None = None,
        ignore_index: int | str | Sequence[int | str] = IGNORE,
        colors: str | Path | None = None,
        size: int | Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        upright: bool = True,
        bands: int = 0,
    ) -> None:
        self.colors = None if colors is None else read_colors(colors)
        if self.colors:
            refuse_numbers(classes, values, ignore_index)
            classes = self.colors.class_names
        self.class_names = class_names_of(classes)
        self.size = None if size is None else height_and_width(size)
        self.upright, self.bands = upright, bands
        self._labels, self._known = label_table(len(self.class_names), values, ignore_index)
        self.images, self.masks = expanded(images), expanded(masks)
        found, faults = match_files(self.images, self.masks, names)
        self.names, self.pairs = list(found), list(found.values())
        _, more = self._look_at(self.pairs, self._compare_headers, "comparing sizes")
        refuse(faults + more)

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
        numbers, _ = self._numbers(image_path, image.shape[:2], mask_path)
        if not self._known[numbers].all():
            raise self._strange(mask_path, np.unique(numbers[~self._known[numbers]]))
        labels = self._labels[numbers]
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
        numbers = np.array([each.numbers for each in found]).reshape(-1, 256)
        hint = likely_meaning(numbers.sum(0), len(self.class_names))
        for each, held in zip(found, numbers > 0, strict=True):
            if (held & ~self._known).any():
                faults.append(self._strange(each.path, np.flatnonzero(held & ~self._known), hint))
        refuse(faults)
        if differing := next(palettes_that_differ(found), None):
            warnings.warn(differing, stacklevel=2)
        sizes = [self.size or each.shape for each in found]
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

    def _compare_headers(self, pair: Pair) -> None:
        image_path, mask_path = pair
        with open_image(mask_path) as mask:
            check_kind(mask_path, mask, COLOURED if self.colors else ONE_NUMBER)
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
        remedy = RESIZED
        if image_size == mask_size[::-1]:
            remedy = self._turn(image_path)
        raise Fault(
            f"{mask_path} has {' × '.join(map(str, mask_size))} pixels, "
            f"{image_path} {' × '.join(map(str, image_size))}",
            remedy,
        )

    def _turn(self, image_path: Path) -> str:
        """What to do about a mask whose height and width are those of the photograph, swapped."""
        if self.bands:
            return TURNED
        with open_image(image_path) as image:
            if not is_turned(image):
                return TURNED
        return (
            f"Where height and width are swapped, and an EXIF tag turns the photograph, the mask "
            f"was drawn {'without' if self.upright else 'after'} that turn: give "
            f"upright={not self.upright} if that is so for all."
        )

    def _count(self, pair: Pair) -> MaskContent:
        image_path, mask_path = pair
        if self.bands:
            height, width, _ = read_bands(image_path, self.bands).shape
            shape = height, width
        else:
            shape = check_photo(image_path, self.upright)
        numbers, palette = self._numbers(image_path, shape, mask_path)
        return MaskContent(mask_path, shape, np.bincount(numbers.ravel(), minlength=256), palette)

    def _numbers(
        self, image_path: Path, shape: tuple[int, ...], mask_path: Path
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The numbers in the mask of a photograph of this height and width, and its palette."""
        palette = None
        if self.colors:
            numbers, unknown = self.colors.label(read_coloured(mask_path))
            if unknown:
                raise unknown_colours(mask_path, unknown, numbers.size, self.colors)
        else:
            numbers, palette = read_with_palette(mask_path)
        self._compare_sizes(image_path, shape[::-1], mask_path, numbers.shape[::-1])
        return numbers, palette

    def _strange(self, mask_path: Path, numbers: np.ndarray, hint: Meaning | None = None) -> Fault:
        """The fault of a mask that holds numbers without a meaning."""
        otherwise = (
            "Correct the masks, or say with classes=…, values=… and ignore_index=… what theirs "
            "mean."
        )
        return Fault(
            f"{mask_path} holds {listed(numbers)}",
            f"Of the numbers that masks may hold, {listed(np.flatnonzero(self._known))} have a "
            f"meaning here. {hint or otherwise}",
        )


def refuse_numbers(classes: object, values: object, ignore_index: object) -> None:
    """Refuse what a table of colours says already."""
    if classes is not None or values is not None:
        raise ValueError(
            "colors = … names the classes and says which pixels are theirs: leave out classes = … "
            "and values = …."
        )
    if numbers_of("ignore_index", ignore_index) != (IGNORE,):
        raise ValueError(
            f"ignore_index = {ignore_index!r} says nothing about colours: write a line such as "
            f"`#ffffff ignore` in the file of colors = …."
        )


def unknown_colours(path: Path, unknown: Counter[str], pixels: int, colors: ColorTable) -> Fault:
    """The fault of a mask with colours that the table lacks."""
    shown = ", ".join(f"{colour} ({n / pixels:.2%})" for colour, n in unknown.most_common(3))
    rest = len(unknown) - 3
    more = f" and {rest} more (together {unknown.total() / pixels:.2%})" if rest > 0 else ""
    return Fault(
        f"{path} holds {shown}{more}, which {colors.path} lacks",
        f"For each colour that stands for a class, {FORM}, in {colors.path}. For colours that do "
        f"not count, such as those of softened edges, write `* ignore` there.",
    )


def palettes_that_differ(masks: Sequence[MaskContent]) -> Iterator[str]:
    """What is odd about numbers that two masks show in different colours.

    Drawing programs may give each file a palette of its own, in which a class has another number.
    """
    seen: dict[int, tuple[tuple[int, ...], Path]] = {}
    for mask in masks:
        shown = mask.palette if mask.palette is not None else ()
        for number in np.flatnonzero(mask.numbers[: len(shown)]).tolist():
            colour = tuple(shown[number].tolist())
            before, path = seen.setdefault(number, (colour, mask.path))
            if before != colour:
                yield (
                    f"{path} shows the number {number} in the colour #{bytes(before).hex()}, and "
                    f"{mask.path} in #{bytes(colour).hex()}. If each mask has a palette of its "
                    f"own, its numbers mean nothing: say in colors = … which colour is which class."
                )


def fault_or(look: Callable[[Pair], Found], pair: Pair) -> Found | Fault:
    """What a look at a pair finds, or the fault that it raises."""
    try:
        return look(pair)
    except Fault as fault:
        return fault


def match_files(
    images: Path, masks: Path, names: Sequence[str] | None
) -> tuple[dict[str, Pair], list[Fault]]:
    """The photographs and masks that share a name, in order, and the faults of all others."""
    photographs, drawn = files_of(images, masks)
    if names is None:
        names = sorted({*photographs, *drawn})
    if isinstance(names, str) or not len(names):
        raise ValueError(f"names = {names!r}: give a list of names without endings, not empty.")
    pairs, faults = {}, []
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
            pairs[name] = (photographs[name][0], drawn[name][0])
    return pairs, faults


def names_in(images: str | Path, masks: str | Path) -> list[str]:
    """The names, without endings, of all photographs and masks in two folders.

    Raises:
        ValueError: folders that do not exist, are the same, or hold no photograph or no mask.
    """
    photographs, drawn = files_of(expanded(images), expanded(masks))
    return sorted({*photographs, *drawn})


def names_meant(lines: Sequence[str], images: str | Path, masks: str | Path) -> list[str]:
    """The names of the pictures that a list speaks of, each once: by name or by file, with or
    without its ending and its folders. A line that means none of them comes back without ending.

    Raises:
        ValueError: as `names_in`, or a line that could mean several pictures.
    """
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    files = files_of(expanded(images), expanded(masks))
    for name, paths in [each for group in files for each in group.items()]:
        folders = name[: name.rfind("/") + 1]
        for spelling in (name, *(f"{folders}{composed(path.stem)}" for path in paths)):
            parts = spelling.split("/")
            for start in range(len(parts)):
                spellings["/".join(parts[start:])].add(name)
    for name in {*files[0], *files[1]}:
        spellings[name] = {name}
    names: list[str] = []
    for line in lines:
        tails = []
        for spelled in (composed(line), composed(line).replace("\\", "/")):  # as Windows has it
            path = Path(spelled)
            ends = (path.with_suffix("") if path.suffix.lower() in ENDINGS else path).parts
            tails += ["/".join(ends[start:]) for start in range(len(ends))]
        meant = next((spellings[tail] for tail in tails if tail in spellings), {tails[-1]})
        if len(meant) > 1:
            raise ValueError(
                f"{line} could be {' or '.join(sorted(meant)[:SHOWN])}: write its folders too."
            )
        names += meant
    return list(dict.fromkeys(names))


def files_of(images: Path, masks: Path) -> tuple[Files, Files]:
    """The photographs and the masks of two folders or patterns, by the names of their pictures."""
    patterns = Pattern("images", images, ENDINGS), Pattern("masks", masks, ENDINGS)
    if os.path.realpath(images) == os.path.realpath(masks):
        raise ValueError(
            f"images and masks are both {images}: give each a folder of its own, or a pattern, "
            f"such as photos/*.jpg and photos/*_mask.png."
        )
    photographs, drawn = (pattern.files() for pattern in patterns)
    for pattern, found in zip(patterns, (photographs, drawn), strict=True):
        if not found:
            raise pattern.nothing()
    both = {match.place for match in photographs} & {match.place for match in drawn}
    if patterns[0].fixed > patterns[1].fixed:
        drawn = [match for match in drawn if match.place not in both]
    else:
        photographs = [match for match in photographs if match.place not in both]
    if not photographs or not drawn:
        raise ValueError(
            f"images = {images} and masks = {masks} fit the same files: give each a pattern of its "
            f"own, such as photos/*.jpg and photos/*_mask.png."
        )
    deep = all(pattern.deep for pattern in patterns) and any(map(share_names, (photographs, drawn)))
    return by_names(photographs, deep), by_names(drawn, deep)


def share_names(matches: Sequence[Match]) -> bool:
    """Whether a name stands in several folders."""
    return len({match.name for match in matches}) < len({match[:2] for match in matches})


def by_names(matches: Sequence[Match], deep: bool) -> Files:
    """Files by the names of their pictures, of which their folders are a part, or not."""
    files = defaultdict(list)
    for match in matches:
        folders = f"{match.folders}/" if deep and match.folders else ""
        files[f"{folders}{match.name}"].append(match.path)
    return files


def by_name(folder: Path) -> Files:
    """The image files of a folder, except hidden ones, by their names without endings."""
    return by_names(Pattern("images", folder, ENDINGS).files(), deep=False)


def class_names_of(classes: int | Sequence[str] | None) -> tuple[str, ...]:
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
