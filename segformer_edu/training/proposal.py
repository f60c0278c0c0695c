"""From what pictures and masks hold to the settings, and the command, that train on them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any

import numpy as np

from segformer_edu.data.augment import IGNORE
from segformer_edu.data.folder import class_names_of
from segformer_edu.data.inspection import Inspection
from segformer_edu.data.masks import as_ranges, likely_meaning
from segformer_edu.extras import PACKAGE
from segformer_edu.training.settings import Settings

WEIGHTS = "nvidia/mit-b0"  # an encoder trained on ImageNet: far better than random weights
LARGE = (
    4_000_000  # pixels; larger pictures are slow, and hardly better, unless they are made smaller
)
FITTED, CROP = 1024, 512  # sides of large pictures made smaller, and of training pictures
STEP = 32  # pixels: the encoder's last map is this much smaller a side
PIXEL = 1.1e-6  # seconds in which a B0 learns from one, on two cores (benchmarks/README.md)
TRIAL = {  # what two cores do within minutes, with weights that need no network
    **{"weights": "nano", "size": 96, "fit": 160, "steps": 300, "warmup_steps": 50},
    **{"learning_rate": 1e-3, "head_lr_factor": 10.0},
}


@dataclass(frozen=True)
class Proposal:
    """How to train.

    Attributes:
        settings: of a run on the pictures.
        problems: what has to be mended first, beside the faults of files.
        advice: what is good to know.
    """

    settings: Settings
    problems: tuple[str, ...]
    advice: tuple[str, ...]

    @property
    def minutes(self) -> float:
        """How long two cores without a GPU train a B0 like this, roughly."""
        settings = self.settings
        return settings.steps * settings.batch_size * settings.size**2 * PIXEL / 60

    def trial(self) -> Proposal:
        """The same in little."""
        return replace(self, settings=self.settings.replace(**TRIAL))

    def command(self, out: str, classes: str = "") -> list[str]:
        """The words of the command that trains.

        Args:
            out: the folder of the run.
            classes: the names as they were typed, such as a file's; as the settings have them if
                empty.
        """
        words = ["python", "-m", PACKAGE, "train", "--out", out]
        for each in fields(Settings):
            value = getattr(self.settings, each.name)
            if value != getattr(Settings(), each.name):
                words += flag(each.name, classes if each.name == "classes" and classes else value)
        return words


def propose(settings: Settings, seen: Inspection, least: int) -> Proposal:
    """Fill in the settings that nobody gave, as the pictures need them.

    Args:
        settings: those that were given; those at their defaults were not.
        seen: what the pictures hold.
        least: the smallest side that the model takes.
    """
    problems: list[str] = []
    advice: list[str] = []
    if not settings.colors:
        settings = _numbered(settings, seen, problems, advice)
    settings = _turned(settings, seen, problems, advice)
    settings = _sized(settings, seen, least, advice)
    if not (settings.validation_images or settings.validation_names):
        held_out = min(max(len(seen.pairs) // 5, 1), 200)
        settings = given_or(settings, validation=held_out)
    if len(seen.pairs) < 2:
        problems.append("One picture to train on and one to validate on is the least.")
    if not settings.weights and settings.model == Settings().model:
        settings = given_or(
            settings, weights=WEIGHTS, learning_rate=6e-5, head_lr_factor=10.0, warmup_steps=200
        )
    return Proposal(settings, tuple(problems), tuple(advice))


def given_or(settings: Settings, **values: Any) -> Settings:
    """The settings, with values for those that are at their defaults."""
    default = Settings()
    free = {
        name: value
        for name, value in values.items()
        if getattr(settings, name) == getattr(default, name)
    }
    return settings.replace(**free)


def _numbered(
    settings: Settings, seen: Inspection, problems: list[str], advice: list[str]
) -> Settings:
    """What the numbers in the masks mean, and what is wrong with them."""
    count = len(settings.classes)
    told = bool(settings.values) or settings.ignore != Settings().ignore
    meaning = likely_meaning(seen.pixels, count)
    if meaning and meaning.sure and not told:
        count = count or len(meaning.values)
        given = settings
        settings = settings.replace(values=meaning.values, ignore=meaning.ignored)
        if meaning.values == tuple(range(count)):
            settings = settings.replace(values=())
        if settings != given:
            advice.append(meaning.reason)
    count = (
        count
        or len(settings.values)
        or 1 + int(np.flatnonzero(seen.pixels[:IGNORE]).max(initial=1))
    )
    if not settings.classes:
        settings = settings.replace(classes=class_names_of(count))
        advice.append(
            "The classes have no names yet. Give them in the order of their numbers, as in "
            "classes = sky,road,…, or as a .txt file with one on each line."
        )
    values = settings.values or range(count)
    known = {*values, *settings.ignore}
    if strange := [n for n in np.flatnonzero(seen.pixels).tolist() if n not in known]:
        otherwise = (
            "Name all classes in classes = …, the number of each in values = …, and what does not "
            "count in ignore = …."
        )
        problems.append(
            f"Masks hold {as_ranges(strange)}, which {'stand' if len(strange) > 1 else 'stands'} "
            f"for none of the {count} classes. {meaning or otherwise}"
        )
    shown = sum(seen.pixels[value] > 0 for value in values)
    if seen.pairs and shown < 2:
        problems.append(
            "The masks show fewer than two classes, and a model learns to tell classes apart."
        )
    return settings


def _turned(
    settings: Settings, seen: Inspection, problems: list[str], advice: list[str]
) -> Settings:
    """Whether masks were drawn over photographs as they are shown, or as they are stored."""
    if not seen.turned:
        return settings
    turned = f"An EXIF tag turns {len(seen.turned)} of the photographs, such as {seen.turned[0]}."
    if half := len(seen.turned) - len(seen.unrotated) - len(seen.upright):
        turned += (
            f" For {half} of them the sizes do not show whether the masks were drawn before or "
            f"after that turn: look at the pictures whether they lie right."
        )
    elif not seen.unrotated:
        turned += " The masks were drawn after that turn, as their sizes show."
    advice.append(turned)
    if seen.unrotated and seen.upright:
        few, many = sorted((seen.unrotated, seen.upright), key=len)
        problems.append(
            f"Some masks were drawn over photographs as they are stored, and some over photographs "
            f"as they are shown. The fewer are {', '.join(few)}: turn them as the others are."
        )
    elif seen.unrotated and settings.upright:
        advice.append("The masks were drawn over the photographs without that turn.")
        return settings.replace(upright=False)
    elif seen.upright and not settings.upright:
        problems.append("The masks were drawn over upright photographs: leave out upright=False.")
    return settings


def _sized(settings: Settings, seen: Inspection, least: int, advice: list[str]) -> Settings:
    """Sizes that suit the pictures, for those that nobody gave."""
    if not seen.sizes:
        return settings
    sides = np.array(seen.sizes)
    large, small = sides.prod(1) > LARGE, sides.min(1) < least
    if not settings.fit and small.any():
        side = max(STEP * round(median(sides.max(1)) / STEP), 4 * STEP)
        settings = settings.replace(fit=min(side, FITTED))
        advice.append(
            f"The model needs {least} pixels a side, and {small.sum()} of the pictures have fewer: "
            f"fit = {settings.fit} scales all of them into a square of that side."
        )
    elif not settings.fit and large.any():
        settings = settings.replace(fit=FITTED)
        advice.append(
            f"{large.sum()} of the pictures have more than {LARGE // 10**6} million pixels: "
            f"fit = {FITTED} scales all of them into a square of that side first, which saves time "
            f"and memory. What is thinner than a pixel then is lost; a larger fit keeps more."
        )
    short = settings.fit or median(sides.min(1))
    return given_or(settings, size=int(min(max(STEP * (short // STEP), 2 * STEP), CROP)))


def flag(name: str, value: Any) -> list[str]:
    """A setting as it is typed."""
    written = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [written if value else f"--no-{name.replace('_', '-')}"]
    if name == "classes" and value == class_names_of(len(value)):
        return [written, str(len(value))]
    if name in ("values", "ignore"):
        return [written, as_ranges(value)]
    if isinstance(value, tuple):
        return [written, ",".join(map(str, value))]
    return [written, f"{value:g}" if isinstance(value, float) else str(value)]
