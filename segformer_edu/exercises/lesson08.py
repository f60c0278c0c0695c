"""Exercises of lesson 08, training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segformer_edu.config import SegFormerConfig
from segformer_edu.exercises.exercise import diagnose, exercise, same
from segformer_edu.segformer import SegFormer


def comparable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with lists and arrays as tensors, and nan as −1, which equals itself."""

    def converted(*args: Any) -> Any:
        found = function(*args)
        if isinstance(found, (list, tuple, np.ndarray)):
            found = torch.as_tensor(found)
        return found.double().nan_to_num(-1.0) if isinstance(found, Tensor) else found

    return converted


@exercise(
    "08.1",
    "mIoU with a pencil",
    stars=1,
    minutes=4,
    solution=(2 / 4 + 3 / 4 + 1 / 2) / 3,
    hints=[
        "For each class: the pixels to which both assign it, over those to which at least one "
        "does. The ignored pixel belongs to neither.",
        "Eight pixels count. Class 2 is predicted once, and occurs twice.",
        "The mean is over the three classes that occur: 2/4, 3/4 and 1/2.",
    ],
    takeaway="ignored pixels do not count, and neither does a class that appears nowhere.",
)
def examine_miou_by_hand(answer: float) -> str | None:
    true = torch.tensor([0, 0, 1, 0, 1, 1, 2, 2, 255])
    said = torch.tensor([0, 1, 1, 0, 1, 1, 2, 0, 0])

    def ious(true: Tensor, said: Tensor) -> list[float]:
        pairs = [((true == k) & (said == k), (true == k) | (said == k)) for k in range(3)]
        return [float(both.sum() / either.sum()) for both, either in pairs]

    counts = true != 255
    found = ious(true[counts], said[counts])
    if same(answer, sum(found) / 3, tolerance=1e-3):  # a pencil stops at 0.583
        return None
    mistakes = {
        "that is the pixel accuracy, six of eight.": 6 / 8,
        "that is the pixel accuracy with the ignored pixel counted as wrong.": 6 / 9,
        "class 3 appears nowhere, so it has no IoU; do not count it as 0 in the mean.": (
            sum(found) / 4
        ),
        "class 3 appears nowhere, so it has no IoU; do not count it as 1 in the mean.": (
            (sum(found) + 1) / 4
        ),
        "the ignored pixel has made the union of class 0 larger. What is predicted there does "
        "not count either.": sum(ious(true, said)) / 3,
        "that is the sum; divide by the number of classes that occur.": sum(found),
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
        "Row k and column k cross in one cell, which a sum of both counts twice.",
        "diagonal / (row sums + column sums − diagonal).",
    ],
    takeaway="the diagonal, over row plus column minus the diagonal.",
)
def examine_iou_of_classes(answer: Callable[..., Tensor]) -> str | None:
    cases = [
        (torch.tensor([[5, 1, 0], [2, 7, 3], [0, 4, 1]]),),
        (torch.tensor([[40, 3, 0], [10, 2, 0], [0, 0, 0]]),),  # class 2 appears nowhere
    ]
    mistakes: dict[str, Callable[[Tensor], Tensor]] = {
        "the cell on the diagonal is in the row and in the column: this union counts it "
        "twice.": lambda m: m.diagonal() / (m.sum(0) + m.sum(1)),
        "that is the recall: pixels wrongly predicted as the class are missing from the union.": (
            lambda m: m.diagonal() / m.sum(1)
        ),
        "that is the precision: pixels of the class that were missed are not in the union.": (
            lambda m: m.diagonal() / m.sum(0)
        ),
        "that is the Dice score, twice the intersection over the sum of both. It is larger "
        "than IoU, and ranks classes the same.": (
            lambda m: 2 * m.diagonal() / (m.sum(0) + m.sum(1))
        ),
        "that is each class's part of the pixel accuracy: divide by the class's own union, not "
        "by all pixels.": lambda m: m.diagonal() / m.sum(),
        "that is the mean already; return one number for each class.": (
            lambda m: iou_of_classes(m).mean()
        ),
        "right except for a class that appears nowhere: 0 means that it was predicted wrongly, nan "
        "that there was nothing to predict.": lambda m: iou_of_classes(m).nan_to_num(0.0),
    }
    return diagnose(
        comparable(answer),
        comparable(iou_of_classes),
        cases,
        {diagnosis: comparable(mistake) for diagnosis, mistake in mistakes.items()},
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
        "log_softmax over which axis? And 255 is not an index: gather would fail.",
        "Replace 255 by any class, gather, and then take only the pixels that count.",
        "The mean is the sum over the pixels that count, divided by their number.",
    ],
    takeaway="the sum and its divisor are both over the pixels that count.",
)
def examine_masked_cross_entropy(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(batch: int, classes: int, share: float, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        logits = scale * torch.randn(batch, classes, 5, 6, generator=generator)
        labels = torch.randint(classes, (batch, 5, 6), generator=generator)
        hidden = torch.rand(batch, 5, 6, generator=generator) < share
        hidden[0, :3] = True  # more in one picture than in the others
        return logits, labels.masked_fill(hidden, 255)

    def of_pixels(logits: Tensor, labels: Tensor, axis: int = 1) -> tuple[Tensor, Tensor]:
        counts = labels != 255
        log_probability = logits.log_softmax(dim=axis)
        right = log_probability.gather(1, labels.where(counts, 0)[:, None])[:, 0]
        return -right, counts

    def divided_by_all(logits: Tensor, labels: Tensor) -> Tensor:
        loss, counts = of_pixels(logits, labels)
        return (loss * counts).mean()

    def ignored_as_class_0(logits: Tensor, labels: Tensor) -> Tensor:
        return of_pixels(logits, labels)[0].mean()

    def mean_of_pictures(logits: Tensor, labels: Tensor) -> Tensor:
        loss, counts = of_pixels(logits, labels)
        return ((loss * counts).sum((1, 2)) / counts.sum((1, 2))).mean()

    def summed(logits: Tensor, labels: Tensor) -> Tensor:
        loss, counts = of_pixels(logits, labels)
        return loss[counts].sum()

    def other_sign(logits: Tensor, labels: Tensor) -> Tensor:
        return -masked_cross_entropy(logits, labels)

    def logarithm_of_zero(logits: Tensor, labels: Tensor) -> Tensor:
        counts = labels != 255
        probability = logits.softmax(dim=1).gather(1, labels.where(counts, 0)[:, None])[:, 0]
        return -probability[counts].log().mean()

    def wrong_axis(logits: Tensor, labels: Tensor) -> Tensor:
        loss, counts = of_pixels(logits, labels, axis=-1)
        return loss[counts].mean()

    return diagnose(
        answer,
        masked_cross_entropy,
        [case(2, 4, 0.3), case(3, 8, 0.6), case(2, 4, 0.3, scale=200.0)],
        {
            "the ignored pixels are not in the sum, but still in the divisor: the more is ignored, "
            "the smaller this loss.": divided_by_all,
            "the ignored pixels are counted as class 0.": ignored_as_class_0,
            "this is the mean of the pictures' means: a pixel counts more where few others do.": (
                mean_of_pictures
            ),
            "this is the sum over the pixels that count; divide by their number.": summed,
            "the sign is wrong: the logarithm of a probability is never positive.": other_sign,
            "right for small logits. Where they lie far apart a probability is rounded to 0, and "
            "its logarithm is −∞: log_softmax avoids that.": logarithm_of_zero,
            "the softmax runs along the width. The probabilities of one pixel sum to one over the "
            "classes.": wrong_axis,
        },
    )


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
        "Two factors, multiplied: poly, and one for the warm-up that ends at 1.",
        "A line from ratio to 1: ratio + (1 − ratio) · how far through the warm-up it is.",
        "After the warm-up that factor stays 1: min(1, step / warmup_steps).",
    ],
    takeaway="the warm-up multiplies a schedule that has been falling since step 0.",
)
def examine_rate_share(answer: Callable[..., float]) -> str | None:
    def poly(step: int, steps: int, power: float) -> float:
        return (1 - step / steps) ** power

    def line(step: int, warm: int, ratio: float) -> float:
        return ratio + (1 - ratio) * min(1.0, step / warm)

    return diagnose(
        answer,
        rate_share,
        [
            (0, 1000, 50, 0.01, 1.0),
            (20, 1000, 50, 0.01, 1.0),
            (50, 1000, 50, 0.01, 1.0),
            (49, 200, 50, 0.5, 0.9),
            (700, 1000, 50, 0.01, 2.0),
            (999, 1000, 50, 0.01, 1.0),
        ],
        {
            "the warm-up is missing.": lambda s, n, w, r, p: poly(s, n, p),
            "the line begins at 0; it should begin at `ratio`.": (
                lambda s, n, w, r, p: min(1.0, s / w) * poly(s, n, p)
            ),
            "poly begins only after the warm-up here. In this recipe it falls from step 0 on, and "
            "the two are multiplied.": (
                lambda s, n, w, r, p: line(s, w, r) if s < w else poly(s - w, n - w, p)
            ),
            "poly is left out during the warm-up, so the rate jumps where the warm-up ends.": (
                lambda s, n, w, r, p: line(s, w, r) if s < w else poly(s, n, p)
            ),
            "the line keeps rising after the warm-up: it has to stop at 1.": (
                lambda s, n, w, r, p: (r + (1 - r) * s / w) * poly(s, n, p)
            ),
            "the power is on the share of steps done; it belongs on the share that is left.": (
                lambda s, n, w, r, p: line(s, w, r) * (1 - (s / n) ** p)
            ),
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
        "A LayerNorm's scale is called `weight`, as a Linear's matrix is. Look at the shapes.",
        "Biases and norms have one axis; matrices two, kernels four.",
    ],
    takeaway="names mislead, but shapes do not: one axis, no decay.",
)
def examine_decayed(answer: Callable[..., list[str]]) -> str | None:
    small = SegFormerConfig(
        embed_dims=(4, 8), depths=(1, 1), num_heads=(1, 2), reduction_ratios=(2, 1),
        mlp_ratios=(2, 2), patch_sizes=(3, 3), strides=(2, 2), decoder_dim=4, num_classes=3,
    )  # fmt: skip
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    plain.register_buffer("grid", torch.zeros(2, 2))  # two axes, but not a parameter
    models = [SegFormer(small), plain]

    def by_name(rule: Callable[[str], bool]) -> Callable[[nn.Module], list[str]]:
        return lambda model: [name for name, _ in model.named_parameters() if rule(name)]

    def listed(model: nn.Module) -> Any:
        names = answer(model)
        return list(names) if isinstance(names, Iterable) else names

    def by_alphabet(model: nn.Module) -> Any:
        names = listed(model)
        return sorted(names) if isinstance(names, list) else names

    found, wanted = list(map(listed, models)), list(map(decayed, models))
    if found != wanted and list(map(by_alphabet, models)) == list(map(sorted, wanted)):
        return "these are the right names; give them in the order in which the model has them."
    return diagnose(
        listed,
        decayed,
        [(model,) for model in models],
        {
            "these are all parameters; biases and norms should be left out.": (
                by_name(lambda name: True)
            ),
            "the scales of norms are included: they are called `weight` too, and in a Sequential "
            "nothing is called `norm`. Look at shapes.": by_name(lambda n: n.endswith("weight")),
            "right for SegFormer; in a Sequential a norm has a number for a name. Look at "
            "shapes.": by_name(lambda n: n.endswith("weight") and "norm" not in n),
            "these are the ones that do not decay.": (
                lambda model: [name for name, x in model.named_parameters() if x.ndim == 1]
            ),
            "the state_dict holds buffers too, which no optimizer sees: use the parameters.": (
                lambda model: [name for name, x in model.state_dict().items() if x.ndim > 1]
            ),
            "these are only the matrices: kernels of convolutions, with four axes, decay too.": (
                lambda model: [name for name, x in model.named_parameters() if x.ndim == 2]
            ),
        },
    )


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
        "Three steps: count, take 1/√, divide by the mean.",
        "labels[labels != 255] is flat, and bincount counts it.",
        "Counts and shares give the same result: dividing by the mean removes the difference.",
    ],
    takeaway="1/√frequency lies between treating all pixels alike and treating all classes alike.",
)
def examine_weights_of(answer: Callable[..., Tensor]) -> str | None:
    def counts(labels: Tensor, num_classes: int) -> Tensor:
        return labels[labels != 255].bincount(minlength=num_classes).double()

    def mean_one(weights: Tensor) -> Tensor:
        return weights / weights.mean()

    return diagnose(
        comparable(answer),
        weights_of,
        [
            (torch.tensor([[0, 0, 0, 1], [1, 2, 255, 0], [0, 0, 2, 0]]), 3),
            (torch.tensor([3, 1, 1, 2, 0, 255, 255, 2, 2, 2]), 4),
            (torch.tensor([2, 0, 0, 1, 0]), 3),  # nothing is ignored
        ],
        {
            "this is 1/frequency, without the root: every class gets the same sum, so a pixel of a "
            "pole weighs dozens of times one of a road.": lambda x, k: mean_one(1 / counts(x, k)),
            "frequent classes weigh more here; it should be the other way round.": (
                lambda x, k: mean_one(counts(x, k).sqrt())
            ),
            "they sum to 1; their mean should be 1, or the loss shrinks with the number of "
            "classes.": lambda x, k: weights_of(x, k) / k,
            "these are not divided by their mean.": (
                lambda x, k: (counts(x, k) / counts(x, k).sum()).rsqrt()
            ),
            "these are 1/√count, not divided by their mean.": lambda x, k: counts(x, k).rsqrt(),
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
        "Four lines: the two averages, the corrected step, the decay.",
        "After one step the average of the gradients is 0.1 of the gradient. Divide it by "
        "1 − 0.9^step, and that of the squares by 1 − 0.999^step.",
        "weight · (1 − learning_rate · decay) − learning_rate · m̂ / (√v̂ + eps).",
    ],
    takeaway="the decay does not go through the division: that is what the W in AdamW means.",
)
def examine_adamw_step(answer: Callable[..., tuple[Tensor, ...]]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(step: int, scale: float = 1.0) -> tuple:
        weight, gradient, mean = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        square = torch.rand(4, generator=generator, dtype=torch.float64)
        past = scale * min(step - 1, 1)  # before the first step both averages are zero
        return weight, gradient * scale, mean * past, square * scale * past, step, 0.01, 0.1

    def on_copies(*case: Any) -> tuple[Tensor, ...]:
        """Pass copies: the answer may write into what it is given, as torch's own does."""
        return answer(*(x.clone() if isinstance(x, Tensor) else x for x in case))

    def variant(
        corrected: bool = True,
        rooted: bool = True,
        coupled: bool = False,
        pull: float = 1.0,
        eps: float = 1e-8,
        eps_under_root: float = 0.0,
    ) -> Callable:
        def step_of(
            w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
        ) -> tuple[Tensor, Tensor, Tensor]:
            g = g + decay * w * coupled
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            m_hat, v_hat = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if corrected else (m, v)
            usual = ((v_hat + eps_under_root).sqrt() if rooted else v_hat) + eps
            shrink = 1 if coupled else 1 - pull * rate * decay
            return w * shrink - rate * m_hat / usual, m, v

        return step_of

    def decay_without_rate(
        w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
    ) -> tuple[Tensor, ...]:
        return variant(pull=1 / rate)(w, g, m, v, t, rate, decay)

    def corrected_for_good(
        w: Tensor, g: Tensor, m: Tensor, v: Tensor, t: int, rate: float, decay: float
    ) -> tuple[Tensor, ...]:
        w, m, v = adamw_step(w, g, m, v, t, rate, decay)
        return w, m / (1 - 0.9**t), v / (1 - 0.999**t)

    return diagnose(
        on_copies,
        adamw_step,
        [case(1), case(2), case(10), case(1, scale=1e-7)],  # in the last one eps matters
        {
            "the averages are not corrected: they start at zero, so they are too small at first.": (
                variant(corrected=False)
            ),
            "the decay goes into the gradient and through the division. That is Adam with L2; in "
            "AdamW the decay acts on the weight itself.": variant(coupled=True),
            "the root of the average of squares is missing.": variant(rooted=False),
            "the decay is missing.": variant(pull=0.0),
            "eps is missing: a weight whose gradient has always been 0 would get 0/0.": (
                variant(eps=0.0)
            ),
            "eps is under the root; add it to the root.": (variant(eps=0.0, eps_under_root=1e-8)),
            "the averages that you return are the corrected ones; the next step needs the "
            "uncorrected ones.": corrected_for_good,
            "the decay acts in full at each step; it should be multiplied by the learning rate.": (
                decay_without_rate
            ),
        },
    )
