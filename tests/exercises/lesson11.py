"""Answers to lesson 11's exercises: right ones found another way, and wrong ones people gave."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy import optimize, stats
from torch.nn import functional as F

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import cost


def by_scipy(a, b):
    difference = a.numpy() - b.numpy()
    return difference.mean(), stats.sem(difference)


def by_statistics(a, b):
    each = (a - b).tolist()
    return statistics.mean(each), statistics.stdev(each) / len(each) ** 0.5


def by_two_means(a, b):
    return a.mean() - b.mean(), stats.sem((a - b).numpy())


def by_numpy(values, draws):
    return np.quantile(values.numpy()[draws.numpy()].mean(axis=1), [0.025, 0.975])


def by_counting(values, draws):
    """How often each value was drawn, times the value."""
    counts = torch.stack([row.bincount(minlength=len(values)) for row in draws])
    means = counts.float() @ values / len(values)
    return torch.quantile(means, torch.tensor([0.025, 0.975]))


def by_dictionary(movable, staying, count):
    cosines = torch.cosine_similarity(movable[:, None], staying[None], dim=-1)
    best = sorted(range(len(movable)), key=lambda row: -cosines[row].max())[:count]
    groups = {k: [staying[k]] for k in range(len(staying))}
    for row in best:
        groups[int(cosines[row].argmax())].append(movable[row])
    left = [movable[row] for row in range(len(movable)) if row not in best]
    return torch.stack(left + [sum(group) / len(group) for group in groups.values()])


def by_polyfit(amounts, errors):
    slope, crossing = np.polyfit(np.log2(amounts.numpy()), np.log2(errors.numpy()), 1)
    return 2**crossing, -slope


def by_curve_fit(amounts, errors):
    def line(x, crossing, b):
        return crossing - b * x

    (crossing, b), _ = optimize.curve_fit(line, amounts.log().numpy(), errors.log().numpy())
    return float(np.exp(crossing)), float(b)


def counted_in_models(**changes):
    model = SegFormer(SegFormerConfig.named("b0", num_classes=150).replace(**changes))
    return sum(x.numel() for x in model.parameters())


B0 = SegFormerConfig.named("b0", num_classes=150)
FOUND = [
    counted_in_models(mlp_ratios=(8, 8, 4, 4)) - counted_in_models(),
    1 - (1 - 1 / 8 * (1 - 0.9)),
    (512 * 512) ** 2,
    cost(B0, (124, 124)).stages[0].share_of_tokens_seen,
    sum(x.numel() for x in SegFormer(B0).decoder.norm.parameters()),
]


def but(number: int, value: float) -> tuple:
    return (*FOUND[: number - 1], value, *FOUND[number:])


RIGHT: Mapping[str, Any] = {
    "11.1": [by_scipy, by_statistics, by_two_means],
    "11.2": [by_numpy, by_counting],
    "11.3": by_dictionary,
    "11.4": [by_polyfit, by_curve_fit],
    "11.5": [tuple(FOUND), list(FOUND), but(3, 6.872e10), but(4, 0.6)],
}


def unpaired(a, b):
    return (a - b).mean(), (a.var() / len(a) + b.var() / len(b)) ** 0.5


def second(change: Callable) -> Callable:
    return lambda a, b: ((a - b).mean(), change((a - b).numpy()))


def with_groups(combine: Callable) -> Callable:
    def merged(movable, staying, count):
        cosines = torch.cosine_similarity(movable[:, None], staying[None], dim=-1)
        best = cosines.amax(1).argsort(descending=True)[:count].tolist()
        came = [[movable[r] for r in best if cosines[r].argmax() == k] for k in range(len(staying))]
        left = [movable[row] for row in range(len(movable)) if row not in best]
        whole = [combine(own, more) for own, more in zip(staying, came, strict=True)]
        return torch.stack([*left, *whole])

    return merged


def by_product(movable, staying, count):
    products = movable @ staying.T
    best = products.amax(1).argsort(descending=True)[:count].tolist()
    groups = [[own] for own in staying]
    for row in best:
        groups[int(products[row].argmax())].append(movable[row])
    left = [movable[row] for row in range(len(movable)) if row not in best]
    return torch.stack(left + [sum(group) / len(group) for group in groups])


def least_alike(movable, staying, count):
    cosines = F.normalize(movable, dim=-1) @ F.normalize(staying, dim=-1).T
    best = cosines.amax(1).argsort()[:count].tolist()
    groups = [[own] for own in staying]
    for row in best:
        groups[int(cosines[row].argmax())].append(movable[row])
    left = [movable[row] for row in range(len(movable)) if row not in best]
    return torch.stack(left + [sum(group) / len(group) for group in groups])


def halves(own, more):
    for token in more:
        own = 0.5 * (own + token)
    return own


def best_of_all_pairs(movable, staying, count):
    cosines = torch.cosine_similarity(movable[:, None], staying[None], dim=-1)
    order = sorted(np.ndindex(*cosines.shape), key=lambda pair: -cosines[pair])[:count]
    groups = {k: [staying[k]] for k in range(len(staying))}
    for row, partner in order:
        groups[partner].append(movable[row])
    gone = {row for row, _ in order}
    left = [movable[row] for row in range(len(movable)) if row not in gone]
    return torch.stack(left + [sum(group) / len(group) for group in groups.values()])


def assigned(sums: bool = False, sizes: bool = False) -> Callable:
    """Partners that are added to by index, where of several with one index the last one is left."""

    def added(totals, index, values, overwrite):
        if not overwrite:
            return totals.index_add(0, index, values)
        totals = totals.clone()
        totals[index] += values
        return totals

    def merged(movable, staying, count):
        likeness, partner = torch.cosine_similarity(movable[:, None], staying[None], dim=-1).max(1)
        gone = likeness.topk(count).indices
        left = [row for row in range(len(movable)) if row not in gone.tolist()]
        totals = added(staying, partner[gone], movable[gone], sums)
        members = added(torch.ones(len(staying)), partner[gone], torch.ones(count), sizes)
        return torch.cat([movable[left], totals / members[:, None]])

    return merged


def replaced(movable, staying, count):
    likeness, partner = torch.cosine_similarity(movable[:, None], staying[None], dim=-1).max(1)
    gone = likeness.topk(count).indices
    left = [row for row in range(len(movable)) if row not in gone.tolist()]
    staying = staying.clone()
    staying[partner[gone]] = movable[gone]
    return torch.cat([movable[left], staying])


def staying_first(movable, staying, count):
    merged = by_dictionary(movable, staying, count)
    return torch.cat([merged[-len(staying) :], merged[: -len(staying)]])


def by_rank(movable, staying, count):
    best = torch.cosine_similarity(movable[:, None], staying[None], dim=-1).amax(1)
    rank = sorted(range(len(movable)), key=lambda row: -best[row])
    return torch.cat(
        [movable[rank[count:]], by_dictionary(movable, staying, count)[-len(staying) :]]
    )


def slope_of(amounts, errors):
    return (by_polyfit(amounts, errors)[0], -by_polyfit(amounts, errors)[1])


def semilog(amounts, errors):
    slope, crossing = np.polyfit(amounts.numpy(), np.log(errors.numpy()), 1)
    return np.exp(crossing), -slope


WRONG: Mapping[str, Mapping[str, Any]] = {
    "11.1": {
        "this is b − a": lambda a, b: by_scipy(b, a),
        "the spreads of both": unpaired,
        "errors of both are added": lambda a, b: (
            (a - b).mean(),
            np.std(a.numpy(), ddof=1) / len(a) ** 0.5 + np.std(b.numpy(), ddof=1) / len(a) ** 0.5,
        ),
        "the standard deviation of the differences": second(lambda d: d.std(ddof=1)),
        "is divided by n. It": second(lambda d: d.std(ddof=1) / len(d)),
        "divides by n here": second(lambda d: d.std() / len(d) ** 0.5),
        "one correction too many": second(lambda d: d.std(ddof=1) / (len(d) - 1) ** 0.5),
        "the variance of the mean": second(lambda d: d.var(ddof=1) / len(d)),
        "sizes of differences": lambda a, b: by_scipy((a - b).abs(), torch.zeros_like(a)),
        "the median": lambda a, b: ((a - b).median(), by_scipy(a, b)[1]),
        "how many standard errors": lambda a, b: (
            by_scipy(a, b)[0] / by_scipy(a, b)[1],
            by_scipy(a, b)[1],
        ),
        "twice the standard error": second(lambda d: 2 * stats.sem(d)),
        "t standard errors": second(lambda d: stats.t.ppf(0.975, len(d) - 1) * stats.sem(d)),
    },
    "11.2": {
        "the middle of the values": lambda v, d: np.quantile(v.numpy(), [0.025, 0.975]),
        "all redrawn values": lambda v, d: np.quantile(v[d].numpy(), [0.025, 0.975]),
        "over the draws": lambda v, d: np.quantile(v[d].numpy().mean(0), [0.025, 0.975]),
        "two of the means themselves": lambda v, d: [
            sorted(v[d].mean(1).tolist())[int(share * len(d))] for share in (0.025, 0.975)
        ],
        "lies 90 %": lambda v, d: np.quantile(v[d].numpy().mean(1), [0.05, 0.95]),
        "grow apart": lambda v, d: (v[d].mean(1).amin(), v[d].mean(1).amax()),
        "medians": lambda v, d: torch.quantile(
            v[d].median(dim=1).values, torch.tensor([0.025, 0.975])
        ),
        "the mean ± 1.96": lambda v, d: (
            v.mean() - 1.96 * v[d].mean(1).std(),
            v.mean() + 1.96 * v[d].mean(1).std(),
        ),
        "the mean of the means ±": lambda v, d: (
            v[d].mean() - 1.96 * v[d].mean(1).std(),
            v[d].mean() + 1.96 * v[d].mean(1).std(),
        ),
        "do not bring more scenes": lambda v, d: (
            v[d].mean(1).mean() - 1.96 * stats.sem(v[d].mean(1)),
            v[d].mean(1).mean() + 1.96 * stats.sem(v[d].mean(1)),
        ),
        "the quartiles": lambda v, d: np.quantile(v[d].numpy().mean(1), [0.25, 0.75]),
        "exchanged": lambda v, d: by_numpy(v, d)[::-1],
        "means of indices": lambda v, d: np.quantile(d.numpy().mean(1), [0.025, 0.975]),
        "is subtracted": lambda v, d: by_numpy(v - v.mean(), d),
    },
    "11.3": {
        "so long ones win": by_product,
        "least alike": least_alike,
        "that is pruning": with_groups(lambda own, more: own),
        "are sums": with_groups(lambda own, more: sum(more, own)),
        "without themselves": with_groups(lambda own, more: sum(more) / len(more) if more else own),
        "counts for half": with_groups(halves),
        "half is the mean": with_groups(
            lambda own, more: (own + sum(more) / len(more)) / 2 if more else own
        ),
        "by how many came": with_groups(lambda own, more: sum(more, own) / (len(more) or 1)),
        "into two partners": best_of_all_pairs,
        "and the others are lost": assigned(sums=True, sizes=True),
        "the sizes are right": assigned(sums=True),
        "the sums are right": assigned(sizes=True),
        "is replaced by": replaced,
        "stand behind": staying_first,
        "the order of their likeness": by_rank,
        "are missing": lambda m, s, n: by_dictionary(m, s, n)[len(m) - n :],
        "still there": lambda m, s, n: torch.cat([m, by_dictionary(m, s, n)[len(m) - n :]]),
    },
    "11.4": {
        "b is the slope": slope_of,
        "a is still": lambda n, e: (np.log(by_polyfit(n, e)[0]), by_polyfit(n, e)[1]),
        "is a power of 10": lambda n, e: (10 ** np.log(by_polyfit(n, e)[0]), by_polyfit(n, e)[1]),
        "to base 10": lambda n, e: (np.exp(np.log10(by_polyfit(n, e)[0])), by_polyfit(n, e)[1]),
        "to base 2": lambda n, e: (np.exp(np.log2(by_polyfit(n, e)[0])), by_polyfit(n, e)[1]),
        "of the errors themselves": lambda n, e: optimize.curve_fit(
            lambda x, a, b: a * np.exp(-b * np.log(x)), n.numpy(), e.numpy(), by_polyfit(n, e)
        )[0],
        "the first and the last": lambda n, e: by_polyfit(n[[0, -1]], e[[0, -1]]),
        "an exponential": semilog,
        "the error itself": lambda n, e: np.polyfit(np.log(n.numpy()), e, 1)[::-1] * [1, -1],
        "so a is 1": lambda n, e: (1, -np.linalg.lstsq(n.log()[:, None], e.log())[0][0]),
        "over the logarithm": lambda n, e: (
            np.exp(-np.divide(*np.polyfit(e.log(), n.log(), 1)[::-1])),
            -1 / np.polyfit(e.log(), n.log(), 1)[0],
        ),
        "exchanged": lambda n, e: by_polyfit(n, e)[::-1],
    },
    "11.5": {
        "1: that is one block": but(1, FOUND[0] // 2),
        "1: that is the whole": but(1, counted_in_models(mlp_ratios=(8, 8, 4, 4))),
        "1: the sign": but(1, -FOUND[0]),
        "1: all four": but(1, counted_in_models(mlp_ratios=(8,) * 4) - counted_in_models()),
        "2: that is the released": but(2, 0),
        "2: that is a probability": but(2, 0.9875),
        "2: that is the rate of": but(2, 0.1),
        "2: that is the second": but(2, 0.0143),
        "2: this divides": but(2, 0.025),
        "3: that is the number of pixels": but(3, 262_144),
        "3: that is N · side": but(3, 512**3),
        "3: that is the map of stage 1 without": but(3, 128**4),
        "3: that is the map of stage 1 as": but(3, 128**2 * 256),
        "3: that is half": but(3, 512**4 / 2),
        "4: all of them": but(4, 1),
        "4: that is the share along": but(4, 24 / 31),
        "4: this is in percent": but(4, 59.9),
        "4: that is the share that": but(4, 0.401),
        "4: the reduction has no": but(4, (32 / 31) ** 2),
        "5: that is the scale": but(5, 256),
        "5: running mean": but(5, 1024),
        "5: dropout and ReLU": but(5, 0),
        "number 5 is not right": but(5, 77),
    },
}

TWO_AXES = "same: of two axes, the last is axis 1, where normalize works if not told otherwise."
CENTRED = "same: the other factor is centred, so what is taken off this one falls out."
SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "11.3": {
        "cosines = F.normalize(movable) @ F.normalize(staying, dim=-1).T": TWO_AXES,
        "cosines = F.normalize(movable, dim=1) @ F.normalize(staying, dim=-1).T": TWO_AXES,
        "cosines = F.normalize(movable, dim=-1) @ F.normalize(staying).T": TWO_AXES,
        "cosines = F.normalize(movable, dim=-1) @ F.normalize(staying, dim=1).T": TWO_AXES,
        "likeness, partner = cosines.max(dim=1)": TWO_AXES,
        "sizes = torch.ones(len(staying)).index_add(-1, partner[gone], torch.ones(count))": (
            "same: there is one axis."
        ),
    },
    "11.4": {
        f"slope = {product}.sum() / {square}.square().sum()": reason
        for product, square, reason in (
            ("((x + x.mean()) * (y - y.mean()))", "(x - x.mean())", CENTRED),
            ("(x * (y - y.mean()))", "(x - x.mean())", CENTRED),
            ("((x - x.sum()) * (y - y.mean()))", "(x - x.mean())", CENTRED),
            ("((x - x.mean()) * (y + y.mean()))", "(x - x.mean())", CENTRED),
            ("((x - x.mean()) * y)", "(x - x.mean())", CENTRED),
            ("((x - x.mean()) * (y - y.sum()))", "(x - x.mean())", CENTRED),
            ("((x - x.mean()) * (y - y.mean()))", "(x.mean() - x)", "same: it is squared."),
        )
    },
}
