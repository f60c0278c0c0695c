"""Exercises of lesson 11, the claims of the paper."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.analysis.cost import cost
from segformer_edu.analysis.seeds import interval
from segformer_edu.config import SegFormerConfig
from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal, same
from segformer_edu.stochastic_depth import drop_rates


def paired_difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of a − b and its standard error, for scores `(n,)` that belong to the same seeds."""
    difference = a - b
    return difference.mean(), difference.std() / math.sqrt(len(difference))


@exercise(
    "11.1",
    "Is the difference real?",
    stars=1,
    minutes=6,
    solution=paired_difference,
    hints=[
        "Seed 3 of one model belongs to seed 3 of the other. What is the difference, seed by seed?",
        "The spread of those differences says how far each of them may be off. Their mean is off "
        "by less.",
        "The standard deviation, with n − 1, over √n.",
    ],
    takeaway="what both models owe to the seed falls out, before the spread is taken.",
)
def examine_paired_difference(answer: Callable[..., tuple]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor, Tensor]:
        """Scores that share most of their spread."""
        n = rng.randint(3, 9)
        shared = 0.6 + 0.05 * normal(rng, n).double()  # so that mean(a) − mean(b) is as exact
        return shared + 0.01 * normal(rng, n) + rng.choice([0.0, 0.02]), shared

    def error(a: Tensor, b: Tensor, correction: int = 1) -> Tensor:
        return (a - b).std(correction=correction) / math.sqrt(len(a))

    return diagnose(
        answer,
        paired_difference,
        drawn(draw),
        {
            "this is b − a. The difference a − b is asked for.": (
                lambda a, b: ((b - a).mean(), error(a, b))
            ),
            "the spreads of both are added, as if the seeds had nothing to do with each other. "
            "Take the differences first.": (
                lambda a, b: ((a - b).mean(), ((a.var() + b.var()) / len(a)).sqrt())
            ),
            "the second number is the standard deviation of the differences. Their mean is off by "
            "less, by √n.": lambda a, b: ((a - b).mean(), (a - b).std()),
            "the standard errors of both are added. What a seed does to both cancels in a − b.": (
                lambda a, b: ((a - b).mean(), (a.std() + b.std()) / math.sqrt(len(a)))
            ),
            "the standard deviation is divided by n. It is √n.": (
                lambda a, b: ((a - b).mean(), (a - b).std() / len(a))
            ),
            "the standard deviation divides by n here. With n − 1 it is right on average, and n "
            "is small.": lambda a, b: ((a - b).mean(), error(a, b, correction=0)),
            "the standard deviation divides by n, and the mean by √(n − 1), or the other way "
            "round: one correction too many.": (
                lambda a, b: ((a - b).mean(), (a - b).std() / math.sqrt(len(a) - 1))
            ),
            "the second number is the variance of the mean. Its root is asked for.": (
                lambda a, b: ((a - b).mean(), error(a, b) ** 2)
            ),
            "these are sizes of differences. One that is below zero should pull the mean down.": (
                lambda a, b: ((a - b).abs().mean(), (a - b).abs().std() / math.sqrt(len(a)))
            ),
            "the first number is the median. The mean is asked for.": (
                lambda a, b: ((a - b).median(), error(a, b))
            ),
            "the first number is how many standard errors the mean has. The mean itself is asked "
            "for.": lambda a, b: ((a - b).mean() / error(a, b), error(a, b)),
            "the second number is twice the standard error, half of an interval.": (
                lambda a, b: ((a - b).mean(), 2 * error(a, b))
            ),
            "the second number is t standard errors, half of Student's interval.": (
                lambda a, b: ((a - b).mean(), interval((a - b).numpy()).high - (a - b).mean())
            ),
        },
    )


def bootstrap_interval(values: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Where the middle 95 % of the means of other draws lie.

    Args:
        values: `(n,)`.
        draws: `(B, n)`, each row n indices, drawn with replacement.
    """
    means = values[draws].mean(dim=1)  # (B,)
    return means.quantile(0.025), means.quantile(0.975)


@exercise(
    "11.2",
    "What might other scenes have given?",
    stars=2,
    minutes=7,
    solution=bootstrap_interval,
    hints=[
        "A row of `draws` is another data set of n scenes, in which some occur twice and some not "
        "at all.",
        "values[draws] has the shape (B, n). Take the mean of each row.",
        "Of the B means, the quantiles 0.025 and 0.975.",
    ],
    takeaway="the data set plays the world, and its redraws play other data sets.",
)
def examine_bootstrap_interval(answer: Callable[..., tuple]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor, Tensor]:
        n, times = rng.randint(3, 12), rng.randint(20, 60)
        indices = [[rng.randrange(n) for _ in range(n)] for _ in range(times)]
        return normal(rng, n).exp(), torch.tensor(indices)

    def ends(x: Tensor, low: float = 0.025, high: float = 0.975) -> tuple[Tensor, Tensor]:
        return x.quantile(low), x.quantile(high)

    def around(values: Tensor, draws: Tensor, mean: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        spread = values[draws].mean(1).std()
        return mean(values, draws) - 1.96 * spread, mean(values, draws) + 1.96 * spread

    def of_many_draws(values: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        means = values[draws].mean(1)
        reach = 1.96 * means.std() / math.sqrt(len(means))
        return means.mean() - reach, means.mean() + reach

    def two_of_them(values: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        means = values[draws].mean(1).sort().values
        return means[int(0.025 * len(means))], means[int(0.975 * len(means))]

    def of_each_column(values: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        return ends(values[draws].mean(0))

    return diagnose(
        answer,
        bootstrap_interval,
        drawn(draw),
        {
            "that is the middle of the values. The mean varies less than a single value.": (
                lambda v, d: ends(v)
            ),
            "that is the middle of all redrawn values. Take the mean of each draw first.": (
                lambda v, d: ends(v[d])
            ),
            "the mean is taken over the draws. Take it over the n values of each draw.": (
                of_each_column
            ),
            "these are the quantiles 0.05 and 0.95, so between them lies 90 %.": (
                lambda v, d: ends(v[d].mean(1), 0.05, 0.95)
            ),
            "these are the smallest and the largest mean, and they grow apart with every draw.": (
                lambda v, d: (v[d].mean(1).min(), v[d].mean(1).max())
            ),
            "these are medians. The mean of each draw is asked for.": (
                lambda v, d: ends(v[d].median(1).values)
            ),
            "that is the mean ± 1.96 standard deviations, which is symmetric. The quantiles need "
            "not be.": lambda v, d: around(v, d, lambda v, d: v.mean()),
            "that is the mean of the means ± 1.96 standard deviations, which is symmetric. The "
            "quantiles need not be.": lambda v, d: around(v, d, lambda v, d: v[d].mean()),
            "the spread of the means is divided by √B. More draws do not bring more scenes.": (
                of_many_draws
            ),
            "these are the quartiles, between which half of the means lie.": (
                lambda v, d: ends(v[d].mean(1), 0.25, 0.75)
            ),
            "these are two of the means themselves. A quantile lies between two of them.": (
                two_of_them
            ),
            "the two ends are exchanged.": lambda v, d: ends(v[d].mean(1), 0.975, 0.025),
            "these are means of indices. An index says which value was drawn.": (
                lambda v, d: ends(d.float().mean(1))
            ),
            "the whole mean is subtracted. The means themselves are asked for.": (
                lambda v, d: ends(v[d].mean(1) - v.mean())
            ),
        },
    )


LOST = "A `+=` at a list of indices serves an index that occurs twice only once: see index_add."


def merged_tokens(movable: Tensor, staying: Tensor, count: int) -> Tensor:
    """Merge the tokens that resemble a staying one most, `(S, C)`, `(D, C)` → `(S − count + D, C)`.

    Returns the movable tokens that are left, in their order, and then the staying ones; each of
    those is the mean of itself and of all that were merged into it.
    """
    cosines = F.normalize(movable, dim=-1) @ F.normalize(staying, dim=-1).T  # (S, D)
    likeness, partner = cosines.max(dim=-1)
    gone = likeness.topk(count).indices
    left = torch.ones(len(movable), dtype=torch.bool)
    left[gone] = False
    totals = staying.index_add(0, partner[gone], movable[gone])
    sizes = torch.ones(len(staying)).index_add(0, partner[gone], torch.ones(count))
    return torch.cat([movable[left], totals / sizes[:, None]])


@exercise(
    "11.3",
    "Merge what is alike",
    stars=3,
    minutes=14,
    solution=merged_tokens,
    hints=[
        "The cosine of two tokens is the product of both, each divided by its length: "
        "F.normalize(movable, dim=-1) @ F.normalize(staying, dim=-1).T.",
        "The maximum of a row says how alike a movable token and its best partner are, and where "
        "the partner stands. topk of these finds the tokens to be merged.",
        "index_add sums them into their partners. Count how many each partner has become, itself "
        "included, and divide.",
    ],
    takeaway="several tokens may go into one, so the mean needs the number of them.",
)
def examine_merged_tokens(answer: Callable[..., Tensor]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor, Tensor, int]:
        movable, staying, channels = rng.randint(3, 9), rng.randint(2, 5), rng.randint(2, 6)
        stretch = torch.tensor([rng.choice([0.3, 1.0, 4.0]) for _ in range(staying)])
        tokens = normal(rng, staying, channels) * stretch[:, None]
        return normal(rng, movable, channels), tokens, rng.randint(2, movable - 1)

    def merge(
        m: Tensor,
        s: Tensor,
        count: int,
        cosine: bool = True,
        largest: bool = True,
        combine: Callable[[Tensor, list[Tensor]], Tensor] = lambda own, more: torch.stack(
            [own, *more]
        ).mean(0),
    ) -> Tensor:
        a, b = (F.normalize(m, dim=-1), F.normalize(s, dim=-1)) if cosine else (m, s)
        likeness, partner = (a @ b.T).max(-1)
        gone = likeness.topk(count, largest=largest).indices.tolist()
        left = [row for row in range(len(m)) if row not in gone]
        groups = [[m[row] for row in gone if partner[row] == k] for k in range(len(s))]
        whole = torch.stack([combine(s[k], more) for k, more in enumerate(groups)])
        return torch.cat([m[left], whole])

    def sorted_by_likeness(m: Tensor, s: Tensor, count: int) -> Tensor:
        likeness = (F.normalize(m, dim=-1) @ F.normalize(s, dim=-1).T).amax(-1)
        return merge(m[likeness.argsort(descending=True)], s, count)

    def nearest(m: Tensor, s: Tensor, count: int) -> Tensor:
        """By distance, and the smallest distance first."""
        distance, partner = torch.cdist(m, s).min(-1)
        gone = distance.topk(count, largest=False).indices.tolist()
        left = [row for row in range(len(m)) if row not in gone]
        whole = [
            torch.stack([s[k], *[m[r] for r in gone if partner[r] == k]]) for k in range(len(s))
        ]
        return torch.cat([m[left], torch.stack([each.mean(0) for each in whole])])

    def best_pairs(m: Tensor, s: Tensor, count: int) -> Tensor:
        """The best pairs of all, in which one token may occur twice."""
        cosines = F.normalize(m, dim=-1) @ F.normalize(s, dim=-1).T
        pairs = [divmod(i, len(s)) for i in cosines.flatten().topk(count).indices.tolist()]
        left = [row for row in range(len(m)) if row not in [token for token, _ in pairs]]
        groups = [[m[row] for row, partner in pairs if partner == k] for k in range(len(s))]
        whole = [torch.stack([s[k], *more]).mean(0) for k, more in enumerate(groups)]
        return torch.cat([m[left], torch.stack(whole)])

    def one_by_one(own: Tensor, more: list[Tensor]) -> Tensor:
        for token in more:
            own = (own + token) / 2
        return own

    def last(own: Tensor, more: list[Tensor]) -> Tensor:
        return (own + more[-1]) / 2 if more else own

    def overwritten(own: Tensor, more: list[Tensor]) -> Tensor:
        """`staying[partner[gone]] += …`, of which one of equal indices is left, and right sizes."""
        return (own + more[-1]) / (1 + len(more)) if more else own

    def sizes_overwritten(own: Tensor, more: list[Tensor]) -> Tensor:
        return (own + sum(more)) / 2 if more else own

    def variant(combine: Callable[[Tensor, list[Tensor]], Tensor]) -> Callable[..., Tensor]:
        return lambda m, s, count: merge(m, s, count, combine=combine)

    return diagnose(
        answer,
        merged_tokens,
        drawn(draw),
        {
            "the tokens were compared by their product, so long ones win. The cosine divides by "
            "both lengths.": lambda m, s, n: merge(m, s, n, cosine=False),
            "the tokens that are least alike are merged.": (
                lambda m, s, n: merge(m, s, n, largest=False)
            ),
            "the tokens were compared by their distance. The cosine is asked for.": nearest,
            "the merged tokens are gone without a trace: that is pruning. Their partners should "
            "take them in.": variant(lambda own, more: own),
            "the partners are sums. They should be means.": (
                variant(lambda own, more: own + sum(more))
            ),
            "the partners are means of what came, without themselves.": variant(
                lambda own, more: torch.stack(more).mean(0) if more else own
            ),
            "the sums are divided by how many came. With the partner itself they are one more.": (
                variant(lambda own, more: (own + sum(more)) / max(len(more), 1))
            ),
            "one token was merged into two partners. Each goes to its best one alone.": best_pairs,
            "two at a time are averaged, so the last one of a group counts for half.": (
                variant(one_by_one)
            ),
            f"only one token is taken in by each partner, and the others are lost. {LOST}": (
                variant(last)
            ),
            f"the sizes are right, but the partners take in one token only. {LOST}": (
                variant(overwritten)
            ),
            f"the sums are right, but no partner is counted as more than two. {LOST}": (
                variant(sizes_overwritten)
            ),
            "a partner is replaced by the last token that came. It should take in all of them, and "
            "stay in the mean itself.": variant(lambda own, more: more[-1] if more else own),
            "half of a partner is itself, and half is the mean of all that came. Each token should "
            "count the same.": variant(
                lambda own, more: (own + torch.stack(more).mean(0)) / 2 if more else own
            ),
            "the tokens that are left stand behind the staying ones. They come first.": (
                lambda m, s, n: merged_tokens(m, s, n).roll(len(s), 0)
            ),
            "the tokens that are left stand in the order of their likeness. They keep their own.": (
                sorted_by_likeness
            ),
            "that is right for the staying tokens. The movable ones that are left are missing.": (
                lambda m, s, n: merged_tokens(m, s, n)[-len(s) :]
            ),
            "the merged tokens are still there. They should only live on in their partners.": (
                lambda m, s, n: torch.cat([m, merged_tokens(m, s, n)[-len(s) :]])
            ),
        },
    )


def power_law(amounts: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """The a and b for which a · n^(−b) fits the errors best, by least squares of logarithms."""
    x, y = amounts.log(), errors.log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return (y.mean() - slope * x.mean()).exp(), -slope


@exercise(
    "11.4",
    "A power law",
    stars=2,
    minutes=9,
    solution=power_law,
    hints=[
        "The logarithm of a · n^(−b) is ln a − b · ln n: a line in ln n.",
        "The slope of the best line is Σ(x − x̄)(y − ȳ) / Σ(x − x̄)².",
        "b is the slope with its sign changed; a is the exponential of where the line crosses 0.",
    ],
    takeaway="a power law is a line in logarithms, as long as no error is left over at the end.",
)
def examine_power_law(answer: Callable[..., tuple]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor, Tensor]:
        steps = sorted(rng.sample(range(1, 12), rng.randint(3, 6)))
        amounts = 25 * 2.0 ** torch.tensor(steps, dtype=torch.float64)
        b, noise = rng.uniform(0.1, 0.6), 0.05 * normal(rng, len(steps)).double()
        return amounts, rng.uniform(0.5, 3) * amounts**-b * noise.exp()

    def line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where the best line crosses 0, and its slope."""
        slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
        return y.mean() - slope * x.mean(), slope

    def logarithms(n: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        return line(n.log(), e.log())

    def of_the_errors(n: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """The least squares of the errors themselves, by scipy, from the answer."""
        from scipy.optimize import curve_fit  # scipy comes with scikit-image

        start = [float(x) for x in power_law(n, e)]
        (a, b), _ = curve_fit(lambda n, a, b: a * n**-b, n.numpy(), e.numpy(), start)
        return torch.tensor(a), torch.tensor(b)

    def by_the_ends(n: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        b = -(e[-1] / e[0]).log() / (n[-1] / n[0]).log()
        return e[0] * n[0] ** b, b

    def exponential(n: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        crossing, slope = line(n, e.log())
        return crossing.exp(), -slope

    def logarithmic(n: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        crossing, slope = line(n.log(), e)
        return crossing, -slope

    def through_one(n: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        x, y = n.log(), e.log()
        return torch.tensor(1.0), -(x * y).sum() / x.square().sum()

    def exchanged(n: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        crossing, slope = line(e.log(), n.log())
        return (-crossing / slope).exp(), -1 / slope

    return diagnose(
        answer,
        power_law,
        drawn(draw),
        {
            "b is the slope here. The law has n^(−b), so its sign changes.": (
                lambda n, e: (power_law(n, e)[0], -power_law(n, e)[1])
            ),
            "a is still a logarithm.": lambda n, e: (logarithms(n, e)[0], -logarithms(n, e)[1]),
            "a is a power of 10 of a natural logarithm. Use one base.": (
                lambda n, e: (10 ** logarithms(n, e)[0], -logarithms(n, e)[1])
            ),
            "a is the exponential of a logarithm to base 10. Use one base.": (
                lambda n, e: ((logarithms(n, e)[0] / math.log(10)).exp(), -logarithms(n, e)[1])
            ),
            "a is the exponential of a logarithm to base 2. Use one base.": (
                lambda n, e: ((logarithms(n, e)[0] / math.log(2)).exp(), -logarithms(n, e)[1])
            ),
            "that is the least squares of the errors themselves, where the large ones count most. "
            "Fit their logarithms.": of_the_errors,
            "only the first and the last point count here. All of them should.": by_the_ends,
            "that is an exponential: ln of the error against n. Take the logarithm of n too.": (
                exponential
            ),
            "that is the error itself against ln n. Take its logarithm too.": logarithmic,
            "the line has to go through ln a = 0 here, so a is 1.": through_one,
            "the line is fitted to ln n, over the logarithm of the error. The error is what has "
            "noise.": exchanged,
            "a and b are exchanged.": lambda n, e: power_law(n, e)[::-1],
        },
    )


B0 = SegFormerConfig.named("b0", num_classes=150)
AS_TABLE_6 = B0.replace(mlp_ratios=(8, 8, 4, 4))
SIDE = 512


def _parameters(config: SegFormerConfig) -> int:
    return cost(config, (SIDE, SIDE)).parameters


DIFFERENCES = (
    _parameters(AS_TABLE_6) - _parameters(B0),
    drop_rates(0.1, sum(B0.depths), rule="paper")[0],
    SIDE**4,
    (24 / 31) ** 2,
    2 * B0.decoder_dim,
)


@exercise(
    "11.5",
    "Where paper, code and posts differ",
    stars=3,
    minutes=20,
    solution=DIFFERENCES,
    hints=[
        '`cost(config, (512, 512)).parameters`, once for `SegFormerConfig.named("b0")` and once '
        "with `.replace(mlp_ratios=…)`, answers the first. `drop_rates(0.1, 8, rule=…)` answers "
        "the second.",
        "For the third: N pixels are N queries and N keys. For the fourth: `cost(config, (124, "
        "124)).stages[0].share_of_tokens_seen`.",
        "For the fifth, print a decoder, and strike out what equation 4 names: what is left that "
        "has parameters?",
    ],
    takeaway="the text alone hides each of them, and a tool of the course shows it.",
)
def examine_differences(answer: tuple) -> str | None:
    more, rate, entries, share, norm = DIFFERENCES
    known: list[tuple[str, float, float, Mapping[str, float]]] = [
        (
            "1",
            more,
            0,
            {
                "that is one block of each of the two stages. Each stage has two.": more / 2,
                "that is the whole model with the expansions of Table 6. How many more than the "
                "released one?": _parameters(AS_TABLE_6),
                "the sign: Table 6 makes it larger.": -more,
                "all four stages have 8 there. Table 6 has 8, 8, 4, 4.": (
                    _parameters(B0.replace(mlp_ratios=(8, 8, 8, 8))) - _parameters(B0)
                ),
            },
        ),
        (
            "2",
            rate,
            1e-3,
            {
                "that is the released code's: its first block is never dropped. The paper of "
                "stochastic depth begins at l = 1.": 0.0,
                "that is a probability of survival. The drop rate is asked for.": 1 - rate,
                "that is the rate of the last block.": 0.1,
                "that is the second block of the released code.": 0.1 / 7,
                "this divides by the four stages. The rule counts blocks.": 0.1 / 4,
            },
        ),
        (
            "3",
            float(entries),
            1e-3,
            {
                "that is the number of pixels, N. A map has N².": SIDE**2,
                "that is N · side. A map has N².": SIDE**3,
                "that is the map of stage 1 without a reduction. Here each pixel is a token.": (
                    (SIDE / 4) ** 4
                ),
                "that is the map of stage 1 as B0 has it. Here each pixel is a token, and nothing "
                "is reduced.": (SIDE / 4) ** 2 * 256,
                "that is half of it: of query i and key j, and of query j and key i, both are "
                "there.": SIDE**4 / 2,
            },
        ),
        (
            "4",
            share,
            5e-3,
            {
                "all of them would be seen if 31 were a multiple of 8.": 1.0,
                "that is the share along one side. A map has two.": math.sqrt(share),
                "this is in percent.": 100 * share,
                "that is the share that no key sees.": 1 - share,
                "the reduction has no padding, so the windows at the far sides are not rounded "
                "up.": (32 / 31) ** 2,
            },
        ),
        (
            "5",
            norm,
            0,
            {
                "that is the scale or the shift. BatchNorm has both.": norm / 2,
                "running mean and variance are no parameters: nothing is learned there by "
                "gradient.": 2 * norm,
                "dropout and ReLU have no parameters, but there is one more layer between the two "
                "1×1 convolutions.": 0,
                "that is the norm over the concatenated channels. It comes after they are fused.": (
                    4 * norm
                ),
            },
        ),
    ]
    for given, (number, value, tolerance, mistakes) in zip(answer, known, strict=True):
        if same(given, value, tolerance):
            continue
        for diagnosis, mistake in mistakes.items():
            if same(given, mistake, tolerance=1e-3):
                return f"number {number}: {diagnosis}"
        return f"number {number} is not right. Which tool of the course computes it?"
    return None
