"""Image files as people have them: opened, or refused by name with what to do about it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from segformer_edu.extras import install_command

SHOWN = 10  # faults that a message names, of however many there are
HEIC = (".heic", ".heif")  # what telephones store, and Pillow reads with the help of pillow-heif
HEIC_BRAND = re.compile(rb"(?s:.{4})ftyp(hei[cxms]|hev[cxms]|mif1|msf1)")  # its first twelve bytes
SUBFILE = 254  # a TIFF's tag: whether a page is a smaller copy (1), or a mask (4), of another
QUARTER_TURNS = (5, 6, 7, 8)  # the EXIF orientations that swap height and width


class Fault(ValueError):
    """What is wrong with one file, and what to do about it."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        # torch raises a worker's error again from one text, a traceback that ends in the message
        problem = problem.rpartition(f"{__name__}.Fault: ")[2].strip()
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem}. {self.remedy}" if self.remedy else self.problem


def refuse(faults: Sequence[Fault], what: str = "pictures") -> None:
    """Raise one error for all faults, if there are any: the first ten, and every remedy once."""
    if faults:
        lines = [f"{len(faults)} of the {what} cannot be used:"]
        lines += [f"  {fault.problem}" for fault in faults[:SHOWN]]
        if len(faults) > SHOWN:
            lines.append(f"  … and {len(faults) - SHOWN} more")
        raise ValueError("\n".join([*lines, *dict.fromkeys(fault.remedy for fault in faults)]))


@contextlib.contextmanager
def open_image(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    """An image file whose header was read; anything wrong with it is a Fault that names it."""
    if Path(path).suffix.lower() in HEIC:
        register_heic(path)
    if Path(path).suffix.lower() == ".npy":
        raise Fault(
            f"{path} holds an array, and no photograph or mask",
            "It can be a picture of bands (train --help: bands), but a mask is a PNG.",
        )
    with reading(path):
        try:
            with opened(path) as file:
                yield file
        except UnidentifiedImageError:
            bands = Path(path).suffix.lower() in (".tif", ".tiff")
            raise Fault(
                f"{path} cannot be read (not an image that Pillow knows)",
                "Give a PNG or a JPEG, or take it out"
                + (
                    "; bands can be trained on as they are (train --help: bands)." if bands else "."
                ),
            ) from None
        except Image.DecompressionBombError as error:
            raise Fault(f"{path} is too large ({error})", "Make it smaller first.") from None


def opened(path: str | Path) -> ImageFile.ImageFile:
    """An image file, also a HEIC photograph that is called otherwise, as from standard input."""
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        with Path(path).open("rb") as file:
            if not HEIC_BRAND.match(file.read(12)):
                raise
    register_heic(path)
    return Image.open(path)


def pages_of(file: ImageFile.ImageFile) -> int:
    """How many pictures a TIFF or GIF holds. Smaller copies of the first, which maps have to be
    shown quickly, and masks of its transparency do not count.
    """
    pages = getattr(file, "n_frames", 1)
    if file.format != "TIFF" or pages == 1:
        return pages
    counted = 0
    for page in range(pages):
        file.seek(page)
        counted += not file.tag_v2.get(SUBFILE, 0) & (1 | 4)  # type: ignore[attr-defined]
    file.seek(0)
    return max(counted, 1)


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong with a file is a Fault that names it."""
    try:
        yield
    except Fault:
        raise
    except Exception as error:  # whatever bytes can do to a parser
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Fault(
            f"{path} cannot be read ({reason})",
            "Check the path; fetch or save again what is damaged, or take it out.",
        ) from error


def register_heic(path: str | Path) -> None:
    """Teach Pillow to open HEIC photographs, of which this is one."""
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        raise Fault(
            f"{path} is a HEIC photograph, for which pillow-heif is needed",
            f"Run {install_command('heic')}, or save it as JPEG.",
        ) from None
    register_heif_opener()


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF tag asks for a quarter turn that Pillow has not made yet."""
    if image.format == "TIFF":  # of which Pillow gives the upright size, and pixels
        return False
    return image.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS
