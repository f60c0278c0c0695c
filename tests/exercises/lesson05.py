"""Answers to lesson 05's exercises, as learners write them: right ones, and diagnosis → wrong."""

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F


def survival_from_linspace(block, depth, rate):
    return 1 - torch.linspace(0, rate, depth, dtype=torch.float64)[block - 1].item()


def closed_form(depth, last_survival):
    return depth - (1 - last_survival) * (depth + 1) / 2


def by_where(x: Tensor, kept: Tensor, rate: float) -> Tensor:
    if rate == 1:
        return torch.zeros_like(x)
    return torch.stack([each / (1 - rate) if keep else 0 * each for each, keep in zip(x, kept)])  # noqa: B905


def by_enumeration(count, survival):
    return sum(
        math.prod(p if gate else 1 - p for p, gate in zip(survival, gates, strict=True))
        for gates in itertools.product((0, 1), repeat=len(survival))
        if sum(gates) == count
    )


def measured_by_many(make):
    x = torch.randn(500, 4, 6)

    def share_unchanged(block):
        return (block(x) == x).flatten(1).all(1).double().mean().item()

    dropped = [share_unchanged(make(rate).train()) for rate in (0.0, 1.0)]
    same_in_evaluation = torch.equal(make(1.0).eval()(x), make(0.0).eval()(x))
    return dropped == [0, 1] and same_in_evaluation


def copied(x, branch, kept, rate):
    y = x.clone()
    y[kept] += branch(x[kept]) / (1 - rate)
    return y


RIGHT: Mapping[str, Callable] = {
    "05.1": survival_from_linspace,
    "05.2": closed_form,
    "05.3": by_where,
    "05.4": by_enumeration,
    "05.5": measured_by_many,
    "05.6": copied,
}


def drop_from_linspace(block, depth, rate):
    return torch.linspace(0, rate, depth)[block - 1].item()


def papers_rule(block, depth, rate):
    return 1 - block / depth * rate


def too_many_steps(block, depth, rate):
    return 1 - rate * (block - 1) / depth


def numbered_from_zero(block, depth, rate):
    return 1 - rate * block / (depth - 1 if depth > 1 else 1)


def divided_by_zero(block, depth, rate):
    return 1 - rate * (block - 1) / (depth - 1)


def constant(block, depth, rate):
    return 1 - rate


def from_zero(depth, last_survival):
    return sum(1 - (block / depth) * (1 - last_survival) for block in range(depth))


def mean_of_the_ends(depth, last_survival):
    return depth * (1 + last_survival) / 2


def all_like_the_last(depth, last_survival):
    return depth * last_survival


def dropped_on_average(depth, last_survival):
    return depth - closed_form(depth, last_survival)


def papers_example(depth, last_survival):
    return 0.25 * (3 * depth - 1)


def rate_for_survival(depth, last_survival):
    return closed_form(depth, 1 - last_survival)


def shaped(kept: Tensor, x: Tensor) -> Tensor:
    return kept.reshape(len(x), *(1,) * (x.dim() - 1)).float()


def unscaled(x, kept, rate):
    return x * shaped(kept, x)


def multiplied(x, kept, rate):
    return x * shaped(kept, x) * (1 - rate)


def divided_by_the_rate(x, kept, rate):
    return x * shaped(kept, x) / rate


def along_the_last_axis(x, kept, rate):
    return x * kept.float() / (1 - rate)


def the_others(x, kept, rate):
    return x * (1 - shaped(kept, x)) / (1 - rate)


def nan_at_one(x, kept, rate):
    return x * shaped(kept, x) / (1 - torch.tensor(rate))


def zeroed_in_place(x, kept, rate):
    x[~kept] = 0
    return x if rate == 1 else x / (1 - rate)


def ordinary_dropout(x, kept, rate):
    return F.dropout(x, rate)


def binomial(count, survival):
    p, n = sum(survival) / len(survival), len(survival)
    return math.comb(n, count) * p**count * (1 - p) ** (n - count)


def of_the_dropped(count, survival):
    return by_enumeration(len(survival) - count, survival)


def the_first_ones(count, survival):
    chance = 1.0
    for number, p in enumerate(survival):
        chance *= p if number < count else 1 - p
    return chance


def at_most(count, survival):
    return sum(by_enumeration(fewer, survival) for fewer in range(count + 1))


def poisson(count, survival):
    return sum(survival) ** count / math.factorial(count) * math.exp(-sum(survival))


def rate_as_an_attribute(make):
    return make(0.3).drop_path.rate == 0.3


def only_at_rate_one(make):
    x = torch.randn(8, 4, 6)
    return bool((make(1.0).train()(x) == x).all())


def only_that_something_happens(make):
    x = torch.randn(64, 4, 6)
    return not torch.equal(make(0.5).train()(x), make(0.5).eval()(x))


def without_evaluation(make):
    x = torch.randn(8, 4, 6)
    return torch.equal(make(1.0).train()(x), x) and not torch.equal(make(0.0).train()(x), x)


def only_at_a_half(make):
    x = torch.randn(1000, 4, 6)
    dropped = (make(0.5).train()(x) == x).flatten(1).all(dim=1).double().mean()
    in_evaluation = [make(rate).eval()(x) for rate in (0.5, 0.5, 0.0)]
    return 0.4 < dropped < 0.6 and all(torch.equal(in_evaluation[0], y) for y in in_evaluation)


def too_strict(make):
    x = torch.randn(8, 4, 6)
    return torch.equal(make(0.5).train()(x), x)


def mask(x, branch, kept, rate):
    return x + branch(x) * shaped(kept, x) / (1 - rate)


def mask_unscaled(x, branch, kept, rate):
    return x + branch(x) * shaped(kept, x)


def skipped_unscaled(x, branch, kept, rate):
    y = x.clone()
    y[kept] += branch(x[kept])
    return y


def zeros_for_the_dropped(x, branch, kept, rate):
    y = torch.zeros_like(x)
    y[kept] = x[kept] + branch(x[kept]) / (1 - rate)
    return y


def scaled_sum(x, branch, kept, rate):
    y = x.clone()
    y[kept] = (x[kept] + branch(x[kept])) / (1 - rate)
    return y


def kept_first(x, branch, kept, rate):
    return torch.cat((x[kept] + branch(x[kept]) / (1 - rate), x[~kept]))


def only_the_kept(x, branch, kept, rate):
    return x[kept] + branch(x[kept]) / (1 - rate)


def without_a_gradient(x, branch, kept, rate):
    y = x.clone()
    y[kept] += branch(x[kept]).detach() / (1 - rate)
    return y


def in_place(x, branch, kept, rate):
    x[kept] += branch(x[kept]) / (1 - rate)
    return x


WRONG: Mapping[str, Mapping[str, Callable]] = {
    "05.1": {
        "the probability of being dropped": drop_from_linspace,
        "the paper's rule": papers_rule,
        "depth − 1 steps": too_many_steps,
        "numbered from 1": numbered_from_zero,
        "every block has the last one's rate": constant,
        "your code stopped with ZeroDivisionError": divided_by_zero,
    },
    "05.2": {
        "l begin at 0": from_zero,
        "the linspace rule": mean_of_the_ends,
        "every block has p_L": all_like_the_last,
        "counts the blocks that are dropped": dropped_on_average,
        "p_L = 0.5 only": papers_example,
        "taken for its drop rate": rate_for_survival,
    },
    "05.3": {
        "are not scaled": unscaled,
        "multiplied by their probability": multiplied,
        "divided by the drop rate": divided_by_the_rate,
        "along the last axis": along_the_last_axis,
        "`kept` marks those that stay": the_others,
        "nothing is dropped": lambda x, kept, rate: x / (1 - rate),
        "0 · 1/0": nan_at_one,
        "changes x itself": zeroed_in_place,
        "which is not right": ordinary_dropout,
    },
    "05.4": {
        "the binomial law": binomial,
        "exactly k are dropped": of_the_dropped,
        "the chance of one network": the_first_ones,
        "k or fewer": at_most,
        "Poisson's law": poisson,
    },
    "05.5": {
        "never calls it": rate_as_an_attribute,
        "whatever its rate": only_at_rate_one,
        "drops the whole sum": only_that_something_happens,
        "for the probability of being kept": only_at_a_half,
        "in evaluation": without_evaluation,
        "rejects a correct block": too_strict,
    },
    "05.6": {
        "it saves no time": mask,
        "not scaled by 1 / (1 − rate)": skipped_unscaled,
        "come out as zeros": zeros_for_the_dropped,
        "x is scaled along": scaled_sum,
        "in a different order": kept_first,
        "missing from the answer": only_the_kept,
        "changes x itself": in_place,
        "a gradient is lost": without_a_gradient,
    },
}
