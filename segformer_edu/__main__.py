"""The command line: `python -m segformer_edu {doctor, segment}`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from segformer_edu.data.photos import normalize, read_photo
from segformer_edu.doctor import DEVICES, examine, pick_device
from segformer_edu.extras import install_command
from segformer_edu.segformer import SegFormer

EXAMPLES = """\
examples:
  python -m segformer_edu doctor
  python -m segformer_edu segment street.jpg --weights my-segformer --out street.png
  python -m segformer_edu segment --help
"""
SEGMENT_EXAMPLES = """\
examples:
  published weights, fetched from the Hugging Face hub and kept (needs the extra `hub`):
    python -m segformer_edu segment street.jpg --out street.png \\
        --weights nvidia/segformer-b0-finetuned-ade-512-512
  your own, with names for the legend:
    python -m segformer_edu segment cat.jpg --out cat.png \\
        --weights my-segformer --classes pet,background,border
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; --help has the rest."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[0].upper()}{message[1:]}; {self.prog} --help says more.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 if it worked, 1 if the doctor found a lack, 2 if the request was wrong."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2


def parser() -> Parser:
    raw = argparse.RawDescriptionHelpFormatter
    top = Parser(
        prog="python -m segformer_edu",
        description="SegFormer: semantic segmentation, from the course of the same name.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    doctor = commands.add_parser(
        "doctor",
        help="what is installed, what is missing, how fast this machine is",
        description="Say what is installed, which device will be used and how fast it is, and what "
        "to type where something is missing. The exit code is 1 if the lessons cannot run.",
    )
    doctor.set_defaults(run=run_doctor)
    segment = commands.add_parser(
        "segment",
        help="label every pixel of a photograph",
        description="Label every pixel of a photograph, and write the labels drawn over it as a "
        "PNG, with a legend of the classes that occur, the largest first.",
        epilog=SEGMENT_EXAMPLES,
        formatter_class=raw,
    )
    segment.add_argument("image", metavar="IMAGE", type=Path, help="a photograph: JPEG, PNG, …")
    segment.add_argument(
        "--weights",
        required=True,
        metavar="W",
        help="a folder, a file (.safetensors, .pth, .bin), or a name on the Hugging Face hub",
    )
    segment.add_argument("--out", required=True, metavar="PNG", type=Path, help="what to write")
    segment.add_argument("--device", choices=DEVICES, default="", help="default: the fastest here")
    segment.add_argument(
        "--classes",
        metavar="NAMES",
        help="what classes 0, 1, 2, … are called: a list with commas, or a .txt file with one name "
        "a line (default: the names that came with the weights)",
    )
    segment.set_defaults(run=run_segment)
    return top


def run_doctor(options: argparse.Namespace) -> int:
    report, healthy = examine()
    print(report)
    return 0 if healthy else 1


def run_segment(options: argparse.Namespace) -> int:
    try:
        from segformer_edu import plots
    except ModuleNotFoundError as error:
        raise ValueError(
            f"To draw, {error.name} is needed: run {install_command('lab')} in the course's folder."
        ) from None
    check_out(options.out)
    photo = read_photo(options.image)
    names = read_names(options.classes) if options.classes is not None else ()
    device = pick_device(options.device)
    model = SegFormer.from_pretrained(options.weights).to(device).eval()
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


def check_out(path: Path) -> None:
    """Refuse, before any work is done, a place where no PNG can be written."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"--out {path} is not a .png: the picture is written as PNG only.")
    if not path.parent.is_dir():
        raise ValueError(f"--out {path}: there is no folder {path.parent}; make it first.")
    if path.is_dir():
        raise ValueError(f"--out {path} is a folder: name a file.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"--out {path}: {path.parent} may not be written to; choose another.")


def read_names(classes: str) -> tuple[str, ...]:
    """Class names from a list with commas, or from a text file."""
    if classes.endswith(".txt"):
        try:
            listed = Path(classes).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"--classes {classes} cannot be read as text: {error}") from None
    else:
        listed = classes.split(",")
    names = tuple(name.strip() for name in listed)
    if not all(names):
        raise ValueError(f"--classes {classes} holds an empty name: give every class a name.")
    return names


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
