"""Answers to lesson 09's exercises: right ones found another way, and wrong ones people gave."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch.nn import functional as F


def by_scipy(weights):
    return np.exp(entropy(weights.numpy(), axis=-1))


def with_a_small_number(weights):
    return torch.exp(-(weights * torch.log(weights + 1e-9)).sum(dim=-1))


def by_distribution(weights):
    return torch.distributions.Categorical(probs=weights).perplexity()


def by_kron(weights, ratio):
    return torch.kron(weights, torch.full((ratio, ratio), ratio**-2.0))


def by_interpolate(weights, ratio):
    *lead, height, width = weights.shape
    maps = weights.reshape(1, -1, height, width)
    large = F.interpolate(maps, scale_factor=ratio, mode="nearest") / ratio / ratio
    return large.reshape(*lead, height * ratio, width * ratio)


def normalised_rows(attentions):
    """As Abnar and Zuidema write it: add I, divide each row by its sum, multiply."""
    steps = [a + torch.eye(len(a)) for a in attentions]
    steps = [step / step.sum(-1, keepdim=True) for step in steps]
    return torch.linalg.multi_dot(steps[::-1]) if len(steps) > 1 else steps[0]


def path_by_path(attentions):
    """From each token back, block by block, as a distribution over tokens."""
    rows = []
    for start in range(len(attentions[0])):
        here = F.one_hot(torch.tensor(start), len(attentions[0])).float()
        for attention in reversed(attentions):
            here = 0.5 * here + 0.5 * here @ attention
        rows.append(here)
    return torch.stack(rows)


def half_of_the_input(attentions):
    rows = torch.eye(len(attentions[0]))
    for attention in attentions:
        rows = 0.5 * (attention @ rows) + 0.5 * torch.eye(len(rows))
    return rows


def cam_by_loop(maps, gradient):
    total = torch.zeros(maps.shape[1:])
    for channel, slope in zip(maps, gradient, strict=True):
        total += slope.mean() * channel
    return total.clamp(min=0)


def deletion_in_numpy(score, image, importance, fill, counts):
    ranks = (-importance).flatten().argsort().argsort().view_as(importance)
    return np.array([float(score(image * (ranks >= n) + fill * (ranks < n))) for n in counts])


def deletion_in_place(score, image, importance, fill, counts):
    scores, order, done = [], importance.flatten().sort(descending=True).indices, 0
    for count in counts:
        for pixel in order[done:count]:
            image.flatten(1)[:, pixel] = fill.flatten(1)[:, pixel]
        scores.append(score(image).item())
        done = count
    return scores


def by_histogram(confidence, right, bins):
    edges = np.linspace(0, 1, bins + 1)
    weigh = {"bins": edges, "range": (0, 1)}
    hits = np.histogram(confidence, weights=right.numpy().astype(float), **weigh)[0]
    sure = np.histogram(confidence, weights=confidence.double().numpy(), **weigh)[0]
    return np.abs(hits - sure).sum() / len(confidence)


def by_hook(model, images, stage, row, column, label):
    kept = {}

    def keep(module, inputs, output):
        output.retain_grad()
        kept["maps"] = output

    hook = model.encoder.stages[stage].register_forward_hook(keep)
    model(images)[0, label, row, column].backward()
    hook.remove()
    return cam_by_loop(kept["maps"][0].detach(), kept["maps"].grad[0])


RIGHT: Mapping[str, Any] = {
    "09.1": [by_scipy, with_a_small_number, by_distribution],
    "09.2": [by_kron, by_interpolate],
    "09.3": [normalised_rows, path_by_path],
    "09.4": cam_by_loop,
    "09.5": [deletion_in_numpy, deletion_in_place],
    "09.6": by_histogram,
    "09.7": by_hook,
}


def nats(weights):
    return entropy(weights.numpy(), axis=-1)


def insertion(score, image, importance, fill, counts):
    return deletion_in_numpy(score, fill, importance, image, counts)


def black(score, image, importance, fill, counts):
    return deletion_in_numpy(score, image, importance, 0 * fill, counts)


def step_by_step(score, image, importance, fill, counts):
    order = importance.flatten().argsort(descending=True)
    scores, before = [], 0
    for count in counts:
        changed = image.clone()
        changed.flatten(1)[:, order[before:count]] = fill.flatten(1)[:, order[before:count]]
        scores.append(score(changed))
        before = count
    return scores


def cumulated(score, image, importance, fill, counts):
    totals = np.minimum(np.cumsum(counts), importance.numel())
    return deletion_in_numpy(score, image, importance, fill, totals)


def by_threshold(which: Callable) -> Callable:
    """The number at an index of the sorted ones goes, and all above it."""

    def deleted(score, image, importance, fill, counts):
        ordered = importance.flatten().sort(descending=True).values
        limits = [ordered[which(count)] for count in counts]
        return [score(torch.where(importance >= limit, fill, image)) for limit in limits]

    return deleted


def by_rank(score, image, importance, fill, counts):
    ranks = (-importance).flatten().argsort().argsort().view_as(importance)
    return [score(torch.where(ranks <= count, fill, image)) for count in counts]


def row_by_row(score, image, importance, fill, counts):
    scores = []
    for count in counts:
        changed = image.clone()
        for row, values in enumerate(importance):
            first = values.sort(descending=True).indices[:count]
            changed[:, row, first] = fill[:, row, first]
        scores.append(score(changed))
    return scores


def argsort_of_the_map(score, image, importance, fill, counts):
    order = torch.argsort(importance, descending=True).reshape(-1).tolist()
    scores = []
    for count in counts:
        changed = image.clone()
        for place in order[:count]:
            changed.flatten(1)[:, place] = fill.flatten(1)[:, place]
        scores.append(score(changed))
    return scores


def of_bins(measure: Callable) -> Callable:
    def error(confidence, right, bins):
        index = np.minimum((confidence.numpy() * bins).astype(int), bins - 1)
        inside = [index == each for each in range(bins) if (index == each).any()]
        shares = np.array([each.mean() for each in inside])
        hits = np.array([right.numpy()[each].mean() for each in inside])
        sure = np.array([confidence.numpy()[each].mean() for each in inside])
        return float(measure(shares, hits - sure))

    return error


def to_the_middle(confidence, right, bins):
    index = np.minimum((confidence.numpy() * bins).astype(int), bins - 1)
    return sum(
        (index == k).mean() * abs(right.numpy()[index == k].mean() - (k + 0.5) / bins)
        for k in range(bins)
        if (index == k).any()
    )


def empty_is_nan(confidence, right, bins):
    error = 0.0
    index = (confidence * bins).long().clamp(max=bins - 1)
    for k in range(bins):
        gap = right[index == k].float().mean() - confidence[index == k].mean()
        error += (index == k).float().mean() * gap.abs()
    return error


def open_above(confidence, right, bins):
    error = 0.0
    for k in range(bins):
        inside = (confidence >= k / bins) & (confidence < (k + 1) / bins)
        if inside.any():
            gap = right[inside].float().mean() - confidence[inside].mean()
            error += inside.float().mean() * gap.abs()
    return error


def by_quantiles(confidence, right, bins):
    edges = np.quantile(confidence.numpy(), np.linspace(0, 1, bins + 1))
    index = np.digitize(confidence.numpy(), edges[1:-1])
    return sum(
        (index == k).mean() * abs(right.numpy()[index == k].mean() - confidence[index == k].mean())
        for k in range(bins)
    ).item()


def asking(question: Callable, detach: bool = False) -> Callable:
    def cam(model, images, stage, row, column, label):
        maps = model.encoder(images)
        if detach:
            maps = [x.detach().requires_grad_() for x in maps]
        asked = question(model.decoder(maps), row, column, label)
        (gradient,) = torch.autograd.grad(asked, maps[stage])
        return cam_by_loop(maps[stage][0].detach(), gradient[0])

    return cam


def the_other_stage(model, images, stage, row, column, label):
    return by_hook(model, images, 1 - stage, row, column, label)


def hires(model, images, stage, row, column, label):
    maps = model.encoder(images)
    (gradient,) = torch.autograd.grad(model.decoder(maps)[0, label, row, column], maps[stage])
    return (gradient * maps[stage])[0].sum(0).relu().detach()


WRONG: Mapping[str, Mapping[str, Any]] = {
    "09.1": {
        "that is the entropy. Its": nats,
        "the entropy in bits": lambda w: nats(w) / np.log(2),
        "as a share of the largest": lambda w: nats(w) / np.log(w.shape[-1]),
        "right where no weight is 0": lambda w: torch.exp(-(w * torch.log(w)).sum(-1)),
        "its power is of 2": lambda w: 2.0 ** nats(w),
        "its power is of e": lambda w: np.exp(entropy(w.numpy(), base=2, axis=-1)),
        "the sign is missing": lambda w: 1 / by_scipy(w),
        "the mean over the keys": lambda w: np.exp(nats(w) / w.shape[-1]),
        "by another measure": lambda w: (w**2).sum(-1) ** -1,
        "a softmax again": lambda w: by_scipy(torch.softmax(w, -1)),
        "a share of the keys": lambda w: by_scipy(w) / w.size(-1),
        "a weight above 0": lambda w: torch.count_nonzero(w, dim=-1),
        "the largest weight": lambda w: 1 / w.max(-1).values,
        "one number for all": lambda w: by_scipy(w).mean(),
        "over the queries": lambda w: torch.special.entr(w).sum(0).exp(),
        "over all queries": lambda w: torch.exp(-torch.sum(w * torch.log(w + 1e-12))),
    },
    "09.2": {
        "they sum to r²": lambda w, r: by_kron(w, r) * r * r,
        "divided by r.": lambda w, r: by_kron(w, r) * r,
        "as tiles are": lambda w, r: torch.cat([torch.cat([w] * r, -1)] * r, -2) / r**2,
        "resized smoothly": lambda w, r: (
            F.interpolate(w.reshape(-1, 1, *w.shape[-2:]), scale_factor=r, mode="bilinear").reshape(
                *w.shape[:-2], w.shape[-2] * r, w.shape[-1] * r
            )
            / r**2
        ),
        "the first token": lambda w, r: torch.kron(
            w, F.pad(torch.ones(1, 1), (0, r - 1, 0, r - 1))
        ),
        "over all queries together": lambda w, r: by_kron(w, r) / by_kron(w, r).sum(),
        "the number of keys": lambda w, r: by_kron(w, r) * r**2 / w[..., :, :].shape[-2:].numel(),
        "only the rows": lambda w, r: torch.kron(w, torch.full((r, 1), 1 / r)),
        "only the columns": lambda w, r: torch.kron(w, torch.full((1, r), 1 / r)),
    },
    "09.3": {
        "the first block stands on the left": lambda a: path_by_path(a[::-1]),
        "a token keeps nothing": lambda a: torch.linalg.multi_dot([*a[::-1], torch.eye(len(a[0]))]),
        "2^blocks": lambda a: path_by_path(a) * 2 ** len(a),
        "the last block alone": lambda a: path_by_path(a[-1:]),
        "the attention of the last block": lambda a: a[-1],
        "the mean of the blocks": lambda a: sum(path_by_path([each]) for each in a) / len(a),
        "the token of the input": half_of_the_input,
        "their mean is multiplied": lambda a: torch.matrix_power(
            sum(path_by_path([each]) for each in a) / len(a), len(a)
        ),
        "products of single numbers": lambda a: torch.stack(
            [path_by_path([each]) for each in a]
        ).prod(0),
        "rows and columns": lambda a: path_by_path(a).t(),
        "the first block is missing": lambda a: (
            path_by_path(a[1:]) if len(a) > 1 else torch.eye(len(a[0]))
        ),
        "once at the end": lambda a: (
            (torch.linalg.multi_dot([*a[::-1], torch.eye(len(a[0]))]) + torch.eye(len(a[0]))) / 2
        ),
        "the first block has no skip": lambda a: path_by_path(a[1:]) @ a[0] if len(a) > 1 else a[0],
    },
    "09.4": {
        "the ReLU is missing": lambda m, g: (g.mean((1, 2))[:, None, None] * m).sum(0),
        "called HiResCAM": lambda m, g: torch.clamp((m * g).sum(0), min=0),
        "without the ReLU": lambda m, g: (m * g).sum(0),
        "sums over the places": lambda m, g: cam_by_loop(m, g * m.shape[1] * m.shape[2]),
        "averaged. They are summed": lambda m, g: cam_by_loop(m, g) / m.shape[0],
        "can no longer cancel": lambda m, g: F.relu(g.mean((1, 2), True) * m).sum(0),
        "which belongs after": lambda m, g: (F.relu(g.mean((1, 2), True)) * m).sum(0),
        "as well as the sum": lambda m, g: F.relu((F.relu(g.mean((1, 2), True)) * m).sum(0)),
        "absolute values where": lambda m, g: (g.mean((1, 2), True) * m).sum(0).abs(),
        "the weights are absolute": lambda m, g: F.relu((g.mean((1, 2), True).abs() * m).sum(0)),
        "a ReLU before its mean": lambda m, g: cam_by_loop(m, F.relu(g)),
        "absolute values are averaged": lambda m, g: cam_by_loop(m, abs(g)),
        "its largest number": lambda m, g: cam_by_loop(m, g) / (cam_by_loop(m, g).max() + 1e-12),
        "over the channels": lambda m, g: F.relu((g.mean(0) * m).sum(0)),
        "the channels are not summed": lambda m, g: F.relu(g.mean((1, 2), True) * m),
        "are exchanged": lambda m, g: cam_by_loop(g, m),
    },
    "09.5": {
        "the least important": lambda s, x, i, f, n: deletion_in_numpy(s, x, -i, f, n),
        "the insertion curve": insertion,
        "become 0": black,
        "by absolute importance": lambda s, x, i, f, n: deletion_in_numpy(s, x, i.abs(), f, n),
        "only the first colour": lambda s, x, i, f, n: deletion_in_numpy(
            s, x, i, torch.cat([f[:1], x[1:]]), n
        ),
        "the mean of `fill`": lambda s, x, i, f, n: deletion_in_numpy(
            s, x, i, torch.full_like(f, f.mean().item()), n
        ),
        "added to those before": cumulated,
        "are back": step_by_step,
        "the losses": lambda s, x, i, f, n: s(x).item() - deletion_in_numpy(s, x, i, f, n),
        "one pixel is gone where": by_threshold(lambda count: max(count - 1, 0)),
        "all pixels are gone where": by_threshold(lambda count: count - 1),
        "one pixel too many": by_rank,
        "each row loses": row_by_row,
        "argsort of a map": argsort_of_the_map,
        "the first score": lambda s, x, i, f, n: deletion_in_numpy(s, x, i, f, n[1:]),
        "the mean already": lambda s, x, i, f, n: deletion_in_numpy(s, x, i, f, n).mean(),
    },
    "09.6": {
        "every bin counts the same": of_bins(lambda shares, gap: np.abs(gap).mean()),
        "the empty ones too": lambda c, r, bins: (
            of_bins(lambda shares, gap: np.abs(gap).sum())(c, r, bins) / bins
        ),
        "its bin's number of pixels": lambda c, r, bins: by_histogram(c, r, bins) * c.numel(),
        "the gaps are added up": of_bins(lambda shares, gap: np.abs(gap).sum()),
        "the largest gap": of_bins(lambda shares, gap: np.abs(gap).max()),
        "so too sure and too careful cancel": of_bins(lambda shares, gap: (shares * gap).sum()),
        "so too careful and too sure cancel": of_bins(lambda shares, gap: -(shares * gap).sum()),
        "in one bin": lambda c, r, bins: abs(r.float().mean() - c.mean()).item(),
        "the middle of the bin": to_the_middle,
        "the gaps are squared.": of_bins(lambda shares, gap: (shares * gap**2).sum()),
        "their mean has a root": of_bins(lambda shares, gap: (shares * gap**2).sum() ** 0.5),
        "Brier": lambda c, r, bins: F.mse_loss(c, r.float()).item(),
        "each pixel's confidence": lambda c, r, bins: F.l1_loss(c, r.float()).item(),
        "equally many pixels": by_quantiles,
        "falls behind the last": open_above,
        "makes nan": empty_is_nan,
        "in percent": lambda c, r, bins: 100 * by_histogram(c, r, bins),
    },
    "09.7": {
        "the whole picture": asking(lambda logits, row, column, label: logits[:, label].sum()),
        "all classes of the pixel": asking(
            lambda logits, row, column, label: logits[0, :, row, column].sum()
        ),
        "for the probability": asking(
            lambda logits, row, column, label: F.softmax(logits, 1)[0, label, row, column]
        ),
        "the logarithm": asking(
            lambda logits, row, column, label: (
                -F.cross_entropy(logits[:, :, row, column], torch.tensor([label]))
            )
        ),
        "own class": asking(lambda logits, row, column, label: logits[0, :, row, column].amax()),
        "row and column": asking(lambda logits, row, column, label: logits[0, label, column, row]),
        "another stage": the_other_stage,
        "were enlarged": asking(
            lambda logits, row, column, label: F.interpolate(
                logits, size=[4 * side for side in logits.shape[2:]], mode="bilinear"
            )[0, label, 4 * row + 2, 4 * column + 2]
        ),
        "its largest number": lambda *asked: by_hook(*asked) / (by_hook(*asked).max() + 1e-12),
        "the size of the picture": lambda model, images, *asked: F.interpolate(
            by_hook(model, images, *asked)[None, None], images.shape[-2:], mode="bilinear"
        ).squeeze(),
        "were detached": asking(
            lambda logits, row, column, label: logits[0, label, row, column], detach=True
        ),
        "at each place": hires,
    },
}

ONE_IMAGE = "same: the batch holds one image."
ORDER = "same: the mean over two axes, whichever is named first."
SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "09.3": {"n = len(attentions[-1])": "same: all blocks have one grid."},
    "09.4": {"weights = gradient.mean(dim=(2, 1))": ORDER},
    "09.6": {
        "error = 0": "same: nothing and nothing is nothing.",
        "gap = confidence[inside].mean() - right[inside].float().mean()": (
            "same: the absolute value follows."
        ),
        "error += inside.float().mean() * abs(gap.item())": "same: a tensor of one number.",
        "error += inside.float().mean().item() * abs(gap)": "same: a tensor of one number.",
    },
    "09.7": {
        "logit = model.decoder(maps)[-1, label, row, column]": ONE_IMAGE,
        "weights = gradient[-1].mean(dim=(1, 2))": ONE_IMAGE,
        "return torch.einsum('c,chw->hw', weights, maps[stage][-1]).relu().detach()": ONE_IMAGE,
        "weights = gradient[0].mean(dim=(2, 1))": ORDER,
        "return torch.einsum('c,chw->hw', weights, maps[stage][0]).relu()": (
            "allowed: whether the map still has a graph is not asked."
        ),
    },
}
