"""Everything that a training run depends on, in one frozen dataclass: from YAML and flags."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from segformer_edu.checks import check_choice
from segformer_edu.data.masks import as_ranges, numbers_of
from segformer_edu.tiles import TILE

PRECISIONS = ("fp32", "bf16", "fp16")
DATA = ("scenes", "folder", "pets")
LOSSES = ("cross-entropy", "focal", "dice", "cross-entropy+dice", "focal+dice")


def setting(default: Any, text: str, group: str) -> Any:
    """A field with its help text and the group of flags under which --help lists it."""
    make = {"default_factory": dict} if default == {} else {"default": default}
    return field(**make, metadata={"help": text, "group": group})


@dataclass(frozen=True)
class Settings:
    """A training run. The defaults train nano on scenes for about a minute on two cores.

    `help(Settings)` shows names and defaults; `python -m segformer_edu train --help` explains them.

    Raises:
        ValueError: names the setting, its value and the rule that it breaks.
    """

    model: str = setting("nano", "variant that starts from random weights: nano, b0 … b5", "model")
    weights: str = setting("", "weights to start from instead: a folder, a file, a hub id", "model")
    config: dict[str, Any] = setting({}, "a field of the model's config and its new value", "model")

    data: str = setting("scenes", "scenes (drawn), folder (your own) or pets (Oxford-IIIT)", "data")
    size: int = setting(96, "side of a training picture in pixels", "data")
    pictures: int = setting(2000, "scenes: how many to train on", "data")
    validation: int = setting(
        200,
        "how many pictures to hold out for validation; 0 takes all, for evaluate (not with scenes)",
        "data",
    )
    images: str = setting(
        "",
        'folder: where the images are: a folder, or a pattern such as "photos/*.jpg" or, at any '
        'depth, "photos/**/*.jpg"',
        "data",
    )
    masks: str = setting(
        "",
        "folder: where their masks are; a mask has its image's name, which is what * stands for in "
        'a pattern such as "photos/*_mask.png"',
        "data",
    )
    classes: tuple[str, ...] = setting(
        (),
        "folder: names of classes 0, 1, 2, …, a .txt file with one a line, how many there are, or "
        "cityscapes or ade20k; evaluate takes those of the weights if left out",
        "data",
    )
    values: tuple[int, ...] = setting(
        (), "folder: how the masks number the classes, if not 0, 1, 2, …; 1-150 is a range", "data"
    )
    ignore: tuple[int, ...] = setting(
        (255,), "folder: numbers in the masks that do not count, such as 0 or 1-254", "data"
    )
    colors: str = setting(
        "",
        "folder: a text file that says which colour of the masks is which class, with lines such "
        "as `#804080 road`, or CVAT's labelmap.txt, in place of classes, values and ignore",
        "data",
    )
    upright: bool = setting(
        True, "folder: masks were drawn over photographs turned as their EXIF tag says", "data"
    )
    validation_images: str = setting("", "folder: validate on these images instead", "data")
    validation_masks: str = setting("", "folder: the masks of those", "data")
    validation_names: str = setting(
        "", "folder: a file with the names of the pictures to validate on, one a line", "data"
    )
    training_names: str = setting(
        "", "folder: the same for those to train on; empty: all others", "data"
    )
    bands: int = setting(
        0,
        "folder: how many bands a picture has, read from TIFF or .npy files, with their mean and "
        "spread measured; 0: photographs",
        "data",
    )
    root: str = setting("", "pets: where the data are, or will be stored; empty: the cache", "data")
    border: str = setting(
        "class", "pets: whether the border is a class, or ignored: class, ignore", "data"
    )
    fit: int = setting(0, "folder, pets: scale pictures into this side first; 0: do not", "data")
    workers: int = setting(0, "extra processes that prepare pictures, per training process", "data")
    tile: int = setting(
        TILE,
        "side of the tiles in which pictures of more than two tiles' pixels are validated; 0: none",
        "data",
    )
    cache_mb: int = setting(
        512,
        "megabytes in which a process and its workers keep pictures, so that each is made once; as "
        "many for validation",
        "data",
    )

    scale: tuple[float, ...] = setting(
        (0.5, 2.0), "smallest and largest factor of the random resizing", "augmentation"
    )
    flip: float = setting(0.5, "probability that left and right are exchanged", "augmentation")
    colour: float = setting(
        0.4, "largest change of the colours, from 0 (none) to 1", "augmentation"
    )

    steps: int = setting(
        1150,
        "optimizer steps, over which the rate falls; with --resume, more extend a run that ended",
        "optimizer",
    )
    epochs: int = setting(
        0,
        "passes over the training pictures, instead of steps; the schedule still goes by steps",
        "optimizer",
    )
    batch_size: int = setting(16, "pictures in a step, over all processes together", "optimizer")
    accumulation: int = setting(
        1,
        "parts in which a batch is computed to save memory; BatchNorm sees each part alone",
        "optimizer",
    )
    learning_rate: float = setting(
        8e-3, "the learning rate, of which the schedule gives each step a share", "optimizer"
    )
    head_lr_factor: float = setting(
        1.0, "how many times the encoder's learning rate the decoder has", "optimizer"
    )
    weight_decay: float = setting(
        0.01, "decay of matrices and kernels; norms and biases have none", "optimizer"
    )
    warmup_steps: int = setting(50, "steps in which the learning rate rises", "optimizer")
    power: float = setting(
        1.0, "power of the poly schedule, by which the warm-up is multiplied", "optimizer"
    )
    clip_norm: float = setting(
        1.0, "a longer gradient is scaled to this length; 0: never", "optimizer"
    )
    loss: str = setting(
        "cross-entropy",
        "cross-entropy, focal, dice, cross-entropy+dice or focal+dice; dice over the batch",
        "optimizer",
    )
    focal_gamma: float = setting(
        2.0, "focal loss: power of 1 − p, so that a pixel counts less if it is known", "optimizer"
    )
    class_weights: bool = setting(
        True, "weigh each class by 1/√frequency, so that rare ones count more", "optimizer"
    )
    ema_decay: float = setting(
        0.0, "decay of the weights' running average; 0: no average", "optimizer"
    )

    precision: str = setting("fp32", "fp32, bf16 or fp16 (GPUs); weights stay fp32", "run")
    cpu: bool = setting(False, "use the CPU even where there is a GPU", "run")
    seed: int = setting(0, "seed of weights, order, augmentation and dropout", "run")
    validate_every: int = setting(230, "steps between validations; 0: one, at the end", "run")
    patience: int = setting(
        0, "end after so many validations in a row without a better mIoU; 0: never", "run"
    )
    save_every: int = setting(230, "steps between checkpoints; 0: one, at the end", "run")

    def __post_init__(self) -> None:
        for name in RANGES:
            object.__setattr__(self, name, numbers_of(name, getattr(self, name)))
        for name, hint in TYPES.items():
            object.__setattr__(self, name, checked(name, getattr(self, name), hint))
        if self.epochs:
            object.__setattr__(self, "steps", 0)  # until the pictures are counted
        for name, least in {**LEAST, "steps": 0 if self.epochs else 1}.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} = {getattr(self, name)}: give at least {least}.")
        check_choice(PRECISIONS, precision=self.precision)
        check_choice(DATA, data=self.data)
        check_choice(LOSSES, loss=self.loss)
        for name in ("learning_rate", "head_lr_factor"):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} = 0.0: nothing would be learned; give more than 0.")
        if self.ema_decay >= 1:
            raise ValueError(f"ema_decay = {self.ema_decay}: give less than 1, such as 0.999.")
        if len(self.scale) != 2:
            raise ValueError(f"scale = {self.scale}: give two numbers, such as (0.5, 2.0).")
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"accumulation = {self.accumulation} does not divide batch_size = "
                f"{self.batch_size}: all parts must hold equally many pictures."
            )
        if self.accumulation > 1 and "dice" in self.loss:
            raise ValueError(
                f"accumulation = {self.accumulation}: loss = {self.loss!r} is a ratio of sums over "
                f"the whole batch, which a part does not know. Take another loss, or smaller "
                f"batches in one part."
            )
        if self.patience and not self.validate_every:
            raise ValueError(
                f"patience = {self.patience} counts validations, and validate_every = 0 makes one "
                f"at the end only: say after how many steps to validate."
            )

    def replace(self, **changes: Any) -> Settings:
        """A copy with some settings changed, validated again."""
        known = [each.name for each in fields(self)]
        if unknown := sorted(set(changes) - set(known)):
            raise ValueError(f"There is no setting {unknown[0]!r}; there are {', '.join(known)}.")
        if changes.get("steps") and changes.get("epochs"):
            raise ValueError(
                f"steps = {changes['steps']} and epochs = {changes['epochs']}: give one of the two."
            )
        if "steps" in changes:
            changes.setdefault("epochs", 0)  # which were given before
        return replace(self, **changes)

    def counted(self, pictures: int) -> Settings:
        """A copy in which epochs, if they are given, have become steps: those in which so many
        training pictures are all seen as often.
        """
        if not self.epochs:
            return self
        return self.replace(steps=math.ceil(self.epochs * pictures / self.batch_size))

    def anchored(self, folder: Path) -> Settings:
        """A copy whose relative paths are taken from a folder, so that they hold anywhere."""
        changes = {}
        for name in PATHS:
            path = Path(getattr(self, name)).expanduser()
            is_name = name in ("weights", "colors") and not (folder / path).exists()
            if getattr(self, name) and not is_name:
                changes[name] = str((folder / path).absolute())
        return self.replace(**changes)

    def to_yaml(self) -> str:
        """All settings, one on each line, in the form that `from_yaml` reads."""
        import yaml

        content = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        content |= {name: as_ranges(content[name]) for name in RANGES}
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, path: Path) -> Settings:
        """Settings from a file. Those that it leaves out keep their defaults, and relative paths
        are taken from the file's folder.

        Raises:
            ValueError: not a readable YAML mapping, or a setting that is unknown or impossible.
        """
        import yaml

        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"{path} is not readable YAML: {error}") from error
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise ValueError(
                f"{path} holds no settings: write one on each line, such as `steps: 1150`."
            )
        try:
            return cls().replace(**content).anchored(path.parent)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def differences(self, other: Settings) -> list[str]:
        """Settings that differ and matter for the outcome, by name."""
        names = (each.name for each in fields(self) if each.name not in FREE)
        return [name for name in names if getattr(self, name) != getattr(other, name)]


FREE = ("workers", "cache_mb", "save_every")  # a resumed run may have others
GOAL = ("steps", "epochs", "patience")  # when a run ends; one that has ended may get another
PATHS = (
    *("weights", "images", "masks", "colors", "validation_images", "validation_masks"),
    *("validation_names", "training_names", "root"),
)
RANGES = ("values", "ignore")  # of numbers in masks
TYPES = get_type_hints(Settings)  # of every setting, by its name
KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a word or a path",
    dict: "a mapping from names to values",
}
LEAST = {
    "size": 1,
    "pictures": 1,
    "validation": 0,
    "fit": 0,
    "tile": 0,
    "bands": 0,
    "cache_mb": 0,
    "workers": 0,
    "epochs": 0,
    "batch_size": 1,
    "accumulation": 1,
    "learning_rate": 0.0,
    "head_lr_factor": 0.0,
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "power": 0.0,
    "clip_norm": 0.0,
    "focal_gamma": 0.0,
    "ema_decay": 0.0,
    "seed": 0,
    "validate_every": 0,
    "patience": 0,
    "save_every": 0,
}


def checked(name: str, value: Any, hint: Any) -> Any:
    """A value of the type that the hint names, or a refusal of another."""
    kind = get_origin(hint) or hint
    if kind is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} = {value!r}: give a list.")
        return tuple(checked(name, each, get_args(hint)[0]) for each in value)
    if kind is float and type(value) in (int, str):  # YAML takes 6e-5 for a word
        with contextlib.suppress(ValueError):
            value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"{name} = {value!r}: give {KINDS[kind]}.")
    return value
