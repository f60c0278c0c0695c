"""Answers to lesson 08's exercises, as learners write them: right ones, and diagnosis → wrong."""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from sklearn.metrics import jaccard_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LinearLR, PolynomialLR

from segformer_edu.training.optimizer import learning_rate_factor

TRUE, SAID = [0, 0, 1, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 0, 2]  # without the ignored pixel


def pixel_by_pixel(matrix: Tensor) -> list[float | None]:
    rows, columns = (
        axis.flatten() for axis in torch.meshgrid(*map(torch.arange, matrix.shape), indexing="ij")
    )
    pixels = matrix.flatten()
    true, said = rows.repeat_interleave(pixels), columns.repeat_interleave(pixels)
    known = {*true.tolist(), *said.tolist()}
    return [
        float(jaccard_score((true == k).numpy(), (said == k).numpy())) if k in known else None
        for k in range(len(matrix))
    ]


def in_numpy(matrix: Tensor) -> np.ndarray:
    cells = matrix.numpy()
    both = np.diag(cells)
    either = cells.sum(0) + cells.sum(1) - both
    return np.array([b / e if e else np.nan for b, e in zip(both, either, strict=True)])


def picked_pixels(logits: Tensor, labels: Tensor) -> Tensor:
    """Only the pixels that count, a row of logits each."""
    rows, right = logits.movedim(1, -1)[labels < 255], labels[labels < 255]
    return (rows.logsumexp(1) - rows[range(len(rows)), right]).mean()


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> Tensor:
    labels[labels == 255] = -100
    return F.nll_loss(F.log_softmax(logits, 1), labels)


def torchs_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=255)


def two_schedulers(step, steps, warmup_steps, ratio, power):
    if not warmup_steps:
        return (1 - step / steps) ** power
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    rise = LinearLR(optimizer, ratio or 1e-12, 1.0, warmup_steps)
    for _ in range(step):
        optimizer.step()
        rise.step()
    second = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    fall = PolynomialLR(second, steps, power)
    for _ in range(step):
        second.step()
        fall.step()
    return rise.get_last_lr()[0] * fall.get_last_lr()[0]


def by_number_of_axes(model: nn.Module) -> Iterator[str]:
    return (name for name, weight in model.named_parameters() if len(weight.shape) >= 2)


def by_size_of_a_slice(model: nn.Module) -> dict[str, Tensor]:
    """One number for each output is a scale or a bias."""
    parameters = dict(model.named_parameters())
    return {n: x for n, x in parameters.items() if x.dim() and x[0].dim()}.keys()


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


def through_a_copy(model, images):
    with torch.inference_mode():
        return copy.deepcopy(model).eval()(images)


def by_context(model, images):
    frozen = [module for module in model.modules() if not module.training]
    training = model.training
    logits = model.eval()(images).detach()
    model.train(training)
    for module in frozen:
        module.training = False
    return logits


RIGHT: Mapping[str, Any] = {
    "08.1": round(float(jaccard_score(TRUE, SAID, average="macro")), 2),
    "08.2": [pixel_by_pixel, in_numpy],
    "08.3": [picked_pixels, negative_log_likelihood],
    "08.4": two_schedulers,
    "08.5": [by_number_of_axes, by_size_of_a_slice],
    "08.6": weights_in_numpy,
    "08.7": [in_place, torchs_adamw],
    "08.8": [through_a_copy, by_context, lambda *given: by_context(*given).numpy()],
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
    return ious(matrix).mean()


def ious(matrix: Tensor) -> Tensor:
    return matrix.diag() / (matrix.sum(1) + matrix.sum(0) - matrix.diag())


def mean_of_the_known(matrix: Tensor) -> float:
    return float(ious(matrix).nanmean())


def micro(matrix: Tensor) -> Tensor:
    return matrix.trace() / (2 * matrix.sum() - matrix.trace())


def accuracy(matrix: Tensor) -> Tensor:
    return matrix.trace() / matrix.sum()


def for_nothing(value: float):
    return lambda matrix: ious(matrix).nan_to_num(value)


def with_epsilon(matrix: Tensor) -> Tensor:
    either = matrix.sum(1) + matrix.sum(0) - matrix.diag()
    return (matrix.diag() + 1e-9) / (either + 1e-9)


def nan_when(missing):
    return lambda matrix: torch.where(missing(matrix), torch.nan, ious(matrix))


def one_more_in_place(matrix: Tensor) -> Tensor:
    matrix += torch.eye(len(matrix), dtype=matrix.dtype)
    return ious(matrix)


def without_the_absent(matrix: Tensor) -> Tensor:
    return ious(matrix)[(matrix.sum(0) + matrix.sum(1)).bool()]


def masked_mean(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, ignore_index=255, reduction="none").mean()


def made_0_in_place(logits: Tensor, labels: Tensor) -> Tensor:
    labels[labels == 255] = 0
    return picked_pixels(logits, labels)


def as_the_last(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels.clamp(0, logits.shape[1] - 1))


def masked_logits(logits: Tensor, labels: Tensor) -> Tensor:
    counts = labels != 255
    return F.cross_entropy(logits * counts.unsqueeze(1), labels * counts)


def without_class_0(logits: Tensor, labels: Tensor) -> Tensor:
    return picked_pixels(logits, torch.where(labels == 0, 255, labels))


def one_class_down(logits: Tensor, labels: Tensor) -> Tensor:
    reduced = (labels - 1).numpy().astype(np.uint8)  # 0 → 255, as reduce_labels has it
    return picked_pixels(logits, torch.from_numpy(np.where(reduced == 254, 255, reduced)).long())


def by_pictures(logits: Tensor, labels: Tensor) -> Tensor:
    return summed(logits, labels) / labels.shape[0]


def softmax_twice(logits: Tensor, labels: Tensor) -> Tensor:
    return picked_pixels(F.softmax(logits, 1), labels)


def one_against_all(logits: Tensor, labels: Tensor) -> Tensor:
    rows, right = logits.movedim(1, -1)[labels < 255], labels[labels < 255]
    return F.binary_cross_entropy_with_logits(rows, F.one_hot(right, rows.shape[1]).float())


def with_a_small_number(logits: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss((F.softmax(logits, dim=1) + 1e-7).log(), labels, ignore_index=255)


def softmax_over(axis: int):
    return lambda logits, labels: F.nll_loss(
        F.log_softmax(logits, dim=axis), labels, ignore_index=255
    )


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


def no_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    return F.nll_loss(logits, labels, ignore_index=255)


def times_a_mask(logits: Tensor, labels: Tensor) -> Tensor:
    counts = labels != 255
    truth = F.one_hot(labels * counts, logits.shape[1]).permute(0, 3, 1, 2) * counts[:, None]
    return -(truth * torch.log(F.softmax(logits, dim=1))).sum() / counts.sum()


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


def recipe(rise, fall=lambda done, power: (1 - done) ** power, later=(0, 0)):
    """Another rise, another fall, or steps counted from elsewhere."""

    def share(step, steps, warmup_steps, ratio, power):
        through = (step + later[0]) / warmup_steps if warmup_steps else 1
        return rise(through, ratio) * fall((step + later[1]) / steps, power)

    return share


def in_a_line(through, ratio):
    return ratio + (1 - ratio) * min(through, 1)


def power_on_what_is_done(step, steps, warmup_steps, ratio, power):
    rise = ratio + (1 - ratio) * min(step / warmup_steps, 1)
    return rise * (1 - (step / steps) ** power)


def no_word_of_zero(step, steps, warmup_steps, ratio, power):
    return in_a_line(step / warmup_steps, ratio) * (1 - step / steps) ** power


def one_step_of_warm_up(step, steps, warmup_steps, ratio, power):
    return two_schedulers(step, steps, max(warmup_steps, 1), ratio, power)


def lesson_s_own(step, steps, warmup_steps, ratio, power):
    return learning_rate_factor(step, steps, warmup_steps, power)


def added_to_the_ratio(step, steps, warmup_steps, ratio, power):
    return min(ratio + step / warmup_steps, 1) * (1 - step / steps) ** power


def power_of_the_product(step, steps, warmup_steps, ratio, power):
    return recipe(in_a_line)(step, steps, warmup_steps, ratio, 1) ** power


def everything(model):
    return [name for name, _ in model.named_parameters()]


def no_bias(model):
    return [name for name, _ in model.named_parameters() if "bias" not in name]


def called_weight(model):
    return [name for name, _ in model.named_parameters() if name.endswith("weight")]


def no_norm(model):
    return [name for name, _ in model.named_parameters() if "norm" not in name]


def as_the_reference_has_it(model):
    names = (name for name, _ in model.named_parameters())
    return [name for name in names if not any(word in name for word in ("norm", "bias"))]


def not_called_norm(model):
    return [name for name in called_weight(model) if "norm" not in name]


def by_suffix(model):
    return [n for n, x in model.named_parameters() if n.endswith("weight") and x.dim() > 1]


def by_type(model):
    return [
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, (nn.Linear, nn.Conv2d)) and name == "weight"
    ]


def only_kernels(model):
    return [name for name, x in model.named_parameters() if x.dim() == 4]


def no_depthwise(model):
    found = dict(model.named_parameters())
    return [n for n in by_number_of_axes(model) if found[n].dim() == 2 or found[n].shape[1] > 1]


def the_others(model):
    return [name for name, x in model.named_parameters() if len(x.shape) < 2]


def only_linear(model):
    return [name for name, x in model.named_parameters() if x.dim() == 2]


def with_buffers(model):
    return [name for name, x in model.state_dict().items() if x.dim() > 1]


def by_alphabet(model):
    return sorted(by_number_of_axes(model))


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


def largest_of_one(labels, num_classes):
    weights = of_counts(labels, num_classes)
    return weights / weights.max()


def mean_of_pixels(labels, num_classes):
    known = labels[labels != 255]
    weights = of_counts(labels, num_classes)
    return weights / weights[known].mean()


def ignored_to(target):
    def weights(labels, num_classes):
        labels[labels == 255] = target(num_classes)
        return torch.from_numpy(weights_in_numpy(labels, int(labels.max()) + 1))

    return weights


def balanced(labels, num_classes):
    known = labels[labels != 255].numpy()
    classes = np.arange(num_classes)
    return compute_class_weight("balanced", classes=classes, y=known)


def shares_in_numpy(labels, num_classes):
    counts = np.bincount(labels[labels != 255].numpy(), minlength=num_classes)
    return counts / counts.sum()


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


def decay_afterwards(w, g, m, v, step, lr, decay):
    w, m, v = torchs_adamw(w, g, m, v, step, lr, 0.0)
    return w - lr * decay * w, m, v


def other_way(w, g, m, v, step, lr, decay):
    moved, m, v = torchs_adamw(w, g, m, v, step, lr, 0.0)
    return w - (moved - w) - lr * decay * w, m, v


def pushed(w, g, m, v, step, lr, decay):
    moved, m, v = torchs_adamw(w, g, m, v, step, lr, 0.0)
    return moved + lr * decay * w, m, v


def step_from_zero(w, g, m, v, step, lr, decay):
    moved, _, _ = torchs_adamw(w, g, m, v, step + 1, lr, decay)
    return moved, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g


def exchanged(w, g, m, v, step, lr, decay):
    m, v = 0.999 * m + 0.001 * g, 0.9 * v + 0.1 * g * g
    m_hat, v_hat = m / (1 - 0.999**step), v / (1 - 0.9**step)
    return w - lr * decay * w - lr * m_hat / (v_hat.sqrt() + 1e-8), m, v


def sign_of_it(w, g, m, v, step, lr, decay):
    _, m, v = torchs_adamw(w, g, m, v, step, lr, decay)
    return w - lr * (decay * w + torch.sign(g)), m, v


def corrected(first, second):
    def adamw(w, g, m, v, step, lr, decay):
        m, v = torch.lerp(m, g, 0.1), torch.lerp(v, g * g, 0.001)
        usual = (v / second(step)) ** 0.5 + 1e-8
        return w - lr * (decay * w + m / first(step) / usual), m, v

    return adamw


def new_and_old_exchanged(w, g, m, v, step, lr, decay):
    m, v = 0.1 * m + 0.9 * g, 0.001 * v + 0.999 * g * g
    m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.999**step)
    return w - lr * decay * w - lr * m_hat / (v_hat.sqrt() + 1e-8), m, v


def exchanged_throughout(w, g, m, v, step, lr, decay):
    m, v = 0.1 * m + 0.9 * g, 0.001 * v + 0.999 * g * g
    m_hat, v_hat = m / (1 - 0.1**step), v / (1 - 0.001**step)
    return w - lr * decay * w - lr * m_hat / (v_hat.sqrt() + 1e-8), m, v


def no_square(w, g, m, v, step, lr, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g
    m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.999**step)
    return w - lr * decay * w - lr * m_hat / (v_hat.sqrt() + 1e-8), m, v


def full_decay(w, g, m, v, step, lr, decay):
    return torchs_adamw(w, g, m, v, step, lr, decay / lr)


def switched_off_for_good(model, images):
    torch.set_grad_enabled(False)
    return by_context(model, images)


@torch.no_grad()
def left_in_evaluation(model, images):
    model.eval()
    return model(images)


@torch.no_grad()
def trained_whatever_it_was(model, images):
    logits = model.eval()(images)
    model.train()
    return logits


@torch.no_grad()
def root_mode_only(model, images):
    mode = model.training
    logits = model.eval()(images)
    model.train(mode)
    return logits


@torch.no_grad()
def only_the_root_put_back(model, images):
    mode = model.training
    logits = model.eval()(images)
    model.training = mode
    return logits


WRONG: Mapping[str, Mapping[str, Any]] = {
    "08.1": {
        "the rows' mIoUs": 0.5278,
        "all intersections": 0.6,
        "the mean recall": 0.722,
        "the mean precision": 0.806,
        "the mean Dice": 0.730,
        "class 0 is missing": 0.625,
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
        "the mean already. Return": mean_of_the_known,
        "and it is nan where": mean_already,
        "one number for all": micro,
        "the pixel accuracy. Return": accuracy,
        "0 would mean": for_nothing(0.0),
        "rewards a class": with_epsilon,
        "−1 would go into": for_nothing(-1.0),
        "never found": nan_when(lambda m: m.diag() == 0),
        "called and is not there": nan_when(lambda m: m.sum(1) == 0),
        "was never called": nan_when(lambda m: m.sum(0) == 0),
        "one pixel is added": one_more_in_place,
        "class 0 is missing": lambda m: ious(m)[1:],
        "cut out": without_the_absent,
    },
    "08.3": {
        "still in the divisor": masked_mean,
        "counted as class 0": made_0_in_place,
        "counted as the last class": as_the_last,
        "logits of 0 here": masked_logits,
        "class 0 is left out": without_class_0,
        "moved by one class": one_class_down,
        "by the number of pictures": by_pictures,
        "one softmax too many": softmax_twice,
        "with yes or no": one_against_all,
        "adding 1e-07": with_a_small_number,
        "along the height": softmax_over(2),
        "over the pictures": softmax_over(0),
        "has done the work": torchs_cross_entropy,
        "the mean of the pictures' means": picture_by_picture,
        "this is the sum": summed,
        "the sign": likelihood,
        "along the width": softmax_over(3),
        "its logarithm is −∞. log_softmax": softmax_and_then_log,
        "0 · −∞ is nan": times_a_mask,
        "the softmax is missing": no_softmax,
        "your code stopped with IndexError": F.cross_entropy,
    },
    "08.4": {
        "the warm-up is missing": only_poly,
        "begins at 0": from_zero,
        "the line of section 5": lesson_s_own,
        "too steeply": added_to_the_ratio,
        "on both factors": power_of_the_product,
        "only after the warm-up": one_after_the_other,
        "jumps where the warm-up ends": with_a_jump,
        "keeps rising": never_stops,
        "poly is missing": recipe(in_a_line, lambda done, power: 1),
        "cut off at `ratio`": recipe(lambda through, ratio: max(ratio, min(through, 1))),
        "stays at `ratio`": recipe(lambda through, ratio: ratio if through < 1 else 1),
        "as a power of `ratio`": recipe(lambda through, ratio: ratio ** (1 - min(through, 1))),
        "for a power of 1": recipe(in_a_line, lambda done, power: 1 - done),
        "a cosine": recipe(in_a_line, lambda done, power: (1 + math.cos(math.pi * done)) / 2),
        "the warm-up is one step ahead": recipe(in_a_line, later=(1, 0)),
        "poly is one step ahead": recipe(in_a_line, later=(0, 1)),
        "the first step is step 0": recipe(in_a_line, later=(1, 1)),
        "divides by 0 steps": no_word_of_zero,
        "where it begins at `ratio`": one_step_of_warm_up,
        "on the share of steps done": power_on_what_is_done,
    },
    "08.5": {
        "all parameters": everything,
        "the scales of norms": called_weight,
        "a norm has a number": not_called_norm,
        "nothing is called `norm`, so look": as_the_reference_has_it,
        "do not decay": the_others,
        "only the matrices": only_linear,
        "all but the biases": no_bias,
        "all but what is called `norm`": no_norm,
        "where every matrix is called `weight`": by_suffix,
        "other modules have some": by_type,
        "only the kernels": only_kernels,
        "the depthwise kernels": no_depthwise,
        "holds buffers": with_buffers,
        "in the order": by_alphabet,
    },
    "08.6": {
        "1/frequency, without the root": inverse,
        "the other way round": upside_down,
        "they sum to 1": sum_of_one,
        "these are not divided by their mean": not_divided,
        "their mean over the pixels": mean_of_pixels,
        "these are 1/√count": of_counts,
        "the largest is 1": largest_of_one,
        "counted as class 0": ignored_to(lambda num_classes: 0),
        "counted as the last class": ignored_to(lambda num_classes: num_classes - 1),
        "a class of their own": ignored_to(lambda num_classes: num_classes),
        "balanced": balanced,
        "median": lambda labels, k: (
            np.median(shares_in_numpy(labels, k)) / shares_in_numpy(labels, k)
        ),
        "ENet": lambda labels, k: 1 / np.log(1.02 + shares_in_numpy(labels, k)),
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
        "acts on the new weight": decay_afterwards,
        "takes it for one less": step_from_zero,
        "up the gradient": other_way,
        "away from zero": pushed,
        "are exchanged": exchanged,
        "sign alone": sign_of_it,
        "divides by 0.1 and 0.001": corrected(lambda step: 0.1, lambda step: 0.001),
        "(1 − 0.9)^step here": corrected(lambda step: 0.1**step, lambda step: 0.001**step),
        "the wrong way round": new_and_old_exchanged,
        "0.1 and 0.001 are kept": exchanged_throughout,
        "it should be of its square": no_square,
        "the new weight alone": lambda *given: torchs_adamw(*given)[0],
    },
    "08.8": {
        "what they do in training": torch.no_grad()(lambda model, images: model(images)),
        "not the model's logits": lambda model, images: through_a_copy(model, images).softmax(1),
        "a graph is attached": lambda model, images: model.eval()(images),
        "nothing is recorded": switched_off_for_good,
        "still in evaluation": left_in_evaluation,
        "was in evaluation before": trained_whatever_it_was,
        "that was frozen": root_mode_only,
        "some modules": only_the_root_put_back,
    },
}

SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "08.3": {
        "right = log_probability.gather(1, labels.where(counts, 0)[:, None])[:, -1]": (
            "same: the axis has a length of 1."
        ),
    },
    "08.6": {
        "counts = labels[labels != 255].bincount()": "same: each class occurs.",
        "weights = counts.rsqrt()": "same: up to rounding.",
    },
}
