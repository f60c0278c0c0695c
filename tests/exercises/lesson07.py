"""Answers to the exercises of lesson 07: reached in another way, and wrong as people get them."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import AllMLPDecoder


def counted(embed_dims, decoder_dim, num_classes):
    decoder = AllMLPDecoder(embed_dims, decoder_dim, num_classes)
    return sum(weight.numel() for weight in decoder.parameters())


def on_unit_vectors(fuse: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    def both(x: Tensor) -> Tensor:
        return F.linear(F.linear(x, weight, bias), fuse)

    shift = both(torch.zeros(weight.shape[1]))
    return (both(torch.eye(weight.shape[1])) - shift).T, shift


def through_torch(weight, bias, mean, variance, scale, shift, eps):
    norm = nn.BatchNorm1d(len(mean), eps=eps).eval()
    norm.load_state_dict(
        {"weight": scale, "bias": shift, "running_mean": mean, "running_var": variance},
        strict=False,
    )
    with torch.no_grad():
        zero = norm(F.linear(torch.zeros(1, weight.shape[1]), weight, bias))
        return (norm(F.linear(torch.eye(weight.shape[1]), weight, bias)) - zero).T, zero[0]


def of_a_ramp(index, small, large):
    ramp = torch.arange(float(small), dtype=torch.float64)[None, None]
    return F.interpolate(ramp, large, mode="linear", align_corners=False)[0, 0, index].item()


def pixel_by_pixel(logits, size):
    large = nn.Upsample(size, mode="bilinear")(logits)
    return torch.from_numpy(np.argmax(large.numpy(), axis=1))


def by_differences(parts, weight, bias):
    passed = torch.diag((parts.sum(0) > 0).float())
    shares = [weight @ passed @ part for part in parts]
    return torch.stack([*shares[:-1], shares[-1] + bias])


RIGHT: Mapping[str, Callable] = {
    "07.1": counted,
    "07.2": on_unit_vectors,
    "07.3": through_torch,
    "07.4": of_a_ramp,
    "07.5": pixel_by_pixel,
    "07.6": by_differences,
}


def minus(what):
    def count(dims, d, k):
        return counted(dims, d, k) + what(dims, d, k)

    return count


def folded_with(factor_of, bias_of, rows=True):
    def fold(weight, bias, mean, variance, scale, shift, eps):
        factor = factor_of(variance, scale, eps)
        column = factor.unsqueeze(1) if rows else factor
        return column * weight, bias_of(bias, mean, factor, shift)

    return fold


def right_factor(variance, scale, eps):
    return scale * (variance + eps).rsqrt()


def right_bias(bias, mean, factor, shift):
    return factor * (bias - mean) + shift


def nearest_names(logits, size):
    names = logits.argmax(1)
    rows = torch.arange(size[0]) * logits.shape[2] // size[0]
    columns = torch.arange(size[1]) * logits.shape[3] // size[1]
    return names[:, rows][:, :, columns]


def mixed_names(logits, size):
    names = logits.argmax(1, keepdim=True).float()
    return F.interpolate(names, size, mode="bilinear").squeeze(1).round().long()


def aligned(logits, size):
    return nn.Upsample(size, mode="bilinear", align_corners=True)(logits).argmax(1)


def mixed_probabilities(logits, size):
    return F.interpolate(F.softmax(logits, 1), size, mode="bilinear").argmax(1)


def each_through_relu(parts, weight, bias):
    shares = F.linear(F.relu(parts), weight)
    shares[-1] = shares[-1] + bias
    return shares


def without_relu(parts, weight, bias):
    shares = F.linear(parts, weight)
    shares[-1] = shares[-1] + bias
    return shares


WRONG: Mapping[str, Mapping[str, Callable]] = {
    "07.1": {
        "the fusion has no bias": minus(lambda dims, d, k: d),
        "the BatchNorm is missing": minus(lambda dims, d, k: -2 * d),
        "they are not learned": minus(lambda dims, d, k: 2 * d),
        "the biases of the Linears": minus(lambda dims, d, k: -len(dims) * d),
        "the classifier's biases": minus(lambda dims, d, k: -k),
        "side by side, D of each": minus(lambda dims, d, k: d * d * (1 - len(dims))),
    },
    "07.2": {
        "the stage's own Linear acts first": lambda w, a, b: (a.mm(w), w.mv(b)),
        "in the weight and in the bias": lambda w, a, b: (a.mm(w), a.mv(b)),
        "has to pass through W": lambda w, a, b: (w.mm(a), b),
        "must not be dropped": lambda w, a, b: (w.mm(a), 0 * b),
        "one matrix is transposed": lambda w, a, b: (w.mT.mm(a), w.mT.mv(b)),
        "these are added": lambda w, a, b: (w + a, b),
    },
    "07.3": {
        "by its square root": folded_with(lambda v, g, e: g / (v + e), right_bias),
        "eps is left out": folded_with(lambda v, g, e: g / v.sqrt(), right_bias),
        "from the old bias": folded_with(right_factor, lambda b, m, f, s: f * b + s),
        "must be scaled too": folded_with(right_factor, lambda b, m, f, s: b - m + s),
        "along the wrong axis": folded_with(right_factor, right_bias, rows=False),
        "own shift is missing": folded_with(right_factor, lambda b, m, f, s: f * (b - m)),
        "it belongs under it": folded_with(lambda v, g, e: g / (v.sqrt() + e), right_bias),
    },
    "07.4": {
        "this is align_corners=True": lambda i, n, m: (n - 1) / (m - 1) * i,
        "left edges to left edges": lambda i, n, m: i / (m / n),
        "and the last samples are kept inside": lambda i, n, m: min(i * n / m, n - 1),
        "right in the middle": lambda i, n, m: (2 * i + 1) * n / (2 * m) - 0.5,
        "right at the start": lambda i, n, m: max(0, (2 * i + 1) * n / (2 * m) - 0.5),
        "right at the end": lambda i, n, m: min(n - 1, (2 * i + 1) * n / (2 * m) - 0.5),
        "measured from the edge": lambda i, n, m: (2 * i + 1) * n / (2 * m),
        "rounded to whole samples": lambda i, n, m: (2 * i + 1) * n // (2 * m),
    },
    "07.5": {
        "borders follow the coarse grid": nearest_names,
        "between classes 1 and 3": mixed_names,
        "the corners are aligned": aligned,
        "probabilities were mixed": mixed_probabilities,
        "not decided": lambda x, size: F.interpolate(x, size, mode="bilinear"),
        "an axis of length 1": lambda x, size: pixel_by_pixel(x, size)[:, None],
    },
    "07.6": {
        "a ReLU of its own": each_through_relu,
        "the ReLU is missing": without_relu,
        "the bias is in every share": lambda p, w, b: F.linear(p * (p.sum(0) > 0), w, b),
        "the classifier's bias is missing": lambda p, w, b: F.linear(p * (p.sum(0) > 0), w),
        "divided evenly": lambda p, w, b: F.linear(p * (p.sum(0) > 0), w, b / len(p)),
        "the sign is reversed": lambda p, w, b: (
            by_differences(p, w, b) * 0
            + torch.cat([(p * (p.sum(0) < 0))[:-1] @ w.T, (p * (p.sum(0) < 0))[-1:] @ w.T + b])
        ),
        "also counts for what the ReLU passes": lambda p, w, b: torch.cat(
            [(p * (p[:-1].sum(0) > 0))[:-1] @ w.T, (p * (p[:-1].sum(0) > 0))[-1:] @ w.T + b]
        ),
        "in a list": lambda p, w, b: list(by_differences(p, w, b)),
    },
}
