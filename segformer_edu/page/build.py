"""One HTML file that holds a model, pictures, and the program that runs the one on the others.

Whoever opens it needs no Python and no network: a page that comes from a file may load no other, so
weights, pictures and scripts stand in it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segformer_edu.checkpoints.files import read_tensors
from segformer_edu.checkpoints.reductions import REDUCTIONS
from segformer_edu.data.palette import class_colors
from segformer_edu.data.photos import IMAGENET_MEAN, IMAGENET_STD
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.decoder import FoldedDecoder
from segformer_edu.segformer import SegFormer

HERE = Path(__file__).parent
ENGINE = ("arrays.js", "load.js", "segformer.js")  # for the worker, and known to the page, too
SCRIPT = (  # for the page alone
    *("client.js", "drawing.js", "picture.js", "photos.js"),
    *("page.js", "pixel.js", "switches.js", "tasks.js"),
)
MOST_CLASSES = 256
# Of the ten bits of a matrix's fractions in half precision, as many are kept. With eight, nano's
# labels are the same in 9,998 of 10,000 pixels, and the page is 0.4 MB smaller.
FRACTION_BITS = 8
QUALITY = 80  # of the pictures, as WebP
SIDE = 256  # pixels of a picture's longer side, at most, unless the model sees more
FIT = 128  # pixels of the longer side that the model sees at first: nano answers while one paints
SIDES = range(32, 513)  # beyond it, a stroke would wait for seconds
MOST_BYTES = 30_000_000
NOTE = "The truth of this picture is not known, so how good the answer is, is for you to judge."
STREETS_NOTE = (
    "A model that has only seen the streets that the course draws, as nano has, is often wrong on "
    "a photograph, and its confidence does not say so."
)
SCENES, SCENE_SIZE, SCENE_SEED = 24, 256, 2028


@dataclass(frozen=True)
class Picture:
    """A picture to choose in the page.

    Args:
        name: what it is called there.
        image: `(H, W, 3)` uint8.
        labels: the true classes, `(H, W)` uint8, where they are known; 255 does not count.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray | None = None


def page_html(
    model: SegFormer,
    pictures: Iterable[Picture] | None = None,
    reductions: Mapping[str, Tensor] | None = None,
    fit: int = FIT,
) -> str:
    """The page; for the same model and pictures the same, byte for byte, with the same zlib and
    libwebp. Other builds of these may compress to other bytes.

    Args:
        model: a SegFormer, not folded.
        pictures: what the page offers to begin with, each scaled to 256 pixels at most, or to
            `fit`. If left out, drawn scenes for a model that knows their classes, and otherwise an
            empty canvas.
        reductions: tensors for other reduction ratios, as `reductions_of` reads them.
        fit: pixels of the longer side at which the model sees a picture, until the reader chooses
            another: that of its training, from 32 to 512.

    Raises:
        ValueError: a model that is folded, takes other than three channels, or has more than 256
            classes; a size that it cannot see; or a page of more than 30 MB.
    """
    check(model, fit)
    side = max(SIDE, fit)
    knows_scenes = model.config.class_names == CLASSES
    if pictures is None:
        pictures = drawn_scenes() if knows_scenes else []
    data = {
        "model": packed(model, reductions or {}),
        "classes": class_names(model),
        "colours": class_colors(max(model.config.num_classes, 2)).tolist(),
        "smallest": model.encoder.min_image_size,
        "fit": fit,
        "side": side,
        "note": STREETS_NOTE if knows_scenes else NOTE,
        "pictures": [encoded(picture, side) for picture in pictures],
    }
    style, engine, script = text_of("page.css"), text_of(*ENGINE), text_of(*SCRIPT)
    places = {
        "policy": policy(style, engine, script),
        "style": style,
        "data": json.dumps(data, ensure_ascii=False).replace("</", "<\\/"),
        "engine": engine,
        "worker": text_of("worker.js"),
        "script": script,
    }
    names = "|".join(places)
    page = re.sub(f"@({names})", lambda found: places[found[1]], text_of("page.html"))
    if (size := len(page.encode())) > MOST_BYTES:
        of_model = len(data["model"]["gzip"]) / 1e6
        raise ValueError(
            f"The page would have {size / 1e6:.1f} MB, {of_model:.1f} of them for the model, and "
            f"{MOST_BYTES / 1e6:.0f} is the most: take a smaller model, such as B0 or B1, or fewer "
            f"pictures."
        )
    return page


def check(model: SegFormer, fit: int) -> None:
    """Refuse a model that the page cannot show, or a size at which it cannot."""
    if fit not in SIDES:
        raise ValueError(
            f"fit = {fit}: give the longer side that the model sees in a page, from {SIDES[0]} to "
            f"{SIDES[-1]} pixels."
        )
    if isinstance(model.decoder, FoldedDecoder):
        raise ValueError("model is folded: give the model from which it was folded.")
    if (channels := model.config.in_channels) != 3:
        raise ValueError(f"in_channels = {channels}: a page shows pictures of three channels.")
    if (classes := model.config.num_classes) > MOST_CLASSES:
        raise ValueError(f"num_classes = {classes}: a page has colours for {MOST_CLASSES} at most.")


def class_names(model: SegFormer) -> list[str]:
    """What the classes are called; one logit tells two apart, and the second may have a name."""
    names = [f"class {label}" for label in range(max(model.config.num_classes, 2))]
    named = model.config.class_names
    return names[: len(names) - len(named)] + list(named)


def text_of(*names: str) -> str:
    """Files of this folder, one after another."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def policy(style: str, *scripts: str) -> str:
    """The content security policy under which only this style and these scripts count, they may
    start the worker, and no request leaves the page.
    """
    rules = {
        "default-src": "'none'",
        "img-src": "data: blob:",
        "media-src": "blob:",
        "style-src": digest(style),
        "script-src": " ".join(map(digest, scripts)),
        "worker-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def digest(text: str) -> str:
    return f"'sha256-{base64_of(hashlib.sha256(text.encode()).digest())}'"


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def packed(model: SegFormer, reductions: Mapping[str, Tensor]) -> dict[str, Any]:
    """A model as load.js reads it: its config, and its tensors in half precision, compressed."""
    mean, std = model.config.normalization or (IMAGENET_MEAN, IMAGENET_STD)
    tensors = {
        name: tensor
        for name, tensor in {**model.state_dict(), **reductions}.items()
        if tensor.is_floating_point()
    }
    halves = [half_bits(tensor) for tensor in tensors.values()]
    bits = np.concatenate([np.zeros(0, np.uint16), *halves])
    planes = (bits >> 8).astype(np.uint8).tobytes() + (bits & 255).astype(np.uint8).tobytes()
    return {
        "config": asdict(model.config),
        "tensors": [[name, list(tensor.shape)] for name, tensor in tensors.items()],
        "gzip": base64_of(gzipped(planes)),
        "mean": mean,
        "std": std,
    }


def half_bits(tensor: Tensor) -> np.ndarray:
    """The 16 bits of each number in half precision; those of matrices and kernels rounded.

    Shape: any → `(n,)` uint16.
    """
    bits = tensor.detach().cpu().half().flatten().view(torch.int16).numpy().view(np.uint16)
    if tensor.ndim < 2:
        return bits
    dropped = 10 - FRACTION_BITS
    return (((bits.astype(np.uint32) + (1 << (dropped - 1))) >> dropped) << dropped).astype(
        np.uint16
    )


def gzipped(content: bytes) -> bytes:
    """Compressed for numbers that never repeat but are not all as frequent; without a date."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS, 9, zlib.Z_FILTERED)
    return compressor.compress(content) + compressor.flush()


def encoded(picture: Picture, side: int) -> dict[str, Any]:
    """A picture as page.js reads it, whose longer side has so many pixels at most."""
    height, width = picture.image.shape[:2]
    scale = min(1, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    file = io.BytesIO()
    image = Image.fromarray(picture.image).resize(size, Image.Resampling.BICUBIC)
    image.save(file, "WEBP", quality=QUALITY, method=6)
    labels = None
    if picture.labels is not None:
        nearest = Image.fromarray(picture.labels).resize(size, Image.Resampling.NEAREST)
        labels = base64_of(gzipped(nearest.tobytes()))
    return {
        "name": picture.name,
        "height": size[1],
        "width": size[0],
        "image": f"data:image/webp;base64,{base64_of(file.getvalue())}",
        "labels": labels,
    }


def reductions_of(folder: Path) -> dict[str, Tensor]:
    """The reductions for other ratios that lie beside a model's weights, or none."""
    path = folder / REDUCTIONS
    return dict(read_tensors(path)) if path.exists() else {}


def drawn_scenes() -> list[Picture]:
    """Scenes that nano never saw, with their truth."""
    scenes = Scenes(SCENES, SCENE_SIZE, SCENE_SEED)
    return [Picture(f"Scene {i + 1}", *scenes.picture(i)) for i in range(SCENES)]
