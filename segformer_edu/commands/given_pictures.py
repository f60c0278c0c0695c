"""The pictures that `export` is given, to calibrate with or to show, and their masks, if any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segformer_edu.commands.evaluate import check_classes
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.augment import fit
from segformer_edu.data.folder import ENDINGS, Folder, by_name
from segformer_edu.data.photos import read_photo
from segformer_edu.files import expanded


class GivenPictures:
    """Some pictures of a folder or pattern, evenly spread over their names, read one at a time.

    Args:
        flag: the one that gave them, for messages.
        folder: of photographs, or a pattern of them.
        masks: of their masks; None if there are none.
        config: of the model that shall see them.
        most: how many are used, of however many there are.
        side: of a square into which each is scaled; None leaves them as they are.
        reading: how the masks are read, as `Folder` takes it.

    Attributes:
        paths: the photographs that are used.
        labelled: the same and others with their masks, or None.
        num_classes: classes that the labels tell apart.

    Raises:
        ValueError: there is no picture, or photographs, masks and classes do not go together.
    """

    def __init__(
        self,
        flag: str,
        folder: Path,
        masks: Path | None,
        config: SegFormerConfig,
        most: int,
        side: int | None = None,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        self.where, self.side = f"{flag} {folder}", side
        self.num_classes = max(config.num_classes, 2)  # one logit tells two apart
        if "*" not in str(folder) and not expanded(folder).is_dir():
            raise ValueError(f"{self.where}: there is no such folder; give one of photographs.")
        found = [path for paths in by_name(expanded(folder)).values() for path in paths]
        if not found:
            raise ValueError(f"{self.where} holds no pictures ({', '.join(ENDINGS)}).")
        self.labelled: Folder | None = None
        if masks is not None:
            self.where += f", --masks {masks}"
            self.labelled = self._with_masks(folder, masks, config, reading or {})
            found = [path for path, _ in self.labelled.pairs]
        self._chosen = sorted({number * len(found) // most for number in range(most)})
        self.paths = [found[index] for index in self._chosen]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """A photograph, `(H, W, 3)` uint8, and its labels, `(H, W)` uint8, if it has a mask.

        Raises:
            ValueError: names the file that cannot be read.
        """
        try:
            if self.labelled:
                return self.labelled.picture(self._chosen[index])
            photo = read_photo(self.paths[index])
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from None
        if self.side is None:
            return photo, None
        unlabelled = np.zeros(photo.shape[:2], dtype=np.uint8)
        return fit(photo, unlabelled, (self.side, self.side))[0], None

    def _with_masks(
        self, folder: Path, masks: Path, config: SegFormerConfig, reading: Mapping[str, Any]
    ) -> Folder:
        classes = None if reading.get("colors") else self.num_classes
        try:
            labelled = Folder(folder, masks, classes, size=self.side, **reading)
            if labelled.colors:
                check_classes("--weights", config, labelled.class_names)
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from None
        return labelled
