"""`python -m segformer_edu evaluate`: how good weights are on a data set, class by class."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segformer_edu.commands.parser import Parser, add_command, add_weights, check_out
from segformer_edu.config import SegFormerConfig
from segformer_edu.files import write_atomically
from segformer_edu.memory import keep_freed_memory
from segformer_edu.segformer import SegFormer
from segformer_edu.tiles import tiling

if TYPE_CHECKING:
    from segformer_edu.training import Scores

SETTINGS = (  # which pictures are scored, and how they are read
    *("data", "size", "validation", "images", "masks", "classes", "values", "ignore", "colors"),
    "upright",
    *("validation_images", "validation_masks", "validation_names", "training_names"),
    *("root", "border", "fit", "tile", "workers", "batch_size", "cpu", "seed"),
)
DESCRIPTION = """\
Score weights on the validation pictures of a data set, at their full size: IoU of each class, their
mean (mIoU), and the share of pixels that got their class. Large pictures are labelled in tiles. The
same settings as in training name the same pictures; settings.yaml of a run does (--config)."""
EXAMPLES = """\
examples:
  the run's own validation pictures, and as JSON:
    python -m segformer_edu evaluate --weights run/best --config run/settings.yaml --out scores.json
  scenes at twice the size that it was trained at:
    python -m segformer_edu evaluate --weights nano --size 192
  on four GPUs, the same to the digit:
    accelerate launch --multi_gpu --num_processes 4 -m segformer_edu evaluate \\
        --weights pets/best --config pets/settings.yaml
"""


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "evaluate",
        run,
        help="score weights on a data set, class by class",
        usage="%(prog)s --weights W [--config YAML] [--out JSON] [--SETTING VALUE …]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.fill = fill


def fill(parser: Parser) -> None:
    """What is scored, and the settings that name pictures."""
    from segformer_edu.commands.settings import add_settings

    add_weights(parser)
    parser.add_argument("--out", type=Path, metavar="JSON", help="also write the scores there")
    add_settings(parser, SETTINGS)


def run(options: argparse.Namespace) -> int:
    from segformer_edu.commands.settings import check_packages, read_settings

    check_packages()
    from segformer_edu.training import evaluate, open_data, scores
    from segformer_edu.training.own_pictures import check_pictures
    from segformer_edu.training.parts import start_accelerator

    if options.out:
        check_out(options.out, ".json")
    settings = read_settings(options).replace(precision="fp32")
    accelerator = start_accelerator(settings)
    keep_freed_memory()
    model = SegFormer.from_pretrained(options.weights).to(accelerator.device)
    if settings.data == "folder" and not settings.colors:
        settings = settings.replace(classes=settings.classes or model.config.class_names)
    settings = settings.replace(bands=len(model.config.image_mean))  # the weights know best
    with accelerator.local_main_process_first():  # it may have to download the data for all
        _, pictures = open_data(settings)
    pictures.normalization = model.config.normalization
    check_classes(options.weights, model.config, pictures.class_names)
    tiling(model.config, settings.tile)
    if settings.data == "folder" and accelerator.is_local_main_process:
        check_pictures(settings, {"validation": pictures}, model.config.min_image_size)
    confusion = evaluate(
        model,
        pictures,
        settings.batch_size,
        settings.workers,
        accelerator,
        progress=True,
        tile=settings.tile,
    ).cpu()
    if accelerator.is_main_process:
        found = scores(confusion)
        if options.out:
            content = summary(found, confusion, pictures.class_names)
            content = {"weights": options.weights, "pictures": len(pictures), **content}
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
            write_atomically(options.out, f"{text}\n".encode())
        print(table(found, confusion, pictures.class_names))
    accelerator.end_training()
    return 0


def check_classes(weights: str, config: SegFormerConfig, names: Sequence[str]) -> None:
    """Refuse pictures whose classes are others than those of the weights, or in another order."""
    if max(config.num_classes, 2) != len(names):
        raise ValueError(
            f"{weights} tells {config.num_classes} classes apart, and the pictures have "
            f"{len(names)} ({', '.join(names)}): give weights and data that go together."
        )
    known = [*map(str.strip, config.class_names)]  # of a binary model's two classes perhaps one
    if known and known != [*map(str.strip, names)][-len(known) :]:
        raise ValueError(
            f"{weights} calls its classes {', '.join(config.class_names)}, and the pictures "
            f"{', '.join(names)}: give classes = … the names of the weights in their order, and "
            f"values = … the number of each in the masks."
        )


def table(found: Scores, confusion: Tensor, names: Sequence[str]) -> str:
    """A line for each class: IoU; recall, the part of its pixels that was found; precision, the
    part of the pixels called by its name that are its own; its share of all pixels.
    """
    width = max(map(len, ("class", *names)))
    both = confusion.diagonal()
    columns = (
        torch.tensor(found.iou),
        both / confusion.sum(1),  # nan for a class without a pixel
        both / confusion.sum(0),
        confusion.sum(1) / confusion.sum(),
    )
    lines = [f"{'class':<{width}}     IoU  recall  precision  share"]
    for label, name in enumerate(names):
        iou, recall, precision, share = (float(column[label]) for column in columns)
        lines.append(
            f"{name:<{width}}   {iou:5.3f}   {recall:5.3f}      {precision:5.3f}  {share:5.3f}"
        )
    lines.append(f"mIoU {found.miou:.4f}, pixel accuracy {found.pixel_accuracy:.4f}")
    return "\n".join(lines)


def summary(found: Scores, confusion: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """The scores, ready for JSON; null for a class that occurs nowhere."""
    return {
        "miou": found.miou,
        "pixel_accuracy": found.pixel_accuracy,
        "iou": {
            name: None if math.isnan(iou) else iou
            for name, iou in zip(names, found.iou, strict=True)
        },
        "confusion": confusion.tolist(),
    }
