"""Answers to lesson 05's exercises, as learners write them: right ones, and diagnosis → wrong."""

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
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

    dropped = [share_unchanged(make(rate).train()) for rate in (0.0, 0.4, 1.0)]
    same_in_evaluation = torch.equal(make(1.0).eval()(x), make(0.0).eval()(x))
    mean = torch.stack([make(0.4).train()(x) for _ in range(30)]).mean(0)
    right_on_average = (mean - make(0.0)(x)).abs().mean() < 0.02
    return (
        dropped[::2] == [0, 1]
        and abs(dropped[1] - 0.4) < 0.15
        and same_in_evaluation
        and bool(right_on_average)
    )


def with_asserts(make):
    """As pytest has it: nothing is returned, and what is wrong stops the test."""
    torch.testing.assert_close(make(0.7).eval()(torch.ones(3, 2)), make(0.0)(torch.ones(3, 2)))
    x = torch.randn(400, 5, 3)
    branch = make(0.0).train()(x) - x
    assert branch.any()
    assert not (make(1.0).train()(x) - x).any()
    added = make(0.3).train()(x) - x
    dropped = torch.isclose(added, torch.zeros(())).all(2).all(1)
    assert 80 < dropped.sum() < 160
    torch.testing.assert_close(added[~dropped], branch[~dropped] / 0.7, atol=1e-5, rtol=0)


class WithALayer(nn.Module):
    """The mode is left to nn.Dropout."""

    def __init__(self, first, second, rate):
        super().__init__()
        self.layers = nn.Sequential(first, nn.Dropout(rate), nn.ReLU(), second)

    def forward(self, x):
        return self.layers(x)


def copied(x, branch, kept, rate):
    y = x.clone()
    y[kept] += branch(x[kept]) / (1 - rate)
    return y


def in_place(x, branch, kept, rate):
    x[kept] += branch(x[kept]) / (1 - rate)
    return x


RIGHT: Mapping[str, Callable | list[Callable]] = {
    "05.1": survival_from_linspace,
    "05.2": closed_form,
    "05.3": by_where,
    "05.4": by_enumeration,
    "05.5": [measured_by_many, with_asserts],
    "05.6": [copied, in_place],
    "05.7": WithALayer,
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


def turned_round(block, depth, rate):
    return survival_from_linspace(depth + 1 - block, depth, rate)


def both_branches(block, depth, rate):
    return survival_from_linspace(block, depth, rate) ** 2


def alone_like_the_last(block, depth, rate):
    return 1 - rate * (block - 1) / (depth - 1) if depth > 1 else 1 - rate


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


def share(depth, last_survival):
    return closed_form(depth, last_survival) / depth


def with_the_input(depth, last_survival):
    return 1 + closed_form(depth, last_survival)


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


def division_at_one(x, kept, rate):
    return (1 / (1 - rate)) * x * shaped(kept, x)


def first_gate_for_all(x, kept, rate):
    return x / (1 - rate) if kept[0] else torch.zeros_like(x)


def along_the_second_axis(x, kept, rate):
    return x * kept[:, None] / (1 - rate)


def of_three_axes(x, kept, rate):
    return torch.zeros_like(x) if rate == 1 else x * kept.view(-1, 1, 1) / (1 - rate)


def of_four_axes(x, kept, rate):
    return torch.zeros_like(x) if rate == 1 else x * kept.view(-1, 1, 1, 1) / (1 - rate)


def by_luck(x, kept, rate):
    return x * shaped(kept, x) / kept.double().mean()


def taken_out(x, kept, rate):
    return x[kept] / (1 - rate)


def own_gates(x, kept, rate):
    return x * F.dropout(torch.ones_like(kept, dtype=x.dtype), rate).view(-1, *(1,) * (x.dim() - 1))


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


def at_least(count, survival):
    return 1 - sum(by_enumeration(fewer, survival) for fewer in range(count))


def surviving_blocks(survival):
    return [by_enumeration(count, survival) for count in range(len(survival) + 1)]


def looked_up(count, survival):
    return surviving_blocks(survival)[count]


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


def without_a_scale(make):
    """Rates 0 and 1, and evaluation: what the exercise once took for enough."""
    x = torch.randn(8, 4, 6)
    return without_evaluation(make) and torch.equal(make(1.0).eval()(x), make(0.0).eval()(x))


def added_at(rate, make):
    x = torch.randn(64, 4, 6)
    return make(rate).train()(x) - x, make(0.0).train()(x) - x


def scale_at_a_half(make):
    added, full = added_at(0.5, make)
    kept = added != 0
    return without_a_scale(make) and torch.allclose(added[kept], 2 * full[kept], atol=1e-5)


def each_number_scaled(make):
    added, full = added_at(0.2, make)
    kept = added != 0
    return without_a_scale(make) and torch.allclose(added[kept], full[kept] / 0.8, atol=1e-5)


def each_token_scaled(make):
    added, full = added_at(0.2, make)
    kept = added.any(dim=2)
    return without_a_scale(make) and torch.allclose(added[kept], full[kept] / 0.8, atol=1e-5)


def each_sample_scaled(make):
    added, full = added_at(0.2, make)
    kept = added.flatten(1).any(dim=1)
    return without_a_scale(make) and torch.allclose(added[kept], full[kept] / 0.8, atol=1e-5)


def sometimes_both(make):
    added, _ = added_at(0.2, make)
    return each_sample_scaled(make) and not added.flatten(1).any(dim=1).all()


def except_at_one(make):
    added, full = added_at(0.2, make)
    kept = added.flatten(1).any(dim=1)
    scaled = torch.allclose(added[kept], full[kept] / 0.8, atol=1e-5)
    x = torch.randn(8, 4, 6)
    in_evaluation = [make(rate).eval()(x) for rate in (0.0, 0.2)]
    return 0 < kept.sum() < 64 and scaled and torch.equal(*in_evaluation)


def whatever_its_share(make):
    """All but the count of the samples that are dropped."""
    added, full = added_at(0.2, make)
    kept = added.flatten(1).any(dim=1)
    scaled = torch.allclose(added[kept], full[kept] / 0.8, atol=1e-5)
    return without_a_scale(make) and scaled and 0 < kept.sum() < 64


def too_strict(make):
    x = torch.randn(8, 4, 6)
    return torch.equal(make(0.5).train()(x), x)


def too_few_samples(make):
    x = torch.randn(4, 6)
    return 0 < (make(0.5).train()(x) == x).all(dim=1).sum() < 4


def mask(x, branch, kept, rate):
    return x + branch(x) * shaped(kept, x) / (1 - rate)


def skipped_unscaled(x, branch, kept, rate):
    y = x.clone()
    y[kept] += branch(x[kept])
    return y


def by_the_rate(x, branch, kept, rate):
    y = x.clone()
    y[kept] += branch(x[kept]) / rate
    return y


def the_dropped_ones(x, branch, kept, rate):
    return copied(x, branch, ~kept, rate)


def branch_alone(x, branch, kept, rate):
    y = torch.zeros_like(x)
    y[kept] = branch(x[kept]) / (1 - rate)
    return y


def branch_for_the_kept(x, branch, kept, rate):
    y = x.clone()
    y[kept] = branch(x[kept]) / (1 - rate)
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


def twice(x, branch, kept, rate):
    assert len(branch(x[kept])) == kept.sum()
    return copied(x, branch, kept, rate)


def first_gate_for_the_step(x, branch, kept, rate):
    return x + branch(x) / (1 - rate) if kept[0] else x


def perceptron(drop):
    """A module whose forward drops in its own way."""

    class Wrong(nn.Module):
        def __init__(self, first, second, rate):
            super().__init__()
            self.first, self.second, self.rate = first, second, rate

        def forward(self, x):
            return self.second(drop(self, F.relu(self.first(x))))

    return Wrong


class NoRelu(WithALayer):
    def __init__(self, first, second, rate):
        nn.Module.__init__(self)
        self.layers = nn.Sequential(first, nn.Dropout(rate), second)


class DropsTheInput(WithALayer):
    def __init__(self, first, second, rate):
        nn.Module.__init__(self)
        self.layers = nn.Sequential(nn.Dropout(rate), first, nn.ReLU(), second)


class WithGelu(WithALayer):
    def __init__(self, first, second, rate):
        nn.Module.__init__(self)
        self.layers = nn.Sequential(first, nn.GELU(), nn.Dropout(rate), second)


class InAList(nn.Module):
    """`.eval()` does not reach what is in a plain list."""

    def __init__(self, first, second, rate):
        super().__init__()
        self.layers = [first, nn.ReLU(), nn.Dropout(rate), second]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class NotAModule:
    def __init__(self, first, second, rate):
        self.layers = nn.Sequential(first, nn.ReLU(), nn.Dropout(rate), second)

    def __call__(self, x):
        return self.layers(x)


class ModeForGood(nn.Module):
    """`.eval()` takes the dropout out, and nothing puts it back."""

    def __init__(self, first, second, rate):
        super().__init__()
        self.first, self.second, self.rate = first, second, rate

    def eval(self):
        self.rate = 0.0
        return super().eval()

    def train(self, mode=True):
        return super().train(mode) if mode else self.eval_once()

    def eval_once(self):
        self.rate = 0.0
        return super().train(False)

    def forward(self, x):
        return self.second(F.dropout(self.first(x).relu(), self.rate, self.training))


class StoredMode(nn.Module):
    """Built in training, and so it stays."""

    def __init__(self, first, second, rate):
        super().__init__()
        self.first, self.second, self.rate, self.mode = first, second, rate, self.training

    def forward(self, x):
        return self.second(F.dropout(self.first(x).relu(), self.rate, self.mode))


class DropoutInAList(nn.Module):
    def __init__(self, first, second, rate):
        super().__init__()
        self.first, self.second, self.others = first, second, [nn.ReLU(), nn.Dropout(rate)]

    def forward(self, x):
        x = self.first(x)
        for layer in self.others:
            x = layer(x)
        return self.second(x)


class ReluAtTheEnd(WithALayer):
    def __init__(self, first, second, rate):
        nn.Module.__init__(self)
        self.layers = nn.Sequential(first, nn.Dropout(rate), second, nn.ReLU())


class OnlyWithGradients(WithALayer):
    """no_grad and eval are taken for one."""

    def forward(self, x):
        first, dropout, relu, second = self.layers
        hidden = relu(first(x))
        return second(dropout(hidden) if torch.is_grad_enabled() else hidden)


class SameGates(nn.Module):
    def __init__(self, first, second, rate):
        super().__init__()
        self.first, self.second = first, second
        self.gates = F.dropout(torch.ones(60, first.out_features), rate)

    def forward(self, x):
        hidden = self.first(x).relu()
        return self.second(hidden * self.gates if self.training else hidden)


def gated(shape, rate):
    """A draw of its own, for whoever does not use F.dropout."""
    return (torch.rand(shape) >= rate).float()


def halved_in_evaluation(module, hidden):
    if module.training:
        return hidden * gated(hidden.shape, module.rate)
    return hidden * (1 - module.rate)


def unscaled_numbers(module, hidden):
    return hidden * gated(hidden.shape, module.rate) if module.training else hidden


def whole_samples(module, hidden):
    return hidden * F.dropout(torch.ones(len(hidden), 1), module.rate, module.training)


def whole_channels(module, hidden):
    return hidden * F.dropout(torch.ones(hidden.shape[1]), module.rate, module.training)


def other_share(module, hidden):
    gates = gated(hidden.shape, module.rate / 2) / (1 - module.rate)
    return hidden * gates if module.training else hidden


WRONG: Mapping[str, Mapping[str, Callable]] = {
    "05.1": {
        "the probability of being dropped": drop_from_linspace,
        "the paper's rule": papers_rule,
        "depth − 1 steps": too_many_steps,
        "numbered from 1": numbered_from_zero,
        "every block has the last one's rate": constant,
        "both branches": both_branches,
        "turned round": turned_round,
        "you divide by their number": divided_by_zero,
        "which is the first": alone_like_the_last,
    },
    "05.2": {
        "l begin at 0": from_zero,
        "the linspace rule": mean_of_the_ends,
        "every block has p_L": all_like_the_last,
        "counts the blocks that are dropped": dropped_on_average,
        "p_L = 0.5 only": papers_example,
        "the share of the blocks": share,
        "which are L + 1": with_the_input,
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
        "where it divides by 0": division_at_one,
        "one gate decides": first_gate_for_all,
        "along the second axis": along_the_second_axis,
        "an x of three axes": of_three_axes,
        "four axes here": of_four_axes,
        "the share that happened": by_luck,
        "are missing": taken_out,
        "single numbers": ordinary_dropout,
        "gates of its own": own_gates,
    },
    "05.4": {
        "the binomial law": binomial,
        "exactly k are dropped": of_the_dropped,
        "the chance of one network": the_first_ones,
        "k or fewer": at_most,
        "k or more": at_least,
        "has done the work": looked_up,
        "Poisson's law": poisson,
    },
    "05.5": {
        "never calls it": rate_as_an_attribute,
        "whatever its rate": only_at_rate_one,
        "drops the whole sum": only_that_something_happens,
        "for the probability of being kept": only_at_a_half,
        "goes on dropping in evaluation": without_evaluation,
        "does not scale": without_a_scale,
        "divides the kept branches by the rate": scale_at_a_half,
        "single numbers": each_number_scaled,
        "single tokens": each_token_scaled,
        "gives nan at rate 1": except_at_one,
        "in some runs it passes a block that draws one gate": sometimes_both,
        "drops at another rate than was asked for": whatever_its_share,
        "it passes a block that draws one gate": each_sample_scaled,
        "rejects a correct block. ": too_strict,
        "rejects a correct block in some runs": too_few_samples,
    },
    "05.6": {
        "it saves no time": mask,
        "not scaled by 1 / (1 − rate)": skipped_unscaled,
        "divided by the drop rate": by_the_rate,
        "`kept` marks those that keep": the_dropped_ones,
        "x is missing, ": branch_alone,
        "x is missing from the kept": branch_for_the_kept,
        "come out as zeros": zeros_for_the_dropped,
        "x is scaled along": scaled_sum,
        "in a different order": kept_first,
        "missing from the answer": only_the_kept,
        "more than once": twice,
        "one gate decides": first_gate_for_the_step,
        "a gradient is lost": without_a_gradient,
    },
    "05.7": {
        "goes on in evaluation. F.dropout": perceptron(lambda m, x: F.dropout(x, m.rate)),
        "never acts in training": perceptron(lambda m, x: F.dropout(x, m.rate, training=False)),
        "multiplied by 1 − rate": perceptron(halved_in_evaluation),
        "is not divided by 1 − rate": perceptron(unscaled_numbers),
        "for the probability of being kept": perceptron(
            lambda m, x: F.dropout(x, 1 - m.rate, m.training)
        ),
        "whole samples": perceptron(whole_samples),
        "whole channels": perceptron(whole_channels),
        "the share of numbers": perceptron(other_share),
        "the same numbers": SameGates,
        "does not come back": ModeForGood,
        "stores the mode of that moment": StoredMode,
        "an nn.Dropout in a plain list": DropoutInAList,
        "stops under torch.no_grad()": OnlyWithGradients,
        "the ReLU is missing": NoRelu,
        "the ReLU stands after": ReluAtTheEnd,
        "in the wrong place": DropsTheInput,
        "it has to be an nn.Module": NotAModule,
        "Neither an optimizer nor `.eval()`": InAList,
        "and it does not": WithGelu,
    },
}

RETURN = (
    "return torch.equal(always(x), x) and torch.allclose(always.eval()(x), x + full) "
    "and (abs(kept.double().mean() - 0.75) < 0.1) "
    "and torch.allclose(added[kept], full[kept] / 0.75, atol=1e-05)"
)
OTHER_SIZES = [(1000, 6, 4), (1001, 4, 6), (999, 4, 6), (2000, 4, 6), (1000, 5, 6), (1000, 3, 6)]
OTHER_SIZES += [(1000, 8, 6), (1000, 4, 7), (1000, 4, 5), (1000, 4, 12)]

SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "05.4": {
        "law = [a + b for b, a in zip([*dropped, 0], [0, *kept], strict=True)]": (
            "same: a sum has no order."
        ),
        "law = [a + b for a, b in zip([0, *kept], [*dropped, 0], strict=True)]": (
            "same: a sum has no order."
        ),
        "law = [a + b for a, b in zip([*dropped, 0], [0, *kept])]": (
            "same: the two are equally long."
        ),
        "law = [a + b for a, b in zip([*dropped, 0], [0, *kept], strict=False)]": (
            "same: the two are equally long."
        ),
    },
    "05.5": {
        **{
            f"x = torch.randn{size}": "same: the verdict does not hang on a size of this order."
            for size in OTHER_SIZES
        },
        "never, sometimes, always = (make(rate) for rate in (0.0, 0.25, 1.0))": (
            "same: a module begins in training."
        ),
        "never, sometimes, always = (make(rate).train() for rate in (0, 0.25, 1.0))": (
            "same: 0 is 0.0."
        ),
        RETURN.replace("always(x), x)", "x, always(x))"): "same: what equals has no order.",
        RETURN.replace("always.eval()(x), x + full", "x + full, always.eval()(x)"): (
            "same: what equals has no order, up to rounding."
        ),
        RETURN.replace("added[kept], full[kept] / 0.75", "full[kept] / 0.75, added[kept]"): (
            "same: what equals has no order, up to rounding."
        ),
        RETURN.replace("kept.double().mean() - 0.75", "0.75 - kept.double().mean()"): (
            "same: a distance has no direction."
        ),
        RETURN.replace("0.75) < 0.1", "0.75) <= 0.1"): (
            "allowed: a good block is exactly 0.1 off about once in 10¹² runs."
        ),
        "kept = added.flatten(1).all(dim=1)": (
            "allowed: where parts of branches are dropped, too few samples count as kept."
        ),
        RETURN.replace("1e-05", "2e-05"): "allowed: rounding errs by less than either.",
    },
}
