"""Pictures of any number of bands, such as a satellite's: read as they are, with a mean and a
spread that are measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segformer_edu.data.image_files import Fault, reading
from segformer_edu.data.photos import normalize, read_photo
from segformer_edu.extras import install_command

Normalization = tuple[tuple[float, ...], tuple[float, ...]]  # mean and spread of each band

ROWS = 256  # that are summed up at once, so that no copy of a picture is made
SHADES = (2, 98)  # percent of a band's pixels that are darker than black and than white
NO_DATA = 42113  # a TIFF's tag, GDAL's: the number of a pixel of which nothing is known


class Bands(NamedTuple):
    """A file whose header was read.

    Attributes:
        size: (height, width).
        read: its numbers, (H, W, C) as they are stored.
        unknown: the number that means that nothing is known, if the file names one.
    """

    size: tuple[int, int]
    read: Callable[[], np.ndarray]
    unknown: float | None = None


def read_bands(path: str | Path, bands: int) -> np.ndarray:
    """All bands of a TIFF or .npy file, not turned and not converted.

    Whole numbers become shares of the largest of their kind (65535 for 16 bits), so that one
    picture is the same in 8 and in 16 bits; real numbers stay what they are.

    Args:
        path: a TIFF file whose bands are samples, planes or pages, or an array (H, W, C) as NumPy
            saves it; (H, W) for one band.
        bands: how many it must have.

    Shape: → `(H, W, C)` float32.

    Raises:
        ValueError: a file that is missing, damaged or of another kind, has another number of bands,
            or pixels of which nothing is known.
    """
    with open_bands(path, bands) as file:
        stored = file.read()
    if stored.dtype.kind not in "uif":
        raise Fault(f"{path} holds {stored.dtype} numbers", "Save it as whole or real numbers.")
    numbers = stored.astype(np.float32)
    unknown = ~np.isfinite(numbers)
    if file.unknown:  # 0 is what such pixels hold anyhow
        unknown |= stored == file.unknown
    if unknown.any():
        named = f" ({file.unknown:g}, or not finite)" if file.unknown else " (not finite)"
        raise Fault(
            f"{path} has no data in {unknown.any(-1).mean():.2%} of its pixels{named}",
            "Fill them with a usual number, and give them a number in the masks that is ignored.",
        )
    if stored.dtype.kind != "f":
        numbers /= np.iinfo(stored.dtype).max
    return numbers


@contextmanager
def open_bands(path: str | Path, bands: int) -> Iterator[Bands]:
    """The header of a file of bands; anything wrong with it is a Fault that names it."""
    ending = Path(path).suffix.lower()
    with reading(path):
        if ending == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            array = array[..., None] if array.ndim == 2 else array
            check_shape(path, array.shape, bands)
            yield Bands(array.shape[:2], partial(np.array, array))
        elif ending in (".tif", ".tiff"):
            try:
                import tifffile
            except ModuleNotFoundError:
                raise Fault(
                    f"{path} holds bands, for which tifffile is needed",
                    f"Run {install_command('bands')}.",
                ) from None
            logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # of tags that it finds odd
            with tifffile.TiffFile(path) as file:
                series = file.series[0]
                axes = series.axes
                if axes == "QYX" and series.shape[0] != bands == series.shape[2]:
                    axes = "YXQ"  # of an array that was written without a word on its axes
                others = [k for k, axis in enumerate(axes) if axis not in "YX"]
                order = [axes.index("Y"), axes.index("X"), *others]
                shape = [*(series.shape[k] for k in order), *[1] * (not others)]
                check_shape(path, shape, bands)
                tag = series.keyframe.tags.get(NO_DATA)
                unknown = float(tag.value.strip("\0 ")) if tag else None
                yield Bands(
                    (shape[0], shape[1]),
                    lambda: series.asarray().transpose(order).reshape(shape),
                    unknown,
                )
        else:
            raise Fault(
                f"{path} is no file of bands",
                "Save them as .tif, or as .npy.",
            )


def check_shape(path: str | Path, shape: Sequence[int], bands: int) -> None:
    if len(shape) != 3 or shape[2] != bands or 0 in shape:
        raise Fault(
            f"{path} holds {' × '.join(map(str, shape))} numbers, and height × width × {bands} "
            f"were expected",
            "All pictures have the same number of bands, which come last: correct the file, or the "
            "number (train --help: bands).",
        )


def measure(paths: Sequence[Path], bands: int) -> Normalization:
    """The mean and the standard deviation of each band over all pixels of some pictures.

    Several pictures are read at a time, so the memory is theirs, however many there are.

    Returns:
        mean, std: a number for each band.

    Raises:
        ValueError: a file that cannot be read, or a band that is the same everywhere.
    """
    count, mean, squares = 0, np.zeros(bands), np.zeros(bands)
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(moments_of, bands=bands), paths)
        for n, m, s in tqdm(found, "measuring", len(paths), unit=" pictures", delay=1, leave=False):
            count, mean, squares = joined((count, mean, squares), (n, m, s))
    std = np.sqrt(squares / count)
    if not std.all():
        band = int(np.argmin(std))
        raise ValueError(
            f"Band {band + 1} of {bands} is {mean[band]:g} everywhere in all training pictures: "
            f"nothing can be learned from it. Leave it out of the files."
        )
    return tuple(mean.tolist()), tuple(std.tolist())


Moments = tuple[int, np.ndarray, np.ndarray]  # pixels, their mean, their squared distances from it


def moments_of(path: Path, bands: int) -> Moments:
    image = read_bands(path, bands)
    total: Moments = (0, np.zeros(bands), np.zeros(bands))
    for top in range(0, len(image), ROWS):
        pixels = image[top : top + ROWS].reshape(-1, bands).astype(np.float64)
        mean = pixels.mean(0)
        total = joined(total, (len(pixels), mean, ((pixels - mean) ** 2).sum(0)))
    return total


def joined(one: Moments, other: Moments) -> Moments:
    """The moments of two sets of pixels together (Chan, Golub and LeVeque, 1979)."""
    (n, mean, squares), (m, other_mean, other_squares) = one, other
    difference, both = other_mean - mean, n + m
    return (
        both,
        mean + difference * (m / both),
        squares + other_squares + difference**2 * (n * m / both),
    )


def read_image(path: str | Path, normalization: Normalization | None) -> np.ndarray:
    """A picture of the kind that a model takes whose config has this normalization.

    Shape: → `(H, W, 3)` uint8, a photograph, or `(H, W, C)` float32, bands.
    """
    return read_bands(path, len(normalization[0])) if normalization else read_photo(path)


def prepare(image: np.ndarray, normalization: Normalization | None) -> Tensor:
    """A picture as such a model expects it: each band minus its mean, divided by its spread.

    Shape: `(H, W, 3)` uint8, or bands `(H, W, C)` float32 → `(1, C, H, W)` float32.
    """
    if normalization is None:
        return normalize(image)
    mean, std = (np.array(each, dtype=np.float32) for each in normalization)
    return torch.tensor((image - mean) / std).permute(2, 0, 1)[None]


def visible(image: np.ndarray) -> np.ndarray:
    """A picture for the eye: a photograph as it is; of bands the first three, or the first as grey,
    each stretched over the shades from black to white.

    Shape: `(H, W, 3)` uint8 or `(H, W, C)` float32 → `(H, W, 3)` uint8.
    """
    if image.dtype == np.uint8:
        return image
    shown = image[..., [0, 1, 2] if image.shape[-1] > 2 else [0, 0, 0]]
    black, white = np.percentile(shown, SHADES, axis=(0, 1))
    share = (shown - black) / np.maximum(white - black, np.finfo(np.float32).tiny)
    return (255 * share.clip(0, 1)).round().astype(np.uint8)
