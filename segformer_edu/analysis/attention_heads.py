"""What the heads of a model do with their attention, as numbers (lesson 09)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.analysis.attention_maps import attention_maps
from segformer_edu.segformer import SegFormer


def entropy(weights: Tensor) -> Tensor:
    """How spread the attention of each query is: −Σ p log p over its keys, in nats.

    It is 0 if all weight lies on one key, and log n if n keys have the same, so its exponential is
    a number of keys.

    Args:
        weights: as `attention_maps` gives them.

    Shape: `(…, h, w)` → `(…)`.
    """
    return torch.special.entr(weights).sum((-2, -1))


def cells(mask: Tensor, size: tuple[int, int], least: float = 0.0) -> Tensor:
    """The cells of a coarser grid of which more than a share lies in a mask.

    Args:
        mask: `(B, H, W)` bool.
        size: rows and columns of the grid.
        least: the share; 0 for every cell that the mask touches.

    Shape: → `(B, *size)` bool.
    """
    return F.adaptive_avg_pool2d(mask.float()[:, None], size)[:, 0] > least


def attention_between(
    model: SegFormer, images: Tensor, asking: Tensor, asked: Tensor
) -> list[tuple[float, float]]:
    """How much some pixels' tokens attend to others, and how much they would if they attended to
    all keys alike: for each stage, in its last block, the mean of all heads.

    Args:
        model: a SegFormer.
        images: `(B, in_channels, H, W)`.
        asking: `(B, H, W)` bool; a token asks if more than a quarter of it lies there.
        asked: `(B, H, W)` bool; a key counts if any of it lies there.
    """
    found = []
    for *_, weights in attention_maps(model, images):
        rows, columns, h, w = weights.shape[2:]
        keys, queries = cells(asked, (h, w)), cells(asking, (rows, columns), least=0.25)
        given = attention_on(weights, keys, queries).mean().item()
        found.append((given, even_share(keys, queries)))
    return found


def attention_on(weights: Tensor, keys: Tensor, queries: Tensor) -> Tensor:
    """The share of their attention that some queries give to some keys, mean of these queries.

    Args:
        weights: `(B, heads, H, W, h, w)`, as `attention_maps` gives them.
        keys: `(B, h, w)` bool.
        queries: `(B, H, W)` bool.

    Shape: → `(heads,)`.

    Raises:
        ValueError: no query is chosen.
    """
    if not queries.any():
        raise ValueError("queries: not a single one is True, so there is no attention to look at.")
    on = (weights * keys[:, None, None, None]).sum((-2, -1))  # (B, heads, H, W)
    return on.transpose(0, 1)[:, queries].mean(1)


def even_share(keys: Tensor, queries: Tensor) -> float:
    """What `attention_on` would be if every query attended to all keys alike.

    Args: as of `attention_on`.
    """
    pictures, *_ = queries.nonzero(as_tuple=True)
    return keys.float().mean((1, 2))[pictures].mean().item()
