"""Exercises of lesson 07, the decoder and the whole model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, exercise


def decoder_parameters(embed_dims: Sequence[int], decoder_dim: int, num_classes: int) -> int:
    """Learned numbers of the decoder."""
    project = sum(dim * decoder_dim + decoder_dim for dim in embed_dims)
    fuse = len(embed_dims) * decoder_dim * decoder_dim  # no bias: the norm has one
    norm = 2 * decoder_dim
    classify = decoder_dim * num_classes + num_classes
    return project + fuse + norm + classify


@exercise(
    "07.1",
    "What does the decoder hold?",
    stars=1,
    minutes=5,
    solution=decoder_parameters,
    hints=[
        "Four kinds of parts: a Linear for each stage, the fusion, the BatchNorm, the classifier.",
        "The fusion turns D channels for each stage into D channels in all, and has no bias: the "
        "norm after it has one.",
        "A BatchNorm learns a scale and a shift per channel. Its running statistics are measured, "
        "not learned.",
    ],
    takeaway="the fusion's 4·D² is most of it, and does not depend on the encoder's width.",
)
def examine_decoder_parameters(answer: Callable[..., int]) -> str | None:
    def count(dims: Sequence[int], d: int, k: int, **changes: int) -> int:
        parts = {
            "weights": d * sum(dims),
            "biases": d * len(dims),
            "fuse": len(dims) * d * d,
            "norm": 2 * d,
            "classify": d * k + k,
        }
        return sum({**parts, **changes}.values())

    return diagnose(
        answer,
        decoder_parameters,
        [((32, 64, 160, 256), 256, 150), ((16, 32, 64, 128), 64, 8), ((8, 24), 12, 3)],
        {
            "D too many: the fusion has no bias, since the BatchNorm after it has one.": (
                lambda dims, d, k: count(dims, d, k, fuse=len(dims) * d * d + d)
            ),
            "the BatchNorm is missing: eq. 4 does not have it, but the model does.": (
                lambda dims, d, k: count(dims, d, k, norm=0)
            ),
            "the BatchNorm's running mean and variance are counted, but they are not learned.": (
                lambda dims, d, k: count(dims, d, k, norm=4 * d)
            ),
            "the biases of the Linears, one for each stage, are missing.": (
                lambda dims, d, k: count(dims, d, k, biases=0)
            ),
            "the classifier's biases are missing, one per class.": (
                lambda dims, d, k: count(dims, d, k, classify=d * k)
            ),
            "the fusion takes the channels of all stages side by side, D of each.": (
                lambda dims, d, k: count(dims, d, k, fuse=d * d)
            ),
        },
    )


def compose_two(fuse: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One Linear that does what `fuse` does after the Linear (weight, bias)."""
    return fuse @ weight, fuse @ bias


@exercise(
    "07.2",
    "Two Linears in one",
    stars=2,
    minutes=6,
    solution=compose_two,
    hints=[
        "Write W (A x + b) and multiply it out.",
        "W A x + W b: which part is the new weight, and which the new bias?",
        "The matrix that acts first is on the right.",
    ],
    takeaway="W A and W b; done for each stage, this is how the decoder avoids its widest map.",
)
def examine_compose_two(answer: Callable[..., tuple[Tensor, Tensor]]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(out: int, inner: int, channels: int) -> tuple[Tensor, ...]:
        shapes = (out, inner), (inner, channels), (inner,)
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)

    return diagnose(
        answer,
        compose_two,
        [case(6, 6, 6), case(5, 5, 5)],
        {
            "the factors are swapped: the stage's own Linear acts first, so it is on the right.": (
                lambda w, a, b: (a @ w, w @ b)
            ),
            "the factors are swapped, in the weight and in the bias; what acts first is on the "
            "right.": lambda w, a, b: (a @ w, a @ b),
            "the weight is right, but the bias has to pass through W as well.": (
                lambda w, a, b: (w @ a, b)
            ),
            "the weight is right, but the bias must not be dropped.": (
                lambda w, a, b: (w @ a, torch.zeros_like(b))
            ),
            "one matrix is transposed. Both are stored as (outputs, inputs), and W's inputs are "
            "A's outputs: W A fits as they are.": lambda w, a, b: (w.T @ a, w.T @ b),
            "these are added; one Linear after the other is a matrix product.": (
                lambda w, a, b: (w + a, b)
            ),
        },
    )


def fold(
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """One Linear that does what the Linear (weight, bias) and a BatchNorm in evaluation do."""
    factor = scale / torch.sqrt(variance + eps)  # one for each output
    return factor[:, None] * weight, (bias - mean) * factor + shift


@exercise(
    "07.3",
    "A BatchNorm that disappears",
    stars=2,
    minutes=10,
    solution=fold,
    hints=[
        "In evaluation BatchNorm is scale · (y − mean) / sqrt(variance + eps) + shift, with "
        "constants. Put y = weight x + bias into it.",
        "What multiplies x? What is left when x is zero?",
        "The factor belongs to an output, so to a row of the weight.",
    ],
    takeaway="in evaluation it is a scale and a shift per channel, and the Linear before it takes "
    "up both.",
)
def examine_fold(answer: Callable[..., tuple[Tensor, Tensor]]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(size: int) -> tuple[Tensor | float, ...]:
        bias, mean, scale, shift = torch.randn(4, size, generator=generator)
        variance = torch.rand(size, generator=generator) + 0.1
        weight = torch.randn(size, size, generator=generator)
        return weight, bias, mean, variance, scale, shift, 0.01

    def factor(variance: Tensor, scale: Tensor, eps: float) -> Tensor:
        return scale / torch.sqrt(variance + eps)

    return diagnose(
        answer,
        fold,
        [case(4), case(6)],
        {
            "divided by the variance; BatchNorm divides by its square root.": (
                lambda w, b, m, v, g, s, e: (
                    (g / (v + e))[:, None] * w,
                    (b - m) * g / (v + e) + s,
                )
            ),
            "eps is left out. It is small, but logits are compared to five digits.": (
                lambda w, b, m, v, g, s, e: (
                    factor(v, g, 0)[:, None] * w,
                    (b - m) * factor(v, g, 0) + s,
                )
            ),
            "the weight is right, but the mean has to be subtracted from the old bias.": (
                lambda w, b, m, v, g, s, e: (
                    factor(v, g, e)[:, None] * w,
                    b * factor(v, g, e) + s,
                )
            ),
            "the weight is right, but the old bias and the mean must be scaled too.": (
                lambda w, b, m, v, g, s, e: (factor(v, g, e)[:, None] * w, b - m + s)
            ),
            "the factors lie along the wrong axis: each belongs to an output, a row.": (
                lambda w, b, m, v, g, s, e: (factor(v, g, e) * w, (b - m) * factor(v, g, e) + s)
            ),
            "the weight is right, but the BatchNorm's own shift is missing.": (
                lambda w, b, m, v, g, s, e: (
                    factor(v, g, e)[:, None] * w,
                    (b - m) * factor(v, g, e),
                )
            ),
            "eps is added to the square root; it belongs under it.": (
                lambda w, b, m, v, g, s, e: (
                    (g / (v.sqrt() + e))[:, None] * w,
                    (b - m) * g / (v.sqrt() + e) + s,
                )
            ),
        },
    )


def read_position(index: int, small: int, large: int) -> float:
    """Where new sample `index` of `large` lies on a row of `small` samples."""
    centre = (index + 0.5) * small / large  # in old pixels, from the edge
    return min(max(centre - 0.5, 0), small - 1)


@exercise(
    "07.4",
    "Where does a new pixel look?",
    stars=2,
    minutes=8,
    solution=read_position,
    hints=[
        "Pixels are squares. The centre of pixel 0 lies half a pixel from the edge.",
        "Measure from the edge: the new centre, in old pixels. Then say which old *sample* that "
        "is, given that sample 0 has its centre at a half.",
        "What if it lies before the first sample, or past the last?",
    ],
    takeaway="from centre to centre, and kept inside: align_corners=False.",
)
def examine_read_position(answer: Callable[..., float]) -> str | None:
    def inside(position: float, small: int) -> float:
        return min(max(position, 0), small - 1)

    return diagnose(
        answer,
        read_position,
        [(0, 4, 16), (1, 4, 16), (5, 4, 16), (9, 4, 16), (15, 4, 16), (4, 5, 9), (3, 2, 4)],
        {
            "this is align_corners=True: the first and the last samples coincide.": (
                lambda i, small, large: i * (small - 1) / (large - 1)
            ),
            "the halves are missing: this maps left edges to left edges, so everything is shifted "
            "by a fraction of a pixel.": lambda i, small, large: i * small / large,
            "the halves are missing, and the last samples are kept inside.": (
                lambda i, small, large: inside(i * small / large, small)
            ),
            "right in the middle. At both ends it points outside the row, where there is no "
            "sample.": lambda i, small, large: (i + 0.5) * small / large - 0.5,
            "right at the start, but outside the row at its end.": (
                lambda i, small, large: max((i + 0.5) * small / large - 0.5, 0)
            ),
            "right at the end, but outside the row at its start.": (
                lambda i, small, large: min((i + 0.5) * small / large - 0.5, small - 1)
            ),
            "this is measured from the edge, but sample 0 itself lies half a pixel from it.": (
                lambda i, small, large: (i + 0.5) * small / large
            ),
            "rounded to whole samples: that is nearest, but bilinear reads between two.": (
                lambda i, small, large: int((i + 0.5) * small / large)
            ),
        },
    )


def labels_at(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits `(B, K, h, w)` → the class of every pixel of an image of `size`, `(B, H, W)`."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=False).argmax(dim=1)


@exercise(
    "07.5",
    "From logits to labels",
    stars=2,
    minutes=6,
    solution=labels_at,
    hints=[
        "Two steps. In which order?",
        "Numbers that mean a quantity can be mixed; numbers that are names cannot.",
        "F.interpolate(…, mode='bilinear'), then argmax over the axis of classes.",
    ],
    takeaway="resize what can be mixed, and decide last.",
)
def examine_labels_at(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    cases = [
        (2 * torch.randn(2, 5, *small, generator=generator), large)
        for small, large in (((6, 8), (24, 32)), ((5, 7), (18, 27)))
    ]

    def decided_first(logits: Tensor, size: tuple[int, int], **how: object) -> Tensor:
        names = logits.argmax(dim=1, keepdim=True).float()
        return F.interpolate(names, size, **how)[:, 0]  # type: ignore[arg-type]

    def bilinear(values: Tensor, size: tuple[int, int], aligned: bool = False) -> Tensor:
        return F.interpolate(values, size, mode="bilinear", align_corners=aligned)

    return diagnose(
        answer,
        labels_at,
        cases,
        {
            "borders follow the coarse grid: the decision came first, or the resize was nearest. "
            "Resize the logits bilinearly, then decide.": (
                lambda x, size: decided_first(x, size, mode="nearest").long()
            ),
            "class numbers were mixed, but class 2 is not between classes 1 and 3. Resize the "
            "logits, then decide.": (
                lambda x, size: decided_first(x, size, mode="bilinear").round().long()
            ),
            "class numbers were mixed and truncated. Resize the logits, then decide.": (
                lambda x, size: decided_first(x, size, mode="bilinear").long()
            ),
            "the order is right, but the corners are aligned; in training they were not.": (
                lambda x, size: bilinear(x, size, aligned=True).argmax(dim=1)
            ),
            "probabilities were mixed. The softmax comes after the resize, if at all: the loss saw "
            "resized logits.": lambda x, size: bilinear(x.softmax(dim=1), size).argmax(dim=1),
            "resized correctly, but not decided: give one class per pixel.": bilinear,
            "the classes are right, but an axis of length 1 is left over: give (B, H, W).": (
                lambda x, size: bilinear(x, size).argmax(dim=1, keepdim=True)
            ),
        },
    )


def shares_of_logits(parts: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Summands of one pixel in front of the ReLU, `(n, D)` → summands of its logits, `(n, K)`.

    The classifier's bias joins the last summand.
    """
    passed = parts.sum(dim=0) > 0  # (D,): what the ReLU lets through is decided by the sum
    shares = (parts * passed) @ weight.T
    shares[-1] += bias
    return shares


@exercise(
    "07.6",
    "Who said so?",
    stars=3,
    minutes=12,
    solution=shares_of_logits,
    hints=[
        "Compute the logits first, from the sum of the parts: ReLU, then the classifier.",
        "A ReLU multiplies each channel by 1 or 0. What decides which: a part, or the sum?",
        "With that decision fixed, each part can go through the classifier alone. Add the bias "
        "once.",
    ],
    takeaway="the sum makes one decision per channel; given that, everything is linear.",
)
def examine_shares_of_logits(answer: Callable[..., Tensor]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def case(count: int, channels: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
        shapes = (count, channels), (classes, channels), (classes,)
        parts, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
        return parts, weight, bias

    def last(shares: Tensor, bias: Tensor) -> Tensor:
        return torch.cat([shares[:-1], shares[-1:] + bias])

    def masked(parts: Tensor) -> Tensor:
        return parts * (parts.sum(0) > 0)

    return diagnose(
        lambda parts, weight, bias: answer(parts.clone(), weight.clone(), bias.clone()),
        shares_of_logits,
        [case(5, 16, 4), case(3, 8, 6)],
        {
            "each part went through a ReLU of its own. The model has one ReLU, on the sum, and "
            "these shares do not add up to its logits.": (
                lambda parts, w, b: last(parts.relu() @ w.T, b)
            ),
            "the ReLU is missing: the shares add up to the logits of a model without one.": (
                lambda parts, w, b: last(parts @ w.T, b)
            ),
            "the bias is in every share, so it is in the sum that many times.": (
                lambda parts, w, b: masked(parts) @ w.T + b
            ),
            "the classifier's bias is missing: the shares add up to the logits without it.": (
                lambda parts, w, b: masked(parts) @ w.T
            ),
            "the bias is divided evenly; it should join the last part, that of the biases.": (
                lambda parts, w, b: masked(parts) @ w.T + b / len(parts)
            ),
            "the sign is reversed: the ReLU passes what is above zero.": (
                lambda parts, w, b: last((parts * (parts.sum(0) < 0)) @ w.T, b)
            ),
            "the last part, that of the biases, also counts for what the ReLU passes.": (
                lambda parts, w, b: last((parts * (parts[:-1].sum(0) > 0)) @ w.T, b)
            ),
            "the numbers are right, but in a list: torch.stack makes one tensor (n, K) of them.": (
                lambda parts, w, b: list(shares_of_logits(parts, w, b))
            ),
        },
    )
