"""Exercises of lesson 05, stochastic depth."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.exercises.exercise import (
    NotAttempted,
    diagnose,
    drawn,
    exercise,
    is_stub,
    normal,
    same,
)
from segformer_edu.stochastic_depth import DropPath


def survival(block: int, depth: int, rate: float) -> float:
    """Probability that a branch of block 1 … depth survives, by the linspace rule of SegFormer."""
    drop = rate * (block - 1) / max(depth - 1, 1)  # the first block is never dropped
    return 1 - drop


@exercise(
    "05.1",
    "Drop, or survival?",
    stars=1,
    minutes=4,
    solution=survival,
    hints=[
        "torch.linspace(0, rate, depth) begins with 0. Is that a probability of being dropped, or "
        "of surviving?",
        "There are depth − 1 steps between the first block and the last.",
        "1 − rate · (block − 1) / (depth − 1). But what of a single block? linspace gives 0 for "
        "it.",
    ],
    takeaway="linspace gives drop probabilities, so a block survives with 1 minus its own.",
)
def examine_survival(answer: Callable[..., float]) -> str | None:
    def draw(rng: random.Random) -> tuple[int, int, float]:
        depth = rng.randint(2, 12)
        return rng.randint(1, depth), depth, rng.random()

    return diagnose(
        answer,
        survival,
        [(1, 8, 0.1), (8, 8, 0.1), (2, 2, 0.4), (2, 5, 0.0), (5, 5, 1.0), *drawn(draw)],
        {
            "this is the probability of being dropped, which is what linspace gives. A block "
            "survives with 1 minus that.": lambda b, L, r: r * (b - 1) / (L - 1),
            "this is the paper's rule, in which block 1 can be dropped too. SegFormer's begins at "
            "0, so block 1 always survives.": lambda b, L, r: 1 - r * b / L,
            "block 1 is never dropped, which is right, but the last is not dropped at the full "
            "rate, because there are depth − 1 steps between them and not depth.": (
                lambda b, L, r: 1 - r * (b - 1) / L
            ),
            "the blocks are numbered from 1, so the last is dropped here at more than the rate.": (
                lambda b, L, r: 1 - r * b / (L - 1)
            ),
            "every block has the last one's rate here. The rate should rise to it, block by "
            "block.": lambda b, L, r: 1 - r,
            "this is the chance that both branches of the block survive. Each has a gate of its "
            "own: return the chance of one.": lambda b, L, r: (1 - r * (b - 1) / (L - 1)) ** 2,
            "the list is turned round: here the first blocks are dropped most, and the last one "
            "always survives.": lambda b, L, r: 1 - r * (L - b) / (L - 1),
        },
    ) or diagnose(
        answer,
        survival,
        [(1, 1, 0.3), (1, 1, 1.0)],
        {
            "this is right except for a single block: there are no steps between the first and the "
            "last then, and you divide by their number.": lambda b, L, r: 1 - r * (b - 1) / (L - 1),
            "this is right except for a single block, which is the first and so never dropped.": (
                lambda b, L, r: 1 - r
            ),
        },
    )


def expected_depth(depth: int, last_survival: float) -> float:
    """Blocks that survive on average, by the rule of the paper (eq. 4)."""
    return sum(1 - block / depth * (1 - last_survival) for block in range(1, depth + 1))


@exercise(
    "05.2",
    "How deep is it on average?",
    stars=1,
    minutes=6,
    solution=expected_depth,
    hints=[
        "The expected number of survivors is the sum of the survival probabilities.",
        "Equation 4 gives them: p_l = 1 − (l / L)(1 − p_L). Which l belong to blocks?",
        "The sum runs over l = 1 … L. You can test it with p_L = 0.5, where it should be "
        "(3L − 1) / 4.",
    ],
    takeaway="L − (1 − p_L)(L + 1) / 2, which is (3L − 1) / 4 at p_L = 0.5.",
)
def examine_expected_depth(answer: Callable[..., float]) -> str | None:
    return diagnose(
        answer,
        expected_depth,
        [
            (54, 0.5),
            (1, 0.5),
            (10, 1.0),
            (7, 0.0),
            *drawn(lambda rng: (rng.randint(1, 60), rng.random())),
        ],
        {
            "you let l begin at 0. That is the input and not a block: block 1 is dropped with "
            "probability (1 − p_L) / L.": lambda L, p: sum(1 - b / L * (1 - p) for b in range(L)),
            "this is L times the mean of 1 and p_L, which is the linspace rule. In the paper's "
            "rule the first block has less than 1.": lambda L, p: L * (1 + p) / 2,
            "every block has p_L here, but only the last one should: the others fall towards it.": (
                lambda L, p: L * p
            ),
            "this counts the blocks that are dropped, but the depth is what survives.": (
                lambda L, p: sum(b / L * (1 - p) for b in range(1, L + 1))
            ),
            "this is right for p_L = 0.5 only, the paper's example.": (
                lambda L, p: (3 * L - 1) / 4
            ),
            "this is the share of the blocks that survive. The depth is their number.": (
                lambda L, p: 1 - (1 - p) * (L + 1) / (2 * L)
            ),
            "you let l run from 0 to L, which are L + 1. l = 0 is the input and not a block.": (
                lambda L, p: sum(1 - b / L * (1 - p) for b in range(L + 1))
            ),
            "p_L is the last block's survival probability, but here it is taken for its drop "
            "rate.": lambda L, p: sum(1 - b / L * p for b in range(1, L + 1)),
        },
    )


def gate(x: Tensor, kept: Tensor) -> Tensor:
    """`(B,)` → `(B, 1, …, 1)`, with as many axes as x."""
    return kept.view(-1, *[1] * (x.ndim - 1))


def some_kept(rng: random.Random, batch: int) -> Tensor:
    """`(B,)` of True and False, some of each, for B of 2 or more."""
    kept = [True, False, *rng.choices([True, False], k=batch - 2)]
    return torch.tensor(rng.sample(kept, batch))


def drop_path(x: Tensor, kept: Tensor, rate: float) -> Tensor:
    """`(B, ...)`, with the samples that are not kept set to zero and the rest scaled."""
    if rate == 1:
        return torch.zeros_like(x)
    return x * kept.view(-1, *[1] * (x.ndim - 1)) / (1 - rate)  # one gate per sample: (B, 1, …, 1)


@exercise(
    "05.3",
    "DropPath by hand",
    stars=2,
    minutes=8,
    solution=drop_path,
    hints=[
        "You need one number for each sample. Which axis is that, and how does the number reach "
        "all the others?",
        "x * kept lines up the last axes. So give kept as many axes as x has: (B, 1, …, 1).",
        "Kept samples are divided by the probability of being kept. At rate 1 there are none.",
    ],
    takeaway="one gate per sample, (B, 1, …, 1), and 1 / (1 − rate) for those that are kept.",
)
def examine_drop_path(answer: Callable[..., Tensor]) -> str | None:
    def case(rng: random.Random, *shape: int) -> tuple[Tensor, Tensor, float]:
        kept = torch.tensor(rng.choices([True, False], k=shape[0]))
        return normal(rng, *shape), kept, rng.random()

    def cube(rng: random.Random) -> tuple[Tensor, Tensor, float]:
        """Three axes of one length, so that a gate on the wrong axis runs."""
        return case(rng, *[rng.randint(1, 5)] * 3)

    def any_shape(rng: random.Random) -> tuple[Tensor, Tensor, float]:
        return case(rng, *(rng.randint(1, 5) for _ in range(rng.randint(1, 4))))

    some = torch.ones(9, 9, 9), torch.arange(9) % 2 == 0, 0.5
    nothing = torch.ones(2, 3, 2), torch.zeros(2, dtype=torch.bool), 1.0
    mistakes: dict[str, Callable[..., Tensor]] = {
        "the kept samples are not scaled, so on average too little gets through.": (
            lambda x, kept, rate: x * gate(x, kept)
        ),
        "the kept samples are multiplied by their probability, which makes them even smaller. "
        "Divide by it.": lambda x, kept, rate: x * gate(x, kept) * (1 - rate),
        "the kept samples are divided by the drop rate. Divide by the probability of being kept.": (
            lambda x, kept, rate: x * gate(x, kept) / rate
        ),
        "the kept samples are divided by the share that happened to be kept this time. Divide by "
        "its probability, 1 − rate.": (
            lambda x, kept, rate: x * gate(x, kept) / kept.float().mean()
        ),
        "the gates lie along the last axis, so channels are dropped, in every sample. Give kept "
        "the shape (B, 1, …, 1).": lambda x, kept, rate: x * kept / (1 - rate),
        "the gates lie along the second axis, so tokens are dropped, in every sample. Give kept "
        "the shape (B, 1, …, 1).": lambda x, kept, rate: x * kept[:, None] / (1 - rate),
        "one gate decides for the whole batch, that of the first sample. Each sample should have "
        "its own.": lambda x, kept, rate: x * kept[0] / (1 - rate),
        "the wrong samples are dropped: `kept` marks those that stay.": (
            lambda x, kept, rate: x * ~gate(x, kept) / (1 - rate)
        ),
        "the dropped samples are missing. They should be zero, so that the batch keeps its size.": (
            lambda x, kept, rate: x[kept] / (1 - rate)
        ),
        "kept has four axes here, whatever x has. x may have any number, and kept needs as many.": (
            lambda x, kept, rate: x * kept[:, None, None, None] / (1 - rate)
        ),
        "nothing is dropped, and all samples are scaled.": lambda x, kept, rate: x / (1 - rate),
    }
    first, second = answer(*some), answer(*some)
    if not same(first, second):
        gone = first.flatten(1) == 0
        if (gone.any(dim=1) & ~gone.all(dim=1)).any():
            return (
                "single numbers are dropped, as ordinary dropout does. `kept` says which samples "
                "stay, and each stays or goes as a whole."
            )
        return "it draws gates of its own. Nothing is left to draw: `kept` says which samples stay."
    return (
        diagnose(answer, drop_path, drawn(cube), mistakes)
        or diagnose(
            answer,
            drop_path,
            drawn(any_shape),
            {
                "this is right for an x of three axes. It may have any number, and kept needs as "
                "many.": lambda x, kept, rate: x * kept[:, None, None] / (1 - rate),
            },
        )
        or diagnose(
            answer,
            drop_path,
            [nothing],
            {
                "this is right except at rate 1, where it gives 0 · 1/0, which is not a number. "
                "Nothing is kept then.": lambda x, kept, rate: x * math.nan,
                "this is right except at rate 1, where it divides by 0. Nothing is kept then.": (
                    lambda x, kept, rate: 1 / (1 - rate)
                ),
            },
        )
    )


def chance_of(count: int, survival: Sequence[float]) -> float:
    """Probability that exactly `count` blocks survive, each with its own probability."""
    law = [1.0]  # without blocks, none survives
    for p in survival:
        dropped, kept = [(1 - p) * chance for chance in law], [p * chance for chance in law]
        law = [a + b for a, b in zip([*dropped, 0], [0, *kept], strict=True)]
    return law[count]


@exercise(
    "05.4",
    "How likely is a network of k blocks?",
    stars=2,
    minutes=12,
    solution=chance_of,
    hints=[
        "Begin with two blocks. In how many ways can exactly one survive, and how likely is each "
        "of them?",
        "Then add the blocks one at a time. Of l blocks, k survive if k of the first l − 1 did and "
        "block l is dropped, or if k − 1 did and block l survives.",
        "Keep a list of the chances of 0, 1, 2, … survivors. It begins as [1.0], and every block "
        "makes it one longer.",
    ],
    takeaway="block by block: if it is dropped, the count stays; if it is kept, the count goes up "
    "by one.",
)
def examine_chance_of(answer: Callable[..., float]) -> str | None:
    def draw(rng: random.Random) -> tuple[int, list[float]]:
        depth = rng.randint(1, 8)
        return rng.randint(0, depth), [rng.random() for _ in range(depth)]

    def binomial(k: int, n: int, p: float) -> float:
        return math.comb(n, k) * p**k * (1 - p) ** (n - k)

    diagnosis = diagnose(
        answer,
        chance_of,
        [(0, [0.9, 0.5, 0.2]), (3, [0.8, 0.7, 1.0, 0.1]), (1, [0.0]), (1, [0.25]), *drawn(draw)],
        {
            "this is the binomial law with the mean probability. Its mean is right, but blocks of "
            "unequal probability vary less than it says.": (
                lambda k, s: binomial(k, len(s), sum(s) / len(s))
            ),
            "this is the chance that exactly k are dropped.": lambda k, s: chance_of(
                k, [1 - p for p in s]
            ),
            "this is the chance of one network, in which the first k blocks survive and the others "
            "do not. Any k of them will do.": lambda k, s: (
                math.prod(s[:k]) * math.prod(1 - p for p in s[k:])
            ),
            "this is the chance of k or fewer.": lambda k, s: sum(
                chance_of(count, s) for count in range(k + 1)
            ),
            "this is the chance of k or more.": lambda k, s: sum(
                chance_of(count, s) for count in range(k, len(s) + 1)
            ),
            "this is Poisson's law, which is for many rare events.": lambda k, s: (
                math.exp(-sum(s)) * sum(s) ** k / math.factorial(k)
            ),
        },
    )
    if diagnosis is None and "surviving_blocks" in names_in(answer):
        return "this is right, but `surviving_blocks` has done the work. Write it out yourself."
    return diagnosis


def names_in(function: Callable[..., object]) -> tuple[str, ...]:
    """The global names and attributes that a function looks up."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_names if code else ()


class Block(nn.Module):
    """A residual block around a fixed map; `step` puts x, branch and DropPath together."""

    def __init__(self, step: Callable[[Tensor, Tensor, DropPath], Tensor], rate: float) -> None:
        super().__init__()
        self.step, self.drop_path = step, DropPath(rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x, 0.1 * x.roll(1, dims=-1) + 0.1, self.drop_path)


def gates(branch: Tensor, drop_path: DropPath) -> Tensor:
    """Ones and zeros: which samples of the branch are kept this time."""
    return (drop_path(torch.ones_like(branch)) > 0).float()


def another(drop_path: DropPath, rate: float, mode: str = "sample") -> DropPath:
    """A DropPath of another rate or mode, in training when this one is."""
    return DropPath(rate, mode).train(drop_path.training)


def share_kept(drop_path: DropPath) -> float:
    return 1 - drop_path.rate if drop_path.active else 1.0


# What is wrong with a block → what it does; a learner's test should notice each.
FAULTS: dict[str, Callable[[Tensor, Tensor, DropPath], Tensor]] = {
    "a block that has a DropPath, with the right rate, and never calls it. What should a block "
    "give at rate 1?": lambda x, branch, drop_path: x + branch,
    "a block that drops the whole sum, x and branch. The input should come through at rate 1.": (
        lambda x, branch, drop_path: drop_path(x + branch)
    ),
    "a block that drops every sample, whatever its rate. What should a block give at rate 0?": (
        lambda x, branch, drop_path: x + another(drop_path, 1.0)(branch)
    ),
    "a block that takes the rate for the probability of being kept.": (
        lambda x, branch, drop_path: x + another(drop_path, 1 - drop_path.rate)(branch)
    ),
    "a block that goes on dropping in evaluation.": (
        lambda x, branch, drop_path: x + drop_path.train()(branch)
    ),
    "a block that gives nan at rate 1, where its 0 meets 1/0. The input should come through.": (
        lambda x, branch, drop_path: (
            x + branch * gates(branch, drop_path) / torch.tensor(share_kept(drop_path))
        )
    ),
    "a block that does not scale the branches that are kept. Rates 0 and 1 cannot show that, so "
    "test one between them.": lambda x, branch, drop_path: x + branch * gates(branch, drop_path),
    "a block that divides the kept branches by the rate. At a rate of 1/2 that looks right.": (
        lambda x, branch, drop_path: (
            x + branch * gates(branch, drop_path) / (drop_path.rate if drop_path.active else 1)
        )
    ),
    "a block that drops single numbers of the branch, as ordinary dropout does. A sample's branch "
    "should be dropped as a whole.": (
        lambda x, branch, drop_path: x + F.dropout(branch, drop_path.rate, drop_path.training)
    ),
    "a block that drops single tokens of the branch. A sample's branch should be dropped as a "
    "whole.": lambda x, branch, drop_path: (
        x + branch * F.dropout(torch.ones_like(branch[..., :1]), drop_path.rate, drop_path.training)
    ),
    "a block that draws one gate for the whole batch. Every sample should have its own.": (
        lambda x, branch, drop_path: x + another(drop_path, drop_path.rate, "batch")(branch)
    ),
    "a block that is right at the rates 0 and 1, but between them drops at another rate than was "
    "asked for. Count the dropped samples.": lambda x, branch, drop_path: (
        x
        + branch
        * gates(branch, another(drop_path, drop_path.rate**2))
        * (drop_path.scale if drop_path.active else 1)
    ),
}


def drops_as_it_should(make: Callable[[float], nn.Module]) -> bool:
    """Whether blocks made with a rate drop whole branches, and nothing else, in training alone."""
    x = torch.randn(1000, 4, 6)
    never, sometimes, always = (make(rate).train() for rate in (0.0, 0.25, 1.0))
    added, full = sometimes(x) - x, never(x) - x
    kept = added.flatten(1).any(dim=1)  # (1000,)
    return (
        torch.equal(always(x), x)  # what is always dropped leaves the input
        and torch.allclose(always.eval()(x), x + full)  # and evaluation drops nothing
        and abs(kept.double().mean() - 0.75) < 0.1  # a quarter of the samples is dropped
        and torch.allclose(added[kept], full[kept] / 0.75, atol=1e-5)  # the others whole, scaled
    )


@exercise(
    "05.5",
    "The test that finds it",
    stars=2,
    minutes=15,
    solution=drops_as_it_should,
    hints=[
        "make(rate) is a block with fixed weights and the given drop rate, and x can be "
        "torch.randn(1000, 4, 6). At which two rates is nothing left to chance?",
        "make(1.0).train() should return its input, bit for bit. And in .eval() a block of any "
        "rate gives what a block of rate 0 gives.",
        "What make(0.0) adds to x is the full branch. At rate 0.25 about a quarter of "
        "the samples should have nothing added, and all others the full branch divided by 0.75.",
    ],
    takeaway="at rates 0 and 1 nothing is random, so two runs show whether a block drops; a rate "
    "between them shows what it drops, and how it scales.",
)
def examine_drops_as_it_should(answer: Callable[..., bool]) -> str | None:
    def passes(step: Callable[[Tensor, Tensor, DropPath], Tensor]) -> bool:
        """The verdict of the learner's test, which may assert instead of returning one."""
        try:
            verdict = answer(lambda rate: Block(step, rate))
        except AssertionError:
            return False
        return verdict is None or bool(verdict)

    def correct(x: Tensor, branch: Tensor, drop_path: DropPath) -> Tensor:
        return x + drop_path(branch)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        verdicts = [passes(correct) for _ in range(20)]
        if not any(verdicts):
            return "it rejects a correct block. Is something left to chance, or is it too strict?"
        if not all(verdicts):
            return "it rejects a correct block in some runs. Give chance less room: more samples."
        for fault, step in FAULTS.items():
            missed = [passes(step) for _ in range(10)]
            if any(missed):
                return f"{'it' if all(missed) else 'in some runs it'} passes {fault}"
    return None


def skip(x: Tensor, branch: Callable[[Tensor], Tensor], kept: Tensor, rate: float) -> Tensor:
    """`x + branch(x) / (1 − rate)` for the kept samples and x for the others, whose branch is not
    computed.
    """
    rows = kept.nonzero().flatten()
    return x.index_add(0, rows, branch(x[rows]), alpha=1 / (1 - rate))


@exercise(
    "05.6",
    "Do not compute what is dropped",
    stars=3,
    minutes=15,
    solution=skip,
    hints=[
        "x[kept] are the kept samples. Pass those to the branch, and no others.",
        "The answer has a row for every sample, in the same order. So begin with a copy of x.",
        "y = x.clone(); y[kept] = x[kept] + branch(x[kept]) / (1 - rate)",
    ],
    takeaway="gather the kept rows, compute, scatter them back, and dropped work is not done.",
)
def examine_skip(answer: Callable[..., Tensor]) -> str | None:
    handed: list[Tensor] = []

    def branch(x: Tensor) -> Tensor:
        handed.extend(x.detach().clone())
        return x.flip(-1) + 1

    def draw(rng: random.Random) -> tuple[Tensor, Callable[[Tensor], Tensor], Tensor, float]:
        batch = rng.randint(2, 6)
        shape = [rng.randint(1, 4) for _ in range(rng.randint(1, 3))]
        return normal(rng, batch, *shape), branch, some_kept(rng, batch), rng.random()

    def in_order_of_gates(x: Tensor, branch: Callable, kept: Tensor, rate: float) -> Tensor:
        return torch.cat([x[kept] + branch(x[kept]) / (1 - rate), x[~kept]])

    def kept_only(x: Tensor, branch: Callable, kept: Tensor, rate: float) -> Tensor:
        return x[kept] + branch(x[kept]) / (1 - rate)

    cases = drawn(draw)
    diagnosis = diagnose(
        answer,
        skip,
        cases,
        {
            "the kept branches are not scaled by 1 / (1 − rate).": (
                lambda x, branch, kept, rate: x + branch(x) * gate(x, kept)
            ),
            "the kept branches are divided by the drop rate. Divide by the chance of being kept.": (
                lambda x, branch, kept, rate: x + branch(x) * gate(x, kept) / rate
            ),
            "the wrong samples are dropped: `kept` marks those that keep their branch.": (
                lambda x, branch, kept, rate: x + branch(x) * ~gate(x, kept) / (1 - rate)
            ),
            "x is missing, for this is the scaled branch alone. Add it to x.": (
                lambda x, branch, kept, rate: branch(x) * gate(x, kept) / (1 - rate)
            ),
            "x is missing from the kept samples, which are the scaled branch alone. Add it to x.": (
                lambda x, branch, kept, rate: torch.where(gate(x, kept), branch(x) / (1 - rate), x)
            ),
            "dropped samples come out as zeros. Only their branch should be dropped, and x goes "
            "on.": lambda x, branch, kept, rate: gate(x, kept) * (x + branch(x) / (1 - rate)),
            "x is scaled along with the branch, but only the branch should be.": (
                lambda x, branch, kept, rate: torch.where(
                    gate(x, kept), (x + branch(x)) / (1 - rate), x
                )
            ),
            "the samples are in a different order: the kept ones come first.": in_order_of_gates,
            "the dropped samples are missing from the answer. They go on without a branch.": (
                kept_only
            ),
            "one gate decides for the whole batch, that of the first sample. Each sample should "
            "have its own.": lambda x, branch, kept, rate: x + branch(x) * kept[0] / (1 - rate),
        },
    )
    if diagnosis:
        return diagnosis
    for x, _, kept, rate in cases:
        handed.clear()
        answer(x, branch, kept, rate)
        if any(torch.equal(row, dropped) for row in handed for dropped in x[~kept]):
            return "right, but it saves no time: the branch was given samples that are dropped."
        if len(handed) > kept.sum():
            return "right, but the branch was computed more than once for the same sample."

    def gradient(step: Callable[..., Tensor], case: tuple) -> Tensor | None:
        leaf = case[0].clone().requires_grad_()
        loss = step(leaf * 1, *case[1:]).square().sum()  # times 1, so that it may work in place
        return torch.autograd.grad(loss, leaf)[0] if loss.requires_grad else None

    if not all(same(gradient(answer, case), gradient(skip, case)) for case in cases):
        return "the numbers are right, but a gradient is lost: detach and no_grad cut it off."
    return None


class Perceptron(nn.Module):
    """first → ReLU → dropout, in training alone → second."""

    def __init__(self, first: nn.Linear, second: nn.Linear, rate: float) -> None:
        super().__init__()
        self.first, self.second, self.rate = first, second, rate

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first(x))
        return self.second(F.dropout(hidden, self.rate, training=self.training))


@exercise(
    "05.7",
    "On in training, off in evaluation",
    stars=2,
    minutes=10,
    solution=Perceptron,
    hints=[
        "A module knows its own mode: `.train()` and `.eval()` set self.training. They do the same "
        "for every module that is kept as an attribute.",
        "F.dropout(x, rate) does not know the mode, and drops unless it is told not to. A new "
        "nn.Dropout(rate) begins in training mode.",
        "Either keep one nn.Dropout(rate) as an attribute, or call F.dropout(hidden, self.rate, "
        "training=self.training).",
    ],
    takeaway="the mode reaches what is kept as an attribute, and self.training tells you the rest.",
)
def examine_perceptron(answer: type) -> str | None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rng = random.Random(0)
        for rate in (0.2, rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.9)):
            diagnosis = _examine_modes(answer, rate, width=rng.randint(30, 40))
            if diagnosis:
                return diagnosis
    return None


def _examine_modes(answer: type, rate: float, width: int) -> str | None:
    """What is wrong with the module in either mode. `second` adds a bias to what it is given and
    does nothing else, so that its output shows what has been dropped.
    """
    x, first, second = torch.randn(60, 7), nn.Linear(7, width), nn.Linear(width, width)
    second.weight.data = torch.eye(width)
    hidden = F.relu(first(x))
    module = answer(first, second, rate)
    if not isinstance(module, nn.Module):
        return "it has to be an nn.Module, or it has no mode: class Perceptron(nn.Module)."

    def run(mode: bool) -> Tensor:
        y = module.train(mode)(x)
        if is_stub(y):
            raise NotAttempted
        return y - second.bias

    trained, evaluated, again = run(True), run(False), run(True)
    if not {*first.parameters(), *second.parameters()} <= {*module.parameters()}:
        return (
            "the Linears are missing from its `.parameters()`. Neither an optimizer nor `.eval()` "
            "reaches what is kept in a plain list or dict, so keep modules as attributes."
        )
    if not same(evaluated, run(False)):
        return f"dropout goes on in evaluation. {_why_it_goes_on(module)}"
    if same(evaluated, first(x)):
        return "the ReLU is missing."
    if same(evaluated + second.bias, F.relu(second(first(x)))):
        return "the ReLU stands after `second`. It should stand before the dropout."
    if same(evaluated, hidden * (1 - rate)):
        return (
            "in evaluation the hidden numbers are multiplied by 1 − rate, as in the first paper. "
            "Divide in training instead, and evaluation has nothing to do."
        )
    if not same(evaluated, hidden):
        return "in evaluation it should give second(relu(first(x))), and it does not."
    if same(trained, hidden):
        return (
            "dropout never acts in training. Is it called, and does its result go on to `second`?"
        )
    if same(again, hidden):
        return "dropout does not come back: after `.eval()` and `.train()` it should act again."
    with torch.no_grad():
        if same(run(True), hidden):
            return (
                "dropout stops under torch.no_grad(), which says nothing about the mode. Ask "
                "self.training."
            )
    if same(again, trained):
        return "the same numbers are dropped in every pass. Draw anew in `forward`."
    if same(trained, hidden * (trained != 0)):
        return "what is kept is not divided by 1 − rate, so training and evaluation disagree."
    if same(trained, hidden / rate * (trained != 0)):
        return "the rate is taken for the probability of being kept."
    if not same(trained, hidden / (1 - rate) * (trained != 0)):
        return (
            "dropout is in the wrong place. It should act on the hidden numbers, between the ReLU "
            "and `second`, and divide those that it keeps by 1 − rate."
        )
    on, dropped = hidden > 0, (hidden > 0) & (trained == 0)
    if same(dropped, on & dropped.any(dim=1, keepdim=True)):
        return "whole samples are dropped, as DropPath does. Draw for each number."
    if same(dropped, on & dropped.any(dim=0)):
        return "whole channels are dropped. Draw for each number."
    if abs(dropped.sum() / on.sum() - rate) > 0.1:
        return "the share of numbers that it drops is not the rate."
    return None


def _why_it_goes_on(module: nn.Module) -> str:
    """Why `.eval()` does not stop the dropout of a module."""
    own = {name: value for name, value in vars(module).items() if name != "training"}
    if any(value is True for value in own.values()):
        return "`__init__` stores the mode of that moment. Ask self.training in `forward`."
    listed = (part for value in own.values() if isinstance(value, list) for part in value)
    if any(isinstance(part, nn.Dropout) for part in listed):
        return "`.eval()` does not reach an nn.Dropout in a plain list. Keep it as an attribute."
    return (
        "F.dropout, and an nn.Dropout that `forward` makes anew, drop unless they are told that "
        "training is False."
    )
