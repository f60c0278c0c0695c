"""Answers to lesson 08's exercises, as learners write them: right ones, and diagnosis → wrong."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.metrics import jaccard_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LinearLR, PolynomialLR

TRUE, SAID = [0, 0, 1, 0, 1, 1, 2, 2], [0, 1, 1, 0, 1, 1, 2, 0]  # without the ignored pixel


def pixel_by_pixel(matrix: Tensor) -> list[float]:
    rows, columns = (
        axis.flatten() for axis in torch.meshgrid(*map(torch.arange, matrix.shape), indexing="ij")
    )
    pixels = matrix.flatten()
    true, said = rows.repeat_interleave(pixels), columns.repeat_interleave(pixels)
    known = {*true.tolist(), *said.tolist()}
    return [
        float(jaccard_score((true == k).numpy(), (said == k).numpy()))
        if k in known
        else float("nan")
        for k in range(len(matrix))
    ]


def torchs_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=255)


def two_schedulers(step, steps, warmup_steps, ratio, power):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    rise = LinearLR(optimizer, ratio, 1.0, warmup_steps)
    for _ in range(step):
        optimizer.step()
        rise.step()
    second = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    fall = PolynomialLR(second, steps, power)
    for _ in range(step):
        second.step()
        fall.step()
    return rise.get_last_lr()[0] * fall.get_last_lr()[0]


def by_kind_of_module(model: nn.Module) -> Iterator[str]:
    spared = {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if name == "bias" or isinstance(module, (nn.LayerNorm, nn.BatchNorm2d))
    }
    return (name for name, _ in model.named_parameters() if name not in spared)


def weights_in_numpy(labels: Tensor, num_classes: int) -> np.ndarray:
    values, counts = np.unique(labels.numpy(), return_counts=True)
    shares = np.array([counts[values == k][0] for k in range(num_classes)]) / labels.numel()
    return shares**-0.5 / np.mean(shares**-0.5)


def torchs_adamw(weight, gradient, mean, square, step, learning_rate, decay):
    parameter = nn.Parameter(weight.clone())
    optimizer = torch.optim.AdamW([parameter], lr=learning_rate, weight_decay=decay)
    state = {"step": torch.tensor(step - 1.0), "exp_avg": mean.clone()}
    optimizer.state[parameter] = state | {"exp_avg_sq": square.clone()}
    parameter.grad = gradient.clone()
    optimizer.step()
    after = optimizer.state[parameter]
    return parameter.detach(), after["exp_avg"], after["exp_avg_sq"]


def in_place(weight, gradient, mean, square, step, learning_rate, decay):
    after = torchs_adamw(weight, gradient, mean, square, step, learning_rate, decay)
    return tuple(old.copy_(new) for old, new in zip((weight, mean, square), after, strict=True))


RIGHT: Mapping[str, Any] = {
    "08.1": round(float(jaccard_score(TRUE, SAID, average="macro")), 3),
    "08.2": pixel_by_pixel,
    "08.3": torchs_cross_entropy,
    "08.4": two_schedulers,
    "08.5": by_kind_of_module,
    "08.6": weights_in_numpy,
    "08.7": in_place,
}


def counted_twice(matrix: Tensor) -> Tensor:
    return matrix.diag() / (matrix.sum(1) + matrix.sum(0))


def recall(matrix: Tensor) -> Tensor:
    return matrix.diag() / matrix.sum(1)


def precision(matrix: Tensor) -> Tensor:
    return matrix.diag() / matrix.sum(0)


def dice(matrix: Tensor) -> Tensor:
    return 2 * matrix.diag() / (matrix.sum(1) + matrix.sum(0))


def of_all_pixels(matrix: Tensor) -> Tensor:
    return matrix.diag() / matrix.sum()


def mean_already(matrix: Tensor) -> Tensor:
    return (matrix.diag() / (matrix.sum(1) + matrix.sum(0) - matrix.diag())).mean()


def zero_for_nothing(matrix: Tensor) -> list[float]:
    return np.nan_to_num(pixel_by_pixel(matrix)).tolist()


def masked_mean(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=255, reduction="none").mean()


def ignored_made_0(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels * (labels != 255))


def picture_by_picture(logits: Tensor, labels: Tensor) -> Tensor:
    each = [
        F.cross_entropy(x[None], y[None], ignore_index=255)
        for x, y in zip(logits, labels, strict=True)
    ]
    return torch.stack(each).mean()


def summed(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")


def likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    return -F.cross_entropy(logits, labels, ignore_index=255)


def softmax_and_then_log(logits: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(F.softmax(logits, dim=1).log(), labels, ignore_index=255)


def softmax_over_the_width(logits: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(F.log_softmax(logits, dim=3), labels, ignore_index=255)


def only_poly(step, steps, warmup_steps, ratio, power):
    return (1 - step / steps) ** power


def from_zero(step, steps, warmup_steps, ratio, power):
    return min(step / warmup_steps, 1) * (1 - step / steps) ** power


def one_after_the_other(step, steps, warmup_steps, ratio, power):
    if step < warmup_steps:
        return ratio + (1 - ratio) * step / warmup_steps
    return (1 - (step - warmup_steps) / (steps - warmup_steps)) ** power


def with_a_jump(step, steps, warmup_steps, ratio, power):
    if step < warmup_steps:
        return ratio + (1 - ratio) * step / warmup_steps
    return (1 - step / steps) ** power


def never_stops(step, steps, warmup_steps, ratio, power):
    return (ratio + (1 - ratio) * step / warmup_steps) * (1 - step / steps) ** power


def power_on_what_is_done(step, steps, warmup_steps, ratio, power):
    rise = ratio + (1 - ratio) * min(step / warmup_steps, 1)
    return rise * (1 - (step / steps) ** power)


def everything(model):
    return [name for name, _ in model.named_parameters()]


def called_weight(model):
    return [name for name, _ in model.named_parameters() if "bias" not in name]


def not_called_norm(model):
    return [name for name in called_weight(model) if "norm" not in name]


def the_others(model):
    return [name for name, x in model.named_parameters() if len(x.shape) < 2]


def only_linear(model):
    return [name for name, x in model.named_parameters() if x.dim() == 2]


def with_buffers(model):
    return [name for name, x in model.state_dict().items() if x.dim() > 1]


def by_alphabet(model):
    return sorted(by_kind_of_module(model))


def inverse(labels, num_classes):
    weights = 1 / torch.bincount(labels[labels < 255], minlength=num_classes)
    return weights / weights.mean()


def upside_down(labels, num_classes):
    weights = torch.bincount(labels[labels < 255], minlength=num_classes) ** 0.5
    return weights / weights.mean()


def sum_of_one(labels, num_classes):
    weights = torch.bincount(labels[labels < 255], minlength=num_classes) ** -0.5
    return weights / weights.sum()


def not_divided(labels, num_classes):
    counts = torch.bincount(labels[labels < 255], minlength=num_classes)
    return (counts / counts.sum()) ** -0.5


def of_counts(labels, num_classes):
    return torch.bincount(labels[labels < 255], minlength=num_classes) ** -0.5


def uncorrected(w, g, m, v, step, lr, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return w - lr * decay * w - lr * m / (v.sqrt() + 1e-8), m, v


def adam_with_l2(w, g, m, v, step, lr, decay):
    return torchs_adamw(w, g + decay * w, m, v, step, lr, 0.0)


def no_root(w, g, m, v, step, lr, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.999**step)
    return w - lr * decay * w - lr * m_hat / (v_hat + 1e-8), m, v


def no_eps(w, g, m, v, step, lr, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.999**step)
    return w - lr * decay * w - lr * m_hat / v_hat.sqrt(), m, v


def eps_under_the_root(w, g, m, v, step, lr, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.999**step)
    return w - lr * decay * w - lr * m_hat / (v_hat + 1e-8).sqrt(), m, v


def corrected_averages(w, g, m, v, step, lr, decay):
    w, m, v = torchs_adamw(w, g, m, v, step, lr, decay)
    return w, m / (1 - 0.9**step), v / (1 - 0.999**step)


def no_decay(w, g, m, v, step, lr, decay):
    return torchs_adamw(w, g, m, v, step, lr, 0.0)


def full_decay(w, g, m, v, step, lr, decay):
    return torchs_adamw(w, g, m, v, step, lr, decay / lr)


WRONG: Mapping[str, Mapping[str, Any]] = {
    "08.1": {
        "six of eight": 0.75,
        "the ignored pixel counted as wrong": 6 / 9,
        "as 0 in the mean": 1.75 / 4,
        "as 1 in the mean": 2.75 / 4,
        "union of class 0 larger": (2 / 5 + 3 / 4 + 1 / 2) / 3,
        "that is the sum": 1.75,
        "count again": 0.9,
    },
    "08.2": {
        "counts it twice": counted_twice,
        "the recall": recall,
        "the precision": precision,
        "Dice": dice,
        "of the pixel accuracy": of_all_pixels,
        "the mean already": mean_already,
        "a class that appears nowhere": zero_for_nothing,
    },
    "08.3": {
        "still in the divisor": masked_mean,
        "counted as class 0": ignored_made_0,
        "the mean of the pictures' means": picture_by_picture,
        "this is the sum": summed,
        "the sign": likelihood,
        "along the width": softmax_over_the_width,
        "right for small logits": softmax_and_then_log,
        "your code stopped with": F.cross_entropy,
    },
    "08.4": {
        "the warm-up is missing": only_poly,
        "begins at 0": from_zero,
        "only after the warm-up": one_after_the_other,
        "jumps where the warm-up ends": with_a_jump,
        "keeps rising": never_stops,
        "on the share of steps done": power_on_what_is_done,
    },
    "08.5": {
        "all parameters": everything,
        "the scales of norms": called_weight,
        "right for SegFormer": not_called_norm,
        "do not decay": the_others,
        "only the matrices": only_linear,
        "holds buffers": with_buffers,
        "in the order": by_alphabet,
    },
    "08.6": {
        "without the root": inverse,
        "the other way round": upside_down,
        "they sum to 1": sum_of_one,
        "not divided by their mean": not_divided,
        "these are 1/√count": of_counts,
    },
    "08.7": {
        "not corrected": uncorrected,
        "Adam with L2": adam_with_l2,
        "root of the average": no_root,
        "the decay is missing": no_decay,
        "eps is missing": no_eps,
        "under the root": eps_under_the_root,
        "the corrected ones": corrected_averages,
        "acts in full": full_decay,
    },
}
