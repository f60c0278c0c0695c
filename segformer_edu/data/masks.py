"""Masks: image files whose numbers stand for classes, read exactly or refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ImageFile

from segformer_edu.checks import is_whole
from segformer_edu.data.augment import IGNORE
from segformer_edu.data.image_files import Fault, open_image

EXACT = ("PNG", "TIFF", "BMP", "GIF")  # formats that keep the numbers they are given
ONE_NUMBER = ("P", "L", "1", "I", "I;16", "I;16B")  # Pillow's palette, greys, and black and white
GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow spreads grey of 2 and 4 bits over 0 … 255


def read_mask(path: Path) -> np.ndarray:
    """The numbers in a mask: the indices of a palette, or the grey values as they were saved.

    Shape: → `(H, W)` uint8.

    Raises:
        Fault: a format that changes numbers, colours, a number outside 0 … 255, or damaged.
    """
    with open_image(path) as file:
        check_kind(path, file)
        arguments = file.tile[0][3] if file.tile else ""
        kind = arguments[0] if isinstance(arguments, tuple) else arguments
        numbers = np.array(file)
    if numbers.min() < 0 or numbers.max() > 255:
        strange = numbers.min() if numbers.min() < 0 else numbers.max()
        raise Fault(
            f"{path} holds {strange}, and masks hold 0 … 255",
            "Give classes smaller numbers; what numbers objects, not classes, is no mask.",
        )
    return numbers.astype(np.uint8) // GREY_STEPS.get(kind or "", 1)


def check_kind(path: Path, file: ImageFile.ImageFile) -> None:
    """Refuse a file that cannot hold classes, as its header shows."""
    kind = file.format or ""
    if file.info.get("compression") == "jpeg":
        kind = "TIFF with JPEG's compression"
    if kind not in EXACT:
        raise Fault(
            f"{path} is {kind}, which changes the numbers it stores",
            "Make the masks again, as PNG.",
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
