"""Which pixels decided the class of one pixel: ways of asking, and a measure of their answers.

Each way gives a map `(H, W)` over the pixels of the picture; larger means more important. A place
is a row and a column of the map of logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.analysis.attention_maps import attention_maps
from segformer_edu.layers import evaluation
from segformer_edu.segformer import SegFormer

Place = tuple[int, int]
Score = Callable[[Tensor], Tensor]  # logits (B, K, h, w) → (B,)


def logit(place: Place, label: int, rival: int | None = None) -> Score:
    """The logit of one class at one place; of a rival, if one is given, it is the lead over it."""
    row, column = place

    def score(logits: Tensor) -> Tensor:
        here = logits[:, :, row, column]  # (B, K)
        return here[:, label] - (here[:, rival] if rival is not None else 0)

    return score


def probability(place: Place, label: int) -> Score:
    """The softmax probability of one class at one place."""
    row, column = place
    return lambda logits: logits[:, :, row, column].softmax(1)[:, label]


def attention(model: SegFormer, image: Tensor, place: Place, stage: int, block: int = -1) -> Tensor:
    """How much the token at a place attends to each part of the picture, the mean of all heads.

    Args:
        model: a SegFormer.
        image: `(1, in_channels, H, W)`.
        place: on the map of logits; asked is the token of the stage that lies over it.
        stage: from 0.
        block: of that stage; −1 is the last.

    Shape: → `(H, W)`.
    """
    weights = attention_maps(model, image)[stage][block][0].mean(0)  # (H_i, W_i, h, w)
    row, column = token_at(model, image, place, stage)
    return enlarged(weights[row, column], image)


def rollout(model: SegFormer, image: Tensor, place: Place, stage: int) -> Tensor:
    """Attention rollout from the token at a place of a stage down to the pixels.

    In each block a token is taken to be half itself and half what it attends to, the mean of all
    heads (Abnar and Zuidema 2020, arXiv:2005.00928). A key is an even share of the r×r tokens that
    it was reduced from, and a token of a new stage an even share of its patch.

    Args:
        model: a SegFormer.
        image: `(1, in_channels, H, W)`.
        place: on the map of logits.
        stage: from 0, where the way down begins.

    Shape: → `(H, W)`, shares that sum to one.
    """
    maps = attention_maps(model, image)[: stage + 1]
    sizes = [image.shape[2:], *(blocks[0].shape[2:4] for blocks in maps)]
    shares = image.new_zeros(sizes[-1])
    shares[token_at(model, image, place, stage)] = 1
    for number in reversed(range(stage + 1)):
        config = model.config.stages[number]
        for weights in reversed(maps[number]):
            shares = through_block(shares, weights[0].mean(0), config.reduction_ratio)
        shares = through_patches(shares, sizes[number], config.patch_size, config.stride)
    return shares


def through_block(shares: Tensor, weights: Tensor, reduction_ratio: int) -> Tensor:
    """Shares of the tokens that leave a block → shares of those that enter it.

    Shape: `(H, W)`, attention `(H, W, h, w)` → `(H, W)`.
    """
    r = reduction_ratio
    keys = torch.einsum("hw,hwij->ij", shares, weights)
    attended = torch.zeros_like(shares)
    windows = keys.repeat_interleave(r, 0).repeat_interleave(r, 1) / r**2
    attended[: windows.shape[0], : windows.shape[1]] = windows  # no key has seen what is past them
    return (shares + attended) / 2


def through_patches(shares: Tensor, size: Sequence[int], patch_size: int, stride: int) -> Tensor:
    """Shares of tokens → shares of what lies under their patches, padding left out.

    Shape: `(H', W')` → `(H, W)`, the `size`.
    """
    patches = {"kernel_size": patch_size, "stride": stride, "padding": patch_size // 2}
    under = F.unfold(shares.new_ones(1, 1, *size), **patches)  # (1, K², H'·W'), padding is 0
    even = shares.flatten() * under / under.sum(1, keepdim=True)
    return F.fold(even, tuple(size), **patches)[0, 0]


def gradient_times_input(model: SegFormer, image: Tensor, score: Score) -> Tensor:
    """The slope of the score at each pixel times its value, summed over the colours: `(H, W)`."""
    with torch.enable_grad(), evaluation(model):
        pixels = image.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(score(model(pixels)).sum(), pixels)
    return (slope * image).sum(1)[0]


def grad_cam(model: SegFormer, image: Tensor, score: Score, stage: int) -> Tensor:
    """Grad-CAM at a stage's map: channels weighted by their mean slope, and what is positive of it.

    Selvaraju and others 2016, arXiv:1610.02391; for segmentation Vinogradova and others 2020,
    arXiv:2002.11434.

    Shape: `(1, in_channels, H, W)` → `(H, W)`.
    """
    with torch.enable_grad(), evaluation(model):
        maps = model.encoder(image.detach().clone().requires_grad_())
        (slope,) = torch.autograd.grad(score(model.decoder(maps)).sum(), maps[stage])
    weights = slope.mean((2, 3), keepdim=True)  # (1, C, 1, 1)
    return enlarged((weights * maps[stage].detach()).sum(1)[0].relu(), image)


@torch.no_grad()
def occlusion(
    model: SegFormer, image: Tensor, score: Score, filled: Tensor, patch: int = 8
) -> Tensor:
    """By how much the score falls when a patch is replaced by that of another picture.

    Args:
        model: a SegFormer.
        image: `(1, in_channels, H, W)`.
        score: what is watched.
        filled: the other picture, of the same shape.
        patch: its side, in pixels.

    Shape: → `(H, W)`, the same number throughout each patch.
    """
    height, width = (math.ceil(side / patch) for side in image.shape[2:])
    one_each = torch.eye(height * width).view(-1, 1, height, width)
    masks = in_pixels(one_each, image, patch) > 0  # (patches, 1, H, W)
    with evaluation(model):
        whole = score(model(image))
        scores = [score(model(torch.where(some, filled, image))) for some in masks.split(64)]
    fall = (whole - torch.cat(scores)).view(1, 1, height, width)
    return in_pixels(fall, image, patch)[0, 0]


def coarse(image: Tensor, spacing: int = 32) -> Tensor:
    """A picture without detail: the mean of each square of so many pixels, enlarged bilinearly.

    Shape: `(B, C, H, W)` → the same.
    """
    means = F.avg_pool2d(image, spacing, ceil_mode=True)
    return F.interpolate(means, image.shape[2:], mode="bilinear")


def nearness(image: Tensor, place: Place, stride: int = 4) -> Tensor:
    """How near each pixel is to a place, as the negative distance: it knows no picture, no model.

    Shape: → `(H, W)`.
    """
    row, column = (stride * (each + 0.5) for each in place)
    rows, columns = (torch.arange(side) + 0.5 for side in image.shape[2:])
    return -torch.hypot(rows[:, None] - row, columns[None] - column)


def every_way(
    model: SegFormer,
    image: Tensor,
    place: Place,
    score: Score,
    filled: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """All ways of asking that lesson 09 compares, by name; a number is a stage, or a patch's side.

    Args:
        model: a SegFormer.
        image: `(1, in_channels, H, W)`.
        place: on the map of logits.
        score: what is watched there.
        filled: what an occluded patch is replaced by, a picture of the same shape.
        generator: draws the random map.

    Shape: → `(H, W)` each.
    """
    stages = range(model.config.num_stages)
    slope = gradient_times_input(model, image, score)
    return {
        **{f"attention {s + 1}": attention(model, image, place, s) for s in stages},
        **{f"rollout {s + 1}": rollout(model, image, place, s) for s in stages},
        "gradient × input": slope,
        "|gradient × input|": slope.abs(),
        **{f"Grad-CAM {s + 1}": grad_cam(model, image, score, s) for s in stages},
        **{f"occlusion {p}": occlusion(model, image, score, filled, p) for p in (8, 16)},
        "nearness": nearness(image, place),
        "random": torch.rand(image.shape[2:], generator=generator),
    }


def removal_masks(
    importance: Tensor, shares: Sequence[float], patch: int, generator: torch.Generator
) -> Tensor:
    """Which pixels are gone when a share of the patches is: those of greatest mean importance.

    Patches of equal importance go in a drawn order, so that no corner is favoured.

    Shape: `(H, W)`, n shares from 0 to 1 → `(n, 1, H, W)`.
    """
    means = in_patches(importance, patch)[None, None]
    drawn = torch.randperm(means.numel(), generator=generator)
    order = drawn[means.flatten()[drawn].argsort(descending=True, stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    gone = len(order) * torch.tensor(shares)
    small = rank.view(1, *means.shape[1:]) < gone.view(-1, 1, 1, 1)
    return in_pixels(small.float(), importance[None], patch) > 0


@torch.no_grad()
def removal_curve(
    model: SegFormer, image: Tensor, score: Score, filled: Tensor, masks: Tensor
) -> Tensor:
    """The score as ever more of a picture is replaced by another one.

    With the picture and a blurred one this is the deletion curve of Petsiuk and others 2018,
    arXiv:1806.07421; with the two exchanged, their insertion curve.

    Shape: two `(1, in_channels, H, W)` and masks `(n, 1, H, W)` → `(n,)`.
    """
    with evaluation(model):
        parts = [score(model(torch.where(some, filled, image))) for some in masks.split(64)]
    return torch.cat(parts)


def rank_correlation(map_a: Tensor, map_b: Tensor, patch: int = 8) -> float:
    """Spearman's correlation of two maps, by the means of their patches: 1 is the same order."""
    ranks = [in_patches(each, patch).flatten().argsort().argsort() for each in (map_a, map_b)]
    return torch.corrcoef(torch.stack(ranks).double())[0, 1].item()


def ranked_above(importance: Tensor, inside: Tensor, outside: Tensor) -> float:
    """How often a pixel inside is more important than one outside, ties half: ½ is chance.

    Shape: `(H, W)`, and two masks `(H, W)`.
    """
    here, there = importance[inside][:, None], importance[outside]
    return ((here > there).float().mean() + (here == there).float().mean() / 2).item()


def token_at(model: SegFormer, image: Tensor, place: Place, stage: int) -> Place:
    """The token of a stage over a place of the map of logits."""
    strides = model.config.strides[1 : stage + 1]
    row, column = (each // math.prod(strides) for each in place)
    return row, column


def enlarged(values: Tensor, image: Tensor) -> Tensor:
    """A map `(h, w)`, resized bilinearly to the picture: `(H, W)`."""
    return F.interpolate(values[None, None], image.shape[2:], mode="bilinear")[0, 0]


def in_patches(importance: Tensor, patch: int) -> Tensor:
    """The mean of a map in each patch, `(H, W)` → `(h, w)`."""
    return F.avg_pool2d(importance[None, None], patch, ceil_mode=True)[0, 0]


def in_pixels(patches: Tensor, image: Tensor, patch: int) -> Tensor:
    """A number for each patch → for each pixel: `(B, C, h, w)` → `(B, C, H, W)`."""
    height, width = image.shape[-2:]
    pixels = patches.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return pixels[:, :, :height, :width]
