"""What pictures and masks hold, and how to train on them: what `check-data` finds."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from segformer_edu.commands.parser import class_names
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.augment import IGNORE
from segformer_edu.data.colors import (
    FoundColour,
    find_colors,
    read_colors,
    read_coloured,
    write_colors,
)
from segformer_edu.data.folder import Pair, fault_or, match_files
from segformer_edu.data.image_files import Fault
from segformer_edu.data.inspection import Inspection, has_colours, inspect
from segformer_edu.data.masks import label_table
from segformer_edu.doctor import pick_device
from segformer_edu.files import expanded, typed
from segformer_edu.training.own_pictures import listed_names, split_folder
from segformer_edu.training.proposal import WEIGHTS, propose
from segformer_edu.training.settings import Settings

PATIENCE = 10  # minutes of training, for which nobody needs a first try
LOOKED_AT = 20  # masks that show whether all are in colours
COLORS = "colors.txt"  # the table that is drawn from masks in colours, beside them
LABELMAP = "labelmap.txt"  # CVAT's table, beside the folder of the masks
TRAIN_IDS = "_gtFine_labelTrainIds"
LABEL_IDS = ("_gtFine_labelIds", "7,8,11-13,17,19-28,31-33", "0-6,9,10,14-16,18,29,30,255")
ADE20K, MANY = ("annotations", "training"), 50  # of its 150 classes: others use its folders too


class Findings(NamedTuple):
    """What check-data found.

    Attributes:
        settings: with which to train.
        pairs: each photograph and its mask.
        seen: what they hold.
        class_names: of the classes, in order.
        labels: `(256,)` uint8, the class of each number in `seen.pixels`; 255 if it is of none.
        problems, advice: sentences.
        command: that trains.
        trial: why to try less first, and the command that does; None if there is no reason.
    """

    settings: Settings
    pairs: list[Pair]
    seen: Inspection
    class_names: tuple[str, ...]
    labels: np.ndarray
    problems: list[str]
    advice: list[str]
    command: str
    trial: tuple[str, str] | None

    @property
    def usable(self) -> bool:
        """Whether the command works."""
        return not (self.problems or self.seen.faults)

    def mended(self) -> Iterator[tuple[list[str], str]]:
        """All that is wrong, by name, and what to do about it; problems of one remedy together."""
        if self.problems:
            yield self.problems, ""
        by_remedy: defaultdict[str, list[str]] = defaultdict(list)
        for fault in self.seen.faults:
            by_remedy[fault.remedy].append(fault.problem)
        yield from ((problems, remedy) for remedy, problems in by_remedy.items())

    def facts(self) -> dict[str, str]:
        """What the files are, a sentence each."""
        seen = self.seen
        facts = {
            "pictures": f"{len(self.pairs):,} photographs with a mask, {len(seen.pairs):,} of them "
            f"without fault",
            "photographs": f"{self.settings.images}: {counted(seen.photographs)}",
            "masks": f"{self.settings.masks}: {counted(seen.masks)}",
        }
        if seen.sizes:
            sides = np.array(seen.sizes)
            ranked = sides[np.argsort(sides.prod(1), kind="stable")]
            least, middle, most = (
                f"{w} × {h}" for w, h in ranked[[0, len(ranked) // 2, -1]].tolist()
            )
            one = f"{least} pixels, all of them"
            facts["sizes"] = one if least == most else f"{least} to {most}, in between {middle}"
        if self.settings.validation_images:
            own = f"{self.settings.validation_images} and {self.settings.validation_masks}"
            facts["validation"] = f"{own}, counted above too"
        return facts

    def classes(self) -> list[tuple[str, float, int]]:
        """Of each class its name, its share of all pixels, and how many pictures show it; then
        what is ignored, if there is any.
        """
        every = max(int(self.seen.pixels.sum()), 1)
        rows = []
        for label, name in [*enumerate(self.class_names), (IGNORE, "(ignored)")]:
            numbers = np.flatnonzero(self.labels == label)
            pixels, pictures = self.seen.pixels[numbers], self.seen.pictures[numbers]
            if label != IGNORE or pixels.sum():
                rows.append((name, float(pixels.sum() / every), int(pictures.max(initial=0))))
        return rows


def find(settings: Settings, typed_classes: str) -> Findings:
    """Read all pictures, and fill in the settings that nobody gave."""
    places = [(settings.images, settings.masks)]
    names = None
    if settings.training_names:
        files = (settings.training_names, settings.validation_names)
        names = [name for file in files for name in listed_names(file, *places[0]) or ()]
    if settings.validation_images:
        places.append((settings.validation_images, settings.validation_masks))
    pairs: list[Pair] = []
    faults: list[Fault] = []
    for images, masks in places:
        found, wrong = match_files(expanded(images), expanded(masks), names)
        pairs += found.values()
        faults += wrong
        names = None
    settings, notes = coloured(settings, pairs)
    colors = read_colors(settings.colors) if settings.colors else None
    seen = inspect(pairs, colors)
    settings, typed_classes = known_set(settings, seen, typed_classes)
    proposal = propose(settings, seen, SegFormerConfig.named("b0").min_image_size)
    settings, problems, advice = proposal.settings, list(proposal.problems), list(proposal.advice)
    class_names = colors.class_names if colors else settings.classes
    labels, _ = label_table(len(class_names), settings.values or None, settings.ignore)
    seen.faults[:0] = faults
    numbers = [np.flatnonzero(labels == label) for label in range(len(class_names))]
    if absent := [
        name for name, n in zip(class_names, numbers, strict=True) if not seen.pixels[n].any()
    ]:
        advice.append(f"No picture shows {', '.join(absent)}: there is nothing to learn it from.")
    if not (seen.faults or problems):
        split_folder(settings)  # which refuses what train would refuse
    command = typed(proposal.command("run", typed_classes))
    trial = None
    if pick_device().type == "cpu" and settings.weights == WEIGHTS and proposal.minutes > PATIENCE:
        trial = (slowness(proposal.minutes), typed(proposal.trial().command("try", typed_classes)))
    return Findings(
        settings, pairs, seen, class_names, labels, problems, [*notes, *advice], command, trial
    )


def slowness(minutes: float) -> str:
    """Why to try less first, without a GPU."""
    long = "an hour or more" if minutes > 40 else "half an hour or so"
    return (
        f"There is no GPU here, and two cores of a CPU train like this for {long}. For a first try "
        f"within minutes, with smaller pictures and the weights that come with the package:"
    )


def known_set(settings: Settings, seen: Inspection, typed_classes: str) -> tuple[Settings, str]:
    """The settings for Cityscapes and ADE20K, told by the names of their files and their numbers,
    and the name of their list of classes; what was given stays.
    """
    if settings.classes or settings.colors:
        return settings, typed_classes
    held = np.flatnonzero(seen.pixels)
    if settings.masks.endswith(TRAIN_IDS):
        name, numbers = "cityscapes", {}
    elif settings.masks.endswith(LABEL_IDS[0]):
        name, numbers = "cityscapes", dict(zip(("values", "ignore"), LABEL_IDS[1:], strict=True))
    elif Path(settings.masks).parts[-2:] == ADE20K and len(held) > MANY and held.max() <= 150:
        name, numbers = "ade20k", {"values": "1-150", "ignore": "0"}
    else:
        return settings, typed_classes
    return settings.replace(classes=class_names(name), **numbers), name


def coloured(settings: Settings, pairs: Sequence[Pair]) -> tuple[Settings, list[str]]:
    """The settings with a table of colours, drawn from the masks if they are in colours and there
    is none, and what to do with it.
    """
    masks = [mask for _, mask in pairs]
    step = max(len(masks) // LOOKED_AT, 1)
    if settings.colors or settings.classes or not any(map(has_colours, masks[::step])):
        return settings, []
    folder = Path(os.path.commonpath([mask.parent for mask in masks]))
    for path in (folder / COLORS, folder.parent / LABELMAP):
        if path.exists():
            note = f"{path} says which colour is which class."
            return settings.replace(colors=str(path)), [note]
    path = folder / COLORS
    write_colors(path, colours_of(pairs))
    note = f"{path} was written: it has a line for each colour that fills areas of the masks."
    return settings.replace(colors=str(path)), [f"{note} Give the classes names there."]


def colours_of(pairs: Sequence[Pair]) -> dict[str, FoundColour]:
    """The colours of all masks that can be read."""
    try:
        return find_colors([mask for _, mask in pairs])
    except Fault:
        read = (fault_or(lambda pair: read_coloured(pair[1]), pair) for pair in pairs)
        whole = (not isinstance(each, Fault) for each in read)
        return find_colors([mask for (_, mask), good in zip(pairs, whole, strict=True) if good])


def counted(kinds: Counter[str]) -> str:
    """
    >>> counted(Counter({"JPEG in colours": 2, "PNG grey": 1}))
    '2 JPEG in colours, 1 PNG grey'
    """
    return ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) or "none"
