"""`python -m segformer_edu segment`: labels drawn over a photograph."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segformer_edu.commands.parser import (
    add_command,
    add_device,
    add_weights,
    check_out,
    class_names,
    missing_package,
)
from segformer_edu.data.photos import normalize, read_photo
from segformer_edu.doctor import pick_device
from segformer_edu.files import write_atomically
from segformer_edu.memory import keep_freed_memory
from segformer_edu.segformer import SegFormer

DESCRIPTION = """\
Label every pixel of a photograph, and write the labels drawn over it as a PNG, with a legend of the
classes that occur, the largest first."""
EXAMPLES = """\
examples:
  the weights that come with the course, which know street scenes as it draws them:
    python -m segformer_edu segment street.png --out labels.png --weights nano
  published weights, fetched from the Hugging Face hub and kept (needs the extra `hub`):
    python -m segformer_edu segment street.jpg --out street.png \\
        --weights nvidia/segformer-b0-finetuned-ade-512-512
  your own, with names for the legend:
    python -m segformer_edu segment cat.jpg --out cat.png \\
        --weights my-segformer --classes pet,background,border
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "segment",
        run,
        help="label every pixel of a photograph",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("image", metavar="IMAGE", type=Path, help="a photograph: JPEG, PNG, …")
    add_weights(parser)
    parser.add_argument("--out", required=True, metavar="PNG", type=Path, help="what to write")
    add_device(parser)
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="what classes 0, 1, 2, … are called: a list with commas, a .txt file with one name a "
        "line, or how many there are (default: the names that came with the weights)",
    )


def run(options: argparse.Namespace) -> int:
    try:
        from segformer_edu import plots
    except ModuleNotFoundError as error:
        raise missing_package(error, "To draw", "lab") from None
    check_out(options.out, ".png")
    photo = read_photo(options.image)
    names = class_names(options.classes) if options.classes is not None else ()
    device = pick_device(options.device)
    keep_freed_memory()
    model = SegFormer.from_pretrained(options.weights).to(device)
    names = names or model.config.class_names
    if names and len(names) != model.config.num_classes:
        raise ValueError(
            f"--classes gives {len(names)} names, and the model tells {model.config.num_classes} "
            f"classes apart: give one name for each."
        )
    labels = model.predict(normalize(photo).to(device))[0].cpu().numpy()
    figure = plots.segmentation(photo, labels, names)
    write_atomically(options.out, plots.png(figure, dpi=200))
    print(f"{options.out}: {len(set(labels.flat))} classes")
    return 0
