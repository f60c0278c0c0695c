"""The files of a run: settings, log, checkpoint, best and last weights; intact at every moment.

settings.yaml   every setting
training.txt    the names of the pictures that it trains on, if they are files, and
validation.txt  of those that it holds out; evaluate and --resume keep to them
log.csv         a row for each step
last.pt         all that the run needs to continue
best/           the weights with the best mIoU, for `SegFormer.from_pretrained`
last/           the weights at the end of the run, and
curves.png      its log as a picture; both are written at the end
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from segformer_edu.checkpoints.files import load_pickled
from segformer_edu.files import expanded, write_atomically
from segformer_edu.segformer import SegFormer
from segformer_edu.training.curves import draw_curves
from segformer_edu.training.settings import GOAL, Settings

SETTINGS, LOG, STATE = "settings.yaml", "log.csv", "last.pt"
LISTS = {"training_names": "training.txt", "validation_names": "validation.txt"}
COLUMNS = ("step", "epoch", "loss", "learning_rate", "gradient_norm", "miou", "pixel_accuracy")


class RunFolder:
    """A folder that holds one run, new or to be continued.

    A checkpoint is written in this order: log to the disk, better weights to best/, then last.pt,
    which holds the step and the length of the log. What a killed run wrote after its latest last.pt
    is cut off when it is resumed, or is written again with the same content.

    Args:
        path: `begin` makes it if it is missing, and leaves other files in it alone.
        settings: the run's.
        resume: continue the run that the folder holds, if it holds one.
        owner: whether this process reads and writes the folder; one does so for all.

    Attributes:
        settings: the run's, with its lists of names if it was begun before.
        state: the checkpoint that the run continues from, if any, until `begin`.
        step: steps that the last checkpoint holds.

    Raises:
        ValueError: a run is there and resume was not asked for, or it has other settings than may
            change, or its checkpoint cannot be read.
    """

    def __init__(
        self, path: str | Path, settings: Settings, resume: bool, owner: bool = True
    ) -> None:
        self.path, self.owner = expanded(path), owner
        self.settings = settings.anchored(Path.cwd())
        self.state: dict[str, Any] | None = None
        self.step = 0
        if owner:
            self._look(resume)

    def _look(self, resume: bool) -> None:
        """See what the folder holds already."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{self.path} is a file: name a folder for the run.")
        if not any((self.path / name).exists() for name in (SETTINGS, LOG, STATE)):
            if resume:
                warnings.warn(f"{self.path} holds no run yet, so one begins there.", stacklevel=4)
            return
        if not resume:
            raise ValueError(
                f"{self.path} already holds a run: continue it with resume=True, or name another "
                f"folder."
            )
        if (self.path / STATE).exists():
            self.state = load_pickled(
                self.path / STATE,
                "is not a readable checkpoint: damaged, or another kind of file. Remove it, and "
                "--resume starts the run again.",
            )
            if "reached" not in self.state:
                raise ValueError(
                    f"{self.path / STATE} was written by an older version of this package, which "
                    f"kept less in it. Remove it, and --resume starts the run again."
                )
        if (self.path / SETTINGS).exists():
            begun_with = Settings.from_yaml(self.path / SETTINGS)
            lists = {
                name: getattr(self.settings, name) or getattr(begun_with, name) for name in LISTS
            }
            self.settings = self.settings.replace(**lists)
            self._compare(begun_with)

    def _compare(self, begun_with: Settings) -> None:
        """Refuse settings that may not change: the goal may, before the first checkpoint and once
        the run has ended. In between, the outcome would hang on when it was stopped.
        """
        underway = self.state is not None and self.state["reached"] is None
        names = begun_with.differences(self.settings)
        if not underway:
            names = [name for name in names if name not in GOAL]
        if names:
            changed = (
                f"{name} = {getattr(begun_with, name)!r} is now {getattr(self.settings, name)!r}"
                for name in names
            )
            raise ValueError(
                f"The run in {self.path} was begun with other settings: {'; '.join(changed)}. "
                f"Resume it with its own, or name another folder."
                f"{' Once it has ended, it can be extended.' * bool({*names} & {*GOAL})}"
            )

    def begin(
        self,
        class_names: Sequence[str],
        state: Mapping[str, Any] | None,
        names: Sequence[Sequence[str]] = ((), ()),
    ) -> None:
        """Make the folder ready: settings written, the log cut to where the checkpoint stands.

        Args:
            class_names: columns of the log.
            state: the checkpoint that the run continues from, if any.
            names: the pictures that are trained on and those held out, if they have names.
        """
        position, self.step = (state["log_bytes"], state["step"]) if state else (0, 0)
        self.state = None  # to free its memory
        if not self.owner:
            return
        with self._explained(self.step):
            self.path.mkdir(parents=True, exist_ok=True)
            self._sweep()
            settings = self.settings
            for (field, file), listed in zip(LISTS.items(), names, strict=True):
                if listed:
                    write_atomically(self.path / file, "".join(f"{x}\n" for x in listed).encode())
                    settings = settings.replace(**{field: file})
            write_atomically(self.path / SETTINGS, settings.to_yaml().encode())
            self._log = (self.path / LOG).open("r+b" if position else "wb")
            self._log.truncate(position)
            self._log.seek(position)
            if not position:
                self._write_row([*COLUMNS, *(f"iou {name}" for name in class_names)])

    def _sweep(self) -> None:
        """Remove what a killed run left half written."""
        for part in self.path.rglob(".*.part"):
            part.unlink()

    def log(self, row: Sequence[float]) -> None:
        """Add a step, the first number of the row, to the log."""
        if self.owner:
            with self._explained(int(row[0])):
                self._write_row([f"{value:.8g}" for value in row])

    def _write_row(self, row: Sequence[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        self._log.write(line.getvalue().encode())
        self._log.flush()

    def save(self, state: Mapping[str, Any], best: SegFormer | None = None) -> None:
        """Write a checkpoint: a state, in which "step" counts the steps done; and better weights.

        Raises:
            OSError: it could not be written; the message says which checkpoint is intact.
        """
        if self.owner:
            with self._explained(state["step"]):
                os.fsync(self._log.fileno())
                if best is not None:
                    best.save_pretrained(self.path / "best")
                buffer = io.BytesIO()
                torch.save({**state, "log_bytes": self._log.tell()}, buffer)
                write_atomically(self.path / STATE, buffer.getvalue())
        self.step = state["step"]

    def close(self) -> None:
        """Close the log: Windows lets nobody remove or replace an open file."""
        if self.owner:
            with contextlib.suppress(OSError):  # of a full disk, which was reported already
                self._log.close()

    def finish(self, model: SegFormer) -> None:
        """Write the weights with which the run ends, and draw its curves."""
        if self.owner:
            with self._explained(self.step):
                model.save_pretrained(self.path / "last")
                draw_curves(self.path / LOG, self.path / "curves.png")

    def how_to_resume(self) -> str:
        """Where a run that stopped can go on, in a sentence."""
        if not self.step:
            return f"There is no checkpoint yet: --resume starts the run in {self.path} again."
        return f"{self.path / STATE} holds all of step {self.step}: --resume goes on from there."

    @contextlib.contextmanager
    def _explained(self, step: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                f"At step {step} the run could not be written to {self.path} ({error}). Make room, "
                f"or get permission to write there. {self.how_to_resume()}"
            ) from error
