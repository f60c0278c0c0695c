"""Exercises of lesson 09, looking inside."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.config import SegFormerConfig
from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal
from segformer_edu.segformer import SegFormer


def effective_keys(weights: Tensor) -> Tensor:
    """As over how many equal keys a query's attention is spread, `(…, keys)` → `(…)`."""
    entropy = -torch.xlogy(weights, weights).sum(dim=-1)
    return entropy.exp()


@exercise(
    "09.1",
    "At how many keys does it look?",
    stars=1,
    minutes=5,
    solution=effective_keys,
    hints=[
        "The entropy is −Σ w · ln w over the keys. What is it for n keys that all have 1/n?",
        "It is ln n there, so the exponential of the entropy counts them.",
        "A weight of 0 adds nothing, but 0 · ln 0 is nan: torch.xlogy(w, w) gives 0.",
    ],
    takeaway="the exponential of the entropy counts keys, and equal weights on n keys give n.",
)
def examine_effective_keys(answer: Callable[..., Tensor]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor]:
        """Of some queries, each with a spread of its own."""
        queries, keys = rng.randint(1, 4), rng.randint(2, 9)
        weights = (normal(rng, queries, keys) * rng.choice([0.3, 1.0, 3.0])).softmax(-1)
        return (weights if rng.random() < 0.5 else weights.view(1, queries, 1, keys),)

    def entropy(w: Tensor, dim: int = -1) -> Tensor:
        return -torch.xlogy(w, w).sum(dim)

    with_zeros = torch.tensor([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    return diagnose(
        answer,
        effective_keys,
        [(torch.tensor([[0.7, 0.2, 0.1]]),), (with_zeros,), *drawn(draw)],
        {
            "that is the entropy. Its exponential counts keys.": entropy,
            "that is the entropy in bits. The exponential of the entropy counts keys.": (
                lambda w: entropy(w) / math.log(2)
            ),
            "that is the entropy as a share of the largest. A number of keys is asked for.": (
                lambda w: entropy(w) / math.log(w.shape[-1])
            ),
            "this is right where no weight is 0. There 0 · ln 0 is nan, and it should be 0.": (
                lambda w: (-(w * w.log()).sum(-1)).exp()
            ),
            "the logarithm is natural, but its power is of 2. Both should have one base.": (
                lambda w: 2 ** entropy(w)
            ),
            "the logarithm is of base 2, but its power is of e. Both should have one base.": (
                lambda w: (entropy(w) / math.log(2)).exp()
            ),
            "the sign is missing, so this is one over the number.": lambda w: (-entropy(w)).exp(),
            "this is the mean over the keys where entropy has the sum.": (
                lambda w: (entropy(w) / w.shape[-1]).exp()
            ),
            "that is 1 / Σ w², the number of keys by another measure. Equal weights have the same "
            "in both, all others have fewer here.": lambda w: 1 / w.square().sum(-1),
            "the weights went through a softmax again. They sum to one as they are.": (
                lambda w: entropy(w.softmax(-1)).exp()
            ),
            "that is a share of the keys. A number of keys is asked for.": (
                lambda w: effective_keys(w) / w.shape[-1]
            ),
            "these are the keys with a weight above 0. How large it is should count.": (
                lambda w: (w > 0).sum(-1)
            ),
            "that is one over the largest weight. All weights should count.": (
                lambda w: 1 / w.amax(-1)
            ),
            "that is one number for all queries. Return one for each of them.": (
                lambda w: effective_keys(w).mean()
            ),
            "the sum goes over the queries. It should go over the keys, the last axis.": (
                lambda w: entropy(w, dim=0).exp()
            ),
            "the sum goes over all queries at once. It should go over the keys of each, the last "
            "axis.": lambda w: entropy(w.flatten()).exp(),
        },
    )


def to_tokens(weights: Tensor, ratio: int) -> Tensor:
    """Share each key's weight among the tokens of its window, `(…, h, w)` → `(…, h·r, w·r)`."""
    spread = weights.repeat_interleave(ratio, dim=-2).repeat_interleave(ratio, dim=-1)
    return spread / ratio**2


@exercise(
    "09.2",
    "From keys back to tokens",
    stars=1,
    minutes=5,
    solution=to_tokens,
    hints=[
        "A key was made from r × r tokens. Nothing in the weights says which of them counted.",
        "So each of them gets the same share, and the shares of a window add up to its weight.",
        "repeat_interleave along both axes; then divide.",
    ],
    takeaway="the weights still sum to one, and within a window the map knows nothing.",
)
def examine_to_tokens(answer: Callable[..., Tensor]) -> str | None:
    def case(rng: random.Random, lead: Sequence[int], ratio: int) -> tuple[Tensor, int]:
        height, width = rng.randint(1, 4), rng.randint(2, 4)
        weights = normal(rng, *lead, height * width).softmax(-1)
        return weights.view(*lead, height, width), ratio

    def draw(rng: random.Random) -> tuple[Tensor, int]:
        return case(rng, rng.choice([(), (2,), (2, 3)]), rng.randint(1, 4))

    def repeated(w: Tensor, r: int) -> Tensor:
        return to_tokens(w, r) * r**2

    def tiled(w: Tensor, r: int) -> Tensor:
        return w.repeat(*[1] * (w.ndim - 2), r, r) / r**2

    def smooth(w: Tensor, r: int) -> Tensor:
        maps = w.reshape(1, -1, *w.shape[-2:])
        large = F.interpolate(maps, scale_factor=r, mode="bilinear") / r**2
        return large.view(*w.shape[:-2], *large.shape[-2:])

    def corner(w: Tensor, r: int) -> Tensor:
        spread = torch.zeros_like(repeated(w, r))
        spread[..., ::r, ::r] = w
        return spread

    return diagnose(
        answer,
        to_tokens,
        [case(random.Random(0), (), 2), case(random.Random(1), (2,), 3), *drawn(draw)],
        {
            "each token has the weight of its whole window, so they sum to r².": repeated,
            "a window has r · r tokens, and here its weight is divided by r.": (
                lambda w, r: to_tokens(w, r) * r
            ),
            "the map of keys is repeated as a whole, as tiles are. Each single key should be "
            "repeated in place.": tiled,
            "the map was resized smoothly, so a window's weight leaks into its neighbours.": smooth,
            "the first token of each window has all of its weight. All r · r of them made the "
            "key.": corner,
            "the sum over all tokens is one, but it was made so over all queries together.": (
                lambda w, r: repeated(w, r) / repeated(w, r).sum()
            ),
            "it is divided by the number of keys. Divide by the tokens of a window.": (
                lambda w, r: repeated(w, r) / (w.shape[-2] * w.shape[-1])
            ),
            "only the rows are repeated. A window has r columns too.": (
                lambda w, r: w.repeat_interleave(r, dim=-2) / r
            ),
            "only the columns are repeated. A window has r rows too.": (
                lambda w, r: w.repeat_interleave(r, dim=-1) / r
            ),
        },
    )


def rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Attention through all blocks, the first block first: a list of `(N, N)` → `(N, N)`."""
    n = len(attentions[0])
    total = torch.eye(n)
    for attention in attentions:
        total = (attention + torch.eye(n)) / 2 @ total
    return total


@exercise(
    "09.3",
    "Rollout by hand",
    stars=2,
    minutes=8,
    solution=rollout,
    hints=[
        "A block adds to x what attention brings. So half of a token comes from the token itself.",
        "One block is (A + I) / 2, whose rows sum to one. Two of them are a product of matrices.",
        "A token of the last block looks at tokens of the block before, so the last block stands "
        "on the left.",
    ],
    takeaway="it is a product of (A + I) / 2, the last block on the left; values play no part.",
)
def examine_rollout(answer: Callable[..., Tensor]) -> str | None:
    def case(rng: random.Random, blocks: int) -> tuple[list[Tensor]]:
        n = rng.randint(2, 6)
        return ([(2 * normal(rng, n, n)).softmax(-1) for _ in range(blocks)],)

    def product(matrices: Sequence[Tensor]) -> Tensor:
        total = torch.eye(len(matrices[0]))
        for matrix in matrices:
            total = matrix @ total
        return total

    def skip(a: Tensor, share: float = 0.5) -> Tensor:
        return share * a + (1 - share) * torch.eye(len(a))

    def from_the_input(attentions: Sequence[Tensor]) -> Tensor:
        total = torch.eye(len(attentions[0]))
        for attention in attentions:
            total = skip(attention @ total)
        return total

    def elementwise(attentions: Sequence[Tensor]) -> Tensor:
        total = torch.ones_like(attentions[0])
        for attention in attentions:
            total = total * skip(attention)
        return total

    return diagnose(
        answer,
        rollout,
        [
            case(random.Random(0), 2),
            case(random.Random(1), 1),
            *drawn(lambda rng: case(rng, rng.randint(1, 4))),
        ],
        {
            "the first block stands on the left. A token of the last block looks at tokens of the "
            "block before it, so the last block does.": lambda a: rollout(a[::-1]),
            "the skip connections are missing, so a token keeps nothing of itself.": product,
            "A + I has rows that sum to two, so these sum to 2^blocks. Half of each is asked "
            "for.": lambda a: rollout(a) * 2 ** len(a),
            "this is the last block alone.": lambda a: skip(a[-1]),
            "this is the attention of the last block, without skip and without the blocks before "
            "it.": lambda a: a[-1],
            "this is the mean of the blocks. A path through two blocks is a product.": (
                lambda a: torch.stack([skip(each) for each in a]).mean(0)
            ),
            "the half that a token keeps is the token of the input here. It should be the one that "
            "enters the block.": from_the_input,
            "the blocks are averaged first, and their mean is multiplied with itself. Each block "
            "has its own attention.": (
                lambda a: torch.linalg.matrix_power(torch.stack([*map(skip, a)]).mean(0), len(a))
            ),
            "these are products of single numbers. A path may go from any token to any other, so "
            "multiply matrices, with @.": elementwise,
            "rows and columns are exchanged. A row belongs to the token that looks.": (
                lambda a: rollout(a).T
            ),
            "the first block is missing.": lambda a: (
                rollout(a[1:]) if a[1:] else torch.eye(len(a[0]))
            ),
            "the skip is added once at the end. Each block has its own.": lambda a: skip(
                product(a)
            ),
            "the first block has no skip here. Every block has one.": (
                lambda a: product([a[0], *map(skip, a[1:])])
            ),
        },
    )


def grad_cam(maps: Tensor, gradient: Tensor) -> Tensor:
    """Channels weighted by their mean gradient, then summed and cut at 0: `(C, H, W)` → `(H, W)`.

    Selvaraju et al. 2017, equations 1 and 2 (arXiv:1610.02391).
    """
    weights = gradient.mean(dim=(1, 2))  # (C,)
    return torch.einsum("c,chw->hw", weights, maps).relu()


@exercise(
    "09.4",
    "Grad-CAM by hand",
    stars=2,
    minutes=7,
    solution=grad_cam,
    hints=[
        "Each channel gets one weight. The gradient has H · W numbers for it.",
        "The weight is their mean. The maps, times their weights, are summed over the channels.",
        "What speaks against the class is cut off by a ReLU, at the end.",
    ],
    takeaway="one weight a channel, so where the gradient lies is averaged away.",
)
def examine_grad_cam(answer: Callable[..., Tensor]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor, Tensor]:
        shape = rng.randint(1, 5), rng.randint(1, 4), rng.randint(1, 4)
        return normal(rng, *shape), normal(rng, *shape)

    def summed(maps: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.mean((1, 2), keepdim=True) * maps).sum(0)

    def scaled(maps: Tensor, gradient: Tensor) -> Tensor:
        found = summed(maps, gradient).relu()
        return found / found.max().clamp(min=1e-8)

    def per_channel(maps: Tensor, gradient: Tensor) -> Tensor:
        return gradient.mean((1, 2), keepdim=True) * maps

    return diagnose(
        answer,
        grad_cam,
        [(normal(random.Random(1), 3, 2, 4), normal(random.Random(2), 3, 2, 4)), *drawn(draw)],
        {
            "the ReLU is missing, so what speaks against the class is still there.": summed,
            "that is gradient times activation at each place, which is called HiResCAM. Grad-CAM "
            "has one weight for a whole channel.": lambda m, g: (g * m).sum(0).relu(),
            "that is gradient times activation at each place, without the ReLU. Grad-CAM has one "
            "weight for a whole channel.": lambda m, g: (g * m).sum(0),
            "the weights are sums over the places. They are means, so that a larger map weighs no "
            "more.": lambda m, g: grad_cam(m, g) * m[0].numel(),
            "the channels are averaged. They are summed.": lambda m, g: grad_cam(m, g) / len(m),
            "the ReLU comes before the sum, so channels can no longer cancel.": (
                lambda m, g: per_channel(m, g).relu().sum(0)
            ),
            "the weights went through the ReLU, which belongs after the sum.": (
                lambda m, g: (g.mean((1, 2), keepdim=True).relu() * m).sum(0)
            ),
            "the weights went through a ReLU as well as the sum. Only the sum should.": (
                lambda m, g: (g.mean((1, 2), keepdim=True).relu() * m).sum(0).relu()
            ),
            "this has absolute values where the ReLU should be.": lambda m, g: summed(m, g).abs(),
            "the weights are absolute values, so a channel against the class counts for it.": (
                lambda m, g: (g.mean((1, 2), keepdim=True).abs() * m).sum(0).relu()
            ),
            "the gradient went through a ReLU before its mean. Its mean is the weight.": (
                lambda m, g: grad_cam(m, g.relu())
            ),
            "the gradient's absolute values are averaged. Its mean is the weight, with its sign.": (
                lambda m, g: grad_cam(m, g.abs())
            ),
            "the map is divided by its largest number, so two maps cannot be compared any more.": (
                scaled
            ),
            "the gradient is averaged over the channels. Average it over the places.": (
                lambda m, g: (g.mean(0) * m.sum(0)).relu()
            ),
            "the channels are not summed.": lambda m, g: per_channel(m, g).relu(),
            "maps and gradients are exchanged.": lambda m, g: grad_cam(g, m),
        },
    )


def deletion_scores(
    score: Callable[[Tensor], Tensor],
    image: Tensor,
    importance: Tensor,
    fill: Tensor,
    counts: Sequence[int],
) -> list[Tensor]:
    """The score after the most important pixels were replaced, for each number of pixels.

    Args:
        score: image `(C, H, W)` → a number.
        image, fill: `(C, H, W)`; a pixel that is removed gets what `fill` has there.
        importance: `(H, W)`.
        counts: how many pixels to remove.
    """
    order = importance.flatten().argsort(descending=True)
    scores = []
    for count in counts:
        gone = torch.zeros(importance.numel(), dtype=torch.bool)
        gone[order[:count]] = True
        scores.append(score(torch.where(gone.view_as(importance), fill, image)))
    return scores


@exercise(
    "09.5",
    "A deletion curve",
    stars=2,
    minutes=10,
    solution=deletion_scores,
    hints=[
        "Which pixels go first? argsort of the flat importance gives them in order.",
        "A mask (H, W) of what is gone holds for all colours of a pixel.",
        "For each count make a new mask from the first `count` of the order, and torch.where.",
    ],
    takeaway="whoever makes the map, the model itself says whether these pixels mattered.",
)
def examine_deletion_scores(answer: Callable[..., Sequence]) -> str | None:
    def case(rng: random.Random) -> tuple:
        height, width = rng.randint(2, 5), rng.randint(2, 5)
        image, fill = normal(rng, 3, height, width), normal(rng, 3, height, width)
        counts = [0, *sorted(rng.sample(range(1, height * width), 2)), height * width]
        weight = normal(rng, 3, height, width)

        def score(x: Tensor) -> Tensor:
            return (weight * x).sum().tanh() + x[0, 0, 0]

        return score, image, normal(rng, height, width), fill, counts

    def reversed_order(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, x, -i, f, n)

    def insertion(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, f, i, x, n)

    def with_zeros(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, x, i, torch.zeros_like(x), n)

    def by_size(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, x, i.abs(), f, n)

    def first_colour(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, x, i, torch.cat([f[:1], x[1:]]), n)

    def one_fill(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, x, i, f.mean().expand_as(f), n)

    def added_up(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        totals = [min(sum(n[: k + 1]), i.numel()) for k in range(len(n))]
        return deletion_scores(s, x, i, f, totals)

    def only_new(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        order, scores = i.flatten().argsort(descending=True), []
        for start, stop in zip([0, *n], n, strict=False):
            gone = torch.zeros(i.numel(), dtype=torch.bool)
            gone[order[start:stop]] = True
            scores.append(s(torch.where(gone.view_as(i), f, x)))
        return scores

    def masked(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        """A pixel that is kept is multiplied by its importance."""
        return [
            s(torch.where(i.flatten().sort(descending=True).values[k - 1] <= i, f, x * i))
            if k
            else s(x * i)
            for k in n
        ]

    def dropped(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        scores = deletion_scores(s, x, i, f, n)
        return [scores[0] - each for each in scores]

    def one_at_least(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, x, i, f, [max(count, 1) for count in n])

    def all_at_none(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, x, i, f, [count or i.numel() for count in n])

    def one_more(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        return deletion_scores(s, x, i, f, [count + 1 for count in n])

    def in_each_row(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        rank = i.argsort(descending=True).argsort()  # along a row
        return [s(torch.where(rank < count, f, x)) for count in n]

    def columns_as_places(s: Callable, x: Tensor, i: Tensor, f: Tensor, n: Sequence[int]) -> list:
        order, scores = i.argsort(descending=True).flatten(), []
        for count in n:
            gone = torch.zeros(i.numel(), dtype=torch.bool)
            gone[order[:count]] = True
            scores.append(s(torch.where(gone.view_as(i), f, x)))
        return scores

    return diagnose(
        answer,
        deletion_scores,
        drawn(case),
        {
            "the least important pixels are removed. The most important go first.": reversed_order,
            "this begins with the fill and puts pixels back: it is the insertion curve.": insertion,
            "the pixels become 0. They should become what `fill` has there.": with_zeros,
            "the order is by absolute importance, so pixels that speak against the class go "
            "early. Importance has a sign.": by_size,
            "only the first colour is replaced. A pixel has all of them.": first_colour,
            "every pixel gets the mean of `fill`. It should get what `fill` has in its place.": (
                one_fill
            ),
            "each count is added to those before it. A count says how many pixels are gone in "
            "all.": added_up,
            "only the pixels that a count adds are gone, and those before it are back. They should "
            "stay away.": only_new,
            "the image is multiplied by its importance. The pixels that stay should stay as they "
            "are.": masked,
            "these are the losses against the whole image. The scores are asked for.": dropped,
            "one pixel is gone where the count is 0. There the image should be whole.": (
                one_at_least
            ),
            "all pixels are gone where the count is 0. An index of 0 − 1 is that of the last.": (
                all_at_none
            ),
            "one pixel too many is gone. A pixel goes if its rank, counted from 0, is below the "
            "count.": one_more,
            "each row loses so many pixels, because the order is made row by row. A count is of "
            "the whole image.": in_each_row,
            "argsort of a map gives columns, row by row, and here they are taken for places in the "
            "flat image. Flatten the importance first.": columns_as_places,
            "the first score is missing.": lambda *given: deletion_scores(*given)[1:],
            "that is the mean already. Return one score for each count.": (
                lambda *given: torch.stack(deletion_scores(*given)).mean()
            ),
        },
    )


def calibration_error(confidence: Tensor, right: Tensor, bins: int) -> float:
    """Expected calibration error: the gap of each bin, weighted by its share of the pixels.

    Args:
        confidence: `(N,)`, the probability of the predicted class, above 0 and up to 1.
        right: `(N,)`, whether the prediction was right.
        bins: of equal width, from 0 to 1.
    """
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    error = 0.0
    for index in range(bins):
        inside = bin_of == index
        if inside.any():
            gap = right[inside].float().mean() - confidence[inside].mean()
            error += inside.float().mean().item() * abs(gap.item())
    return error


@exercise(
    "09.6",
    "How far off is its confidence?",
    stars=2,
    minutes=9,
    solution=calibration_error,
    hints=[
        "In which bin is a confidence of 0.73, if there are ten? And one of exactly 1?",
        "The gap of a bin is |share that is right − mean confidence|, of the pixels in it.",
        "Add the gaps up, each times its bin's share of all pixels. A bin that is empty has none.",
    ],
    takeaway="within a bin, too sure and too careful cancel; between bins they do not.",
)
def examine_calibration_error(answer: Callable[..., float]) -> str | None:
    def case(rng: random.Random, bins: int, size: int, sure: bool) -> tuple[Tensor, Tensor, int]:
        numbers = [rng.random() ** rng.choice([0.2, 1.0]) for _ in range(size)]
        confidence = torch.tensor(numbers).clamp(1e-3, 1 - 1e-3)
        near = (confidence * bins - (confidence * bins).round()).abs() < 1e-3
        confidence = torch.where(near, (confidence * bins).floor() / bins + 0.5 / bins, confidence)
        if sure:
            confidence[-2:] = 1.0
        right = torch.tensor([rng.random() < 0.9 * p for p in confidence.tolist()])
        return confidence, right, bins

    def draw(rng: random.Random) -> tuple[Tensor, Tensor, int]:
        bins = rng.randint(2, 12)  # whoever fills them equally does so in one way, at such sizes
        return case(rng, bins, bins * rng.randint(2, 6), rng.random() < 0.3)

    def gaps(
        confidence: Tensor, right: Tensor, bins: int, top: int | None = None
    ) -> list[list[float]]:
        """Share of the pixels, share right, mean confidence, and middle of each bin with pixels."""
        bin_of = (confidence * bins).long().clamp(max=bins - 1 if top is None else top)
        found = []
        for index in range(bins):
            if (inside := bin_of == index).any():
                of_bin = right[inside].float().mean().item(), confidence[inside].mean().item()
                found.append([inside.float().mean().item(), *of_bin, (index + 0.5) / bins])
        return found

    def of_gaps(combine: Callable[[list[list[float]]], float]) -> Callable[..., float]:
        return lambda confidence, right, bins: combine(gaps(confidence, right, bins))

    def over_all_bins(confidence: Tensor, right: Tensor, bins: int) -> float:
        return sum(abs(r - p) for _, r, p, _ in gaps(confidence, right, bins)) / bins

    def mass(confidence: Tensor, right: Tensor, bins: int) -> float:
        parts = [part for part in confidence.argsort().tensor_split(bins) if len(part)]
        gap = [abs(float(right[x].float().mean() - confidence[x].mean())) for x in parts]
        return sum(len(x) / len(right) * each for x, each in zip(parts, gap, strict=True))

    def without_the_sure(confidence: Tensor, right: Tensor, bins: int) -> float:
        return sum(s * abs(r - p) for s, r, p, _ in gaps(confidence, right, bins, top=bins))

    def nan_of_empty(confidence: Tensor, right: Tensor, bins: int) -> float:
        found = gaps(confidence, right, bins)
        return calibration_error(confidence, right, bins) if len(found) == bins else math.nan

    return diagnose(
        answer,
        calibration_error,
        [
            case(random.Random(5), 5, 60, False),
            case(random.Random(0), 10, 30, True),
            *drawn(draw),
        ],
        {
            "every bin counts the same here. A bin should count by its share of the pixels.": (
                of_gaps(lambda found: sum(abs(r - p) for _, r, p, _ in found) / len(found))
            ),
            "the gaps are averaged over all bins, the empty ones too. A bin should count by its "
            "share of the pixels.": over_all_bins,
            "each gap is weighted by its bin's number of pixels. It should be their share.": (
                lambda c, r, bins: len(c) * calibration_error(c, r, bins)
            ),
            "the gaps are added up. Each should be weighted by its bin's share of the pixels.": (
                of_gaps(lambda found: sum(abs(r - p) for _, r, p, _ in found))
            ),
            "that is the largest gap, the maximum calibration error. The mean is asked for.": (
                of_gaps(lambda found: max(abs(r - p) for _, r, p, _ in found))
            ),
            "the gaps keep their sign, so too sure and too careful cancel.": (
                of_gaps(lambda found: sum(s * (r - p) for s, r, p, _ in found))
            ),
            "the gaps keep their sign, so too careful and too sure cancel.": (
                of_gaps(lambda found: sum(s * (p - r) for s, r, p, _ in found))
            ),
            "all pixels are in one bin here, so too sure and too careful cancel.": (
                lambda c, r, bins: abs(float(r.float().mean() - c.mean()))
            ),
            "the gap is taken to the middle of the bin. Take it to the mean confidence in it.": (
                of_gaps(lambda found: sum(s * abs(r - middle) for s, r, _, middle in found))
            ),
            "the gaps are squared.": of_gaps(
                lambda found: sum(s * (r - p) ** 2 for s, r, p, _ in found)
            ),
            "the gaps are squared, and their mean has a root. That is another measure.": of_gaps(
                lambda found: sum(s * (r - p) ** 2 for s, r, p, _ in found) ** 0.5
            ),
            "that is the Brier score: it also counts how well right is told from wrong.": (
                lambda c, r, bins: float((c - r.float()).square().mean())
            ),
            "that is the mean distance of each pixel's confidence from right or wrong. Average "
            "within a bin first.": lambda c, r, bins: float((c - r.float()).abs().mean()),
            "the bins hold equally many pixels. They should be equally wide.": mass,
            "a confidence of exactly 1 falls behind the last bin. It belongs into it.": (
                without_the_sure
            ),
            "an empty bin makes nan of it. It has no gap, and counts nothing.": nan_of_empty,
            "this is in percent.": lambda c, r, bins: 100 * calibration_error(c, r, bins),
        },
    )


def pixel_grad_cam(
    model: SegFormer, images: Tensor, stage: int, row: int, column: int, label: int
) -> Tensor:
    """Grad-CAM of one logit at the map of one stage: `(1, C, H, W)` → `(H_s, W_s)`.

    Args:
        model: in evaluation mode.
        stage: from 0.
        row, column: of the logits' grid.
        label: the class that is asked about.
    """
    maps = model.encoder(images)
    logit = model.decoder(maps)[0, label, row, column]
    (gradient,) = torch.autograd.grad(logit, maps[stage])
    weights = gradient[0].mean(dim=(1, 2))
    return torch.einsum("c,chw->hw", weights, maps[stage][0]).relu().detach()


@exercise(
    "09.7",
    "Grad-CAM of one pixel",
    stars=3,
    minutes=12,
    solution=pixel_grad_cam,
    hints=[
        "model.encoder(images) gives the maps of all stages, model.decoder(maps) the logits.",
        "Of the logits you need one number. torch.autograd.grad(number, maps[stage]) gives its "
        "gradient.",
        "The rest is 09.4. The map of a stage also feeds the next stage, so its gradient comes "
        "along both ways, if nothing is detached in between.",
    ],
    takeaway="one logit of one pixel is asked, and its gradient comes through later stages too.",
)
@torch.enable_grad()  # whatever the notebook has switched off
def examine_pixel_grad_cam(answer: Callable[..., Tensor]) -> str | None:
    def draw(rng: random.Random) -> tuple:
        images = normal(rng, 1, 3, 32, 64)
        stage, label = rng.randrange(2), rng.randrange(3)
        return _model(), images, stage, rng.randrange(8), rng.randrange(8), label

    Case = tuple[SegFormer, Tensor, int, int, int, int]

    def cam(
        ask: Callable[[Tensor, int, int, int], Tensor], offset: int = 0, detach: bool = False
    ) -> Callable[..., Tensor]:
        def of_pixel(*case: *Case) -> Tensor:
            model, images, stage, row, column, label = case
            maps = model.encoder(images)
            if detach:
                maps = [x.detach().requires_grad_() for x in maps]
            asked = ask(model.decoder(maps), label, row, column)
            stage = (stage + offset) % len(maps)
            (gradient,) = torch.autograd.grad(asked, maps[stage])
            return grad_cam(maps[stage][0], gradient[0]).detach()

        return of_pixel

    def one(logits: Tensor, label: int, row: int, column: int) -> Tensor:
        return logits[0, label, row, column]

    def variant(finish: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
        def of_pixel(*case: *Case) -> Tensor:
            model, images, stage, row, column, label = case
            maps = model.encoder(images)
            (gradient,) = torch.autograd.grad(
                model.decoder(maps)[0, label, row, column], maps[stage]
            )
            return finish(maps[stage][0], gradient[0]).detach()

        return of_pixel

    def of_the_picture(logits: Tensor, label: int, row: int, column: int) -> Tensor:
        full = F.interpolate(logits, scale_factor=4, mode="bilinear")
        return full[0, label, 4 * row + 2, 4 * column + 2]

    def enlarged(*case: *Case) -> Tensor:
        size = case[1].shape[2:]
        return F.interpolate(pixel_grad_cam(*case)[None, None], size, mode="bilinear")[0, 0]

    return diagnose(
        answer,
        pixel_grad_cam,
        drawn(draw, count=6),
        {
            "the logits of the whole picture are summed. One pixel is asked about.": (
                cam(lambda logits, label, row, column: logits[0, label].sum())
            ),
            "all classes of the pixel are summed. One is asked about.": (
                cam(lambda logits, label, row, column: logits[0, :, row, column].sum())
            ),
            "this asks for the probability. The logit is asked for; a softmax also answers to the "
            "other classes.": cam(
                lambda logits, label, row, column: logits.softmax(1)[0, label, row, column]
            ),
            "this asks for the logarithm of the probability. The logit is asked for.": cam(
                lambda logits, label, row, column: logits.log_softmax(1)[0, label, row, column]
            ),
            "this asks about the model's own class. The class is given.": cam(
                lambda logits, label, row, column: logits[0, :, row, column].max()
            ),
            "row and column are exchanged.": cam(
                lambda logits, label, row, column: logits[0, label, column, row]
            ),
            "this is the map of another stage. They are counted from 0.": cam(one, offset=-1),
            "the maps were detached, so the way through the later stages is cut off.": (
                cam(one, detach=True)
            ),
            "the logits were enlarged before one was taken. Take it at `row` and `column` of the "
            "grid that they have.": cam(of_the_picture),
            "the map is divided by its largest number.": lambda *case: (
                pixel_grad_cam(*case) / pixel_grad_cam(*case).max().clamp(min=1e-8)
            ),
            "this has the size of the picture. The stage's own is asked for.": enlarged,
            "the ReLU is missing.": variant(
                lambda maps, g: torch.einsum("c,chw->hw", g.mean((1, 2)), maps)
            ),
            "that is gradient times activation at each place. Grad-CAM has one weight for a whole "
            "channel.": variant(lambda maps, g: (g * maps).sum(0).relu()),
            "the weights are sums over the places. They are means.": (
                variant(lambda maps, g: grad_cam(maps, g) * maps[0].numel())
            ),
        },
    )


@cache
def _model() -> SegFormer:
    """Small and untrained, of two stages; the same for every case."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = SegFormerConfig(
            num_classes=3,
            embed_dims=(8, 12),
            depths=(1, 1),
            num_heads=(1, 2),
            reduction_ratios=(2, 1),
            mlp_ratios=(2, 2),
            patch_sizes=(7, 3),
            strides=(4, 2),
            decoder_dim=16,
        )
        model = SegFormer(config)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()
