"""What every part of the model shares: Linear, strips, resizing, initial weights, checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A Linear over the channels of a map, `(B, H, W, C_in)` → `(B, H, W, C_out)`.

    A Linear that acts on every pixel alone *is* a 1×1 convolution. On CPUs the convolution kernel
    is the faster of the two, on GPUs the matrix product: same numbers, so each device gets its own
    (benchmarks/README.md).
    """
    if x.device.type == "cpu" and x.ndim == 4:
        return F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear`, computed on maps by `linear` above."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def strips(
    size: Sequence[int], x: Tensor, whole: bool = False, pixels: int = 2048
) -> Iterator[tuple[int, int]]:
    """First and last row of each strip in which a map of `size`, computed from `x`, is made.

    A strip's temporaries stay in the cache of a CPU, and memory does not grow with the image. Where
    a gradient is recorded they would be kept all the same, and an exported graph has no loop over
    rows: there, and where `whole` is asked for, one strip is all.

    Args:
        size: `(H, W)`.
        x: its device and batch size count.
        pixels: of a strip on a CPU, all images together; a GPU, which has more hands, gets 2¹⁷.
    """
    height, width = size
    if whole or torch.is_grad_enabled() or torch.compiler.is_compiling():
        yield 0, height  # without arithmetic, which would fix an exported graph to one size
        return
    if x.device.type != "cpu":
        pixels = 2**17
    rows = max(pixels // (width * len(x)), 4) if len(x) else height
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def resize(x: Tensor, size: Sequence[int], top: int = 0, bottom: int | None = None) -> Tensor:
    """Rows `top` to `bottom` of a map resized bilinearly, `(B, h, w, C)` → `(B, rows, W, C)`.

    The same numbers as `F.interpolate(..., mode="bilinear", align_corners=False)` for those rows;
    the rest of the large map is never computed.
    """
    rows, weights = row_weights(x.shape[1], size[0], top, size[0] if bottom is None else bottom, x)
    tall = weights @ x[:, rows].flatten(2)  # (B, rows, w·C)
    return widen(tall.unflatten(2, x.shape[2:]), size[1])


def widen(x: Tensor, width: int) -> Tensor:
    """A map resized bilinearly along its width alone, `(B, h, w, C)` → `(B, h, width, C)`."""
    x = F.interpolate(x.permute(0, 3, 1, 2), (x.shape[1], width), mode="bilinear")
    return x.permute(0, 2, 3, 1)


def row_weights(
    size: int, resized: int, top: int, bottom: int, like: Tensor
) -> tuple[slice, Tensor]:
    """Bilinear resizing of rows is a matrix product: which source rows, and the matrix.

    Pixel centres lie at half-integers (align_corners=False): row i looks at (i + ½) · size /
    resized − ½, kept inside the map, and a source row counts 1 minus its distance from there.

    Args:
        size, resized: rows before and after.
        top, bottom: the rows wanted.
        like: a map whose device and dtype the matrix gets.

    Returns:
        A slice of n source rows, and weights `(bottom − top, n)` that sum to one in every row.
    """
    scale = size / resized
    first = 0 if top == 0 else max(math.floor((top + 0.5) * scale - 0.5), 0)
    last = size if bottom == resized else min(math.floor((bottom - 0.5) * scale + 1.5), size)
    precision = torch.promote_types(like.dtype, torch.float32)
    wanted = torch.arange(top, bottom, device=like.device, dtype=precision)
    position = ((wanted + 0.5) * scale - 0.5).clamp(0, size - 1)
    source = torch.arange(first, last, device=like.device, dtype=precision)
    weights = (1 - (position[:, None] - source).abs()).clamp(min=0)
    return slice(first, last), weights.to(like.dtype)


def initialize(module: nn.Module) -> None:
    """Initial weights: small normal Linears, fan-out-scaled convolutions, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)


def check_images(
    images: Tensor, channels: int, owner: str, min_size: int = 1, weight: Tensor | None = None
) -> None:
    """Refuse what is not floating point, `(B, channels, H, W)`, of `min_size` or more a side, and
    of the precision of the `weight` it meets.
    """
    _check_tensor(images, owner, "(B, C, H, W)")
    if images.shape[1] != channels:
        raise ValueError(
            f"{owner} takes {channels} channels; got shape {tuple(images.shape)}. "
            f"Axes are (B, C, H, W); use x.permute(0, 3, 1, 2) if the channels come last."
        )
    _check_size(images.shape[2:], owner, min_size)
    if weight is not None:
        _check_precision(images, weight, owner)


def check_maps(maps: Sequence[Tensor], embed_dims: Sequence[int], training: bool = False) -> None:
    """Refuse what is not one `(B, C_i, H_i, W_i)` map a stage, or too little for a BatchNorm."""
    given = len(maps) if isinstance(maps, (list, tuple)) else type(maps).__name__
    if given != len(embed_dims):
        raise ValueError(
            f"The decoder takes a list of {len(embed_dims)} maps, one a stage, the finest first; "
            f"got {given}. Give it all that the encoder returns."
        )
    for stage, (x, dim) in enumerate(zip(maps, embed_dims, strict=True), start=1):
        check_images(x, dim, f"The decoder's map {stage}")
        if x.shape[0] != maps[0].shape[0]:  # len() would fix an exported graph to one batch size
            raise ValueError(
                f"Map 1 holds {len(maps[0])} samples, map {stage} holds {len(x)}: give maps of the "
                f"same images."
            )
    if training and maps[0].shape[0] * maps[0].shape[2] * maps[0].shape[3] == 1:
        raise ValueError(
            f"Map 1 has shape {tuple(maps[0].shape)}, one token in all, and in training BatchNorm "
            f"needs the spread of several: give two images, or a larger one, or call model.eval()."
        )


def check_map(x: Tensor, channels: int, owner: str, min_size: int = 1) -> None:
    """Refuse what is not floating point, `(B, H, W, channels)`, of `min_size` or more a side."""
    _check_tensor(x, owner, "(B, H, W, C)")
    if x.shape[-1] != channels:
        raise ValueError(
            f"{owner} takes maps (B, H, W, C) with C = {channels}; got shape {tuple(x.shape)}. "
            f"Use x.permute(0, 2, 3, 1) if the channels come second."
        )
    _check_size(x.shape[1:3], owner, min_size)


def _check_size(size: torch.Size, owner: str, min_size: int) -> None:
    if min(size) < min_size:
        raise ValueError(
            f"{owner} needs at least {min_size}×{min_size} here, or attention has no key left; got "
            f"{size[0]}×{size[1]}. Enlarge the image or lower the reduction ratio."
        )


def _check_precision(x: Tensor, weight: Tensor, owner: str) -> None:
    """Refuse numbers of another precision than the weights they meet, unless autocast converts."""
    allowed: tuple[torch.dtype, ...] = (x.dtype,)
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:  # else left alone
        allowed = torch.float32, torch.get_autocast_dtype(x.device.type)
    if weight.dtype not in allowed:
        raise ValueError(
            f"{owner} has weights in {weight.dtype}; got {x.dtype}. Give both one precision, as "
            f"x.float() and model.float() do, or compute under torch.autocast."
        )


def check_positive(**sizes: int) -> None:
    """Refuse a size that is not a whole number of at least 1, by its name."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{name} = {size!r}: give a whole number of at least 1.")


def check_heads(dim: int, num_heads: int, reduction_ratio: int) -> None:
    """Refuse sizes that no attention can have."""
    check_positive(dim=dim, num_heads=num_heads, reduction_ratio=reduction_ratio)
    if dim % num_heads:
        raise ValueError(
            f"num_heads = {num_heads} does not divide dim = {dim}: choose one that does, "
            f"so that every head gets as many channels."
        )


def _check_tensor(x: Tensor, owner: str, axes: str) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(
            f"{owner} takes a tensor {axes}; got {type(x).__name__}. Use torch.as_tensor(...)."
        )
    if x.ndim != 4:
        raise ValueError(
            f"{owner} takes a tensor {axes}; got {x.ndim} axes, shape {tuple(x.shape)}. "
            f"Add a batch axis to a single one with x[None]."
        )
    if not x.is_floating_point():
        raise ValueError(
            f"{owner} takes floating-point numbers; got {x.dtype}. "
            f"Convert with x.float() / 255 and normalise."
        )
