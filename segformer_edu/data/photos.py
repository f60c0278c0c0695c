"""Photographs: read from a file, normalised for the model, and two that ship with a dependency."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from segformer_edu.extras import install_command

# Mean and spread of ImageNet's red, green and blue, of 0 … 1: what the published weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Files of scikit-image, all inside its wheel: nothing is downloaded.
SAMPLES = {"astronaut": "astronaut.png", "coffee": "coffee.png"}


def read_photo(path: str | Path, upright: bool = True) -> np.ndarray:
    """A photograph as the eye sees it: turned upright as its EXIF tag says, in three colours.

    Args:
        path: any file that Pillow reads, in any mode. What is transparent becomes white; 16-bit
            grey keeps its upper eight bits.
        upright: False leaves it as the file stores it; some masks were drawn that way.

    Shape: → `(H, W, 3)` uint8.

    Raises:
        ValueError: a file that is missing, damaged, or not an image.
    """
    try:
        with Image.open(path) as file:
            photo = ImageOps.exif_transpose(file) if upright else file
            return np.array(_rgb(photo))
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is not an image that Pillow can read: give a PNG or a JPEG."
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large: {error} Make it smaller first.") from None
    except (OSError, SyntaxError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(
            f"{path} cannot be read ({reason}): check the path and the file."
        ) from None


def _rgb(photo: Image.Image) -> Image.Image:
    """Three channels of eight bits, on white where the photograph is transparent."""
    if photo.mode == "F":
        raise OSError("real numbers have no agreed white; save it with 8 bits a colour")
    if photo.mode.startswith("I"):  # 16 or 32 bits of grey; Pillow's own conversion would clip them
        return Image.fromarray((np.array(photo) >> 8).astype(np.uint8)).convert("RGB")
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo)
    return photo.convert("RGB")


def normalize(photo: np.ndarray) -> Tensor:
    """A photograph as the model expects it: 0 … 1, minus ImageNet's mean, divided by its spread.

    Args:
        photo: `(H, W, 3)` uint8.

    Shape: `(H, W, 3)` → `(1, 3, H, W)` float32.

    Raises:
        ValueError: another shape or type.
    """
    if not isinstance(photo, np.ndarray) or photo.ndim != 3 or photo.shape[-1] != 3:
        got = getattr(photo, "shape", type(photo).__name__)
        raise ValueError(f"photo is an (H, W, 3) array; got {got}. read_photo(path) makes one.")
    if photo.dtype != np.uint8:
        raise ValueError(
            f"photo holds whole numbers 0 … 255 (uint8); got {photo.dtype}. If it is 0 … 1, use "
            f"(photo * 255).round().astype(numpy.uint8)."
        )
    scaled = torch.tensor(photo).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    return (scaled - mean) / std


def sample_photo(name: str = "astronaut") -> np.ndarray:
    """A photograph that ships with scikit-image, free for everyone to use.

    Args:
        name: "astronaut", 512 × 512, is Eileen Collins, the first woman to command a Space Shuttle
            (NASA, public domain); "coffee", 400 × 600, an espresso photographed by Rachel Michetti,
            courtesy of Pikolo Espresso Bar (CC0).

    Shape: → `(H, W, 3)` uint8.

    Raises:
        ValueError: another name, or scikit-image is not installed.
    """
    if name not in SAMPLES:
        raise ValueError(f"There is no photograph {name!r}; choose one of {', '.join(SAMPLES)}.")
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise ValueError(
            f"The photograph comes with scikit-image, which is missing: run "
            f"{install_command('lab')} in the course's folder."
        )
    return read_photo(Path(package.origin).parent / "data" / SAMPLES[name])


def sample_labels() -> tuple[np.ndarray, tuple[str, ...]]:
    """What each pixel of `sample_photo("astronaut")` shows, by outlines that were drawn over it.

    Shape: → labels `(512, 512)` int64, and the names of classes 0, 1, 2, …
    """
    lines = (Path(__file__).parent / "astronaut.txt").read_text(encoding="utf-8").splitlines()
    outlines = [line.split(": ") for line in lines if not line.startswith("#")]
    labels = Image.new("L", (512, 512))
    for label, (_, points) in enumerate(outlines):
        corners = [tuple(map(int, point.split(","))) for point in points.split()]
        ImageDraw.Draw(labels).polygon(corners, fill=label)
    return np.array(labels, dtype=np.int64), tuple(name for name, _ in outlines)
