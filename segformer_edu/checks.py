"""What the model and its loss refuse: invalid sizes, rates, tensors and label maps.

Every refusal is a ValueError that names what is wrong, shows it, and says what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, TypeGuard

import torch
from torch import Tensor

LARGEST = 10**6  # the largest size or count allowed: anything above is a mistake


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer, of Python or NumPy, and not a bool."""
    return isinstance(value, (int, Integral)) and not isinstance(value, bool)  # int is found faster


def is_real(value: Any) -> bool:
    """Whether a value is a real number, of Python or NumPy, and not a bool."""
    return isinstance(value, (float, int, Real)) and not isinstance(value, bool)


def check_positive(**sizes: int) -> None:
    """Refuse a size that is not a whole number from 1 to a million, and name it."""
    for name, size in sizes.items():
        if not is_whole(size) or not 1 <= size <= LARGEST:
            raise ValueError(
                f"{name} = {size!r}: give a whole number of at least 1 and at most {LARGEST:,}."
            )


def check_per_stage(**sizes: Sequence[int]) -> None:
    """Refuse anything but a list or tuple with one such size for each stage, and name it."""
    for name, values in sizes.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise ValueError(
                f"{name} = {values!r}: give one value for each stage, such as (2, 2, 2, 2)."
            )
        for stage, value in enumerate(values):
            check_positive(**{f"{name}[{stage}]": value})


def check_rate(**rates: float) -> None:
    """Refuse a rate that is not a probability, and name it."""
    for name, rate in rates.items():
        if not is_real(rate) or not 0 <= rate <= 1:
            raise ValueError(f"{name} = {rate!r} is not a probability: give a number from 0 to 1.")


def check_choice(allowed: Sequence[str], **choices: str) -> None:
    """Refuse a word that is not one of those allowed, and name it."""
    for name, choice in choices.items():
        if not isinstance(choice, str) or choice not in allowed:
            raise ValueError(f"{name} = {choice!r}: choose one of {', '.join(allowed)}.")


def check_heads(dim: int, num_heads: int) -> None:
    """Refuse a number of heads that does not divide the number of channels."""
    check_positive(dim=dim, num_heads=num_heads)
    if dim % num_heads:
        raise ValueError(
            f"num_heads = {num_heads}: {num_heads} heads do not divide {dim} channels; the number "
            f"of channels must be a multiple of the number of heads."
        )


def _check_tensor(x: Tensor, owner: str, axes: str) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(
            f"{owner} takes a tensor {axes}; got {type(x).__name__}. Use torch.as_tensor(...)."
        )
    if x.ndim != 4:
        raise ValueError(
            f"{owner} takes a tensor {axes}; got {x.ndim} axes, shape {tuple(x.shape)}. "
            f"Add a batch axis to a single image or map with x[None]."
        )
    if not x.is_floating_point():
        raise ValueError(
            f"{owner} takes floating-point numbers; got {x.dtype}. "
            f"Convert with x.float() / 255 and normalise."
        )


def check_images(
    images: Tensor, weight: Tensor, channels: int, owner: str, min_size: int = 1
) -> None:
    """Refuse images that are not `(B, channels, H, W)`, at least `min_size` per side, and in the
    floating-point precision of `weight`, the first one that they meet.
    """
    _check_tensor(images, owner, "(B, C, H, W)")
    if images.shape[1] != channels:
        raise ValueError(
            f"{owner} takes {channels} channels; got shape {tuple(images.shape)}. "
            f"Axes are (B, C, H, W); use x.permute(0, 3, 1, 2) if the channels come last."
        )
    _check_size(images.shape[2:], owner, min_size)
    _check_precision(images, weight, owner)


def check_maps(maps: Sequence[Tensor], weights: Sequence[Tensor], training: bool) -> None:
    """Refuse anything but one `(B, C_i, H_i, W_i)` map for each `(D, C_i)` weight, and in training
    a single token, which is too little for BatchNorm.
    """
    given = len(maps) if isinstance(maps, (list, tuple)) else type(maps).__name__
    if given != len(weights):
        raise ValueError(
            f"The decoder takes a list of {len(weights)} maps, one per stage, the finest first; "
            f"got {given}. Give it everything that the encoder returns."
        )
    for stage, (x, weight) in enumerate(zip(maps, weights, strict=True), start=1):
        check_images(x, weight, weight.shape[1], f"The decoder's map {stage}")
        if x.shape[0] != maps[0].shape[0]:  # len() would fix an exported graph to one batch size
            raise ValueError(
                f"Map 1 holds {len(maps[0])} samples, map {stage} holds {len(x)}: give maps of the "
                f"same images."
            )
    if training and maps[0].shape[0] * maps[0].shape[2] * maps[0].shape[3] == 1:
        raise ValueError(
            f"Map 1 has shape {tuple(maps[0].shape)}, a single token, but in training BatchNorm "
            f"needs several: give two images, or a larger one, or call model.eval()."
        )


def check_map(x: Tensor, weight: Tensor, channels: int, owner: str, min_size: int = 1) -> None:
    """Refuse a map that is not `(B, H, W, channels)`, at least `min_size` per side, and in the
    floating-point precision of `weight`, the first one that it meets.
    """
    _check_tensor(x, owner, "(B, H, W, C)")
    if x.shape[-1] != channels:
        raise ValueError(
            f"{owner} takes maps (B, H, W, C) with C = {channels}; got shape {tuple(x.shape)}. "
            f"Use x.permute(0, 2, 3, 1) if the channels come second."
        )
    _check_size(x.shape[1:3], owner, min_size)
    _check_precision(x, weight, owner)


def _check_size(size: torch.Size, owner: str, min_size: int) -> None:
    if min(size) < min_size:
        reason, remedy = ", or attention has no key left", "lower the reduction ratio"
        if min_size == 1:
            reason, remedy = "", "look why it is empty"
        raise ValueError(
            f"{owner} needs at least {min_size}×{min_size} here{reason}; got {size[0]}×{size[1]}. "
            f"Enlarge the image, or {remedy}."
        )


def _check_precision(x: Tensor, weight: Tensor, owner: str) -> None:
    """Refuse numbers whose precision is not that of the weights, unless autocast converts them."""
    allowed: tuple[torch.dtype, ...] = (x.dtype,)
    kind = x.device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if autocast and x.dtype != torch.float64:  # which autocast leaves alone
        allowed = torch.float32, torch.get_autocast_dtype(kind)
    if weight.dtype not in allowed:
        raise ValueError(
            f"{owner} has weights in {weight.dtype}; got {x.dtype}. Bring both to one precision, "
            f"with x.float() and model.float(), or compute under torch.autocast."
        )


def check_logits_and_labels(logits: Tensor, labels: Tensor, ignore_index: int) -> None:
    """Refuse logits and labels that do not belong together, in shape, type or device."""
    for name, x in (("logits", logits), ("labels", labels)):
        if not isinstance(x, Tensor):
            raise ValueError(
                f"{name} must be a tensor; got {type(x).__name__}: use torch.as_tensor."
            )
    if logits.ndim != 4 or not logits.is_floating_point() or 0 in logits.shape[1:]:
        raise ValueError(
            f"logits must be floating point, (B, K, h, w) with K, h and w above zero; got "
            f"{logits.dtype} {tuple(logits.shape)}. Give what the model returns, not its argmax."
        )
    if labels.ndim != 3 or len(labels) != len(logits) or 0 in labels.shape[1:]:
        raise ValueError(
            f"labels must be (B, H, W), with B = {len(logits)} as in the logits and H and W above "
            f"zero; got {tuple(labels.shape)}. Remove a channel axis with labels[:, 0]."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be integers, one per pixel; got {labels.dtype}. Use labels.long()."
        )
    if labels.device != logits.device:
        raise ValueError(
            f"labels are on {labels.device}, logits on {logits.device}: move one with .to(...)."
        )
    if not is_whole(ignore_index) or not -(2**63) <= ignore_index < 2**63:  # what a label can be
        raise ValueError(f"ignore_index = {ignore_index!r}: give a whole number, such as 255.")


def check_labels(labels: Tensor, num_labels: int, ignore_index: int) -> None:
    """Refuse a label that is not a class."""
    wrong = (labels != ignore_index) & ((labels < 0) | (labels >= num_labels))
    if wrong.any():
        raise ValueError(
            f"labels hold {labels[wrong].unique().tolist()[:5]}, outside 0 … {num_labels - 1} and "
            f"not ignore_index = {ignore_index}. Map the classes of your masks to 0 … K − 1 first."
        )


def check_class_weights(weights: Tensor, num_labels: int, device: torch.device) -> Tensor:
    """The class weights in float32; anything that cannot be weights is refused."""
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        got = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(
            f"class_weights must be a tensor of real numbers; got {got}: use torch.tensor(…)."
        )
    if weights.shape != (num_labels,):
        raise ValueError(
            f"class_weights have shape {tuple(weights.shape)}, but there are {num_labels} classes: "
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
