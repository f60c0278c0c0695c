"""Focal loss and dice loss at full size, computed in strips as cross-entropy is in loss.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.loss import checked_labels, sum_over_strips

LEAST = torch.finfo(torch.float32).tiny  # a divisor that leaves zero divided by zero at zero


def summed_focal_loss(
    logits: Tensor,
    labels: Tensor,
    gamma: float = 2.0,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The sum over the valid pixels of (1 − p)^gamma times the pixel's cross-entropy, −log p.

    p is the probability that the model gives to the pixel's own class. A pixel that is well known
    counts for little, so the rare and the difficult ones are heard (arXiv:1708.02002, eq. 4). With
    gamma 0 it is `summed_loss`. Like that, it is divided by the `pixel_weight` of the batch.

    Args:
        logits, labels, ignore_index, class_weights: as for `segmentation_loss`.
        gamma: at least 0. At 2, a pixel with p = 0.9 counts for a hundredth.
    """
    labels, weights = checked_labels(logits, labels, ignore_index, class_weights)

    def of_strip(wide: Tensor, labels: Tensor) -> Tensor:
        pixels = F.cross_entropy(
            two_at_least(wide), labels, ignore_index=ignore_index, reduction="none"
        )
        missed = -torch.expm1(-pixels)  # 1 − p; 0 where a pixel is ignored
        pixels = pixels * missed.clamp(min=LEAST) ** gamma  # the power of 0 may have no slope
        if weights is not None:
            pixels = pixels * weights[labels.where(labels != ignore_index, 0)]
        return pixels.sum()

    return sum_over_strips(of_strip, logits, labels)


def dice_loss(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
    add_up: Callable[[Tensor], Tensor] = torch.clone,
) -> Tensor:
    """One minus the soft dice coefficient of a batch: a mean over the classes that its labels show.

    The coefficient of a class is 2 Σ p·y / (Σ p + Σ y) over all valid pixels of the batch: p is the
    class's probability, and y is 1 where the pixel is of the class, else 0 (arXiv:1606.04797, with
    p in place of p²). A class of few pixels counts as much as one of many.

    The loss is a function of three sums for each class. A first pass over the strips finds the
    sums, and so the slope of the loss with respect to each. The second pass adds up the sums times
    these slopes. By the chain rule that has the gradient of the loss, and no strip is kept.

    Args:
        logits, labels, ignore_index: as for `segmentation_loss`; a single logit z is as good as the
            two logits 0 and z.
        class_weights: `(K,)`, two numbers if K is 1: how much each class counts in the mean.
        add_up: adds to the sums of this process, `(3, K)`, those of all others that hold a part of
            the batch. The loss is then that of the whole, and its gradient this part's share of it.

    Returns:
        A scalar, float32; 0 if no class with a weight has a valid pixel.
    """
    labels, weights = checked_labels(logits, labels, ignore_index, class_weights)
    of_strip = partial(overlaps, ignore_index=ignore_index)
    sums = add_up(sum_over_strips(of_strip, logits.detach(), labels)).requires_grad_()
    with torch.enable_grad():
        loss = dice_loss_of(sums, weights)
    (slopes,) = torch.autograd.grad(loss, sums)
    linear = sum_over_strips(lambda *strip: (slopes * of_strip(*strip)).sum(), logits, labels)
    return loss.detach() + (linear - linear.detach())


def dice_loss_of(sums: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """The dice loss of sums as `overlaps` gives them, `(3, K)`."""
    both, given, true = sums
    weights = (true > 0).float() if class_weights is None else (true > 0) * class_weights
    dice = 2 * both / (given + true).clamp(min=LEAST)
    return (weights * (1 - dice)).sum() / weights.sum().clamp(min=LEAST)


def overlaps(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Three sums over the valid pixels: p of the pixel's own class, p, and the pixels of a class.

    Shape: `(B, K, H, W)`, `(B, H, W)` → `(3, K)`.
    """
    p = two_at_least(logits).softmax(1)
    valid = (labels != ignore_index)[:, None]
    classes = torch.arange(p.shape[1], device=p.device)[:, None, None]
    of_class = valid & (labels[:, None] == classes)  # (B, K, H, W)
    return torch.stack([x.sum((0, 2, 3)) for x in (p * of_class, p * valid, of_class.float())])


def two_at_least(logits: Tensor) -> Tensor:
    """A single logit z as the two logits 0 and z, which say the same; others as they are."""
    return F.pad(logits, (0, 0, 0, 0, 1, 0)) if logits.shape[1] == 1 else logits
