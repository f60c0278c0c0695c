"""Stochastic depth: drop residual branches in training (Huang et al. 2016, arXiv 1603.09382)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segformer_edu.checks import check_choice, check_positive, check_rate

RULES = ("linspace", "paper")  # how drop rates grow from block to block
MODES = ("sample", "batch")  # what one gate is drawn for


def drop_rates(rate: float, depth: int, rule: str = "linspace") -> list[float]:
    """The drop probability of each of `depth` blocks, rising to `rate` at the last.

    Args:
        rate: drop probability of the last block, 0 to 1.
        depth: number of blocks L, all stages together.
        rule: "linspace" is rate · (l − 1) / (L − 1), the first block never dropped, as in SegFormer
            and its relatives; a single block is the first. "paper" is rate · l / L for l =
            1 … L, from 1 − p_l = (l / L)(1 − p_L) (section 3).

    Raises:
        ValueError: a rate outside [0, 1], a depth below 1, an unknown rule.
    """
    check_rate(rate=rate)
    check_positive(depth=depth)
    check_choice(RULES, rule=rule)
    if rule == "paper":
        return [rate * block / depth for block in range(1, depth + 1)]
    return [rate * block / max(depth - 1, 1) for block in range(depth)]


class DropPath(nn.Module):
    """Zero a residual branch at random in training, and scale what is kept by 1 / (1 − rate).

    Args:
        rate: probability of dropping, 0 to 1.
        mode: "sample" draws one gate for each sample, "batch" one for the whole mini-batch.

    Shape: any `(B, ...)`, returned in the same shape. The identity in evaluation.

    Raises:
        ValueError: a rate outside [0, 1] or an unknown mode.
    """

    def __init__(self, rate: float, mode: str = "sample") -> None:
        super().__init__()
        check_rate(rate=rate)
        check_choice(MODES, mode=mode)
        self.rate, self.mode = float(rate), mode

    @property
    def active(self) -> bool:
        return self.training and self.rate > 0

    @property
    def scale(self) -> float:
        """The factor of a kept branch, which preserves the mean over the draws: 1 / (1 − rate), or
        0 if no branch is ever kept.
        """
        return 1 / (1 - self.rate) if self.rate < 1 else 0.0

    def kept(self, batch_size: int) -> Tensor:
        """Which samples keep the branch, drawn on the CPU in float32, so that the rate is the same
        in every precision.
        """
        gates = batch_size if self.mode == "sample" else 1
        draws = torch.rand(gates, device="cpu", dtype=torch.float32)
        return (draws >= self.rate).expand(batch_size)  # rand() is in [0, 1): rate 1 keeps none

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return x
        kept = self.kept(len(x)).to(x.device).view(-1, *[1] * (x.ndim - 1))
        return torch.where(kept, self.scale * x, 0)  # 0 even if a dropped branch holds inf

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}, mode={self.mode!r}"


def residual(x: Tensor, branch: Callable[[Tensor], Tensor], drop_path: DropPath) -> Tensor:
    """`x + drop_path(branch(x))`, with the branch computed for the kept samples only: dropped work
    is not done.

    Args:
        x: `(B, ...)`.
        branch: maps `(b, ...)` to `(b, ...)` for any b, 0 included: an empty batch still takes part
            in the graph, so that every parameter has a gradient when all samples are dropped, as
            DistributedDataParallel requires.
        drop_path: says which samples are kept; its forward is not called, so hooks on it never run.
    """
    if not drop_path.active:
        return x + branch(x)
    rows = drop_path.kept(len(x)).nonzero().flatten().to(x.device)
    return x.index_add(0, rows, branch(x[rows]).to(x.dtype), alpha=drop_path.scale)
