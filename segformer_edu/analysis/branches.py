"""A trained model without some of its residual branches (lessons 02, 05, 09)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch

from segformer_edu.analysis.attention_maps import check_model
from segformer_edu.segformer import SegFormer
from segformer_edu.stochastic_depth import drop_rates

# The kinds of branch, in the order in which a block has them, and their last layers.
KINDS = {"attention": "output", "mix_ffn": "contract"}


class Branch(NamedTuple):
    """One of the two things that a block adds to its input; stage and block count from 0."""

    stage: int
    block: int
    kind: str  # "attention" or "mix_ffn"


def branches(model: SegFormer, *kinds: str) -> list[Branch]:
    """The branches of a model, all or those of some kinds, in the order of its computation."""
    check_model(model)
    return [
        Branch(stage, block, kind)
        for stage, depth in enumerate(model.config.depths)
        for block in range(depth)
        for kind in kinds or KINDS
    ]


def drawn_branches(model: SegFormer, rate: float, seed: int) -> list[Branch]:
    """Which branches DropPath leaves out of one sample, if it drops those of the last block at a
    rate, those of the first never, and of the others by the linspace rule.

    With one seed, what a lower rate leaves out is also left out by a higher one.
    """
    every = branches(model)
    rates = drop_rates(rate, sum(model.config.depths))
    draws = torch.rand(len(every), generator=torch.Generator().manual_seed(seed))
    both = [rate for rate in rates for _ in KINDS]
    return [each for each, draw, rate in zip(every, draws, both, strict=True) if draw < rate]


def without_branches(model: SegFormer, missing: Iterable[tuple[int, int, str]]) -> SegFormer:
    """A copy of a model in which some branches add nothing, as if their DropPath were closed, and
    learn nothing if it is trained.

    The last matrix of such a branch, and its bias, are zero and stay so.

    Args:
        model: stays as it is.
        missing: each (stage, block, "attention" or "mix_ffn"), from 0.

    Raises:
        ValueError: no SegFormer, or a branch that it does not have.
    """
    known = branches(model)
    shorter = copy.deepcopy(model)
    for each in missing:
        if each not in known:
            raise ValueError(
                f"missing holds {tuple(each)}: a branch of this model is one of {known[0][:]} … "
                f"{known[-1][:]}, its stage, its block, from 0, and {' or '.join(KINDS)}."
            )
        stage, block, kind = each
        branch = shorter.encoder.get_submodule(f"stages.{stage}.blocks.{block}.{kind}")
        branch.requires_grad_(False)
        for weight in branch.get_submodule(KINDS[kind]).parameters():
            weight.zero_()
    return shorter
