"""People's own pictures: trained on, held out, and all of them looked at beforehand."""

from __future__ import annotations

import hashlib
import itertools
import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from segformer_edu.data.bands import Normalization, measure
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.folder import Folder, Survey, names_in, names_meant
from segformer_edu.data.masks import likely_meaning
from segformer_edu.data.views import CachedDataset, Datasets, Selection
from segformer_edu.files import expanded
from segformer_edu.training.settings import Settings


def split_folder(settings: Settings) -> Datasets:
    """The pictures that lists name; without lists, a choice that hangs on nothing but the names.

    Raises:
        ValueError: a setting that is missing, lists that overlap, files that do not fit together.
    """
    for name in ("images", "masks", "classes"):
        if not getattr(settings, name) and not (name == "classes" and settings.colors):
            raise ValueError(
                f"{name} = … is missing: data = 'folder' needs images = …, masks = … and "
                f"classes = … or colors = …."
            )
    if bool(settings.validation_images) != bool(settings.validation_masks):
        missing = "validation_masks" if settings.validation_images else "validation_images"
        raise ValueError(
            f"{missing} = … is missing: pictures to validate on need validation_images = … and "
            f"validation_masks = …."
        )
    if len(settings.classes) == 1:
        (only,) = settings.classes
        raise ValueError(
            f"classes = {only} is one class, and a model tells two or more apart: name the rest "
            f"too, such as classes = rest,{only}, and their numbers in the masks, values = 0,255."
        )
    files = (settings.images, settings.masks)
    trained = listed_names(settings.training_names, *files)
    if settings.validation_images:
        return open_folder(settings, *files, trained), validation_folder(settings)
    held_out = listed_names(settings.validation_names, *files)
    names = names_in(*files)
    if held_out is None:
        others = [name for name in names if name not in set(trained or ())]
        held_out = others if trained else shuffled(names)[: settings.validation or None]
    if trained is None:
        trained = [name for name in names if name not in set(held_out)]
    if both := sorted({*trained} & {*held_out}):
        raise ValueError(
            f"{both[0]} is named by training_names = {settings.training_names!r} and by "
            f"validation_names = {settings.validation_names!r}: it cannot be in both."
        )
    if strangers := len({*names} - {*trained} - {*held_out}):
        warnings.warn(
            f"{settings.images} holds pictures that stand in neither list of names ({strangers}), "
            f"such as those that were added after a run began. They are left out.",
            stacklevel=2,
        )
    every = open_folder(settings, *files, [*trained, *held_out])
    middle = len(trained)
    return Selection(every, range(middle)), Selection(every, range(middle, len(every)))


def validation_folder(settings: Settings) -> Folder:
    """The pictures of a folder of their own, refused by the names of its own settings."""
    own = (settings.validation_images, settings.validation_masks)
    try:
        return open_folder(settings, *own, listed_names(settings.validation_names, *own))
    except ValueError as error:
        own_words = re.sub(r"\b(images|masks) = ", r"validation_\1 = ", str(error))
        raise ValueError(own_words) from error


def open_folder(settings: Settings, images: str, masks: str, names: Sequence[str] | None) -> Folder:
    """The named pictures of a folder, or all of them, read as the settings say."""
    return Folder(
        images,
        masks,
        settings.classes or None,
        values=settings.values or None,
        ignore_index=settings.ignore,
        colors=settings.colors or None,
        size=settings.fit or None,
        names=names,
        upright=settings.upright,
        bands=settings.bands,
    )


def shuffled(names: Sequence[str]) -> list[str]:
    """Names in an order that looks random, and in which every name has a lasting place.

    It is the order of their SHA-256 digests. So the pictures held out are the same whatever the
    seed, and one that is added to the folder replaces at most one of them.
    """
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def listed_names(path: str, images: str, masks: str) -> list[str] | None:
    """The names of a file, one a line, of pictures of a folder; None without a file."""
    if not path:
        return None
    try:
        lines = expanded(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text: {error}") from None
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise ValueError(f"{path} names no picture: write one name on each line.")
    return names_meant(lines, images, masks)


def picture_names(pictures: SegmentationDataset) -> list[str]:
    """What the pictures of a folder are called; nothing for those that are drawn."""
    if isinstance(pictures, CachedDataset):
        return picture_names(pictures.dataset)
    if isinstance(pictures, Selection):
        names = picture_names(pictures.dataset)
        return [names[index] for index in pictures.indices] if names else []
    return pictures.names if isinstance(pictures, Folder) else []


def measured(pictures: SegmentationDataset) -> Normalization:
    """Mean and spread of each band of a folder's pictures, or of some of them."""
    if isinstance(pictures, Selection):
        folder, indices = pictures.dataset, pictures.indices
    else:
        folder, indices = pictures, list(range(len(pictures)))
    assert isinstance(folder, Folder)  # the only pictures that have bands
    return measure([folder.pairs[index][0] for index in indices], folder.bands)


def check_pictures(
    settings: Settings, parts: Mapping[str, SegmentationDataset], least: int
) -> None:
    """Read all pictures, before any time is spent, and say what will not work.

    Args:
        parts: the pictures for "training", for "validation", or both.
        least: the smallest side that the model takes.

    Raises:
        ValueError: files that are damaged or hold a number without a meaning; fewer than two
            classes to learn, or nothing to validate on; validation pictures that are too small.
    """
    for (part, pictures), survey in zip(parts.items(), surveys(*parts.values()), strict=True):
        check_classes_shown(settings, part, np.array(pictures.class_names), survey)
        small = np.flatnonzero(survey.sizes.min(1) < least)
        if part == "validation" and len(small):
            height, width = survey.sizes[small[0]]
            raise ValueError(
                f"{len(small)} of the validation pictures are too small, such as "
                f"{picture_names(pictures)[small[0]]} with {width} × {height} pixels: the model "
                f"needs {least} a side. Leave them out, or scale all pictures with fit = …."
            )


def check_classes_shown(settings: Settings, part: str, classes: np.ndarray, survey: Survey) -> None:
    """Refuse pictures that show too few classes, and warn of those that they do not show."""
    counts, held = survey.counts.sum(0), what_is_held(survey, settings, classes)
    shown, absent = classes[counts > 0], classes[counts == 0]
    if len(shown) < (2 if part == "training" else 1):
        what = f"only class {shown[0]}" if len(shown) else "no class"
        raise ValueError(
            f"The {len(survey.counts)} {part} pictures show {what}: their masks hold {held}. "
            + remedy_for(survey, settings, len(classes))
        )
    if len(absent):
        loss = "cannot be learned" if part == "training" else "has no part in the mean IoU"
        warnings.warn(
            f"No {part} picture shows {', '.join(absent)}, which therefore {loss}. The masks hold "
            f"{held}. If another {'colour' if settings.colors else 'number'} stands for it, name "
            f"it in {'colors' if settings.colors else 'values'} = ….",
            stacklevel=2,
        )


def surveys(*parts: SegmentationDataset) -> list[Survey]:
    """What the pictures of each part hold; one error names all that is wrong in a folder."""
    rows = [part.indices for part in parts if isinstance(part, Selection)]
    if not rows:
        return [part.check() for part in parts if isinstance(part, Folder)]
    folder = parts[0].dataset  # type: ignore[attr-defined]  # all are of one folder
    whole, ends = folder.check(sum(rows, [])), np.cumsum([0, *map(len, rows)])
    return [whole.of(slice(*each)) for each in itertools.pairwise(ends)]


def remedy_for(survey: Survey, settings: Settings, num_classes: int) -> str:
    """What to do about masks of which too little stands for a class."""
    if settings.colors:
        return f"If another colour stands for a class, name it in colors = {settings.colors}."
    if hint := likely_meaning(survey.numbers.sum(0), num_classes):
        return str(hint)
    return (
        "If one of these stands for a class, name it in values = …; what does not count, in "
        "ignore = …."
    )


def what_is_held(survey: Survey, settings: Settings, classes: np.ndarray) -> str:
    """The numbers in masks, or the classes that they show in colours, with shares of the pixels."""
    pixels = survey.numbers.sum(0)
    each = []
    for number in np.flatnonzero(pixels):
        share, counts = f"{pixels[number] / pixels.sum():.0%}", number not in settings.ignore
        name = str(number)
        if settings.colors:
            name = classes[number] if counts else "colours"
        each.append(f"{name} ({share}{'' if counts else ', ignored'})")
    return ", ".join(each)
