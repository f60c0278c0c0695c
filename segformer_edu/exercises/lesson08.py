"""Exercises of lesson 08, training."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.config import SegFormerConfig
from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal, same, uses
from segformer_edu.segformer import SegFormer


@exercise(
    "08.1",
    "mIoU with a pencil",
    stars=1,
    minutes=4,
    solution=(2 / 4 + 3 / 4 + 1 / 2) / 3,
    hints=[
        "For each class, take the pixels to which both assign it, over those to which at least one "
        "does. The ignored pixel belongs to neither.",
        "Eight pixels count. Class 2 is predicted once, and occurs twice.",
        "The mean is over the three classes that occur: 2/4, 3/4 and 1/2.",
    ],
    takeaway="ignored pixels do not count, and neither does a class that appears nowhere.",
)
def examine_miou_by_hand(answer: float) -> str | None:
    true = torch.tensor([[0, 0, 1], [0, 1, 1], [2, 2, 255]])
    said = torch.tensor([[0, 0, 1], [1, 1, 1], [0, 2, 0]])

    def ious(true: Tensor, said: Tensor) -> list[float]:
        """Of the classes that appear."""
        pairs = [((true == k) & (said == k), (true == k) | (said == k)) for k in range(3)]
        return [float(both.sum() / either.sum()) for both, either in pairs if either.any()]

    def mean(numbers: Sequence[float]) -> float:
        return sum(numbers) / len(numbers)

    counts = true != 255
    found = ious(true[counts], said[counts])
    if same(answer, mean(found), tolerance=6e-3):  # a pencil stops at 0.58
        return None
    hits = [int(((true == k) & (said == k)).sum()) for k in range(3)]
    occur = [int((true == k).sum()) for k in range(3)]
    called = [int((said[counts] == k).sum()) for k in range(3)]
    rows = [ious(t[c], s[c]) for t, s, c in zip(true, said, counts, strict=True)]
    mistakes = {
        "that is the pixel accuracy, six of eight.": 6 / 8,
        "that is the pixel accuracy with the ignored pixel counted as wrong.": 6 / 9,
        "class 3 appears nowhere, so it has no IoU. Do not count it as 0 in the mean.": (
            sum(found) / 4
        ),
        "class 3 appears nowhere, so it has no IoU. Do not count it as 1 in the mean.": (
            (sum(found) + 1) / 4
        ),
        "the ignored pixel has made the union of class 0 larger. What is predicted there does "
        "not count either.": mean(ious(true, said)),
        "that is the sum. Divide it by the number of classes that occur.": sum(found),
        "that is the mean of the rows' mIoUs. Count a class over the whole picture first, and "
        "divide once.": mean([mean(row) for row in rows]),
        "that is all intersections over all unions, so a large class counts more. Divide class by "
        "class, then take the mean.": (sum(hits) / (sum(occur) + sum(called) - sum(hits))),
        "that is the mean recall, or the mean accuracy of the three rows. Pixels wrongly predicted "
        "as a class belong to its union too.": (
            mean([hit / all_of_it for hit, all_of_it in zip(hits, occur, strict=True)])
        ),
        "that is the mean precision. Pixels of a class that were missed belong to its union too.": (
            mean([hit / all_of_it for hit, all_of_it in zip(hits, called, strict=True)])
        ),
        "that is the mean Dice score. IoU divides by the union, in which no pixel is twice.": (
            mean([2 * iou / (1 + iou) for iou in found])
        ),
        "class 0 is missing from the mean. It is a class as the others are.": mean(found[1:]),
    }
    for diagnosis, value in mistakes.items():
        if same(answer, value, tolerance=1e-3):
            return diagnosis
    return "count again, class by class: the pixels that both assign to it, over those of either."


def iou_of_classes(matrix: Tensor) -> Tensor:
    """IoU of each class from its confusion matrix, `(K, K)` → `(K,)`."""
    both = matrix.diagonal()
    return both / (matrix.sum(dim=0) + matrix.sum(dim=1) - both)


@exercise(
    "08.2",
    "IoU from a confusion matrix",
    stars=1,
    minutes=5,
    solution=iou_of_classes,
    hints=[
        "Where are the pixels of class k that were predicted as k? Where are all pixels of class "
        "k? And all those predicted as k?",
        "Row k and column k cross in one cell, so a sum of both counts it twice.",
        "diagonal / (row sums + column sums − diagonal).",
    ],
    takeaway="the diagonal, over row plus column minus the diagonal.",
)
def examine_iou_of_classes(answer: Callable[..., Tensor]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor]:
        """Counts, in which a class may be missed, never be called, or appear nowhere."""
        classes = rng.randint(1, 6)
        matrix = torch.tensor([[rng.randint(0, 9) for _ in range(classes)] for _ in range(classes)])
        for cells in (matrix, matrix.T, matrix.diagonal()[:, None]):
            for k in range(classes):
                cells[k] *= rng.random() > 0.3
        return (matrix,)

    def either(m: Tensor) -> Tensor:
        return m.sum(0) + m.sum(1) - m.diagonal()

    def nan_where(condition: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda m: iou_of_classes(m).masked_fill(condition(m), math.nan)

    return diagnose(
        answer,
        iou_of_classes,
        [
            (torch.tensor([[5, 1, 0], [2, 7, 3], [0, 4, 1]]),),
            (torch.tensor([[40, 3, 0], [10, 2, 0], [0, 0, 0]]),),  # class 2 appears nowhere
            (torch.tensor([[5, 0, 2], [1, 0, 3], [1, 0, 4]]),),  # class 1 is never called
            (torch.tensor([[5, 1, 2], [0, 0, 0], [3, 1, 4]]),),  # class 1 is called and not there
            *drawn(draw),
        ],
        {
            "the cell on the diagonal is in the row and in the column, so this union counts it "
            "twice.": lambda m: m.diagonal() / (m.sum(0) + m.sum(1)),
            "that is the recall. Pixels wrongly predicted as the class are missing from the "
            "union.": lambda m: m.diagonal() / m.sum(1),
            "that is the precision. Pixels of the class that were missed are not in the union.": (
                lambda m: m.diagonal() / m.sum(0)
            ),
            "that is the Dice score, twice the intersection over the sum of both. It is never "
            "smaller than IoU, and ranks classes the same.": (
                lambda m: 2 * m.diagonal() / (m.sum(0) + m.sum(1))
            ),
            "that is each class's part of the pixel accuracy. Divide by the class's own union, not "
            "by all pixels.": lambda m: m.diagonal() / m.sum(),
            "that is the mean already. Return one number for each class.": (
                lambda m: iou_of_classes(m).nanmean()
            ),
            "that is the mean already, and it is nan where a class appears nowhere. Return one "
            "number for each class.": lambda m: iou_of_classes(m).mean(),
            "that is one number for all: every intersection over every union. Return one for each "
            "class.": lambda m: m.diagonal().sum() / either(m).sum(),
            "that is the pixel accuracy. Return the IoU of each class.": (
                lambda m: m.diagonal().sum() / m.sum()
            ),
            "this is right except for a class that appears nowhere. 0 would mean that it was "
            "predicted wrongly, nan that there was nothing to predict.": (
                lambda m: iou_of_classes(m).nan_to_num(0.0)
            ),
            "this is right except for a class that appears nowhere. 1, perhaps from an ε above and "
            "below the bar, rewards a class for not being there; nan is asked for.": (
                lambda m: iou_of_classes(m).nan_to_num(1.0)
            ),
            "this is right except for a class that appears nowhere. −1 would go into a mean; nan "
            "is asked for.": lambda m: iou_of_classes(m).nan_to_num(-1.0),
            "a class that is never found has IoU 0. As nan it would leave the mean, and missing it "
            "would cost nothing.": nan_where(lambda m: m.diagonal() == 0),
            "a class that was called and is not there has IoU 0. As nan it would leave the mean, "
            "and calling it would cost nothing.": nan_where(lambda m: m.sum(1) == 0),
            "a class that is there and was never called has IoU 0. As nan it would leave the mean, "
            "and missing it would cost nothing.": nan_where(lambda m: m.sum(0) == 0),
            "one pixel is added to every diagonal cell, or above and below the bar, which changes "
            "small classes most.": lambda m: iou_of_classes(m + torch.eye(len(m))),
            "class 0 is missing. It is a class as the others are.": lambda m: iou_of_classes(m)[1:],
            "the classes that appear nowhere are cut out, so the numbers after them belong to "
            "other classes. Leave nan in their place.": (
                lambda m: iou_of_classes(m)[either(m) > 0]
            ),
        },
    )


def masked_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of −log softmax of the right class over the pixels that count: `(B, K, H, W)`."""
    counts = labels != 255
    log_probability = logits.log_softmax(dim=1)
    right = log_probability.gather(1, labels.where(counts, 0)[:, None])[:, 0]  # (B, H, W)
    return -right[counts].mean()


@exercise(
    "08.3",
    "A loss that leaves pixels out",
    stars=2,
    minutes=8,
    solution=masked_cross_entropy,
    hints=[
        "log_softmax over which axis? And 255 is not an index, so gather would fail.",
        "Replace 255 by any class, gather, and then take only the pixels that count.",
        "The mean is the sum over the pixels that count, divided by their number.",
    ],
    takeaway="the sum and its divisor are both over the pixels that count.",
)
def examine_masked_cross_entropy(answer: Callable[..., Tensor]) -> str | None:
    def case(
        batch: int,
        classes: int,
        share: float,
        scale: float = 1.0,
        rng: random.Random | None = None,
    ) -> tuple[Tensor, Tensor]:
        rng = rng or random.Random(0)
        height, width = rng.randint(1, 6), rng.randint(1, 6)
        logits = scale * normal(rng, batch, classes, height, width)
        pixels = range(batch * height * width)
        labels = torch.tensor([rng.randrange(classes) for _ in pixels])
        hidden = torch.tensor([rng.random() < share for _ in pixels])
        labels, hidden = labels.view(batch, height, width), hidden.view(batch, height, width)
        hidden[0] |= share > 0.5  # nothing of the first picture counts
        hidden[-1, 0, 0] = False  # but a pixel of the last does
        return logits, labels.masked_fill(hidden, 255)

    def draw(rng: random.Random) -> tuple[Tensor, Tensor]:
        return case(rng.randint(1, 3), rng.randint(2, 6), rng.choice([0.0, 0.4, 0.7]), rng=rng)

    def of_pixels(logits: Tensor, labels: Tensor, axis: int = 1) -> tuple[Tensor, Tensor]:
        """The loss of every pixel, and which of them count; an ignored one is taken for class 0."""
        counts = labels != 255
        log_probability = logits.log_softmax(dim=axis)
        right = log_probability.gather(1, labels.where(counts, 0)[:, None])[:, 0]
        return -right, counts

    def divided_by_all(logits: Tensor, labels: Tensor) -> Tensor:
        loss, counts = of_pixels(logits, labels)
        return (loss * counts).mean()

    def divided_by_pictures(logits: Tensor, labels: Tensor) -> Tensor:
        loss, counts = of_pixels(logits, labels)
        return (loss * counts).sum() / len(logits)

    def mean_of_pictures(logits: Tensor, labels: Tensor) -> Tensor:
        loss, counts = of_pixels(logits, labels)
        return ((loss * counts).sum((1, 2)) / counts.sum((1, 2))).mean()

    def summed(logits: Tensor, labels: Tensor) -> Tensor:
        loss, counts = of_pixels(logits, labels)
        return loss[counts].sum()

    def along(axis: int) -> Callable[[Tensor, Tensor], Tensor]:
        def wrong_axis(logits: Tensor, labels: Tensor) -> Tensor:
            loss, counts = of_pixels(logits, labels, axis)
            return loss[counts].mean()

        return wrong_axis

    def with_labels(change: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """The right loss for labels that were changed, which depends on the number of classes."""
        return lambda x, y: masked_cross_entropy(x, change(y, x.shape[1]))

    def by_one_hot(logits: Tensor, labels: Tensor) -> Tensor:
        counts = labels != 255
        truth = F.one_hot(labels.where(counts, 0), logits.shape[1]).movedim(-1, 1)
        return -(truth * logits.softmax(dim=1).log()).sum(dim=1)[counts].mean()

    def without_softmax(logits: Tensor, labels: Tensor) -> Tensor:
        counts = labels != 255
        right = logits.gather(1, labels.where(counts, 0)[:, None])[:, 0]
        return -right[counts].mean()

    def zero_logits(logits: Tensor, labels: Tensor) -> Tensor:
        return of_pixels(logits * (labels != 255)[:, None], labels)[0].mean()

    def yes_or_no(logits: Tensor, labels: Tensor) -> Tensor:
        counts = labels != 255
        truth = F.one_hot(labels.where(counts, 0), logits.shape[1]).permute(0, 3, 1, 2).float()
        loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        return loss.mean(dim=1)[counts].mean()

    def logarithm(epsilon: float) -> Callable[[Tensor, Tensor], Tensor]:
        def of_probability(logits: Tensor, labels: Tensor) -> Tensor:
            counts = labels != 255
            probability = logits.softmax(dim=1).gather(1, labels.where(counts, 0)[:, None])[:, 0]
            return -(probability[counts] + epsilon).log().mean()

        return of_probability

    far, one_class = case(2, 4, 0.3, scale=200.0), case(2, 1, 0.4)
    diagnosis = diagnose(
        answer,
        masked_cross_entropy,
        drawn(draw),
        {
            "the ignored pixels are not in the sum, but still in the divisor, so the more is "
            "ignored, the smaller this loss.": divided_by_all,
            "the ignored pixels are counted as class 0.": with_labels(
                lambda y, k: y.where(y != 255, 0)
            ),
            "the ignored pixels are counted as the last class.": with_labels(
                lambda y, k: y.clamp(max=k - 1)
            ),
            "the ignored pixels have logits of 0 here, and are still counted. Leave them out of "
            "the mean.": zero_logits,
            "class 0 is left out together with the ignored pixels. It is a class as the others "
            "are.": with_labels(lambda y, k: y.where(y > 0, 255)),
            "the labels are moved by one class. Here they begin at 0.": with_labels(
                lambda y, k: torch.where((y > 0) & (y < 255), y - 1, 255)
            ),
            "this is the mean of the pictures' means, so a pixel counts more where few others "
            "do.": mean_of_pictures,
            "this is the sum over the pixels that count. Divide by their number.": summed,
            "this divides by the number of pictures. Divide by that of the pixels that count.": (
                divided_by_pictures
            ),
            "the sign is wrong: the logarithm of a probability is never positive.": (
                lambda x, y: -masked_cross_entropy(x, y)
            ),
            "the softmax is missing: these are logits, and no logarithms of probabilities.": (
                without_softmax
            ),
            "there is one softmax too many. log_softmax wants the logits themselves.": (
                lambda x, y: masked_cross_entropy(x.softmax(dim=1), y)
            ),
            "these are K questions with yes or no, a sigmoid each. Here one class of K is right, "
            "so a softmax is asked for.": yes_or_no,
            "the softmax runs along the width. The probabilities of one pixel sum to one over the "
            "classes.": along(3),
            "the softmax runs along the height. The probabilities of one pixel sum to one over the "
            "classes.": along(2),
            "the softmax runs over the pictures. The probabilities of one pixel sum to one over "
            "the classes.": along(0),
        },
    ) or diagnose(
        answer,
        masked_cross_entropy,
        [far, one_class],
        {
            "this is right for small logits. Where they lie far apart a probability is rounded to "
            "0, and its logarithm is −∞. log_softmax avoids that.": logarithm(0.0),
            "this is right for small logits. Where they lie far apart a probability is rounded to "
            "0, its logarithm is −∞, and 0 · −∞ is nan. log_softmax avoids that.": by_one_hot,
            **{
                f"this is right for small logits. Where they lie far apart, adding {epsilon:.0e} "
                "hides how wrong they are. log_softmax needs no such number.": logarithm(epsilon)
                for epsilon in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12)
            },
        },
    )
    if diagnosis is None and uses(answer, far, "cross_entropy"):
        return "this is right, but F.cross_entropy has done the work. Write it out yourself."
    return diagnosis


def rate_share(step: int, steps: int, warmup_steps: int, ratio: float, power: float) -> float:
    """Poly over the whole run, times a line from `ratio` to 1 over the first steps."""
    rise = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return (ratio + (1 - ratio) * rise) * (1 - step / steps) ** power


@exercise(
    "08.4",
    "The schedule of the reference recipe",
    stars=2,
    minutes=8,
    solution=rate_share,
    hints=[
        "Two factors are multiplied: poly, and one for the warm-up that ends at 1.",
        "A line from ratio to 1 is ratio + (1 − ratio) · how far through the warm-up it is.",
        "After the warm-up, or without one, that factor is 1: min(1, step / warmup_steps).",
    ],
    takeaway="the warm-up multiplies a schedule that has been falling since step 0.",
)
def examine_rate_share(answer: Callable[..., float]) -> str | None:
    def poly(step: int, steps: int, power: float) -> float:
        return (1 - step / steps) ** power

    def line(step: int, warm: int, ratio: float) -> float:
        return ratio + (1 - ratio) * min(1.0, step / warm)

    def draw(rng: random.Random) -> tuple[int, int, int, float, float]:
        steps = rng.randint(2, 200)
        warm = rng.randint(1, steps)
        step = rng.choice([rng.randint(0, warm), rng.randint(0, steps)])
        return step, steps, warm, rng.random(), rng.choice([0.5, 0.9, 1.0, 2.0])

    return diagnose(
        answer,
        rate_share,
        [
            (0, 1000, 50, 0.01, 1.0),
            (20, 1000, 50, 0.01, 1.0),
            (50, 1000, 50, 0.01, 1.0),
            (49, 200, 50, 0.5, 0.9),
            (700, 1000, 50, 0.01, 2.0),
            (1000, 1000, 50, 0.0, 1.0),
            *drawn(draw),
        ],
        {
            "the warm-up is missing.": lambda s, n, w, r, p: poly(s, n, p),
            "poly is missing, so the rate stays where the warm-up has brought it.": (
                lambda s, n, w, r, p: line(s, w, r)
            ),
            "that is the line of section 5, which begins at 1 / warmup_steps. This one begins at "
            "`ratio`.": lambda s, n, w, r, p: min(1.0, (s + 1) / w) * poly(s, n, p),
            "the line rises too steeply, so it is at 1 before the warm-up ends. From `ratio` on it "
            "has 1 − `ratio` to rise.": lambda s, n, w, r, p: min(1.0, r + s / w) * poly(s, n, p),
            "the power is on both factors. It belongs to poly alone.": (
                lambda s, n, w, r, p: line(s, w, r) ** p * poly(s, n, p)
            ),
            "the line begins at 0, but it should begin at `ratio`.": (
                lambda s, n, w, r, p: min(1.0, s / w) * poly(s, n, p)
            ),
            "the line from 0 is cut off at `ratio`. It should begin there, and rise from step 0 "
            "on.": lambda s, n, w, r, p: max(r, min(1.0, s / w)) * poly(s, n, p),
            "the factor stays at `ratio` during the warm-up. It should rise in a line.": (
                lambda s, n, w, r, p: (r if s < w else 1.0) * poly(s, n, p)
            ),
            "the factor rises as a power of `ratio`. It should rise in a line.": (
                lambda s, n, w, r, p: r ** max(1 - s / w, 0.0) * poly(s, n, p)
            ),
            "poly begins only after the warm-up here. In this recipe it falls from step 0 on, and "
            "the two are multiplied.": (
                lambda s, n, w, r, p: line(s, w, r) if s < w else poly(s - w, n - w, p)
            ),
            "poly is left out during the warm-up, so the rate jumps where the warm-up ends.": (
                lambda s, n, w, r, p: line(s, w, r) if s < w else poly(s, n, p)
            ),
            "the line keeps rising after the warm-up. It has to stop at 1.": (
                lambda s, n, w, r, p: (r + (1 - r) * s / w) * poly(s, n, p)
            ),
            "the power is on the share of steps done. It belongs on the share that is left.": (
                lambda s, n, w, r, p: line(s, w, r) * (1 - (s / n) ** p)
            ),
            "this is right for a power of 1. The power is given.": (
                lambda s, n, w, r, p: line(s, w, r) * poly(s, n, 1)
            ),
            "this is a cosine after the warm-up's factor. Poly is asked for.": (
                lambda s, n, w, r, p: line(s, w, r) * (1 + math.cos(math.pi * s / n)) / 2
            ),
            "the warm-up is one step ahead: its factor is `ratio` at step 0.": (
                lambda s, n, w, r, p: line(s + 1, w, r) * poly(s, n, p)
            ),
            "poly is one step ahead: it is 1 at step 0.": (
                lambda s, n, w, r, p: line(s, w, r) * poly(s + 1, n, p)
            ),
            "this is one step ahead: the first step is step 0.": (
                lambda s, n, w, r, p: line(s + 1, w, r) * poly(s + 1, n, p)
            ),
        },
    ) or diagnose(
        answer,
        rate_share,
        [(0, 100, 0, 0.1, 1.0), (30, 100, 0, 0.1, 2.0)],
        {
            "this is right except without a warm-up, where it divides by 0 steps. The factor is 1 "
            "then.": lambda s, n, w, r, p: s / w,
            "this is right except without a warm-up, where it begins at `ratio`. The factor is 1 "
            "then, from step 0 on.": (lambda s, n, w, r, p: (1.0 if s > 0 else r) * poly(s, n, p)),
        },
    )


def decayed(model: nn.Module) -> list[str]:
    """Names of the parameters that weight decay acts on: those with two axes or more."""
    return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]


@exercise(
    "08.5",
    "What decays?",
    stars=2,
    minutes=8,
    solution=decayed,
    hints=[
        "model.named_parameters() gives names and parameters. How does a norm's scale differ from "
        "a matrix, if not by its name?",
        "A LayerNorm's scale is called `weight`, as a Linear's matrix is. So look at the shapes.",
        "Biases and norms have one axis, matrices have two, and kernels four.",
    ],
    takeaway="names mislead. Where a norm has one scale for each channel, shapes tell: one axis, "
    "no decay.",
)
def examine_decayed(answer: Callable[..., list[str]]) -> str | None:
    small = SegFormerConfig(
        embed_dims=(4, 8), depths=(1, 1), num_heads=(1, 2), reduction_ratios=(2, 1),
        mlp_ratios=(2, 2), patch_sizes=(3, 3), strides=(2, 2), decoder_dim=4, num_classes=3,
    )  # fmt: skip
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    plain.register_buffer("grid", torch.zeros(2, 2))  # two axes, but not a parameter
    cases = [(plain,), (_Own(),), *drawn(_model, count=8), (SegFormer(small),)]

    def by_name(rule: Callable[[str], bool]) -> Callable[[nn.Module], list[str]]:
        return lambda model: [name for name, _ in model.named_parameters() if rule(name)]

    def by_shape(rule: Callable[[str, Tensor], bool]) -> Callable[[nn.Module], list[str]]:
        return lambda model: [name for name, x in model.named_parameters() if rule(name, x)]

    def by_kind(*kinds: type[nn.Module]) -> Callable[[nn.Module], list[str]]:
        return lambda model: [
            f"{path}.weight".lstrip(".")
            for path, module in model.named_modules()
            if isinstance(module, kinds)
        ]

    def ordered(model: nn.Module) -> Any:
        names = answer(model)
        return sorted(names) if isinstance(names, list | tuple | set) else names

    diagnosis = diagnose(
        answer,
        decayed,
        cases,
        {
            "these are all parameters. Biases and norms should be left out.": (
                by_name(lambda name: True)
            ),
            "the scales of norms are included, because they are called `weight` too, and in a "
            "Sequential nothing is called `norm`. Look at shapes.": (
                by_name(lambda n: n.endswith("weight"))
            ),
            "all but the biases are here. The scales of norms should be left out as well.": (
                by_name(lambda n: "bias" not in n)
            ),
            "all but what is called `norm` is here. Biases should be left out as well.": (
                by_name(lambda n: "norm" not in n)
            ),
            "this is right for SegFormer. In a Sequential a norm has a number for a name, so look "
            "at shapes.": by_name(lambda n: n.endswith("weight") and "norm" not in n),
            "this is right for SegFormer. In a Sequential nothing is called `norm`, so look at "
            "shapes.": by_name(lambda n: "bias" not in n and "norm" not in n),
            "this is right where every matrix is called `weight`. A module may call its own as it "
            "likes, so look at shapes alone.": (
                by_shape(lambda n, x: n.endswith("weight") and x.ndim > 1)
            ),
            "this finds the matrices of Linears and the kernels of 2d convolutions, but other "
            "modules have some too. Look at shapes.": by_kind(nn.Linear, nn.Conv2d),
            "these are the ones that do not decay.": by_shape(lambda n, x: x.ndim <= 1),
            "the state_dict holds buffers too, which no optimizer sees. Use the parameters.": (
                lambda model: [name for name, x in model.state_dict().items() if x.ndim > 1]
            ),
            "these are only the matrices. Kernels of convolutions, with more axes, decay too.": (
                by_shape(lambda n, x: x.ndim == 2)
            ),
            "these are only the kernels of 2d convolutions. Matrices, and kernels of other kinds, "
            "decay too.": by_shape(lambda n, x: x.ndim == 4),
            "the depthwise kernels are missing. Kernels decay, whether they mix channels or not.": (
                by_shape(lambda n, x: x.ndim > 1 and not (x.ndim > 2 and x.shape[1] == 1))
            ),
        },
    )
    if diagnosis and not diagnose(ordered, lambda model: sorted(decayed(model)), cases, {}):
        return "these are the right names. Give them in the order in which the model has them."
    return diagnosis


class _Own(nn.Module):
    """Parameters that no layer of torch has."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.weights = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))
        self.kernel, self.gain = (
            nn.Parameter(torch.ones(2, 1, 3, 3, 3)),
            nn.Parameter(torch.ones(())),
        )
        self.mixer = nn.MultiheadAttention(4, 2)


def _model(rng: random.Random) -> tuple[nn.Module]:
    """A few layers in a row. What they compute plays no part, so they need not fit together."""
    layers = [
        lambda c: nn.Linear(c, 3, bias=c > 2),
        lambda c: nn.Conv1d(c, 2, 3),
        lambda c: nn.Conv2d(c, c, 3, groups=c),
        lambda c: nn.ConvTranspose2d(c, 3, 2),
        nn.LayerNorm,
        nn.BatchNorm2d,
        lambda c: nn.GroupNorm(1, c),
        lambda c: nn.GRU(c, 2),
        lambda c: nn.PReLU(c),
    ]
    return (nn.Sequential(*(rng.choice(layers)(rng.randint(1, 4)) for _ in range(4))),)


def weights_of(labels: Tensor, num_classes: int) -> Tensor:
    """1 / √frequency of each class, their mean 1: labels of any shape → `(K,)`."""
    counts = labels[labels != 255].bincount(minlength=num_classes)
    weights = counts.double().rsqrt()
    return weights / weights.mean()


@exercise(
    "08.6",
    "Weights of classes",
    stars=2,
    minutes=8,
    solution=weights_of,
    hints=[
        "There are three steps: count, take 1/√, divide by the mean.",
        "labels[labels != 255] is flat, and bincount counts it.",
        "Counts and shares give the same result, because dividing by the mean removes the "
        "difference.",
    ],
    takeaway="1/√frequency lies between treating all pixels alike and treating all classes alike.",
)
def examine_weights_of(answer: Callable[..., Tensor]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor, int]:
        """Labels with one to three axes, in which every class occurs."""
        classes = rng.randint(1, 6)
        shape = [rng.randint(1, 6) for _ in range(rng.randint(0, 2))]
        rest = rng.choices([*range(classes), 0, 255], k=2 * classes * math.prod(shape) - classes)
        labels = torch.tensor(rng.sample([*range(classes), *rest], k=classes + len(rest)))
        return labels.view(-1, *shape), classes

    def counts(labels: Tensor, num_classes: int) -> Tensor:
        return labels[labels != 255].bincount(minlength=num_classes).double()

    def shares(labels: Tensor, num_classes: int) -> Tensor:
        return counts(labels, num_classes) / counts(labels, num_classes).sum()

    def mean_one(weights: Tensor) -> Tensor:
        return weights / weights.mean()

    return diagnose(
        answer,
        weights_of,
        [
            (torch.tensor([[0, 0, 0, 1], [1, 2, 255, 0], [0, 0, 2, 0]]), 3),
            (torch.tensor([3, 1, 1, 2, 0, 255, 255, 2, 2, 2]), 4),
            (torch.tensor([2, 0, 0, 1, 0]), 3),  # nothing is ignored
            *drawn(draw),
        ],
        {
            "this is 1/frequency, without the root. Then every class gets the same sum, and a "
            "pixel of a pole weighs more than six times one of a road.": (
                lambda x, k: mean_one(1 / counts(x, k))
            ),
            "frequent classes weigh more here. It should be the other way round.": (
                lambda x, k: mean_one(counts(x, k).sqrt())
            ),
            "they sum to 1. Their mean should be 1, or the loss shrinks with the number of "
            "classes.": lambda x, k: weights_of(x, k) / k,
            "the largest is 1 here. Their mean should be 1.": (
                lambda x, k: weights_of(x, k) / weights_of(x, k).max()
            ),
            "they are divided by their mean over the pixels. Divide by the mean of the K "
            "weights.": lambda x, k: (
                counts(x, k).rsqrt() / (shares(x, k) * counts(x, k).rsqrt()).sum()
            ),
            "these are not divided by their mean.": lambda x, k: shares(x, k).rsqrt(),
            "these are 1/√count, not divided by their mean.": lambda x, k: counts(x, k).rsqrt(),
            "the ignored pixels are counted as class 0.": (
                lambda x, k: weights_of(x.where(x != 255, 0), k)
            ),
            "the ignored pixels are counted as the last class.": (
                lambda x, k: weights_of(x.clamp(max=k - 1), k)
            ),
            "the ignored pixels are counted as a class of their own.": (
                lambda x, k: mean_one(
                    x.where(x != 255, k).flatten().bincount(minlength=k).double().rsqrt()
                )
            ),
            'this is n / (K · count), scikit-learn\'s "balanced". 1/√frequency is asked for.': (
                lambda x, k: 1 / (k * shares(x, k))
            ),
            "these are median frequencies over frequencies. 1/√frequency is asked for.": (
                lambda x, k: shares(x, k).quantile(0.5) / shares(x, k)
            ),
            "this is 1 / ln(1.02 + frequency), as ENet has it. 1/√frequency is asked for.": (
                lambda x, k: 1 / (1.02 + shares(x, k)).log()
            ),
        },
    )


def adamw_step(
    weight: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    step: int,
    learning_rate: float,
    decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of AdamW (Loshchilov and Hutter 2017, algorithm 2), betas 0.9 and 0.999."""
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    usual = (square / (1 - 0.999**step)).sqrt() + 1e-8
    weight = weight * (1 - learning_rate * decay) - learning_rate * mean / (1 - 0.9**step) / usual
    return weight, mean, square


@exercise(
    "08.7",
    "AdamW by hand",
    stars=3,
    minutes=12,
    solution=adamw_step,
    hints=[
        "You need four lines: the two averages, the corrected step, the decay.",
        "After one step the average of the gradients is 0.1 of the gradient. So divide it by "
        "1 − 0.9^step, and that of the squares by 1 − 0.999^step.",
        "weight · (1 − learning_rate · decay) − learning_rate · m̂ / (√v̂ + eps).",
    ],
    takeaway="the decay does not go through the division, which is what the W in AdamW means.",
)
def examine_adamw_step(answer: Callable[..., tuple[Tensor, ...]]) -> str | None:
    def case(
        rng: random.Random, step: int, scale: float = 1.0, rate: float = 0.01, decay: float = 0.1
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, int, float, float]:
        shape = [rng.randint(1, 4) for _ in range(rng.randint(0, 3))]
        weight, gradient, mean, root = (normal(rng, *shape).double() for _ in range(4))
        past = scale * min(step - 1, 1)  # before the first step both averages are zero
        return weight, scale * gradient, mean * past, root**2 * scale * past, step, rate, decay

    def draw(rng: random.Random) -> tuple[Tensor, Tensor, Tensor, Tensor, int, float, float]:
        step = rng.choice([1, 2, rng.randint(3, 2000)])
        return case(rng, step, rate=rng.uniform(0.01, 0.5), decay=rng.random())

    def variant(
        corrected: bool = True,
        rooted: bool = True,
        coupled: bool = False,
        pull: float = 1.0,
        eps: float = 1e-8,
        eps_under_root: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        late: int = 0,
        sign: int = 1,
    ) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        def step_of(
            w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
        ) -> tuple[Tensor, Tensor, Tensor]:
            g = g + decay * w * coupled
            first, second = betas
            m, v = first * m + (1 - first) * g, second * v + (1 - second) * g**2
            m_hat, v_hat = m, v
            if corrected:
                m_hat, v_hat = m / (1 - first ** (t + late)), v / (1 - second ** (t + late))
            usual = ((v_hat + eps_under_root).sqrt() if rooted else v_hat) + eps
            shrink = 1 if coupled else 1 - pull * rate * decay
            return w * shrink - sign * rate * m_hat / usual, m, v

        return step_of

    def decay_without_rate(
        w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
    ) -> tuple[Tensor, ...]:
        return variant(pull=1 / rate)(w, g, m, v, t, rate, decay)

    def decay_on_the_new_weight(
        w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
    ) -> tuple[Tensor, ...]:
        w, m, v = variant(pull=0.0)(w, g, m, v, t, rate, decay)
        return w * (1 - rate * decay), m, v

    def only_the_sign(
        w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
    ) -> tuple[Tensor, ...]:
        _, m, v = adamw_step(w, g, m, v, t, rate, decay)
        return w * (1 - rate * decay) - rate * g.sign(), m, v

    def corrected_by(first: Callable[[int], float], second: Callable[[int], float]) -> Any:
        """Averages that are divided by something else."""

        def step_of(
            w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
        ) -> tuple[Tensor, ...]:
            _, m, v = adamw_step(w, g, m, v, t, rate, decay)
            usual = (v / second(t)).sqrt() + 1e-8
            return w * (1 - rate * decay) - rate * m / first(t) / usual, m, v

        return step_of

    def weighed_the_other_way(
        w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
    ) -> tuple[Tensor, ...]:
        m, v = 0.1 * m + 0.9 * g, 0.001 * v + 0.999 * g**2
        usual = (v / (1 - 0.999**t)).sqrt() + 1e-8
        return w * (1 - rate * decay) - rate * m / (1 - 0.9**t) / usual, m, v

    def not_squared(
        w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
    ) -> tuple[Tensor, ...]:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g
        usual = (v / (1 - 0.999**t)).sqrt() + 1e-8
        return w * (1 - rate * decay) - rate * m / (1 - 0.9**t) / usual, m, v

    def corrected_for_good(
        w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
    ) -> tuple[Tensor, ...]:
        w, m, v = adamw_step(w, g, m, v, t, rate, decay)
        return w, m / (1 - 0.9**t), v / (1 - 0.999**t)

    rng = random.Random(0)
    tiny = case(rng, 1, scale=1e-7)  # here eps matters
    return diagnose(
        answer,
        adamw_step,
        [case(rng, 1), case(rng, 2), case(rng, 10), tiny, *drawn(draw)],
        {
            "the averages are not corrected. They start at zero, so they are too small at first.": (
                variant(corrected=False)
            ),
            "step counts from 1, but the correction takes it for one less.": variant(late=1),
            "this moves by the gradient's sign alone, which is right on the first step only. "
            "Divide the average of the gradients by the root of the other.": only_the_sign,
            "this divides by 0.1 and 0.001, which is right on the first step only. At a later step "
            "it is 1 − 0.9^step and 1 − 0.999^step.": corrected_by(lambda t: 0.1, lambda t: 0.001),
            "the correction is (1 − 0.9)^step here. It should be 1 − 0.9^step, and for the squares "
            "1 − 0.999^step.": corrected_by(lambda t: 0.1**t, lambda t: 0.001**t),
            "the averages are weighed the wrong way round: nine tenths are what the average was, "
            "and one tenth is new.": weighed_the_other_way,
            "0.1 and 0.001 are kept here, in the corrections too. Keep 0.9 and 0.999 of the "
            "averages, and add 0.1 and 0.001 of what is new.": variant(betas=(0.1, 0.001)),
            "the second average is of the gradient, but it should be of its square.": not_squared,
            "that is the new weight alone. Return the two averages as well.": (
                lambda *given: adamw_step(*given)[0]
            ),
            "the decay goes into the gradient and through the division. That is Adam with L2; in "
            "AdamW the decay acts on the weight itself.": variant(coupled=True),
            "the root of the average of squares is missing.": variant(rooted=False),
            "the weight moves up the gradient. It should move down.": variant(sign=-1),
            "0.9 and 0.999 are exchanged: the average of squares is the slower one.": (
                variant(betas=(0.999, 0.9))
            ),
            "the decay is missing.": variant(pull=0.0),
            "the decay acts on the new weight. It should act on the one before the step.": (
                decay_on_the_new_weight
            ),
            "the decay pushes the weight away from zero. It should pull.": variant(pull=-1.0),
            "eps is missing, so a weight whose gradient has always been 0 would get 0/0.": (
                variant(eps=0.0)
            ),
            "eps is under the root. Add it to the root.": (variant(eps=0.0, eps_under_root=1e-8)),
            "the averages that you return are the corrected ones, but the next step needs the "
            "uncorrected ones.": corrected_for_good,
            "the decay acts in full at each step. It should be multiplied by the learning rate.": (
                decay_without_rate
            ),
        },
    )


def logits_meanwhile(model: nn.Module, images: Tensor) -> Tensor:
    """Logits in evaluation mode, without a graph; then every module gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        logits = model(images)
    for module, mode in modes.items():
        module.training = mode
    return logits


@exercise(
    "08.8",
    "A look in the middle of training",
    stars=2,
    minutes=10,
    solution=logits_meanwhile,
    hints=[
        "Two things are to be switched off: what dropout and BatchNorm do in training, and the "
        "recording of the graph. Does model.eval() do both? Does torch.no_grad()?",
        "model.eval() stays in force. If nobody calls model.train() afterwards, dropout never acts "
        "again.",
        "model.train() would set all modules to training, also one that was frozen before. So note "
        "module.training for each of model.modules(), and put it back.",
    ],
    takeaway="eval() says how to compute, no_grad() what to record; and whoever changes the mode "
    "puts it back.",
)
def examine_logits_meanwhile(answer: Callable[..., Tensor]) -> str | None:
    own = getattr(answer, "__wrapped__", answer)  # which meets this very model and no copy
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for state in ("training", "evaluation", "frozen"):
            for model, images in drawn(_model_and_images, count=5):
                model.train(state != "evaluation")
                model[3].train(state == "training")
                answer(model, images)  # on a copy, to find out whether it has been begun
                diagnosis = _examine_look(own, model, images)
                if diagnosis:
                    return diagnosis
    return None


def _examine_look(
    answer: Callable[..., Tensor], model: nn.Sequential, images: Tensor
) -> str | None:
    """What is wrong with the logits, or with the model afterwards: this one is no copy."""

    def modes(module: nn.Module) -> list[bool]:
        return [part.training for part in module.modules()]

    during: list[bool] = []
    before, wanted = modes(model), copy.deepcopy(model).eval()(images).detach()
    model.register_forward_pre_hook(lambda module, _: during.extend(modes(module)))
    logits = torch.as_tensor(answer(model, images))
    if any(during):
        return (
            "dropout and BatchNorm do here what they do in training. torch.no_grad() only stops "
            "the recording of the graph; model.eval() changes the mode."
        )
    if not same(logits, wanted):
        return "the mode is right, but these are not the model's logits."
    if logits.requires_grad:
        return (
            "a graph is attached to these logits, which costs memory. model.eval() does not stop "
            "that, and torch.no_grad() does."
        )
    if not torch.is_grad_enabled():
        return (
            "nothing is recorded from now on, so training could not go on. `with torch.no_grad():` "
            "ends by itself."
        )
    after = modes(model)
    if after == before:
        return None
    if not any(after):
        return (
            "the model is still in evaluation afterwards, so dropout never acts in the training "
            "that goes on. Put the mode back."
        )
    if not any(before):
        return "the model was in evaluation before, and now it is in training. Put the mode back."
    if any(now and not was for now, was in zip(after, before, strict=True)):
        return (
            "a module that was frozen is in training afterwards, because model.train() sets them "
            "all. Put each one's own mode back."
        )
    return "some modules are still in evaluation afterwards. model.modules() are all of them."


def _model_and_images(rng: random.Random) -> tuple[nn.Sequential, Tensor]:
    """A model with two norms and dropout, and images for it."""
    channels, classes, batch, side = (rng.randint(1, 5) for _ in range(4))
    model = nn.Sequential(
        nn.Conv2d(3, channels, 1),
        nn.BatchNorm2d(channels),
        nn.Dropout(0.5),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, classes, 1),
    )
    for weight in model.parameters():
        weight.data = normal(rng, *weight.shape)
    return model, normal(rng, batch, 3, side, 2)
