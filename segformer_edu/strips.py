"""Maps computed a strip of rows at a time, and bilinear resizing of a strip or of single pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def strips(
    size: Sequence[int], x: Tensor, whole: bool = False, pixels: int = 4096
) -> Iterator[tuple[int, int]]:
    """First and last row of each strip in which a map of `size`, computed from `x`, is made.

    The temporaries of a strip stay in the cache of a CPU, and do not grow with the image's height.
    A compiled or exported graph has no loop over rows: there, one strip is the whole map.

    Args:
        size: `(H, W)`.
        x: the input, of which only the device and the batch size matter.
        whole: make the map in one strip. In training this is faster, because what the backward
        pass needs is kept anyway.
        pixels: pixels of a strip on a CPU, over all images; a GPU, which computes many more at
        once, takes 2¹⁷.
    """
    height, width = size
    if whole or torch.compiler.is_compiling():
        yield 0, height  # without arithmetic, which would fix an exported graph to one size
        return
    if x.device.type != "cpu":
        pixels = 2**17
    rows = max(pixels // (width * len(x)), 4) if len(x) else height
    for top in range(0, height, rows):
        yield top, min(top + rows, height)


def in_strips(
    function: Callable[[Tensor], Tensor], x: Tensor, halo: int, whole: bool = False
) -> Tensor:
    """function(x), computed a strip of rows at a time or on the `whole` map at once.

    Args:
        function: maps `(B, rows, W, C_in)` to `(B, rows, W, C)`.
        x: the map, `(B, H, W, C_in)`.
        halo: how many rows above and below each row `function` reads. Each strip is extended by as
            many rows, whose results are cut off; at the border of the map `function` pads as usual.
    """
    height, made = x.shape[1], []
    for top, bottom in strips(x.shape[1:3], x, whole):
        first, last = max(top - halo, 0), min(bottom + halo, height)
        made.append(function(x[:, first:last])[:, top - first : bottom - first])
    return joined(made, dim=1)


def joined(made: list[Tensor], dim: int) -> Tensor:
    """The strips along `dim` as one tensor; a single one is not copied."""
    return made[0] if len(made) == 1 else torch.cat(made, dim)


def add_resized(total: Tensor, x: Tensor, height: int, top: int) -> Tensor:
    """Resize `x` bilinearly to `height` rows, and add its rows from `top` on to `total`.

    One batched matrix product mixes the rows of `x` and adds them.

    Shape: total `(B, rows, W, C)`, x `(B, h, W, C)` → `(B, rows, W, C)`.
    """
    rows, weights = row_weights(x.shape[1], height, top, top + total.shape[1], x)
    weights = weights.expand(x.shape[0], -1, -1)  # (B, rows, n)
    return torch.baddbmm(total.flatten(2), weights, x[:, rows].flatten(2)).view(total.shape)


def widen(x: Tensor, width: int) -> Tensor:
    """A map resized bilinearly along its width alone, `(B, h, w, C)` → `(B, h, width, C)`."""
    x = F.interpolate(x.permute(0, 3, 1, 2), (x.shape[1], width), mode="bilinear")
    return x.permute(0, 2, 3, 1)


def row_weights(
    size: int, resized: int, top: int, bottom: int, like: Tensor
) -> tuple[slice, Tensor]:
    """Bilinear resizing of rows as a matrix product: the source rows that it reads, and the matrix.

    A source row has weight 1 minus its distance from the place that `places` gives.

    Args:
        size, resized: rows before and after.
        top, bottom: the rows wanted.
        like: a map that gives the matrix its device and dtype.

    Returns:
        A slice of n source rows, and weights `(bottom − top, n)` that sum to one in every row.
    """
    scale = size / resized
    first = 0 if top == 0 else max(math.floor((top + 0.5) * scale - 0.5), 0)
    last = size if bottom == resized else min(math.floor((bottom - 0.5) * scale + 1.5), size)
    precision = torch.promote_types(like.dtype, torch.float32)
    wanted = torch.arange(top, bottom, device=like.device, dtype=precision)
    source = torch.arange(first, last, device=like.device, dtype=precision)
    weights = (1 - (places(wanted, size, resized)[:, None] - source).abs()).clamp(min=0)
    return slice(first, last), weights.to(like.dtype)


def source_pairs(size: int, resized: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear resizing along one axis, pixel by pixel: the two source pixels of each, `(resized,
    2)`, and their float32 weights, which sum to one.
    """
    wanted = torch.arange(resized, device=like.device, dtype=torch.float32)
    place = places(wanted, size, resized)
    first = place.long()
    pair = torch.stack([first, (first + 1).clamp(max=size - 1)], dim=1)
    return pair, torch.stack([1 - (place - first), place - first], dim=1)


def places(wanted: Tensor, size: int, resized: int) -> Tensor:
    """Where in a side of `size` pixels the `wanted` pixels of the `resized` side lie.

    Pixel centres lie at half-integers (align_corners=False): pixel i reads the source at (i + ½) ·
    size / resized − ½, clamped to the map.
    """
    return ((wanted + 0.5) * (size / resized) - 0.5).clamp(0, size - 1)
