"""Paths as they were typed, and files that are whole or not there at all."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path, with ~ as the home folder.

    Raises:
        ValueError: what can be no path, as "" is; or there is no such home folder.
    """
    if not isinstance(path, (str, Path)) or not str(path) or "\0" in str(path):
        raise ValueError(f"{path!r} is no path: give a string that names a file or a folder.")
    try:
        full = Path(path).expanduser()
        full.exists()  # which a name that is too long cannot be asked
    except RuntimeError:
        raise ValueError(
            f"{str(path)!r} is no path here: there is no such home folder; write the path out."
        ) from None
    except OSError as error:
        raise ValueError(f"{str(path)!r} is no path here: {error}. Choose another.") from error
    return full


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its name never stands for half of it, whatever happens meanwhile.

    The bytes go to a file beside it and to the disk before the name moves.

    Raises:
        OSError: it cannot be written; what was there is unchanged.
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
