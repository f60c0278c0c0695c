"""What the commands share: a parser that says what is wrong in one sentence, and options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from segformer_edu.doctor import DEVICES
from segformer_edu.extras import install_command


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; --help has the rest.

    Attributes:
        fill: adds a command's arguments when they are first needed, if they come from packages that
            other commands do without.
    """

    fill: Callable[[Parser], None] | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.fill:
            fill, self.fill = self.fill, None
            fill(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[0].upper()}{message[1:]}; {self.prog} --help says more.\n")


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str, **texts: str
) -> Parser:
    """A parser for one command: `help` for the list of commands, the rest for its own page."""
    parser = commands.add_parser(
        name, help=help, formatter_class=argparse.RawDescriptionHelpFormatter, **texts
    )
    parser.set_defaults(run=run)
    return parser


def add_weights(parser: Parser) -> None:
    parser.add_argument(
        "--weights",
        required=True,
        metavar="W",
        help="nano (comes with the course), a folder, a file (.safetensors, .pth, .bin), or a name "
        "on the Hugging Face hub",
    )


def add_device(parser: Parser) -> None:
    parser.add_argument("--device", choices=DEVICES, default="", help="default: the fastest here")


def check_out(path: Path, suffix: str) -> None:
    """Refuse, before any work is done, a path where no such file can be written."""
    if path.suffix.lower() != suffix:
        raise ValueError(f"--out {path} is not a {suffix}: only such a file is written.")
    if not path.parent.is_dir():
        raise ValueError(f"--out {path}: there is no folder {path.parent}; make it first.")
    if path.is_dir():
        raise ValueError(f"--out {path} is a folder: name a file.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"--out {path}: {path.parent} may not be written to; choose another.")


def missing_package(error: ModuleNotFoundError, purpose: str, extra: str) -> ValueError:
    """The error that names a missing package, and the extra that brings it."""
    return ValueError(
        f"{purpose}, {error.name} is needed: run {install_command(extra)} in the course's folder."
    )
