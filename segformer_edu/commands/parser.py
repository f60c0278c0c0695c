"""What the commands share: a parser that says what is wrong in one sentence, and options."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from segformer_edu.data.augment import IGNORE
from segformer_edu.data.colors import read_colors
from segformer_edu.data.folder import class_names_of
from segformer_edu.doctor import DEVICES
from segformer_edu.extras import install_command
from segformer_edu.files import expanded


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence; --help has the rest.

    Attributes:
        fill: adds a command's arguments when they are first needed, if they come from packages that
            other commands do without.
    """

    fill: Callable[[Parser], None] | None = None

    def in_flags(self, text: str) -> str:
        """A message that speaks of Python's arguments, such as `values=(0, 255)`, in the flags of
        this command, such as `--values 0,255`.
        """
        flags = {action.dest: action.option_strings for action in self._actions}

        def flag(found: re.Match) -> str:
            name, value = found["name"], found["value"].strip("'\"()[]").replace(", ", ",")
            options = flags.get(SYNONYMS.get(name, name), ())
            if not options:
                return found[0]
            if value in ("True", "False"):
                return options[value == "False"] if len(options) > 1 else options[0]
            if "*" in value:  # which a shell would replace
                value = f'"{value}"'
            return f"{options[0]} {value or EMPTY}"

        return ARGUMENT.sub(flag, text)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.fill:
            fill, self.fill = self.fill, None
            fill(self)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, surplus = self.parse_known_args(args, namespace)
        if surplus and Path(surplus[0]).exists():
            more = f" and {len(surplus) - 1} more" if len(surplus) > 1 else ""
            self.error(
                f"there is no flag before {surplus[0]}{more}: put a pattern in quotes, such as "
                f'"photos/*.jpg", or the shell replaces it by the files that fit'
            )
        if surplus:
            self.error(f"unrecognized arguments: {' '.join(surplus)}")
        return options

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message[0].upper()}{message[1:]}; {self.prog} --help says more.\n")


ADE20K = Path(__file__).parent.parent / "data/ade20k.txt"  # the 150 classes of its benchmark

# What functions call what the command line calls otherwise.
SYNONYMS = {"ignore_index": "ignore"}
EMPTY = '""'
ARGUMENT = re.compile(
    r"\b(?P<name>[a-z][a-z_]*)\s?=\s?(?P<value>\([^)]*\)|\[[^\]]*\]|'[^']*'|\"[^\"]*\"|…|[^\s,;:)]*[^\s,;:).])"
)


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str, **texts: str
) -> Parser:
    """A parser for one command: `help` for the list of commands, the rest for its own page."""
    parser = commands.add_parser(
        name, help=help, formatter_class=argparse.RawDescriptionHelpFormatter, **texts
    )
    parser.set_defaults(run=run, parser=parser)
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


def class_names(given: str) -> tuple[str, ...]:
    """Names of classes 0, 1, 2, …: a list with commas, a .txt file with one name a line, a number,
    which gives "class 0", "class 1", …, or those of two known data sets, cityscapes and ade20k.

    Raises:
        ValueError: a file that cannot be read, an empty name, or one that stands there twice.
    """
    if given == "cityscapes":
        return read_colors(given).class_names
    if given == "ade20k":
        given = str(ADE20K)
    listed = given.split(",")
    if given.lower().endswith(".txt"):
        try:
            listed = expanded(given).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"classes = {given} cannot be read as text: {error}") from None
    elif given.strip().isdecimal() and 0 < int(given) <= IGNORE:
        return class_names_of(int(given))
    names = tuple(name.strip() for name in listed)
    if not all(names):
        raise ValueError(f"classes = {given} holds an empty name: give every class a name.")
    return class_names_of(names)


def check_out(path: Path, *suffixes: str) -> None:
    """Refuse, before any work is done, a path where no such file can be written."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--out {path} is not a {' or '.join(suffixes)}: name such a file.")
    if not path.parent.is_dir():
        raise ValueError(f"--out {path}: there is no folder {path.parent}; make it first.")
    if path.is_dir():
        raise ValueError(f"--out {path} is a folder: name a file.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"--out {path}: {path.parent} may not be written to; choose another.")


def missing_package(error: ModuleNotFoundError, purpose: str, extra: str) -> ValueError:
    """The error that names a missing package, and the extra that brings it."""
    return ValueError(f"{purpose}, {error.name} is needed: run {install_command(extra)}.")
