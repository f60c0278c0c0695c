"""Exercises of lesson 05, stochastic depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from segformer_edu.exercises.exercise import diagnose, exercise, same
from segformer_edu.stochastic_depth import DropPath


def survival(block: int, depth: int, rate: float) -> float:
    """Probability that block 1 … depth survives, by the linspace rule of SegFormer."""
    drop = rate * (block - 1) / max(depth - 1, 1)  # the first block is never dropped
    return 1 - drop


@exercise(
    "05.1",
    "Drop, or survival?",
    stars=1,
    minutes=4,
    solution=survival,
    hints=[
        "torch.linspace(0, rate, depth) begins with 0: is that a probability of being dropped, or "
        "of surviving?",
        "Between the first block and the last there are depth − 1 steps.",
        "1 − rate · (block − 1) / (depth − 1). And with a single block? linspace gives 0.",
    ],
    takeaway="linspace gives drop probabilities; a block survives with 1 minus its own.",
)
def examine_survival(answer: Callable[..., float]) -> str | None:
    def steps(depth: int) -> int:
        return max(depth - 1, 1)

    return diagnose(
        answer,
        survival,
        [(1, 8, 0.1), (4, 8, 0.1), (8, 8, 0.1), (2, 5, 0.5), (1, 1, 0.3)],
        {
            "this is the probability of being dropped, as linspace gives it. A block survives with "
            "1 minus that.": lambda b, L, r: r * (b - 1) / steps(L),
            "this is the paper's rule, in which block 1 can be dropped. SegFormer's begins at 0: "
            "block 1 always survives.": lambda b, L, r: 1 - r * b / L,
            "block 1 is never dropped, which is right, but the last is not dropped at the full "
            "rate: there are depth − 1 steps between them, not depth.": (
                lambda b, L, r: 1 - r * (b - 1) / L
            ),
            "the blocks are numbered from 1: here the last is dropped at more than the rate.": (
                lambda b, L, r: 1 - r * b / steps(L)
            ),
            "every block has the last one's rate. The rate should rise to it, block by block.": (
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
        "The sum runs over l = 1 … L. Try p_L = 0.5: it should be (3L − 1) / 4.",
    ],
    takeaway="L − (1 − p_L)(L + 1) / 2, which is (3L − 1) / 4 at p_L = 0.5.",
)
def examine_expected_depth(answer: Callable[..., float]) -> str | None:
    return diagnose(
        answer,
        expected_depth,
        [(54, 0.5), (8, 0.9), (3, 0.2), (1, 0.5), (10, 1.0)],
        {
            "you let l begin at 0. That is the input, not a block: block 1 is dropped with "
            "probability (1 − p_L) / L.": lambda L, p: sum(1 - b / L * (1 - p) for b in range(L)),
            "this is L times the mean of 1 and p_L: the linspace rule. The paper's first block "
            "has less than 1.": lambda L, p: L * (1 + p) / 2,
            "every block has p_L here, but only the last one has; the others fall towards it.": (
                lambda L, p: L * p
            ),
            "this counts the blocks that are dropped; the depth is what survives.": (
                lambda L, p: sum(b / L * (1 - p) for b in range(1, L + 1))
            ),
            "right for p_L = 0.5 only, the paper's example.": lambda L, p: (3 * L - 1) / 4,
            "p_L is the last block's survival probability; here it is taken for its drop rate.": (
                lambda L, p: sum(1 - b / L * p for b in range(1, L + 1))
            ),
        },
    )


CHANGES_X = "it changes x itself, which may still be needed: work on x.clone()."


def drop_path(x: Tensor, kept: Tensor, rate: float) -> Tensor:
    """`(B, ...)`, with the samples that are not kept set to zero and the rest scaled."""
    scale = 1 / (1 - rate) if rate < 1 else 0.0
    return x * (kept * scale).view(-1, *[1] * (x.ndim - 1))  # one number per sample: (B, 1, …, 1)


@exercise(
    "05.3",
    "DropPath by hand",
    stars=2,
    minutes=8,
    solution=drop_path,
    hints=[
        "One number for each sample: which axis is that, and how does it reach all the others?",
        "x * kept lines up the last axes. Give kept as many axes as x has: (B, 1, …, 1).",
        "Kept samples are divided by the probability of being kept; at rate 1 there are none.",
    ],
    takeaway="one gate per sample, (B, 1, …, 1), and 1 / (1 − rate) for those that are kept.",
)
def examine_drop_path(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(*shape: int, rate: float) -> tuple[Tensor, Tensor, float]:
        x = torch.randn(shape, generator=generator)
        return x, torch.arange(shape[0]) % 2 == 0, rate

    def gate(x: Tensor, kept: Tensor) -> Tensor:
        return kept.view(-1, *[1] * (x.ndim - 1))

    nothing = torch.ones(2, 3, 2), torch.zeros(2, dtype=torch.bool), 1.0
    # The last side is the batch's too, so that a gate on the wrong axis runs.
    cases = [case(3, 4, 3, rate=0.2), case(4, 4, rate=0.5), case(2, 3, 5, 2, rate=0.9)]
    for x, kept, rate in cases:
        untouched = x.clone()
        answer(x, kept, rate)
        if not torch.equal(x, untouched):
            return CHANGES_X
    diagnosis = diagnose(
        answer,
        drop_path,
        cases,
        {
            "the kept samples are not scaled, so on average too little gets through.": (
                lambda x, kept, rate: x * gate(x, kept)
            ),
            "the kept samples are multiplied by their probability, which makes them even smaller. "
            "Divide by it.": lambda x, kept, rate: x * gate(x, kept) * (1 - rate),
            "divided by the drop rate; divide by the probability of being kept.": (
                lambda x, kept, rate: x * gate(x, kept) / rate
            ),
            "the gates lie along the last axis: channels or tokens are dropped, in every sample. "
            "Give kept the shape (B, 1, …, 1).": lambda x, kept, rate: x * kept / (1 - rate),
            "the wrong samples are dropped: `kept` marks those that stay.": (
                lambda x, kept, rate: x * ~gate(x, kept) / (1 - rate)
            ),
            "nothing is dropped, and all samples are scaled.": lambda x, kept, rate: x / (1 - rate),
        },
    )
    if diagnosis is None and not same(answer(*nothing), drop_path(*nothing)):
        return "right, but at rate 1 it gives 0 · 1/0, which is not a number: nothing is kept then."
    return diagnosis


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
        "Begin with two blocks. In how many ways can exactly one survive, and how likely is "
        "each way?",
        "Add the blocks one at a time. Of l blocks, k survive if k of the first l − 1 did and "
        "block l is dropped, or if k − 1 did and block l survives.",
        "Keep a list of the chances of 0, 1, 2, … survivors; it begins as [1.0], and every block "
        "makes it one longer.",
    ],
    takeaway="block by block: if dropped, the count stays; if kept, it goes up by one.",
)
def examine_chance_of(answer: Callable[..., float]) -> str | None:
    def binomial(k: int, n: int, p: float) -> float:
        return math.comb(n, k) * p**k * (1 - p) ** (n - k)

    return diagnose(
        answer,
        chance_of,
        [(2, [0.9, 0.5, 0.2]), (0, [0.9, 0.5, 0.2]), (3, [0.8, 0.7, 1.0, 0.1]), (1, [0.25])],
        {
            "this is the binomial law with the mean probability. Its mean is right, but blocks of "
            "unequal probability vary less than it says.": (
                lambda k, s: binomial(k, len(s), sum(s) / len(s))
            ),
            "this is the chance that exactly k are dropped.": lambda k, s: chance_of(
                k, [1 - p for p in s]
            ),
            "this is the chance of one network: the first k blocks survive and the others do not. "
            "Any k of them will do.": lambda k, s: (
                math.prod(s[:k]) * math.prod(1 - p for p in s[k:])
            ),
            "this is the chance of k or fewer.": lambda k, s: sum(
                chance_of(count, s) for count in range(k + 1)
            ),
            "this is Poisson's law, which is for many rare events.": lambda k, s: (
                math.exp(-sum(s)) * sum(s) ** k / math.factorial(k)
            ),
        },
    )


class Block(nn.Module):
    """A residual block around a fixed map; `way` is how it treats its DropPath."""

    def __init__(self, way: str, rate: float) -> None:
        super().__init__()
        self.way, self.drop_path = way, DropPath(rate)

    def forward(self, x: Tensor) -> Tensor:
        branch = x.roll(1, dims=-1) + 1
        if self.way == "never called":
            return x + branch
        if self.way == "the skip path too":
            return self.drop_path(x + branch)
        if self.way == "in evaluation too":
            return x + self.drop_path.train()(branch)
        if self.way == "whatever the rate":
            return x + DropPath(1.0).train(self.training)(branch)
        if self.way == "the rate for keeping":
            return x + DropPath(1 - self.drop_path.rate).train(self.training)(branch)
        return x + self.drop_path(branch)


# What is wrong with each way, for the learner whose test does not notice it.
FAULTS = {
    "never called": "a block that has a DropPath, with the right rate, and never calls it. What "
    "should a block give at rate 1?",
    "the skip path too": "a block that drops the whole sum, x and branch. At rate 1 the input "
    "should come through.",
    "whatever the rate": "a block that drops every sample, whatever its rate. What should a block "
    "give at rate 0?",
    "the rate for keeping": "a block that takes the rate for the probability of being kept.",
    "in evaluation too": "a block that goes on dropping in evaluation.",
}


def drops_as_it_should(make: Callable[[float], nn.Module]) -> bool:
    """Whether blocks made with a rate drop their branch, and nothing else, in training alone."""
    x = torch.randn(8, 4, 6)
    never, always = make(0.0).train(), make(1.0).train()
    with_branch = never(x)
    return (
        torch.equal(always(x), x)  # what is always dropped leaves the input
        and not torch.equal(with_branch, x)  # what is never dropped does not
        and torch.allclose(always.eval()(x), with_branch)  # and evaluation drops nothing
    )


@exercise(
    "05.5",
    "The test that finds it",
    stars=2,
    minutes=12,
    solution=drops_as_it_should,
    hints=[
        "make(rate) is a block with fixed weights and the given drop rate; x can be torch.randn(8, "
        "4, 6). At which two rates is nothing left to chance?",
        "make(1.0).train() should return its input, bit for bit; make(0.0).train() should not.",
        "And in .eval() a block of any rate gives what a block of rate 0 gives.",
    ],
    takeaway="at rates 0 and 1 nothing is random, so two runs show whether a block really drops.",
)
def examine_drops_as_it_should(answer: Callable[..., bool]) -> str | None:
    def maker(way: str) -> Callable[[float], nn.Module]:
        return lambda rate: Block(way, rate)

    if not answer(maker("as it should")):
        return "it rejects a correct block. Is something left to chance, or is it too strict?"
    for way, fault in FAULTS.items():
        if answer(maker(way)):
            return f"it passes {fault}"
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
        "The answer has a row for every sample, in the same order. Begin with a copy of x.",
        "y = x.clone(); y[kept] = x[kept] + branch(x[kept]) / (1 - rate)",
    ],
    takeaway="gather the kept rows, compute, scatter them back: dropped work is not done.",
)
def examine_skip(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    seen: list[int] = []

    def branch(x: Tensor) -> Tensor:
        seen.append(len(x))
        return x.flip(-1) + 1

    def gate(x: Tensor, kept: Tensor) -> Tensor:
        return kept.view(-1, *[1] * (x.ndim - 1))

    def in_order_of_gates(x: Tensor, branch: Callable, kept: Tensor, rate: float) -> Tensor:
        return torch.cat([x[kept] + branch(x[kept]) / (1 - rate), x[~kept]])

    def kept_only(x: Tensor, branch: Callable, kept: Tensor, rate: float) -> Tensor:
        return x[kept] + branch(x[kept]) / (1 - rate)

    x = torch.randn(5, 3, 4, generator=generator)
    untouched = x.clone()
    cases = [(x, branch, torch.tensor([0, 1, 1, 0, 1]).bool(), rate) for rate in (0.4, 0.1)]
    for case in cases:
        seen.clear()
        result = answer(*case)
        if not torch.equal(x, untouched):
            return CHANGES_X
        if max(seen, default=0) > 3 and same(result, skip(*case)):
            return "right, but it saves no time: the branch was given samples that are dropped."
    diagnosis = diagnose(
        answer,
        skip,
        cases,
        {
            "the kept branches are not scaled by 1 / (1 − rate).": (
                lambda x, branch, kept, rate: x + branch(x) * gate(x, kept)
            ),
            "dropped samples come out as zeros. Only their branch is dropped; x goes on.": (
                lambda x, branch, kept, rate: gate(x, kept) * (x + branch(x) / (1 - rate))
            ),
            "x is scaled along with the branch; only the branch should be.": (
                lambda x, branch, kept, rate: torch.where(
                    gate(x, kept), (x + branch(x)) / (1 - rate), x
                )
            ),
            "the samples are in a different order: the kept ones come first.": in_order_of_gates,
            "the dropped samples are missing from the answer: they go on without a branch.": (
                kept_only
            ),
        },
    )

    def gradient(step: Callable[..., Tensor]) -> Tensor | None:
        leaf = x.clone().requires_grad_()
        loss = step(leaf, *cases[0][1:]).square().sum()
        return torch.autograd.grad(loss, leaf)[0] if loss.requires_grad else None

    if diagnosis is None and not same(gradient(answer), gradient(skip)):
        return "the numbers are right, but a gradient is lost: detach and no_grad cut it off."
    return diagnosis
