"""Masks: image files whose numbers stand for classes, read exactly or refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from segformer_edu.checks import is_whole
from segformer_edu.data.augment import IGNORE

ONE_NUMBER = ("P", "L", "1")  # Pillow's palette, grey, and black and white: at most 8 bits a pixel
GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow spreads grey of 2 and 4 bits over 0 … 255


class Fault(ValueError):
    """What is wrong with one file, and what to do about it."""

    # It can be made of one message: that is how torch raises a worker's error again.
    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}".strip()


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile.ImageFile]:
    """An image file whose header was read; anything wrong with it is a Fault that names it."""
    try:
        with Image.open(path) as file:
            yield file
    except Fault:
        raise
    except Exception as error:  # whatever bytes can do to a parser
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "not an image that Pillow knows" if unknown else str(error) or type(error).__name__
        raise Fault(
            f"{path} cannot be read ({reason})",
            "Fetch or save again what cannot be read, or take it out.",
        ) from error


def read_mask(path: Path) -> np.ndarray:
    """The numbers in a mask: the indices of a palette, or the grey values as they were saved.

    Shape: → `(H, W)` uint8.

    Raises:
        Fault: not a PNG, in colours, of 16 bits, or damaged.
    """
    with open_image(path) as file:
        check_kind(path, file)
        step = GREY_STEPS.get(str(file.tile[0][3]), 1)
        return np.array(file, dtype=np.uint8) // step


def check_kind(path: Path, file: ImageFile.ImageFile) -> None:
    """Refuse a file that cannot hold classes, as its header shows."""
    if file.format != "PNG":
        raise Fault(
            f"{path} is {file.format}, and masks are PNG",
            "JPEG changes the numbers it stores: make the masks again, as PNG.",
        )
    if file.mode.startswith("I"):
        raise Fault(
            f"{path} has 16 bits a pixel, and masks have 8",
            "If no number in it is above 255, convert it: "
            "Image.fromarray(numpy.array(Image.open(mask)).astype('uint8')).save(mask).",
        )
    if file.mode not in ONE_NUMBER:
        raise Fault(
            f"{path} holds colours ({file.mode}), and masks one number a pixel",
            "Turn colours into numbers, with a line such as "
            "labels[(colours[..., :3] == (128, 64, 128)).all(axis=-1)] = 0 for each class, and "
            "save labels as a grey PNG. If red, green and blue are equal, Image.getchannel(0) "
            "will do.",
        )


def label_table(
    num_classes: int, values: Sequence[int] | None, ignore_index: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """What each number in a mask means.

    Args:
        num_classes: classes K.
        values: the number of each class in the mask; 0 … K − 1 if None.
        ignore_index: the number or numbers that do not stand for a class.

    Shape: → `(256,)` uint8, the label of each number; `(256,)` bool, whether it may occur.

    Raises:
        ValueError: numbers outside 0 … 255, not one for each class, or with two meanings.
    """
    ignored = (ignore_index,) if isinstance(ignore_index, int) else ignore_index
    values = range(num_classes) if values is None else values
    for name, numbers in (("values", values), ("ignore_index", ignored)):
        if not isinstance(numbers, (list, tuple, range)) or not all(map(_is_byte, numbers)):
            raise ValueError(
                f"{name} = {numbers!r}: give whole numbers that a mask can hold, 0 … 255."
            )
    if len(values) != num_classes or len(set(values)) != num_classes:
        raise ValueError(
            f"values = {values!r}: give each of the {num_classes} classes a number of its own."
        )
    if twice := sorted(set(values) & set(ignored)):
        raise ValueError(
            f"{twice[0]} stands for a class and is ignored: change values, or ignore_index; "
            f"ignore_index=() ignores nothing."
        )
    labels, known = np.full(256, IGNORE, dtype=np.uint8), np.zeros(256, dtype=bool)
    labels[list(values)] = range(num_classes)
    known[[*values, *ignored]] = True
    return labels, known


def _is_byte(value: object) -> bool:
    return is_whole(value) and 0 <= value <= 255
