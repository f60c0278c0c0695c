"""The training loss: cross-entropy at full size, in strips, so that K maps at full size never
exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.layers import row_weights, strips, widen

FEW_CLASSES = 16  # numbers of 32 bits in the widest vector of a CPU
NARROW = 256  # columns of logits up to which a matrix product resizes them faster


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
        logits: `(B, K, h, w)`, usually at a quarter of the size.
        labels: `(B, H, W)`, integers 0 … K − 1 (0 and 1 if K is 1), or ignore_index.
        ignore_index: the label of pixels that do not count.
        class_weights: `(K,)`, two numbers if K is 1: how much a pixel of each class counts. The
            mean is taken with these weights, so equal ones change nothing.

    Returns:
        A scalar, float32. Its gradient is computed with it, strip by strip; it has no second
        derivative.

    Raises:
        ValueError: another rank, dtype or batch size, a label out of range, weights that are not
            one for each class, or no pixel that counts.
    """
    total = summed_loss(logits, labels, ignore_index, class_weights)
    weight = pixel_weight(labels, logits.shape[1], ignore_index, class_weights)
    if not weight > 0:
        raise ValueError(
            f"every pixel is ignore_index = {ignore_index}, or of a class whose weight is 0: this "
            f"batch has nothing to learn from. Skip it, or look whether the masks were read as "
            f"meant."
        )
    return total / weight


def summed_loss(
    logits: Tensor,
    labels: Tensor,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
) -> Tensor:
    """What segmentation_loss divides: the weighted sum over the valid pixels, 0 if there are none.

    The mean over a batch in parts, on several devices or in turn, is the sum of this over the parts
    divided by the sum of `pixel_weight`.
    """
    check_shapes(logits, labels, ignore_index)
    labels = labels.long()  # before any comparison: −100 in uint8 would be 156
    num_labels = max(logits.shape[1], 2)
    check_range(labels, num_labels, ignore_index)
    if class_weights is not None:
        class_weights = check_weights(class_weights, num_labels, logits.device)
    with torch.autocast(logits.device.type, enabled=False):  # float32 throughout
        return _StripLoss.apply(logits, labels, ignore_index, class_weights)


def pixel_weight(
    labels: Tensor,
    num_classes: int,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
) -> Tensor:
    """What segmentation_loss divides by: the valid pixels, each counted with its class's weight."""
    num_labels = max(num_classes, 2)
    labels = labels.long()
    check_range(labels, num_labels, ignore_index)
    valid = labels != ignore_index
    counts = labels.where(valid, num_labels).flatten().bincount(minlength=num_labels + 1)[:-1]
    if class_weights is not None:
        counts = counts * check_weights(class_weights, num_labels, labels.device)
    return counts.sum()


class _StripLoss(torch.autograd.Function):
    """Summed cross-entropy of resized logits. The forward pass finds the gradient too, so no strip
    is kept or made twice.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, ignore_index: int, weights: Tensor | None
    ) -> Tensor:
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
                loss = _sum_over_pixels(wide, labels[:, top:bottom], ignore_index, weights)
            total += loss.detach()
            if gradient is not None:
                gradient[:, :, rows] += torch.autograd.grad(loss, source)[0]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None, None


def _resize_few(x: Tensor, mix: Tensor, width: int) -> Tensor:
    """Rows mixed, then widened, of few channels: `(B, K, h, w)` → `(B, K, rows, W)`.

    Two matrix products. They leave the classes first in memory, which a softmax over fewer of them
    than fill a vector of the CPU likes. At 100 pixels the loss takes half the time that it takes
    with `F.interpolate`; the second product grows with w, and at 1,000 nothing is left of that:
    where w is large, few classes go the way of many.
    """
    return mix @ x @ row_weights(x.shape[3], width, 0, width, x)[1].T


def _resize_many(x: Tensor, mix: Tensor, width: int) -> Tensor:
    """The same of many channels, which stay side by side in memory."""
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


def check_shapes(logits: Tensor, labels: Tensor, ignore_index: int) -> None:
    """Refuse logits and labels that do not belong together, in shape, type or device."""
    for name, x in (("logits", logits), ("labels", labels)):
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} are a tensor; got {type(x).__name__}: use torch.as_tensor.")
    if logits.ndim != 4 or not logits.is_floating_point() or 0 in logits.shape[1:]:
        raise ValueError(
            f"logits are floating point (B, K, h, w), none of K, h, w zero; got {logits.dtype} "
            f"{tuple(logits.shape)}. Give what the model returns, not its argmax."
        )
    if labels.ndim != 3 or len(labels) != len(logits) or 0 in labels.shape[1:]:
        raise ValueError(
            f"labels are (B, H, W), B = {len(logits)} as in the logits, H and W not zero; got "
            f"{tuple(labels.shape)}. Remove a channel axis with labels[:, 0]."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels are integers, one a pixel; got {labels.dtype}. Use labels.long()."
        )
    if labels.device != logits.device:
        raise ValueError(
            f"labels are on {labels.device}, logits on {logits.device}: move one with .to(...)."
        )
    whole = isinstance(ignore_index, int) and not isinstance(ignore_index, bool)
    if not whole or not -(2**63) <= ignore_index < 2**63:  # what a label can be
        raise ValueError(f"ignore_index = {ignore_index!r}: give a whole number, 255 or −100.")


def check_range(labels: Tensor, num_labels: int, ignore_index: int) -> None:
    """Refuse a label that is no class."""
    wrong = (labels != ignore_index) & ((labels < 0) | (labels >= num_labels))
    if wrong.any():
        raise ValueError(
            f"labels hold {labels[wrong].unique().tolist()[:5]}, outside 0 … {num_labels - 1} and "
            f"not ignore_index = {ignore_index}. Map the classes of your masks to 0 … K − 1 first."
        )


def check_weights(weights: Tensor, num_labels: int, device: torch.device) -> Tensor:
    """Weights of classes in float32, or a refusal of what cannot be weights."""
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        got = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(f"class_weights are a tensor of real numbers; got {got}: torch.tensor(…).")
    if weights.shape != (num_labels,):
        raise ValueError(
            f"class_weights have shape {tuple(weights.shape)}, and there are {num_labels} classes: "
            f"give one number for each, ({num_labels},)."
        )
    if weights.device != device:
        raise ValueError(
            f"class_weights are on {weights.device}, the batch on {device}: use .to(...)."
        )
    if not (weights.isfinite() & (weights >= 0)).all():
        raise ValueError(
            f"class_weights = {weights.tolist()}: give finite numbers of at least 0; a class that "
            f"never occurs has no frequency to divide by."
        )
    return weights.float()
