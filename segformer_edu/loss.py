"""The training loss: cross-entropy at full size, computed in strips, so that K maps of that size
never exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.checks import check_class_weights, check_labels, check_logits_and_labels
from segformer_edu.strips import row_weights, strips, widen

FEW_CLASSES = 16  # 32-bit numbers in the widest vector register of a CPU
NARROW = 256  # up to so many columns, a matrix product resizes the logits faster

# What the pixels of a strip add to a sum: of logits (B, K, rows, W) and labels (B, rows, W).
OfStrip = Callable[[Tensor, Tensor], Tensor]


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy over the valid pixels of the labels, with the logits resized to the
    labels' size.

    One class means a binary model: labels 0 and 1, binary cross-entropy of its one logit.

    Args:
        logits: `(B, K, h, w)`, usually a quarter of the size of the labels.
        labels: `(B, H, W)`, integers 0 … K − 1 (0 and 1 if K is 1), or ignore_index.
        ignore_index: the label of pixels that do not count.
        class_weights: `(K,)`, two numbers if K is 1: how much a pixel of each class counts. The
            mean is weighted in the same way, so equal weights change nothing.

    Returns:
        A scalar, float32. Its gradient is computed along with it, strip by strip; it has no second
        derivative.

    Raises:
        ValueError: a wrong rank, dtype or batch size, a label out of range, not exactly one weight
            for each class, or no pixel that counts.
    """
    total = summed_loss(logits, labels, ignore_index, class_weights)
    weight = pixel_weight(labels, logits.shape[1], ignore_index, class_weights)
    if not weight > 0:
        raise ValueError(
            f"every pixel is ignore_index = {ignore_index}, or of a class whose weight is 0: this "
            f"batch has nothing to learn from. Skip it, or check that the masks were read as "
            f"intended."
        )
    return total / weight


def summed_loss(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The numerator of segmentation_loss: the weighted sum over the valid pixels, 0 if none is.

    If a batch is split into parts, on several devices or one after the other, its mean is the sum
    of this over the parts, divided by the sum of `pixel_weight`.
    """
    labels, weights = checked_labels(logits, labels, ignore_index, class_weights)

    def of_strip(wide: Tensor, labels: Tensor) -> Tensor:
        return _sum_over_pixels(wide, labels, ignore_index, weights)

    return sum_over_strips(of_strip, logits, labels)


def checked_labels(
    logits: Tensor, labels: Tensor, ignore_index: int, class_weights: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The labels as int64 and the class weights as float32, if they go with the logits.

    Raises:
        ValueError: as segmentation_loss, but for a batch in which no pixel counts.
    """
    check_logits_and_labels(logits, labels, ignore_index)
    labels = labels.long()  # before any comparison: in uint8, −100 would be 156
    num_labels = max(logits.shape[1], 2)
    check_labels(labels, num_labels, ignore_index)
    if class_weights is not None:
        class_weights = check_class_weights(class_weights, num_labels, logits.device)
    return labels, class_weights


def sum_over_strips(of_strip: OfStrip, logits: Tensor, labels: Tensor) -> Tensor:
    """What the pixels add up to, with the logits resized to the labels' size a strip at a time.

    Args:
        of_strip: gives a tensor of the same shape for every strip, in float32.
        logits: `(B, K, h, w)`. If they need a gradient, the sum has to be a scalar.
        labels: `(B, H, W)`, int64.
    """
    with torch.autocast(logits.device.type, enabled=False):  # float32 throughout
        return _StripSum.apply(logits, labels, of_strip)


def pixel_weight(
    labels: Tensor,
    num_classes: int,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The denominator of segmentation_loss: the valid pixels, each with the weight of its class."""
    num_labels = max(num_classes, 2)
    labels = labels.long()
    check_labels(labels, num_labels, ignore_index)
    valid = labels != ignore_index
    counts = labels.where(valid, num_labels).flatten().bincount(minlength=num_labels + 1)[:-1]
    if class_weights is not None:
        counts = counts * check_class_weights(class_weights, num_labels, labels.device)
    return counts.sum()


class _StripSum(torch.autograd.Function):
    """A sum over the pixels of resized logits. The forward pass also computes the gradient, so no
    strip is kept or computed twice.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, of_strip: OfStrip) -> Tensor:
        x, size = logits.float(), labels.shape[1:]
        few = x.shape[1] < FEW_CLASSES and x.shape[3] <= NARROW
        resize = _resize_few if few else _resize_many
        gradient = torch.zeros_like(x) if logits.requires_grad else None
        total = x.new_zeros(())
        for top, bottom in strips(size, x, pixels=2**20 // x.shape[1]):  # 4 MiB of logits
            rows, mix = row_weights(x.shape[2], size[0], top, bottom, x)
            source = x[:, :, rows]
            with torch.set_grad_enabled(gradient is not None):
                wide = resize(source.requires_grad_(gradient is not None), mix, size[1])
                added = of_strip(wide, labels[:, top:bottom])
            total = total + added.detach()
            if gradient is not None:
                gradient[:, :, rows] += torch.autograd.grad(added, source)[0]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None


def _resize_few(x: Tensor, mix: Tensor, width: int) -> Tensor:
    """Mix the rows of few classes, then widen them: `(B, K, h, w)` → `(B, K, rows, W)`.

    Two matrix products. They keep the axis of classes first in memory, which suits a softmax over
    fewer classes than a CPU's vector register holds. At w = 100 the loss takes half the time that
    it takes with `F.interpolate`. But the second product grows with w, and at 1,000 the gain is
    gone, so wide logits go through `_resize_many` even if their classes are few.
    """
    return mix @ x @ row_weights(x.shape[3], width, 0, width, x)[1].T


def _resize_many(x: Tensor, mix: Tensor, width: int) -> Tensor:
    """The same for many classes, whose logits lie side by side in memory."""
    x = x.permute(0, 2, 3, 1)  # (B, h, w, K)
    tall = (mix @ x.flatten(2)).unflatten(2, x.shape[2:])
    return widen(tall, width).permute(0, 3, 1, 2)


def _sum_over_pixels(
    logits: Tensor, labels: Tensor, ignore_index: int, weights: Tensor | None
) -> Tensor:
    """Cross-entropy of `(B, K, rows, W)` logits, summed over the valid pixels."""
    num_classes = logits.shape[1]
    if num_classes > 1:
        if num_classes >= FEW_CLASSES:
            logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
        return F.cross_entropy(logits, labels, weights, ignore_index=ignore_index, reduction="sum")
    valid = labels != ignore_index
    logit, label = logits[:, 0][valid], labels[valid]
    return F.binary_cross_entropy_with_logits(
        logit, label.float(), None if weights is None else weights[label], reduction="sum"
    )
