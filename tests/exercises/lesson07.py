"""Answers to the exercises of lesson 07: reached in another way, and wrong as people get them."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu import AllMLPDecoder
from tests.exercises.folding import linear_of, norm_of


def counted(embed_dims, decoder_dim, num_classes):
    decoder = AllMLPDecoder(embed_dims, decoder_dim, num_classes)
    return sum(weight.numel() for weight in decoder.parameters())


def on_unit_vectors(fuse: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return linear_of(lambda x: F.linear(F.linear(x, weight, bias), fuse), weight.shape[1])


def through_torch(weight, bias, mean, variance, scale, shift, eps):
    norm = norm_of(mean, variance, scale, shift, eps)
    return linear_of(lambda x: norm(F.linear(x, weight, bias)), weight.shape[1])


def of_a_ramp(index, small, large):
    ramp = torch.arange(float(small), dtype=torch.float64)[None, None]
    return F.interpolate(ramp, large, mode="linear", align_corners=False)[0, 0, index].item()


def pixel_by_pixel(logits, size):
    large = nn.Upsample(size, mode="bilinear")(logits)
    return np.argmax(large.numpy(), axis=1)


def part_by_part(parts, weight, bias):
    passed = torch.diag((parts.sum(0) > 0).float())
    shares = [weight @ passed @ part for part in parts]
    return [*shares[:-1], shares[-1] + bias]


def by_differences(parts, weight, bias):
    return torch.stack(part_by_part(parts, weight, bias))


def of_the_whole_decoder(parts, fuse, norm):
    """The package's decoder, whose projections are identities and whose classifier is too."""
    dim = len(norm.weight)
    decoder = AllMLPDecoder([dim] * len(parts), dim, dim).eval()
    decoder.load_state_dict(
        {f"fuse.{name}": weight for name, weight in fuse.state_dict().items()}
        | {f"norm.{name}": weight for name, weight in norm.state_dict().items()},
        strict=False,
    )
    with torch.no_grad():
        for linear in decoder.projections:
            linear.weight.copy_(torch.eye(dim))
            linear.bias.zero_()
        decoder.classifier.weight.copy_(torch.eye(dim)[:, :, None, None])
        decoder.classifier.bias.zero_()
        return decoder(parts)


RIGHT: Mapping[str, Callable | list[Callable]] = {
    "07.1": counted,
    "07.2": on_unit_vectors,
    "07.3": through_torch,
    "07.4": of_a_ramp,
    "07.5": pixel_by_pixel,
    "07.6": [part_by_part, by_differences],
    "07.7": of_the_whole_decoder,
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


def four_times_as_large(logits, size):
    return F.interpolate(logits, scale_factor=4, mode="bilinear").argmax(1)


def running_relu(parts, weight, bias):
    before, shares = torch.zeros(parts.shape[1]), []
    for number in range(len(parts)):
        now = F.relu(parts[: number + 1].sum(0))
        shares.append(weight @ (now - before))
        before = now
    return [*shares[:-1], shares[-1] + bias]


def fused(before=(), after=(), order=reversed):
    """The fuse layer with other things before and after the convolution."""

    def layer(parts, fuse, norm):
        known = {"norm": norm, "relu": torch.relu, "gelu": F.gelu}
        parts = list(order(parts))
        for name in before:
            parts = [known[name](part) for part in parts]
        x = fuse(torch.cat(parts, 1))
        for name in after:
            x = known[name](x)
        return x

    return layer


def in_training(parts, fuse, norm):
    x = fuse(torch.cat(parts[::-1], 1))
    return F.relu(F.batch_norm(x, None, None, norm.weight, norm.bias, training=True))


def without_scale_and_shift(parts, fuse, norm):
    mean, deviation = norm.running_mean, (norm.running_var + norm.eps).sqrt()
    x = fuse(torch.cat(parts[::-1], 1))
    return F.relu((x - mean[:, None, None]) / deviation[:, None, None])


def four_stages(parts, fuse, norm):
    return F.relu(norm(fuse(torch.cat([parts[3], parts[2], parts[1], parts[0]], 1))))


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
        "as if the fusion had a bias": minus(lambda dims, d, k: d),
        "the BatchNorm is missing": minus(lambda dims, d, k: -2 * d),
        "or the fusion has a bias in the BatchNorm's place": minus(lambda dims, d, k: -d),
        "for each stage here as well": minus(lambda dims, d, k: 2 * d * len(dims)),
        "for each stage here. ": minus(lambda dims, d, k: 2 * d * (len(dims) - 1)),
        "right for four stages": minus(lambda dims, d, k: d * d * (4 - len(dims))),
        "taken for 256": lambda dims, d, k: counted(dims, 256, k),
        "taken for 768": lambda dims, d, k: counted(dims, 768, k),
        "they are not learned": minus(lambda dims, d, k: 2 * d),
        "the biases of the Linears": minus(lambda dims, d, k: -len(dims) * d),
        "the classifier's biases": minus(lambda dims, d, k: -k),
        "side by side, D of each": minus(lambda dims, d, k: d * d * (1 - len(dims))),
    },
    "07.2": {
        "The stage's own Linear acts first": lambda w, a, b: (a.mm(w), w.mv(b)),
        "in the weight and in the bias": lambda w, a, b: (a.mm(w), a.mv(b)),
        "has to pass through W": lambda w, a, b: (w.mm(a), b),
        "must not be dropped": lambda w, a, b: (w.mm(a), 0 * b),
        "the new weight is transposed": lambda w, a, b: (w.mm(a).T, w.mv(b)),
        "number by number": lambda w, a, b: (w * a, w.mv(b)),
        "one matrix is transposed": lambda w, a, b: (w.mT.mm(a), w.mT.mv(b)),
        "these are added": lambda w, a, b: (w + a, b),
        "weight and bias are exchanged": lambda w, a, b: (w.mv(b), w.mm(a)),
        "Put x = 0 into both Linears": lambda w, a, b: (w.mm(a), b + w.mv(b)),
    },
    "07.3": {
        "by its square root": folded_with(lambda v, g, e: g / (v + e), right_bias),
        "eps is left out": folded_with(lambda v, g, e: g / v.sqrt(), right_bias),
        "from the old bias": folded_with(right_factor, lambda b, m, f, s: f * b + s),
        "the old bias is missing": folded_with(right_factor, lambda b, m, f, s: s - f * m),
        "own scale is missing": folded_with(lambda v, g, e: (v + e).rsqrt(), right_bias),
        "must be scaled too": folded_with(right_factor, lambda b, m, f, s: b - m + s),
        "along the wrong axis": folded_with(right_factor, right_bias, rows=False),
        "own shift is missing": folded_with(right_factor, lambda b, m, f, s: f * (b - m)),
        "Put x = 0 into both layers": folded_with(right_factor, lambda b, m, f, s: b),
        "not the mean alone": folded_with(right_factor, lambda b, m, f, s: b + s - f * m),
        "adds its shift last": folded_with(right_factor, lambda b, m, f, s: f * (s + b - m)),
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
        "the halves have the wrong signs": lambda i, n, m: (2 * i - 1) * n / (2 * m) + 0.5,
        "the sizes are exchanged": lambda i, n, m: (2 * i + 1) * m / (2 * n) - 0.5,
        "rounded down to whole": lambda i, n, m: int(i * n / m),
        "rounded to whole samples": lambda i, n, m: (2 * i + 1) * n // (2 * m),
    },
    "07.5": {
        "borders follow the coarse grid": nearest_names,
        "between classes 1 and 3": mixed_names,
        "the corners are aligned": aligned,
        "probabilities were mixed": mixed_probabilities,
        "the resize is bicubic": lambda x, size: F.interpolate(x, size, mode="bicubic").argmax(1),
        "at the size of the logits": lambda x, size: x.argmax(1),
        "four times as large": four_times_as_large,
        "height and width are swapped": lambda x, size: pixel_by_pixel(x, (size[1], size[0])),
        "the largest logits": lambda x, size: F.interpolate(x, size, mode="bilinear").max(1).values,
        "over the pictures": lambda x, size: F.interpolate(x, size, mode="bilinear").argmax(0),
        "over the width": lambda x, size: F.interpolate(x, size, mode="bilinear").argmax(3),
        "each class is decided": lambda x, size: (
            F.interpolate(x, size, mode="bilinear").sigmoid() > 0.5
        ),
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
        "on the order of the parts": running_relu,
        "the bias joins the first part": lambda p, w, b: [
            share + b * ((number == 0) - (number == len(p) - 1))
            for number, share in enumerate(part_by_part(p, w, b))
        ],
        "these are the logits": lambda p, w, b: by_differences(p, w, b).sum(0),
    },
    "07.7": {
        "the ReLU comes before the norm": fused(after=["relu", "norm"]),
        "the norm is missing": fused(after=["relu"]),
        "the ReLU is missing": fused(after=["norm"]),
        "both missing": fused(),
        "after each projection. They": fused(before=["norm", "relu"]),
        "after each projection as well, as": fused(["norm", "relu"], ["norm", "relu"]),
        "the norm stands after each projection": fused(["norm"], ["relu"]),
        "there is a ReLU after each projection as well": fused(["relu"], ["norm", "relu"]),
        "the ReLU stands after each projection": fused(["relu"], ["norm"]),
        "begin with stage 4": fused(after=["norm", "relu"], order=iter),
        "this is GELU": fused(after=["norm", "gelu"]),
        "the statistics of this batch": in_training,
        "own scale and shift are missing": without_scale_and_shift,
        "right for four stages": four_stages,
        "there is a dropout here": lambda parts, fuse, norm: nn.Dropout2d()(
            fused(after=["norm", "relu"])(parts, fuse, norm)
        ),
    },
}

SURVIVORS: Mapping[str, Mapping[str, str]] = {
    "07.5": {
        "return F.interpolate(logits, size, mode='bilinear').argmax(dim=1)": (
            "same: corners are not aligned unless one asks for it."
        ),
    },
    "07.6": {
        "passed = parts.sum(dim=0) >= 0": (
            "allowed: where the sum is exactly 0, either decision leaves the logits as they are."
        ),
    },
}
