"""Token merging: a trained model answers with fewer tokens in its attention, without new training.

Similar tokens are averaged before attention and get the same answer after it, so the map keeps its
grid. The matching is that of ToMe (Bolya et al. 2023, arXiv 2210.09461), with SegFormer++'s two
changes (Kienzle et al. 2024, arXiv 2405.14467): queries and keys are merged apart, keys after the
spatial reduction; and the tokens that others are merged into lie on a grid.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.analysis.attention_maps import check_model
from segformer_edu.analysis.cost import Size, cost
from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.checks import check_choice, check_positive, check_rate
from segformer_edu.config import SegFormerConfig
from segformer_edu.encoder import EncoderBlock
from segformer_edu.segformer import SegFormer

# From tokens (B, S, C) that may be merged, tokens (B, D, C) that may take them in, and for each of
# the S the one of the D in whose cell it lies: how much it should be merged, and into which one.
Matching = Callable[[Tensor, Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


def similar(
    movable: Tensor, staying: Tensor, own: Tensor, chance: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each to the staying token with the highest cosine, and the highest cosines first."""
    cosines = F.normalize(movable, dim=-1) @ F.normalize(staying, dim=-1).transpose(1, 2)
    best = cosines.max(dim=-1)  # over D
    return best.values, best.indices


def neighbours(
    movable: Tensor, staying: Tensor, own: Tensor, chance: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each to the staying token of its own cell, in a random order."""
    return torch.rand(movable.shape[:2], generator=chance), own.expand(len(movable), -1)


def strangers(
    movable: Tensor, staying: Tensor, own: Tensor, chance: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each to any staying token, in a random order."""
    shape = movable.shape[:2]
    drawn = torch.randint(staying.shape[1], shape, generator=chance)
    return torch.rand(shape, generator=chance), drawn


MATCHINGS: dict[str, Matching] = {
    "similar": similar,
    "neighbours": neighbours,
    "strangers": strangers,
}


@dataclass(frozen=True)
class Merging:
    """Which of a map's tokens are merged.

    Args:
        share: of the tokens, that are merged into others.
        cell: the top left token of each cell × cell stays; all others may be merged into one that
            stays.
        matching: "similar", or one of two that look at no token: "neighbours", the stayer of the
            own cell; "strangers", any.

    Raises:
        ValueError: a share outside [0, 1 − 1 / cell²], a cell below 1, an unknown matching.
    """

    share: float = 0.0
    cell: int = 2
    matching: str = "similar"

    def __post_init__(self) -> None:
        check_rate(share=self.share)
        check_positive(cell=self.cell)
        check_choice(tuple(MATCHINGS), matching=self.matching)
        if self.share > 1 - self.cell**-2:
            raise ValueError(
                f"share = {self.share!r}: one token of each {self.cell}×{self.cell} cell stays, so "
                f"at most {1 - self.cell**-2:g} of them can be merged. Choose larger cells."
            )

    def merged(self, size: Sequence[int]) -> int:
        """How many tokens of a map of this size are merged into others.

        Where cells are cut off by the border, more tokens stay, and the share may be out of reach.
        """
        height, width = size
        return min(round(self.share * height * width), height * width - self.staying(size))

    def staying(self, size: Sequence[int]) -> int:
        """How many tokens nobody may merge into others: one for each cell."""
        return -(-size[0] // self.cell) * -(-size[1] // self.cell)

    def cosines(self, size: Size, dim: int) -> int:
        """Multiply-adds of the matching: none if no token is looked at, or none is merged."""
        if self.matching != "similar" or not self.merged(size):
            return 0
        staying = self.staying(size)
        return (size[0] * size[1] - staying) * staying * dim

    def groups(self, x: Tensor, chance: torch.Generator) -> Groups:
        """The groups into which the tokens of a map `(B, H, W, C)` fall."""
        B, H, W, _ = x.shape
        everyone, fewer = torch.arange(H * W).repeat(B, 1), self.merged((H, W))
        if not fewer:
            return Groups(everyone, H * W)
        rows, columns = torch.arange(H)[:, None], torch.arange(W)
        stays = ((rows % self.cell == 0) & (columns % self.cell == 0)).flatten()
        staying, movable = stays.nonzero().flatten(), (~stays).nonzero().flatten()
        cells = (rows // self.cell) * -(-W // self.cell) + columns // self.cell
        own = cells.flatten()[movable]

        tokens = x.flatten(1, 2)  # (B, N, C)
        match = MATCHINGS[self.matching]
        urgency, partner = match(tokens[:, movable], tokens[:, staying], own, chance)
        chosen = urgency.topk(fewer, dim=1).indices
        into = everyone.scatter(1, movable[chosen], staying[partner.gather(1, chosen)])
        order = (into == everyone).cumsum(1) - 1  # groups are numbered in the order of the map
        return Groups(order.gather(1, into), H * W - fewer)


NOTHING = Merging()


@dataclass(frozen=True)
class Groups:
    """Into which groups the tokens of a map fall; every map of a batch has as many.

    Args:
        of: the group of each token, `(B, N)`, whole numbers below `number`.
        number: how many groups there are.
    """

    of: Tensor
    number: int

    def mean(self, x: Tensor) -> Tensor:
        """The mean of each group: `(B, H, W, C)` → `(B, 1, groups, C)`."""
        tokens = x.flatten(1, 2)
        sums = tokens.new_zeros(len(x), self.number, x.shape[-1])
        sums.scatter_add_(1, self.of[..., None].expand_as(tokens), tokens)
        return (sums / self.sizes()[..., None])[:, None]

    def sizes(self) -> Tensor:
        """How many tokens each group holds, `(B, groups)`."""
        ones = torch.ones_like(self.of)
        return torch.zeros(len(self.of), self.number).long().scatter_add_(1, self.of, ones)

    def spread(self, x: Tensor, like: Tensor) -> Tensor:
        """To every token what its group has: `(B, 1, groups, C)` → `(B, H, W, C)`."""
        rows = self.of[..., None].expand(-1, -1, x.shape[-1])
        return x[:, 0].gather(1, rows).view(like.shape)


def mean_colours(photo: np.ndarray, groups: Groups, grid: Size) -> np.ndarray:
    """A picture in which every token's patch has the mean colour of its group.

    Args:
        photo: `(H, W, 3)` uint8.
        groups: of one map of tokens.
        grid: height and width of that map; they divide those of the photo.

    Shape: → `(H, W, 3)` uint8.
    """
    sides = [side // tokens for side, tokens in zip(photo.shape[:2], grid, strict=True)]
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float()  # (1, 3, H, W)
    patches = F.avg_pool2d(pixels, sides).permute(0, 2, 3, 1)  # (1, h, w, 3)
    of_groups = groups.spread(groups.mean(patches), like=patches)[0].round().byte()
    return of_groups.repeat_interleave(sides[0], 0).repeat_interleave(sides[1], 1).numpy()


class MergingAttention(nn.Module):
    """Attention from the means of groups of queries to the means of groups of keys and values.

    Args:
        attention: whose layers are used.
        queries, keys: which tokens of the map, and of the reduced map, are merged.
        proportional: whether a key that stands for several counts as often in the softmax; the
            logarithm of its group's size is then added to its logits (ToMe, section 3).
        seed: of what is drawn, in each forward pass anew.

    Shape: as the attention's.
    """

    def __init__(
        self,
        attention: SpatialReductionAttention,
        queries: Merging,
        keys: Merging,
        proportional: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.dim, self.reduction_ratio = attention.dim, attention.reduction_ratio
        self.attention, self.queries, self.keys = attention, queries, keys
        self.proportional, self.seed = proportional, seed

    def forward(self, x: Tensor) -> Tensor:
        chance = torch.Generator().manual_seed(self.seed)
        own, reduced = self.attention, self.attention.reduce(x)
        rows, columns = self.queries.groups(x, chance), self.keys.groups(reduced, chance)
        x_means, reduced_means = rows.mean(x), columns.mean(reduced)  # (B, 1, groups, C)
        q, k, v = own.query(x_means), own.key(reduced_means), own.value(reduced_means)
        bias = columns.sizes().log()[:, None, None] if self.proportional else None
        q, k, v = own.heads(q), own.heads(k), own.heads(v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return rows.spread(own.output(mixed.transpose(1, 2).reshape(x_means.shape)), like=x)


def merged(
    model: SegFormer,
    queries: Sequence[Merging] | None = None,
    keys: Sequence[Merging] | None = None,
    proportional: bool = False,
    seed: int = 0,
) -> SegFormer:
    """A copy of a model that merges tokens in the attention of every block.

    Args:
        model: stays as it is.
        queries: for each stage, which tokens of its map are merged; none if left out.
        keys: the same of its reduced map.
        proportional, seed: as `MergingAttention` takes them.

    Raises:
        ValueError: not one for each stage, or the model is no SegFormer.
    """
    check_model(model)
    of_stages = both(model.config, queries, keys)
    model = copy.deepcopy(model)
    for stage, (rows, columns) in zip(model.encoder.stages, of_stages, strict=True):
        for block in [part for part in stage.modules() if isinstance(part, EncoderBlock)]:
            merging = MergingAttention(block.attention, rows, columns, proportional, seed)
            block.add_module("attention", merging)
    return model


def both(
    config: SegFormerConfig, queries: Sequence[Merging] | None, keys: Sequence[Merging] | None
) -> list[tuple[Merging, Merging]]:
    """Of each stage what is merged, queries and keys."""
    count = config.num_stages
    given = [[NOTHING] * count if each is None else list(each) for each in (queries, keys)]
    if {len(each) for each in given} != {count}:
        raise ValueError(
            f"queries and keys: give one Merging for each of the {count} stages; got "
            f"{len(given[0])} and {len(given[1])}."
        )
    return list(zip(*given, strict=True))


def multiply_adds(
    config: SegFormerConfig,
    size: Size,
    queries: Sequence[Merging] | None = None,
    keys: Sequence[Merging] | None = None,
) -> int:
    """What one image costs with merging, the cosines of "similar" included.

    Args:
        config: which SegFormer.
        size: height and width of the image, in pixels.
        queries, keys: as `merged` takes them.
    """
    bill = cost(config, size)
    total = bill.multiply_adds
    of_stages = zip(config.stages, bill.stages, both(config, queries, keys), strict=True)
    for stage, own, (rows, columns) in of_stages:
        c, n, m = stage.embed_dim, own.tokens, own.keys
        n_left, m_left = n - rows.merged(own.size), m - columns.merged(own.key_size)
        saved = 2 * (n + m - n_left - m_left) * c**2 + 2 * (n * m - n_left * m_left) * c
        total -= stage.depth * (
            saved - rows.cosines(own.size, c) - columns.cosines(own.key_size, c)
        )
    return total
