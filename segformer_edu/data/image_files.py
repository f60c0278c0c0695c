"""Image files as people have them: opened, or refused by name with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

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


@contextmanager
def open_image(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    """An image file whose header was read; anything wrong with it is a Fault that names it."""
    try:
        with Image.open(path) as file:
            yield file
    except Fault:
        raise
    except UnidentifiedImageError:
        raise Fault(
            f"{path} cannot be read (not an image that Pillow knows)",
            "Give a PNG or a JPEG, or take it out.",
        ) from None
    except Image.DecompressionBombError as error:
        raise Fault(f"{path} is too large ({error})", "Make it smaller first.") from None
    except Exception as error:  # whatever bytes can do to a parser
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Fault(
            f"{path} cannot be read ({reason})",
            "Check the path; fetch or save again what is damaged, or take it out.",
        ) from error


def is_turned(image: Image.Image) -> bool:
    """Whether the EXIF tag asks for a quarter turn that Pillow has not made yet."""
    if image.format == "TIFF":  # of which Pillow gives the upright size, and pixels
        return False
    return image.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS
