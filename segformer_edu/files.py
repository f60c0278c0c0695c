"""Paths as users type them, and files that are written completely or not at all."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path, with ~ replaced by the home folder.

    Raises:
        ValueError: a value that cannot be a path, such as "", or a home folder that does not exist.
    """
    if not isinstance(path, (str, Path)) or not str(path) or "\0" in str(path):
        raise ValueError(f"{path!r} is not a path: give a string that names a file or a folder.")
    try:
        full = Path(path).expanduser()
        full.exists()  # raises OSError if the name is too long
    except RuntimeError:
        raise ValueError(
            f"{str(path)!r} is not a path here: there is no such home folder. Write the path out."
        ) from None
    except OSError as error:
        raise ValueError(f"{str(path)!r} is not a path here: {error}. Choose another.") from error
    return full


def typed(words: Iterable[object]) -> str:
    """A command in the form in which it can be pasted into this system's terminal.

    >>> typed(["python", "-m", "segformer_edu", "train", "--images", "my photos/*.jpg"])
    "python -m segformer_edu train --images 'my photos/*.jpg'"
    """
    given = [str(word) for word in words]
    return subprocess.list2cmdline(given) if os.name == "nt" else shlex.join(given)


def experiments_folder() -> Path:
    """Where the tables of the experiments are, which the lessons read.

    Raises:
        FileNotFoundError: neither beside the package, as in a clone, nor where the notebook is.
    """
    places = [place / "experiments" for place in (Path(__file__).parents[1], Path.cwd())]
    for folder in places:
        if (folder / "claims").is_dir():
            return folder
    raise FileNotFoundError(
        "This lesson shows tables that the package does not hold: put the folder experiments of "
        "the course's repository beside this notebook, and run the cell again."
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, whatever happens meanwhile.

    The bytes go into a temporary file beside it, which reaches the disk before it is renamed.

    Raises:
        OSError: the file cannot be written; what was there before is unchanged.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
