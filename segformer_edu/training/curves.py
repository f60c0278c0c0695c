"""Reading and drawing the log of a run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from segformer_edu.files import write_atomically


def read_log(path: Path) -> dict[str, np.ndarray]:
    """The columns of a log.csv, by name; nan where a step was not validated.

    Raises:
        ValueError: the file is missing, or is not a log.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, restval="nan"))
        return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise ValueError(
            f"{path} is not the log of a run ({error!r}): give its log.csv."
        ) from error


def draw_curves(log: Path, picture: Path) -> None:
    """Draw a log as a PNG if matplotlib is installed; a run does not fail without it."""
    try:
        from segformer_edu import plots
    except ModuleNotFoundError:
        return
    write_atomically(picture, plots.png(plots.training_curves(read_log(log))))
