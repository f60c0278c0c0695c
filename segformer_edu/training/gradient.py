"""The gradient of one batch, computed in parts: in turn, on several devices, or both."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from segformer_edu.loss import pixel_weight, summed_loss
from segformer_edu.training.losses import dice_loss, summed_focal_loss
from segformer_edu.training.parts import Parts


def compute_gradient(
    parts: Parts, batch: Sequence[tuple[Tensor, Tensor]], asked: bool
) -> tuple[float, float, bool]:
    """The gradient of a batch's loss, a mean over its valid pixels, left in the parameters.

    The mean of its parts' means would be another loss, because a picture that is mostly ignored
    would count as much as one in which every pixel is labelled. So the sum over each part is
    divided by the weight of the whole batch. Dice loss is no such mean: its own sums are added up
    over the processes, and settings keep it from batches that are computed in several turns.

    Args:
        batch: the images and labels of this process, in parts that are computed in turn.
        asked: whether this process was asked to stop.

    Returns:
        The loss, the length of its gradient before clipping, and whether any process was asked to
        stop; all three are the same in every process.
    """
    accelerator, class_weights = parts.accelerator, parts.class_weights
    num_classes = parts.network.config.num_classes
    weight = torch.zeros(1, device=accelerator.device)
    for _, labels in batch:
        weight += pixel_weight(labels, num_classes, class_weights=class_weights)
    weight = accelerator.reduce(weight, "sum").clamp(min=1e-6)  # all ignored: a loss of 0
    result = torch.tensor([0.0, asked], device=accelerator.device)
    for number, (images, labels) in enumerate(batch, start=1):
        more = number < len(batch)  # gradients are exchanged after the last part only
        with accelerator.no_sync(parts.model) if more else contextlib.nullcontext():
            share, whole = shares_of_loss(parts, parts.model(images), labels)
            loss = share / weight[0] + whole
            accelerator.backward(loss * accelerator.num_processes)  # accelerate averages
        result[0] += share.detach() / weight[0] + whole.detach() / accelerator.num_processes
    longest = parts.settings.clip_norm or math.inf
    norm = accelerator.clip_grad_norm_(parts.model.parameters(), longest)
    loss_of_all, number_asked = accelerator.reduce(result, "sum").tolist()
    return loss_of_all, float(norm), number_asked > 0


def shares_of_loss(parts: Parts, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What a part of a batch adds to the sum over its pixels, and the dice loss of the whole batch,
    of which it has its own share of the gradient; 0 for what the settings do not ask for.
    """
    settings, class_weights = parts.settings, parts.class_weights
    share = whole = torch.zeros((), device=logits.device)
    if "cross-entropy" in settings.loss:
        share = summed_loss(logits, labels, class_weights=class_weights)
    if "focal" in settings.loss:
        share = summed_focal_loss(logits, labels, settings.focal_gamma, class_weights=class_weights)
    if "dice" in settings.loss:

        def add_up(sums: Tensor) -> Tensor:
            return parts.accelerator.reduce(sums, "sum")

        whole = dice_loss(logits, labels, class_weights=class_weights, add_up=add_up)
    return share, whole
