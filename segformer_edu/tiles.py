"""Large pictures, labelled in overlapping tiles whose logits are blended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from segformer_edu.checks import is_whole
from segformer_edu.config import SegFormerConfig, Stage
from segformer_edu.layers import evaluation
from segformer_edu.segformer import SegFormer, labels_from_logits
from segformer_edu.strips import source_pairs

TILE = 1024  # pixels a side, as in the paper's test on Cityscapes (section 4.1)
ROWS = 32  # of pixels, labelled at once

Span = tuple[int, int]  # where a tile begins along an axis, and where it ends


@torch.no_grad()
def predict_in_tiles(
    model: SegFormer,
    images: Tensor,
    tile: int = TILE,
    overlap: int | None = None,
    size: Sequence[int] | None = None,
    progress: bool = False,
) -> Tensor:
    """The class of every pixel, as `model.predict` gives it, for pictures of any size.

    Attention compares every token with every key, so the time for a whole picture grows with the
    square of its pixels, and that for tiles with their number. A picture of up to twice the pixels
    of a tile is kept whole, because its tiles would take as long. It gets exactly the labels of
    `model.predict`. In larger ones, where tiles overlap, the weight of one falls linearly while
    that of the next one rises. They are blended before the logits are resized, one row of tiles at
    a time, so that K maps of the whole picture never exist.

    B0 with 150 classes takes 19 s for 12 million pixels on one core, and 108 s for 48 million. For
    either it needs less than 0.7 GB, apart from images and labels.

    Args:
        model: runs in evaluation mode, and gets its own mode back.
        images: on any device; each tile is moved to the model's.
        tile: side of a tile in pixels, a multiple of what the strides multiply to (32); 0 keeps
            all pictures whole.
        overlap: pixels that neighbours share at least, a multiple of the same, up to half a tile;
            a quarter of a tile if left out.
        size: height and width of the labels, if others than the pictures'.
        progress: show a bar on stderr.

    Shape: `(B, C, H, W)` → `(B, *size)` int64, on the device of the images.

    Raises:
        ValueError: a tile or an overlap that does not suit the model; images that it refuses.
    """
    overlap, unit = tiling(model.config, tile, overlap)
    height, width = images.shape[-2:] if size is None else size
    if tile == 0 or images.shape[-2:].numel() <= 2 * tile**2:
        with evaluation(model):
            logits = model(images.to(device_of(model)))
        return labels_from_logits(logits, (height, width)).to(images.device)
    rows, columns = (spans(side, tile, overlap, unit) for side in images.shape[-2:])
    labels = torch.empty(len(images), height, width, dtype=torch.int64, device=images.device)
    done = 0
    for band, first, total in bands(model, images, rows, columns, progress):
        sources, shares = source_pairs(total, height, band)  # (height, 2) each
        ready = int((sources[:, 1] < first + band.shape[2]).sum())
        for top in range(done, ready, ROWS):
            bottom = min(top + ROWS, ready)
            upper, lower = (sources[top:bottom] - first).unbind(1)
            above, below = shares[top:bottom, :, None].unbind(1)
            logits = above * band[:, :, upper] + below * band[:, :, lower]  # (B, K, rows, w)
            labels[:, top:bottom] = labels_from_logits(logits, (bottom - top, width))
        done = ready
    return labels


def bands(
    model: SegFormer,
    images: Tensor,
    rows: Sequence[Span],
    columns: Sequence[Span],
    progress: bool,
) -> Iterator[tuple[Tensor, int, int]]:
    """The blended logits, from top to bottom: for each row of tiles those that no further tile adds
    to, `(B, K, n, w)`, with the last row of the band before; the number of their first row; and how
    many rows there are in all.
    """
    stage = model.config.stages[0]
    down, across = ([tokens(span, stage) for span in each] for each in (rows, columns))
    vertical, horizontal = (ramps(each).to(device_of(model)) for each in (down, across))
    total, width = vertical.shape[1], horizontal.shape[1]
    band, first = vertical.new_zeros(len(images), model.config.num_classes, 0, width), 0
    bar = tqdm(
        total=len(rows) * len(columns), unit=" tiles", delay=2, leave=False, disable=not progress
    )
    with bar, evaluation(model):
        for row, (top, bottom) in enumerate(down):
            band = F.pad(band, (0, 0, 0, bottom - first - band.shape[2]))
            for column, (left, right) in enumerate(across):
                pixels = images[..., slice(*rows[row]), slice(*columns[column])]
                weights = vertical[row, top:bottom, None] * horizontal[column, left:right]
                logits = weights * model(pixels.to(device_of(model)))
                band[:, :, top - first : bottom - first, left:right] += logits
                bar.update()
            last = down[row + 1][0] if row + 1 < len(down) else total
            yield band[:, :, : last - first], first, total
            band, first = band[:, :, last - 1 - first :], last - 1


def device_of(model: SegFormer) -> torch.device:
    return next(model.parameters()).device


def tiling(config: SegFormerConfig, tile: int, overlap: int | None = None) -> tuple[int, int]:
    """The overlap, chosen if None is given, and the pixels of which both are a multiple: then the
    tokens of all tiles lie on one grid, at every stage.

    Raises:
        ValueError: a tile or an overlap that does not suit the model.
    """
    unit = math.prod(config.strides)
    least = -(-(config.min_image_size + unit - 1) // unit) * unit  # the last may be so much smaller
    if not is_whole(tile) or tile % unit or not (tile == 0 or tile >= least):
        raise ValueError(
            f"tile = {tile!r}: give a multiple of {unit} from {least} on, or 0 to cut no picture."
        )
    half = tile // 2 // unit * unit
    if overlap is None:
        return min(-(-tile // (4 * unit)) * unit, half), unit
    if not is_whole(overlap) or overlap % unit or not 0 <= overlap <= half:
        raise ValueError(
            f"overlap = {overlap!r}: give a multiple of {unit} from 0 to {half}, half a tile."
        )
    return overlap, unit


def spans(side: int, tile: int, overlap: int, unit: int) -> list[Span]:
    """As few tiles as cover a side, evenly spread; all begin at a multiple of the unit.

    >>> spans(1000, 512, 128, 32)
    [(0, 512), (256, 768), (512, 1000)]
    """
    if tile >= side:
        return [(0, side)]
    steps = -(-(side - tile) // (tile - overlap))
    starts = [-(-step * (side - tile) // (steps * unit)) * unit for step in range(steps + 1)]
    return [(start, min(start + tile, side)) for start in starts]


def tokens(pixels: Span, stage: Stage) -> Span:
    """The tokens of the first stage that a tile of these pixels has, on the grid of all tiles."""
    first, side = pixels[0] // stage.stride, pixels[1] - pixels[0]
    count = (side + 2 * (stage.patch_size // 2) - stage.patch_size) // stage.stride + 1
    return first, first + count


def ramps(tiles: Sequence[Span]) -> Tensor:
    """What each tile weighs along an axis: it rises over what the tile shares with the one before
    it, and falls over what it shares with the next. `(tiles, side)`, summing to 1 in each column.
    """
    weights = torch.zeros(len(tiles), tiles[-1][1])
    for number, (first, last) in enumerate(tiles):
        place = torch.arange(first, last) + 0.5
        weight = torch.ones(last - first)
        if number > 0:
            weight = weight.minimum((place - first) / max(tiles[number - 1][1] - first, 1))
        if number + 1 < len(tiles):
            weight = weight.minimum((last - place) / max(last - tiles[number + 1][0], 1))
        weights[number, first:last] = weight
    return weights / weights.sum(0)
