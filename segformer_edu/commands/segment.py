"""`python -m segformer_edu segment`: the class of every pixel of photographs, as pictures."""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from segformer_edu.commands.parser import (
    add_command,
    add_device,
    add_weights,
    check_out,
    class_names,
    missing_package,
)
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.bands import prepare, read_image, visible
from segformer_edu.data.folder import ENDINGS
from segformer_edu.data.image_files import Fault
from segformer_edu.data.palette import mask_png
from segformer_edu.doctor import pick_device
from segformer_edu.files import expanded, write_atomically
from segformer_edu.memory import keep_freed_memory
from segformer_edu.segformer import SegFormer
from segformer_edu.tiles import TILE, predict_in_tiles, tiling

DESCRIPTION = """\
Label every pixel of photographs. What is written is, for each of them, an overlay: the labels drawn
over it, with a legend of the classes that occur, the largest first; or the labels themselves: a PNG
of the photograph's size whose numbers are the classes, in colours, and which can serve as a mask.
Photographs are turned upright first, as their EXIF tag says, and so are the labels."""
EXAMPLES = """\
examples:
  the weights that come with the course, which know street scenes as it draws them:
    python -m segformer_edu segment street.png --out labels.png --weights nano
  published weights, fetched from the Hugging Face hub and kept (needs the extra `hub`):
    python -m segformer_edu segment street.jpg --out street.png \\
        --weights nvidia/segformer-b0-finetuned-ade-512-512
  your own, for all photographs of a folder; the labels go to found/labels, with the same names:
    python -m segformer_edu segment photos --out found --write both --weights run/best
  from another program, with names for the legend:
    cat cat.jpg | python -m segformer_edu segment - --out cat.png \\
        --weights my-segformer --classes pet,background,border
"""
KINDS = {"overlay": ("overlay",), "labels": ("labels",), "both": ("overlay", "labels")}
DRAWN = 2400  # pixels a side; larger photographs are drawn over at this size, twice an overlay's
LARGEST = 2**14  # pixels a side, for --fit
STDIN = "standard input"  # what messages call the file in which it is kept
FIT = re.compile(r"^fit: ([1-9]\d*)$", re.MULTILINE)  # in a run's settings.yaml
Files = dict[str, Path]  # what is written for a picture: of each kind, where
Painter = Callable[[np.ndarray, np.ndarray, Sequence[str]], bytes]


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "segment",
        run,
        help="label every pixel of photographs",
        usage="%(prog)s IMAGE … --weights W --out PNG_OR_FOLDER [options]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="photographs, folders of them (but not the folders inside), patterns such as "
        "'photos/*.jpg', or - for one photograph from standard input",
    )
    add_weights(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="PNG_OR_FOLDER",
        type=Path,
        help="a .png to write, or for several a folder, which is made; there each gets the name of "
        "its photograph",
    )
    parser.add_argument(
        "--write",
        choices=KINDS,
        default="overlay",
        help="overlay (the default), labels, or both, in two folders inside --out",
    )
    add_device(parser)
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="what classes 0, 1, 2, … are called: a list with commas, a .txt file with one name a "
        "line, or how many there are (default: the names that came with the weights)",
    )
    parser.add_argument(
        "--fit",
        metavar="N",
        type=int,
        default=0,
        help="scale photographs until their longer side has N pixels, as --fit does in training; "
        "the labels come back at the photograph's size",
    )
    parser.add_argument(
        "--tile",
        metavar="N",
        type=int,
        default=TILE,
        help="side of the tiles in which a photograph of more than two tiles' pixels is labelled, "
        f"a multiple of 32; 0: none (default: {TILE})",
    )
    parser.add_argument(
        "--overlap",
        metavar="N",
        type=int,
        help="pixels that tiles share at least, a multiple of 32 (default: a quarter of a tile)",
    )


def run(options: argparse.Namespace) -> int:
    draw = painter() if options.write != "labels" else None
    with tempfile.TemporaryDirectory() as folder:
        stdin = Path(folder) / "stdin"
        try:
            faults = find_and_segment(options, draw, stdin)
        except ValueError as error:
            raise ValueError(str(error).replace(str(stdin), STDIN)) from error
    if faults:
        print("\n".join(faults).replace(str(stdin), STDIN), file=sys.stderr)
    return 1 if faults else 0


def find_and_segment(options: argparse.Namespace, draw: Painter | None, stdin: Path) -> list[str]:
    """Label all pictures that the options name; what could not be done.

    Args:
        stdin: a file in which standard input is kept.
    """
    pictures = find_pictures(options.images, stdin)
    files = plan(pictures, expanded(options.out), KINDS[options.write])
    given = class_names(options.classes) if options.classes is not None else ()
    device = pick_device(options.device)
    keep_freed_memory()
    model = SegFormer.from_pretrained(options.weights).to(device)
    names = names_for(model.config, given)
    check_sizes(options, model.config)
    if not options.fit and (fit := trained_fit(options.weights)):
        print(
            f"{options.weights} was trained on pictures that --fit {fit} had scaled, and these "
            f"stay as they are: unless their things are of the same size, give --fit {fit} "
            f"here too.",
            file=sys.stderr,
        )
    return segment(model, files, names, draw, options)


def segment(
    model: SegFormer,
    files: dict[Path, Files],
    names: Sequence[str],
    draw: Painter | None,
    options: argparse.Namespace,
) -> list[str]:
    """Label all pictures; of several, what is wrong with those that are damaged."""
    several, faults, replaced, began = len(files) > 1, [], 0, time.perf_counter()
    for path, targets in tqdm(
        files.items(), unit=" pictures", delay=1, leave=False, disable=not several
    ):
        try:
            picture = read_image(path, model.config.normalization)
            labels = label(model, path, picture, options)
        except Fault as fault:
            if not several:
                raise
            faults.append(fault)
            continue
        contents = {
            target: draw(visible(picture), labels, names)
            if draw and kind == "overlay"
            else mask_png(labels, max(model.config.num_classes, 2), names)
            for kind, target in targets.items()
        }
        for target, content in contents.items():
            replaced += target.exists()
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content)
    if several:
        done = len(files) - len(faults)
        rate = done / (time.perf_counter() - began)
        said = f"{options.out}: {done} of {len(files)} pictures, {rate:.2g} a second"
    else:
        said = f"{' and '.join(map(str, contents))}: {len(np.unique(labels))} classes"
    print(f"{said}; older files replaced: {replaced}" if replaced else said)
    if not faults:
        return []
    problems = [f"  {fault.problem}" for fault in faults]
    remedies = dict.fromkeys(fault.remedy for fault in faults)
    return [f"{len(faults)} of {len(files)} pictures could not be labelled:", *problems, *remedies]


def label(
    model: SegFormer, path: Path, picture: np.ndarray, options: argparse.Namespace
) -> np.ndarray:
    """The class of every pixel of a photograph, or of bands, `(H, W, C)` → `(H, W)`."""
    seen = resized(picture, options.fit) if options.fit else picture
    height, width = seen.shape[:2]
    if min(height, width) < model.config.min_image_size:
        raise Fault(
            f"{path} has {width}×{height} pixels{' once it is scaled' if options.fit else ''}, and "
            f"the model needs {model.config.min_image_size} a side",
            "Enlarge it with --fit.",
        )
    images = prepare(seen, model.config.normalization)
    labels = predict_in_tiles(
        model, images, options.tile, options.overlap, picture.shape[:2], progress=True
    )
    return labels[0].numpy()


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture, averaged, or a label map, picked, whose longer side has so many pixels."""
    factor = side / max(picture.shape[:2])
    height, width = (max(1, round(factor * each)) for each in picture.shape[:2])
    if picture.dtype == np.float32:  # bands
        images = (Image.fromarray(band) for band in np.moveaxis(picture, 2, 0))
        bands = [each.resize((width, height), Image.Resampling.BILINEAR) for each in images]
        return np.stack([np.array(band) for band in bands], axis=2)
    way = Image.Resampling.BILINEAR if picture.ndim == 3 else Image.Resampling.NEAREST
    return np.array(Image.fromarray(picture).resize((width, height), way))


def trained_fit(weights: str) -> int:
    """The side into which the run that weights come from had scaled its pictures, or 0."""
    for folder in Path(weights).expanduser().absolute().parents[:2]:
        with contextlib.suppress(OSError):
            if found := FIT.search((folder / "settings.yaml").read_text(encoding="utf-8")):
                return int(found[1])
    return 0


def painter() -> Painter:
    """What draws an overlay: photograph, labels, names → a PNG.

    Raises:
        ValueError: there is no matplotlib.
    """
    try:
        from segformer_edu import plots
    except ModuleNotFoundError as error:
        message = missing_package(error, "To draw overlays", "plots")
        raise ValueError(f"{message} Without it, --write labels works.") from None

    def draw(photo: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> bytes:
        if max(labels.shape) > DRAWN:
            photo, labels = resized(photo, DRAWN), resized(labels.astype(np.int32), DRAWN)
        return plots.png(plots.segmentation(photo, labels, names), dpi=200)

    return draw


def find_pictures(given: Sequence[str], stdin: Path) -> list[Path]:
    """The files that the arguments name, each once; standard input is kept in a file.

    Raises:
        ValueError: an argument that names no file.
    """
    found: dict[Path, Path] = {}
    for each in given:
        path, listed = expanded(each), []
        if each == "-":
            listed = [stdin]
            stdin.write_bytes(sys.stdin.buffer.read())
        elif path.is_dir():
            listed = [file for file in sorted(path.iterdir()) if is_picture(file)]
            if not listed:
                raise ValueError(
                    f"{path} holds no photograph: their names end in {', '.join(ENDINGS)}. Folders "
                    f"inside it are not searched."
                )
        elif path.exists():
            listed = [path]
        elif glob.has_magic(each):
            listed = [Path(file) for file in sorted(glob.glob(str(path), recursive=True))]
            listed = [file for file in listed if file.is_file()]
        if not listed:
            raise ValueError(f"{path} is no file and no folder here: check the path.")
        found |= {file.resolve(): file for file in listed}
    return list(found.values())


def is_picture(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS and not file.name.startswith(".")


def plan(pictures: Sequence[Path], out: Path, kinds: Sequence[str]) -> dict[Path, Files]:
    """What is written for each picture, and where: a file, or files in a folder.

    Raises:
        ValueError: a path that cannot be written, pictures of one name, or one that would be
            replaced by its own labels.
    """
    if out.suffix.lower() in ENDINGS:
        check_out(out, ".png")
        if (count := len(pictures) * len(kinds)) > 1:
            raise ValueError(
                f"--out {out} is one file, and {count} are to be written: name a folder."
            )
        files = {pictures[0]: {kinds[0]: out}}
    else:
        check_folder(out)
        files = {
            path: {
                kind: (out / kind if len(kinds) > 1 else out) / f"{path.stem}.png" for kind in kinds
            }
            for path in pictures
        }
    originals = {path.resolve() for path in pictures}
    owners: dict[str, Path] = {}
    for path, targets in files.items():
        for target in targets.values():
            if target.resolve() in originals:
                raise ValueError(
                    f"--out {out} would replace the photograph {target}: name another."
                )
            other = owners.setdefault(str(target).casefold(), path)
            if other != path:
                raise ValueError(
                    f"{other} and {path} share a name, and both would be written to {target}: "
                    f"rename one, or label them into folders of their own."
                )
    return files


def check_folder(folder: Path) -> None:
    """Refuse, before any work is done, a folder that cannot be made or written to."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise ValueError(f"--out {folder}: {there} is a file, not a folder; choose another.")
    if not os.access(there, os.W_OK):
        raise ValueError(f"--out {folder}: {there} may not be written to; choose another.")


def names_for(config: SegFormerConfig, given: Sequence[str]) -> Sequence[str]:
    """The names given, or those of the weights. A binary model has one logit and two classes.

    Raises:
        ValueError: not one name for each class.
    """
    classes = max(config.num_classes, 2)
    if given and len(given) != classes:
        raise ValueError(
            f"--classes gives {len(given)} names, and the model tells {classes} classes apart: "
            f"give one name for each."
        )
    return given or (config.class_names if len(config.class_names) == classes else ())


def check_sizes(options: argparse.Namespace, config: SegFormerConfig) -> None:
    """Refuse sizes that the model cannot work with."""
    tiling(config, options.tile, options.overlap)
    if options.fit and not config.min_image_size <= options.fit <= LARGEST:
        raise ValueError(
            f"fit = {options.fit}: give {config.min_image_size} to {LARGEST} pixels, or 0 to "
            f"leave photographs as they are."
        )
