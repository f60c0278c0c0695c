"""Paths as they were typed, and files that are whole or not there at all."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path, with ~ as the home folder.

    Raises:
        ValueError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{path}: there is no such home folder; write the path out.") from None


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
