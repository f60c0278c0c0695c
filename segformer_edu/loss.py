"""The training loss: cross-entropy at full size, in strips, so that K maps at full size never
exist.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.layers import row_weights, strips, widen


def segmentation_loss(logits: Tensor, labels: Tensor, ignore_index: int = 255) -> Tensor:
    """Mean cross-entropy over the valid pixels of the labels, with the logits resized to the
    labels' size.

    One class means a binary model: labels 0 and 1, binary cross-entropy of its one logit.

    Args:
        logits: `(B, K, h, w)`, usually at a quarter of the size.
        labels: `(B, H, W)`, integers 0 … K − 1 (0 and 1 if K is 1), or ignore_index.
        ignore_index: the label of pixels that do not count.

    Returns:
        A scalar, float32. Its gradient is computed with it, strip by strip; it has no second
        derivative.

    Raises:
        ValueError: another rank, dtype or batch size, a label out of range, or no valid pixel at
            all.
    """
    check_shapes(logits, labels, ignore_index)
    labels = labels.long()  # before any comparison: −100 in uint8 would be 156
    num_valid = count_valid(labels, max(logits.shape[1], 2), ignore_index)
    with torch.autocast(logits.device.type, enabled=False):  # float32 throughout
        return _StripLoss.apply(logits, labels, ignore_index, num_valid)


class _StripLoss(torch.autograd.Function):
    """Cross-entropy of resized logits. The forward pass finds the gradient too, so no strip is kept
    or made twice.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, ignore_index: int, num_valid: Tensor
    ) -> Tensor:
        x = logits.permute(0, 2, 3, 1).float()  # (B, h, w, K)
        height, width = labels.shape[1:]
        gradient = x.new_zeros(x.shape) if logits.requires_grad else None
        total = x.new_zeros(())
        for top, bottom in strips(labels.shape[1:], x):
            rows, weights = row_weights(x.shape[1], height, top, bottom, x)
            tall = (weights @ x[:, rows].flatten(2)).unflatten(2, x.shape[2:])  # (B, rows, w, K)
            with torch.set_grad_enabled(gradient is not None):
                wide = widen(tall.requires_grad_(gradient is not None), width)
                loss = _sum_over_pixels(wide, labels[:, top:bottom], ignore_index)
            total += loss.detach()
            if gradient is not None:
                (tall_gradient,) = torch.autograd.grad(loss, tall)
                gradient[:, rows].flatten(2).baddbmm_(  # weightsᵀ @ …: the rows mixed backwards
                    weights.T.expand(len(x), -1, -1), tall_gradient.flatten(2)
                )
        if gradient is not None:
            ctx.save_for_backward((gradient / num_valid).permute(0, 3, 1, 2).to(logits.dtype))
        return total / num_valid

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream, None, None, None


def _sum_over_pixels(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    """Cross-entropy of `(B, rows, W, K)` logits, summed over the valid pixels."""
    logits, labels = logits.flatten(0, 2), labels.flatten()
    if logits.shape[1] > 1:
        return F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="sum")
    valid = labels != ignore_index
    return F.binary_cross_entropy_with_logits(
        logits[valid, 0], labels[valid].float(), reduction="sum"
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
    if labels.ndim != 3 or len(labels) != len(logits):
        raise ValueError(
            f"labels are (B, H, W), B = {len(logits)} as in the logits; got {tuple(labels.shape)}. "
            f"Remove a channel axis with labels[:, 0]."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels are integers, one a pixel; got {labels.dtype}. Use labels.long()."
        )
    if labels.device != logits.device:
        raise ValueError(
            f"labels are on {labels.device}, logits on {logits.device}: move one with .to(...)."
        )
    if not isinstance(ignore_index, int) or isinstance(ignore_index, bool):
        raise ValueError(f"ignore_index = {ignore_index!r}: give a whole number, 255 or −100.")


def count_valid(labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """The number of pixels that count; a label out of range, or no such pixel, is refused."""
    valid = labels != ignore_index
    wrong = valid & ((labels < 0) | (labels >= num_classes))
    if wrong.any():
        raise ValueError(
            f"labels hold {labels[wrong].unique().tolist()[:5]}, outside 0 … {num_classes - 1} and "
            f"not ignore_index = {ignore_index}. Map the classes of your masks to 0 … K − 1 first."
        )
    if not valid.any():
        raise ValueError(
            f"every pixel is ignore_index = {ignore_index}: this batch has nothing to learn from. "
            f"Skip it, or look whether the masks were read as meant."
        )
    return valid.sum()
