"""Photographs: read from a file, normalised for the model, and two that ship with a dependency."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFile, ImageOps
from torch import Tensor

from segformer_edu.data.image_files import Fault, is_turned, open_image, pages_of
from segformer_edu.extras import install_command

# Mean and spread of ImageNet's red, green and blue, of 0 … 1: what the published weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

AS_THEY_ARE = "or train on them as they are, as bands in TIFF files (train --help: bands)."
BITS_PER_SAMPLE = 258  # a TIFF's tag: one number for each band

# Files of scikit-image, all inside its wheel: nothing is downloaded.
SAMPLES = {"astronaut": "astronaut.png", "coffee": "coffee.png"}


def read_photo(path: str | Path, upright: bool = True) -> np.ndarray:
    """A photograph as the eye sees it: turned upright as its EXIF tag says, in three colours.

    Args:
        path: any file that Pillow reads, with up to three colours and transparency, or grey. What
            is transparent becomes white. 12 and 16 bits keep their upper eight; a picture that uses
            less than a sixteenth of their range is refused, because hardly any would be left.
        upright: False leaves it as the file stores it; some masks were drawn that way.

    Shape: → `(H, W, 3)` uint8.

    Raises:
        ValueError: a file that is missing, damaged, or not an image; bands, pages, real numbers or
            32 bits, which have no agreed colours.
    """
    with open_image(path) as file:
        check_bands(path, file)
        bits = grey_bits(file) if file.mode.startswith("I") else 8
        return np.array(_rgb(ImageOps.exif_transpose(file) if upright else file, bits))


def check_photo(path: str | Path, upright: bool = True) -> tuple[int, int]:
    """Whether `read_photo` can read a file to its last pixel, and the height and width it finds.

    A JPEG is read at an eighth of its size, which takes a fifth of the time.

    Raises:
        ValueError: as `read_photo` does.
    """
    with open_image(path) as file:
        if file.format != "JPEG":
            height, width, _ = read_photo(path, upright).shape
            return height, width
        width, height = file.size
        file.draft("RGB", (1, 1))
        file.load()
        return (width, height) if upright and is_turned(file) else (height, width)


def check_bands(path: str | Path, file: ImageFile.ImageFile) -> None:
    """Refuse a file of which Pillow would show a part only, without a word."""
    save = (
        f"Save the three that are red, green and blue, or one, as a PNG of their own; {AS_THEY_ARE}"
    )
    if file.format == "TIFF":
        bands = len(file.tag_v2.get(BITS_PER_SAMPLE, (8,)))  # type: ignore[attr-defined]
        if bands > len(file.getbands()):
            raise Fault(f"{path} has {bands} bands, and photographs have 1 or 3", save)
        if (pages := pages_of(file)) > 1:
            raise Fault(f"{path} has {pages} pages, and photographs have 1", save)
    if file.mode == "F" or (file.mode == "I" and file.format == "TIFF"):
        raise Fault(
            f"{path} holds {'real' if file.mode == 'F' else '32-bit or negative'} numbers, which "
            f"have no agreed white",
            "Scale them into 0 … 255, all pictures by the same factor, and save them as PNG with 8 "
            f"bits; {AS_THEY_ARE}",
        )
    if file.mode.startswith("I;"):
        most, bits = int(np.array(file).max()), grey_bits(file)
        if most < 2 ** (bits - 4):
            raise Fault(
                f"{path} uses the greys 0 … {most} of 0 … {2**bits - 1}, of which 8 bits would "
                f"keep {most >> (bits - 8)} steps",
                "Scale them into the whole range, all pictures by the same factor, and save again; "
                + AS_THEY_ARE,
            )
        return
    deep = file.tile and ";16" in str(file.tile[0][3])  # colours, which Pillow cuts to 8 bits
    if deep and (most := int(np.array(file.convert("RGB")).max())) < 2**4:
        raise Fault(
            f"{path} uses so little of its 16 bits that {most} is its brightest of 255",
            "Scale them into the whole range, all pictures by the same factor, and save again; "
            + AS_THEY_ARE,
        )


def grey_bits(file: Image.Image) -> int:
    """Bits of a grey of more than eight: 16, or what a TIFF says."""
    return file.tag_v2[BITS_PER_SAMPLE][0] if file.format == "TIFF" else 16  # type: ignore[attr-defined]


def _rgb(photo: Image.Image, bits: int) -> Image.Image:
    """Three channels of eight bits, on white where the photograph is transparent.

    Args:
        bits: of a grey of more than eight, which Pillow's own conversion would clip.
    """
    if photo.mode.startswith("I"):
        return Image.fromarray((np.array(photo) >> (bits - 8)).astype(np.uint8)).convert("RGB")
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
    scaled = torch.tensor(photo).permute(2, 0, 1)[None].float().div_(255)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    return scaled.sub_(mean).div_(std)  # in place: 48 million pixels are 0.6 GB


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
            f"{install_command('lab')}."
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
