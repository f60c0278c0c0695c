"""What the loop works with, made from settings: accelerator, pictures, model, optimizer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segformer_edu.config import SegFormerConfig
from segformer_edu.data.augment import Augment
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.views import CachedDataset, Datasets
from segformer_edu.segformer import SegFormer
from segformer_edu.tiles import tiling
from segformer_edu.training.batch_norm import synchronize_batch_norm
from segformer_edu.training.evaluation import evaluate
from segformer_edu.training.metrics import Scores, scores
from segformer_edu.training.optimizer import make_optimizer
from segformer_edu.training.own_pictures import check_pictures, measured
from segformer_edu.training.pictures import balanced_weights, open_data
from segformer_edu.training.samples import Samples
from segformer_edu.training.settings import Settings

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

FIRST = "encoder.stages.0.patch_embedding.projection.weight"  # which sees the channels of a picture


@dataclass
class Parts:
    """All that a run works with.

    Attributes:
        network: the model that is trained.
        model: the same, wrapped by accelerate for the forward pass in training.
        evaluated: the copy that is validated and saved: the weights, or their running average.
        best: the best mIoU so far; −1 before the first validation.
        stale: validations since then.
        ended: whether the run has reached its goal.
    """

    settings: Settings
    accelerator: Accelerator
    pictures: SegmentationDataset
    validation: SegmentationDataset
    class_weights: Tensor | None
    network: SegFormer
    evaluated: SegFormer
    model: nn.Module
    optimizer: AcceleratedOptimizer
    loader: DataLoader
    best: float = -1.0
    stale: int = 0
    ended: bool = False

    @property
    def goal(self) -> dict[str, int]:
        """What ends the run."""
        return {"steps": self.settings.steps, "patience": self.settings.patience}

    def epoch(self, step: int) -> float:
        """How many times the training pictures were gone through after so many steps."""
        return step * self.settings.batch_size / len(self.pictures)

    def validate(self, progress: bool) -> Scores:
        """How well the model does on the pictures that it does not train on."""
        settings = self.settings
        return scores(
            evaluate(
                self.evaluated,
                self.validation,
                settings.batch_size,
                settings.workers,
                self.accelerator,
                progress,
                settings.tile,
            )
        )

    def state(self, step: int) -> dict[str, Any]:
        """All that a resumed run cannot compute again. Random numbers need no state: see `Samples`
        and `step_seed`.
        """
        scaler = self.accelerator.scaler
        return {
            "step": step,
            "pictures": len(self.pictures),
            "best": self.best,
            "stale": self.stale,
            "reached": self.goal if self.ended else None,
            "network": self.network.state_dict(),
            "average": self.evaluated.state_dict() if self.settings.ema_decay else {},
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Return to the step at which a state was taken."""
        if self.settings.steps < state["step"]:
            raise ValueError(
                f"steps = {self.settings.steps}, and the run has done {state['step']} already: to "
                f"extend it, give more."
            )
        if state["pictures"] != len(self.pictures):
            raise ValueError(
                f"The run was begun with {state['pictures']} pictures, and there are now "
                f"{len(self.pictures)}: put back what is missing, or start a new run."
            )
        self.best, self.stale = state["best"], state["stale"]
        self.ended = state["reached"] == self.goal
        if state["reached"] and not self.ended:  # it is extended, and patience begins anew
            self.stale = 0
        self.network.load_state_dict(state["network"])
        self.evaluated.load_state_dict(state["average"] or state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if scaler := self.accelerator.scaler:
            scaler.load_state_dict(state["scaler"])


def assemble(
    settings: Settings,
    data: Datasets | None,
    accelerator: Accelerator,
    state: Mapping[str, Any] | None,
    model: SegFormer | None = None,
) -> Parts:
    """Make everything as the settings say, and restore the checkpoint if there is one.

    Raises:
        ValueError: settings, data or a checkpoint that do not go together.
    """
    with accelerator.local_main_process_first():  # it may have to download the data for all
        datasets = data or open_data(settings)
    settings = settings.counted(len(datasets[0]))
    check_shares(settings, accelerator.num_processes, len(datasets[0]))
    network = model or build_model(settings, datasets[0].class_names)
    check_precision(settings, network.config, accelerator.device)
    tiling(network.config, settings.tile)  # which validation would refuse, after many steps
    if settings.size < (least := network.config.min_image_size):
        raise ValueError(f"size = {settings.size}: the model needs {least} pixels a side or more.")
    if settings.data == "folder" and not data and not state and accelerator.is_local_main_process:
        named = dict(zip(("training", "validation"), datasets, strict=True))
        check_pictures(settings, named, network.config.min_image_size)
    if settings.bands:
        normalize_bands(network, datasets)
    room = settings.cache_mb // max(settings.workers, 1)  # each worker has a cache of its own
    pictures, validation = (CachedDataset(each, room) for each in datasets)
    evaluated = copy.deepcopy(network).to(accelerator.device)
    if accelerator.num_processes > 1:
        warnings.filterwarnings("ignore", "Grad strides do not match")  # a depthwise kernel's: fine
        synchronize_batch_norm(network)
    optimizer = make_optimizer(
        network, settings.learning_rate, settings.head_lr_factor, settings.weight_decay
    )
    loader = make_loader(settings, pictures, state["step"] if state else 0)
    weights = balanced_weights(pictures).to(accelerator.device) if settings.class_weights else None
    wrapped = accelerator.prepare(network, optimizer, loader)
    parts = Parts(
        settings, accelerator, pictures, validation, weights, network, evaluated, *wrapped
    )
    if state:
        parts.restore(state)
    return parts


def normalize_bands(network: SegFormer, datasets: Datasets) -> None:
    """Agree on the mean and spread of each band: those of the weights, or of the training pictures,
    which then belong to the weights.
    """
    if not network.config.image_mean:
        mean, std = measured(datasets[0])
        network.config = network.config.replace(image_mean=mean, image_std=std)
    for each in datasets:
        each.normalization = network.config.normalization


def make_loader(settings: Settings, pictures: SegmentationDataset, done: int) -> DataLoader:
    """The batches of a run after step `done`, or the parts of these batches."""
    smallest, largest = settings.scale
    samples = Samples(
        pictures,
        Augment(settings.size, (smallest, largest), settings.flip, settings.colour),
        settings.seed,
        first=done * settings.batch_size,
        count=(settings.steps - done) * settings.batch_size,
    )
    part = settings.batch_size // settings.accumulation
    return DataLoader(samples, part, num_workers=settings.workers)


def start_accelerator(settings: Settings) -> Accelerator:
    """The accelerator of this process: alone, or one of those that `accelerate launch` started."""
    from accelerate import Accelerator, DataLoaderConfiguration

    return Accelerator(
        cpu=settings.cpu,
        mixed_precision={"fp32": "no"}.get(settings.precision, settings.precision),
        dataloader_config=DataLoaderConfiguration(split_batches=True),
    )


def check_shares(settings: Settings, processes: int, pictures: int) -> None:
    """Refuse a batch that cannot be shared equally, and an empty set of training pictures."""
    parts = processes * settings.accumulation
    if settings.batch_size % parts:
        raise ValueError(
            f"batch_size = {settings.batch_size} is shared by {processes} processes, each in "
            f"{settings.accumulation} parts: give a multiple of {parts}."
        )
    if not pictures:
        raise ValueError(
            f"validation = {settings.validation} holds out all pictures there are"
            f"{'' if settings.validation else ' (0 means all)'}, and leaves none to train on: hold "
            f"out fewer."
        )


def check_precision(settings: Settings, config: SegFormerConfig, device: torch.device) -> None:
    """Refuse 16 bits where torch's kernels give wrong numbers.

    On processors with AMX, torch 2.13 gets a bf16 convolution wrong if its stride equals its kernel
    size, as in attention's reduction, and it has fewer than 32 channels.
    """
    if settings.precision == "fp32" or device.type != "cpu":
        return
    stages = zip(config.embed_dims, config.reduction_ratios, strict=True)
    if settings.precision == "fp16" or any(dim < 32 and r > 1 for dim, r in stages):
        raise ValueError(
            f"precision = {settings.precision!r} on the CPU: 16 bits are not faster there for so "
            f"small a model, and torch's kernels for it give wrong numbers on some processors. "
            f"Use fp32."
        )


def build_model(settings: Settings, class_names: tuple[str, ...]) -> SegFormer:
    """A model for these classes, from random weights or from those that the settings name.

    Raises:
        ValueError: an unknown variant or field, or weights that do not fit.
    """
    torch.manual_seed(settings.seed)
    changes = {
        **{"class_names": class_names, "num_classes": len(class_names)},
        **{"in_channels": settings.bands or 3},
        **settings.config,
    }
    if changes["in_channels"] != (settings.bands or 3):
        raise ValueError(
            f"in_channels = {changes['in_channels']}: the pictures have {settings.bands or 3}. Say "
            f"how many bands they have with bands = …."
        )
    logits = changes["num_classes"]
    if logits != len(class_names) and (logits, len(class_names)) != (1, 2):  # one tells two apart
        raise ValueError(
            f"num_classes = {logits}: the pictures have {len(class_names)} classes "
            f"({', '.join(class_names)}). Leave it out."
        )
    if not settings.weights:
        return SegFormer(SegFormerConfig.named(settings.model, **changes))
    loaded = SegFormer.from_pretrained(settings.weights, num_classes=logits)
    state = loaded.state_dict()
    if loaded.config.image_mean and not settings.bands:
        raise ValueError(
            f"{settings.weights} expects pictures of {loaded.config.in_channels} bands: give "
            f"bands = {loaded.config.in_channels}."
        )
    if loaded.config.in_channels != changes["in_channels"]:
        state[FIRST] = for_channels(state[FIRST], changes["in_channels"])
        changes |= {"image_mean": (), "image_std": ()}
        warnings.warn(
            f"{settings.weights} takes {loaded.config.in_channels} channels, and the pictures have "
            f"{settings.bands or 3}: each gets the mean of the first convolution's kernels. Train "
            f"long enough.",
            stacklevel=2,
        )
    model = SegFormer(loaded.config.replace(**changes))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{', '.join(f'{name} = {value}' for name, value in settings.config.items())} changes "
            f"the shape of {settings.weights}: change only what has no weights, such as "
            f"drop_path_rate."
        ) from error
    return model


def for_channels(kernels: Tensor, channels: int) -> Tensor:
    """Kernels for another number of channels: each gets their mean, in such a share that the sum
    over all channels stays.

    Shape: `(D, C, k, k)` → `(D, channels, k, k)`.
    """
    share = kernels.shape[1] / channels
    return share * kernels.mean(1, keepdim=True).repeat(1, channels, 1, 1)


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed for the dropout of one step in one process, so that resuming needs no saved state.

    Each process draws for itself. So with dropout, another number of processes gives another draw
    for the same batch; without dropout, the result is the same up to rounding.
    """
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint32)[0])
