"""Exercises of lesson 07, the decoder and the whole model."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.exercises.exercise import diagnose, drawn, exercise, normal, uses
from segformer_edu.exercises.folding import draw_norm, drawn_linears, factor


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
        "There are four kinds of parts: a Linear for each stage, the fusion, the BatchNorm, and "
        "the classifier.",
        "The fusion turns D channels for each stage into D channels in all. It has no bias, "
        "because the norm after it has one.",
        "A BatchNorm learns a scale and a shift per channel. Its running statistics are measured, "
        "not learned.",
    ],
    takeaway="the fusion's 4·D² is most of B0's, and the encoder's width does not enter.",
)
def examine_decoder_parameters(answer: Callable[..., int]) -> str | None:
    def draw(rng: random.Random) -> tuple[tuple[int, ...], int, int]:
        dims = tuple(rng.randint(1, 60) for _ in range(rng.randint(1, 5)))
        return dims, rng.randint(1, 40), rng.randint(1, 20)

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
        [((32, 64, 160, 256), 256, 150), ((16, 32, 64, 128), 64, 8), *drawn(draw)],
        {
            "it is D too many, as if the fusion had a bias. The BatchNorm after it has one, so the "
            "fusion has none.": lambda dims, d, k: count(dims, d, k, fuse=len(dims) * d * d + d),
            "the BatchNorm is missing. Eq. 4 does not have it, but the model does.": (
                lambda dims, d, k: count(dims, d, k, norm=0)
            ),
            "it is D too few. Either one of the BatchNorm's scale and shift is missing, or the "
            "fusion has a bias in the BatchNorm's place, as in eq. 4.": (
                lambda dims, d, k: count(dims, d, k, norm=d)
            ),
            "the BatchNorm's running mean and variance are counted, but they are not learned.": (
                lambda dims, d, k: count(dims, d, k, norm=4 * d)
            ),
            "there is a BatchNorm for each stage here as well. The model has one, after the "
            "fusion.": lambda dims, d, k: count(dims, d, k, norm=2 * d * (len(dims) + 1)),
            "there is a BatchNorm for each stage here. The model has one, after the fusion.": (
                lambda dims, d, k: count(dims, d, k, norm=2 * d * len(dims))
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
            "this is right for four stages. There are as many as `embed_dims` has.": (
                lambda dims, d, k: count(dims, d, k, fuse=4 * d * d)
            ),
            **{
                f"D is taken for {fixed} here, but it is given.": (
                    lambda dims, d, k, fixed=fixed: count(dims, fixed, k)
                )
                for fixed in (256, 768)
            },
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
        "In W A x + W b, which part is the new weight, and which the new bias?",
        "The matrix that acts first is on the right.",
    ],
    takeaway="W A and W b; done for each stage, this is how the decoder avoids its widest map.",
)
def examine_compose_two(answer: Callable[..., tuple[Tensor, Tensor]]) -> str | None:
    def square(rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        """All sides alike, so that swapped and transposed factors run."""
        side = rng.randint(1, 6)
        return normal(rng, side, side), normal(rng, side, side), normal(rng, side)

    def draw(rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        out, inner, channels = (rng.randint(1, 6) for _ in range(3))
        return normal(rng, out, inner), normal(rng, inner, channels), normal(rng, inner)

    return diagnose(
        answer,
        compose_two,
        drawn(square),
        {
            "the factors are swapped. The stage's own Linear acts first, so it is on the right.": (
                lambda w, a, b: (a @ w, w @ b)
            ),
            "the factors are swapped, in the weight and in the bias. What acts first is on the "
            "right.": lambda w, a, b: (a @ w, a @ b),
            "the weight is right, but the bias has to pass through W as well.": (
                lambda w, a, b: (w @ a, b)
            ),
            "the weight is right, but the bias must not be dropped.": (
                lambda w, a, b: (w @ a, torch.zeros_like(b))
            ),
            "one matrix is transposed. Both are stored as (outputs, inputs), and W's inputs are "
            "A's outputs, so W A fits as they are.": lambda w, a, b: (w.T @ a, w.T @ b),
            "the new weight is transposed. It should be (outputs, inputs), as the others are.": (
                lambda w, a, b: ((w @ a).T, w @ b)
            ),
            "these are added, but one Linear after the other is a matrix product.": (
                lambda w, a, b: (w + a, b)
            ),
            "these are multiplied number by number. One Linear after the other is a matrix "
            "product.": lambda w, a, b: (w * a, w @ b),
            "weight and bias are exchanged: return the weight first.": (
                lambda w, a, b: (w @ b, w @ a)
            ),
            "the weight is right, but the old bias is added once more. Put x = 0 into both "
            "Linears: what comes out?": lambda w, a, b: (w @ a, w @ b + b),
        },
    ) or diagnose(answer, compose_two, drawn(draw), {})


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
        "What multiplies x? And what is left when x is zero?",
        "The factor belongs to an output, so to a row of the weight.",
    ],
    takeaway="in evaluation it is a scale and a shift per channel, so the Linear before it can "
    "take up both.",
)
def examine_fold(answer: Callable[..., tuple[Tensor, Tensor]]) -> str | None:
    def case(rng: random.Random, outputs: int, inputs: int) -> tuple[Tensor | float, ...]:
        return normal(rng, outputs, inputs), normal(rng, outputs), *draw_norm(rng, outputs)

    square, any_sizes = drawn_linears(case)
    return diagnose(
        answer,
        fold,
        square,
        {
            "this divides by the variance, but BatchNorm divides by its square root.": (
                lambda w, b, m, v, g, s, e: (
                    (g / (v + e))[:, None] * w,
                    (b - m) * g / (v + e) + s,
                )
            ),
            "eps is left out. It is often small, but logits are compared to five digits.": (
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
            "the weight is right, but the old bias is missing.": (
                lambda w, b, m, v, g, s, e: (factor(v, g, e)[:, None] * w, s - m * factor(v, g, e))
            ),
            "the weight is right, but the old bias and the mean must be scaled too.": (
                lambda w, b, m, v, g, s, e: (factor(v, g, e)[:, None] * w, b - m + s)
            ),
            "the factors lie along the wrong axis. Each belongs to an output, a row.": (
                lambda w, b, m, v, g, s, e: (factor(v, g, e) * w, (b - m) * factor(v, g, e) + s)
            ),
            "the weight is right, but the BatchNorm's own shift is missing.": (
                lambda w, b, m, v, g, s, e: (
                    factor(v, g, e)[:, None] * w,
                    (b - m) * factor(v, g, e),
                )
            ),
            "the BatchNorm's own scale is missing.": (
                lambda w, b, m, v, g, s, e: fold(w, b, m, v, torch.ones_like(g), s, e)
            ),
            "eps is added to the square root, but it belongs under it.": (
                lambda w, b, m, v, g, s, e: (
                    (g / (v.sqrt() + e))[:, None] * w,
                    (b - m) * g / (v.sqrt() + e) + s,
                )
            ),
            "the weight is right, but the bias is the old one. Put x = 0 into both layers: what "
            "comes out?": lambda w, b, m, v, g, s, e: (factor(v, g, e)[:, None] * w, b),
            "the weight is right, but the old bias has to be scaled too, not the mean alone.": (
                lambda w, b, m, v, g, s, e: (
                    factor(v, g, e)[:, None] * w,
                    b - m * factor(v, g, e) + s,
                )
            ),
            "the weight is right, but the BatchNorm adds its shift last, so it is not scaled.": (
                lambda w, b, m, v, g, s, e: (
                    factor(v, g, e)[:, None] * w,
                    (b - m + s) * factor(v, g, e),
                )
            ),
        },
    ) or diagnose(answer, fold, any_sizes, {})


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
        "Pixels are squares, so the centre of pixel 0 lies half a pixel from the edge.",
        "Measure from the edge: where is the new centre, in old pixels? Then say which old "
        "*sample* that is, given that sample 0 has its centre at a half.",
        "What if it lies before the first sample, or past the last?",
    ],
    takeaway="from centre to centre, and kept inside: that is align_corners=False.",
)
def examine_read_position(answer: Callable[..., float]) -> str | None:
    def draw(rng: random.Random) -> tuple[int, int, int]:
        large = rng.randint(1, 30)
        return rng.choice([0, rng.randrange(large), large - 1]), rng.randint(1, 12), large

    def inside(position: float, small: int) -> float:
        return min(max(position, 0), small - 1)

    return diagnose(
        answer,
        read_position,
        [(0, 4, 16), (5, 4, 16), (15, 4, 16), (4, 5, 9), (3, 2, 4), *drawn(draw)],
        {
            "this is align_corners=True, where the first and the last samples coincide.": (
                lambda i, small, large: i * (small - 1) / max(large - 1, 1)
            ),
            "the halves are missing. This maps left edges to left edges, so everything is shifted "
            "by a fraction of a pixel.": lambda i, small, large: i * small / large,
            "the halves are missing, and the last samples are kept inside.": (
                lambda i, small, large: inside(i * small / large, small)
            ),
            "this is right in the middle. At both ends it points outside the row, where there is "
            "no sample.": lambda i, small, large: (i + 0.5) * small / large - 0.5,
            "this is right at the start, but outside the row at its end.": (
                lambda i, small, large: max((i + 0.5) * small / large - 0.5, 0)
            ),
            "this is right at the end, but outside the row at its start.": (
                lambda i, small, large: min((i + 0.5) * small / large - 0.5, small - 1)
            ),
            "this is measured from the edge, but sample 0 itself lies half a pixel from it.": (
                lambda i, small, large: (i + 0.5) * small / large
            ),
            "the halves have the wrong signs. A centre lies half a pixel *behind* its left edge.": (
                lambda i, small, large: (i - 0.5) * small / large + 0.5
            ),
            "the sizes are exchanged. A new pixel is small / large of an old one.": (
                lambda i, small, large: (i + 0.5) * large / small - 0.5
            ),
            "this is rounded to whole samples. That is nearest, but bilinear reads between two.": (
                lambda i, small, large: int((i + 0.5) * small / large)
            ),
            "this is rounded down to whole samples. That is torch's nearest, but bilinear reads "
            "between two.": lambda i, small, large: i * small // large,
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
        "There are two steps. In which order?",
        "Numbers that mean a quantity can be mixed, but numbers that are names cannot.",
        "F.interpolate(…, mode='bilinear'), then argmax over the axis of classes.",
    ],
    takeaway="resize what can be mixed, and decide last.",
)
def examine_labels_at(answer: Callable[..., Tensor]) -> str | None:
    def case(
        rng: random.Random, small: tuple[int, int], size: tuple[int, int], classes: int
    ) -> tuple[Tensor, tuple[int, int]]:
        """Logits that leave every pixel a clear winner, so that rounding decides nothing."""
        while True:
            logits = 2 * normal(rng, rng.randint(1, 3), classes, *small)
            best = bilinear(logits, size).topk(min(2, classes), dim=1).values
            if classes == 1 or (best[:, 0] - best[:, 1]).min() > 1e-4:
                return logits, size

    def draw(rng: random.Random) -> tuple[Tensor, tuple[int, int]]:
        height, width = rng.randint(1, 8), rng.randint(1, 8)
        size = height + rng.randint(0, 12), width + rng.randint(0, 12)
        return case(rng, (height, width), size, rng.randint(1, 6))

    def decided_first(logits: Tensor, size: tuple[int, int], **how: object) -> Tensor:
        names = logits.argmax(dim=1, keepdim=True).float()
        return F.interpolate(names, size, **how)[:, 0]  # type: ignore[arg-type]

    def bilinear(values: Tensor, size: tuple[int, int], aligned: bool = False) -> Tensor:
        return F.interpolate(values, size, mode="bilinear", align_corners=aligned)

    def bicubic(values: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(values, size, mode="bicubic")

    rng = random.Random(0)
    return diagnose(
        answer,
        labels_at,
        [case(rng, (6, 8), (24, 32), 5), case(rng, (5, 7), (18, 27), 5), *drawn(draw)],
        {
            "borders follow the coarse grid, because the decision came first, or the resize was "
            "nearest. Resize the logits bilinearly, then decide.": (
                lambda x, size: decided_first(x, size, mode="nearest").long()
            ),
            "class numbers were mixed, but class 2 is not between classes 1 and 3. Resize the "
            "logits, then decide.": (
                lambda x, size: decided_first(x, size, mode="bilinear").round().long()
            ),
            "class numbers were mixed and truncated. Resize the logits, then decide.": (
                lambda x, size: decided_first(x, size, mode="bilinear").long()
            ),
            "the order is right, but the corners are aligned. In training they were not.": (
                lambda x, size: bilinear(x, size, aligned=True).argmax(dim=1)
            ),
            "the order is right, but the resize is bicubic. In training it was bilinear.": (
                lambda x, size: bicubic(x, size).argmax(dim=1)
            ),
            "probabilities were mixed. The softmax comes after the resize, if at all, because the "
            "loss saw resized logits.": lambda x, size: bilinear(x.softmax(dim=1), size).argmax(1),
            "these are the labels at the size of the logits. They are asked for at that of the "
            "image.": lambda x, size: x.argmax(dim=1),
            "this is right where the image is four times as large as the logits. Its size is "
            "given.": lambda x, size: bilinear(x, (4 * x.shape[2], 4 * x.shape[3])).argmax(dim=1),
            "height and width are swapped: size is (H, W).": (
                lambda x, size: bilinear(x, size[::-1]).argmax(dim=1)
            ),
            "resized correctly, but not decided: give one class per pixel.": bilinear,
            "the largest logits are returned. Give the classes that have them.": (
                lambda x, size: bilinear(x, size).amax(dim=1)
            ),
            "the argmax runs over the pictures, but the classes are axis 1.": (
                lambda x, size: bilinear(x, size).argmax(dim=0)
            ),
            "the argmax runs over the width, but the classes are axis 1.": (
                lambda x, size: bilinear(x, size).argmax(dim=-1)
            ),
            "each class is decided by itself, as is done for a single logit. A pixel has one class "
            "of K.": lambda x, size: bilinear(x, size) > 0,
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
        "A ReLU multiplies each channel by 1 or 0. What decides which, a part or the sum?",
        "With that decision fixed, each part can go through the classifier alone. Add the bias "
        "once.",
    ],
    takeaway="the sum makes one decision per channel, and given that, everything is linear.",
)
def examine_shares_of_logits(answer: Callable[..., Tensor]) -> str | None:
    def draw(rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        count, channels, classes = rng.randint(1, 6), rng.randint(1, 16), rng.randint(1, 6)
        return normal(rng, count, channels), normal(rng, classes, channels), normal(rng, classes)

    def last(shares: Tensor, bias: Tensor) -> Tensor:
        return torch.cat([shares[:-1], shares[-1:] + bias])

    def masked(parts: Tensor) -> Tensor:
        return parts * (parts.sum(0) > 0)

    def gained(parts: Tensor) -> Tensor:
        """What each part adds to the ReLU of those before it."""
        return torch.diff(parts.cumsum(0).relu(), dim=0, prepend=torch.zeros_like(parts[:1]))

    return diagnose(
        answer,
        shares_of_logits,
        drawn(draw),
        {
            "each part went through a ReLU of its own. The model has one ReLU, on the sum, so "
            "these shares do not add up to its logits.": (
                lambda parts, w, b: last(parts.relu() @ w.T, b)
            ),
            "the ReLU is missing, so the shares add up to the logits of a model without one.": (
                lambda parts, w, b: last(parts @ w.T, b)
            ),
            "the bias is in every share, so it is in the sum that many times.": (
                lambda parts, w, b: masked(parts) @ w.T + b
            ),
            "the classifier's bias is missing, so the shares add up to the logits without it.": (
                lambda parts, w, b: masked(parts) @ w.T
            ),
            "the bias is divided evenly. It should join the last part, that of the biases.": (
                lambda parts, w, b: masked(parts) @ w.T + b / len(parts)
            ),
            "the bias joins the first part. It should join the last, that of the biases.": (
                lambda parts, w, b: last((masked(parts) @ w.T).flip(0), b).flip(0)
            ),
            "the sign is reversed: the ReLU passes what is above zero.": (
                lambda parts, w, b: last((parts * (parts.sum(0) < 0)) @ w.T, b)
            ),
            "the last part, that of the biases, also counts for what the ReLU passes.": (
                lambda parts, w, b: last((parts * (parts[:-1].sum(0) > 0)) @ w.T, b)
            ),
            "these add up to the logits, but they depend on the order of the parts: each has what "
            "it adds to the ReLU of those before it.": (
                lambda parts, w, b: last(gained(parts) @ w.T, b)
            ),
            "these are the logits. Give what each part adds to them.": (
                lambda parts, w, b: parts.sum(0).relu() @ w.T + b
            ),
        },
    )


def fuse_layer(parts: Sequence[Tensor], fuse: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """What the classifier reads: the parts of all stages `(B, D, H, W)`, stage 1 first → the same
    shape.
    """
    joined = torch.cat([*reversed(parts)], dim=1)  # stage 4 first, as the weights have it
    return F.relu(norm(fuse(joined)))


@exercise(
    "07.7",
    "What does the classifier read?",
    stars=1,
    minutes=4,
    solution=fuse_layer,
    hints=[
        "The convolution reads the channels of all stages side by side. With which stage do the "
        "published weights begin?",
        "Nothing but a resize stands between a stage's Linear and the fusion. That is why the two "
        "matrices can be multiplied (section 4).",
        "Four steps: concatenate from the last stage to the first, fuse, norm, ReLU.",
    ],
    takeaway="fuse, norm, ReLU, once for all stages, so all before the ReLU is linear.",
)
def examine_fuse_layer(answer: Callable[..., Tensor]) -> str | None:
    def draw(rng: random.Random) -> tuple[list[Tensor], nn.Conv2d, nn.BatchNorm2d]:
        stages, dim = rng.randint(1, 5), rng.randint(1, 6)
        fuse, norm = nn.Conv2d(stages * dim, dim, 1, bias=False), nn.BatchNorm2d(dim).eval()
        fuse.weight.data = normal(rng, dim, stages * dim, 1, 1)
        norm.weight.data, norm.bias.data = normal(rng, dim), normal(rng, dim)
        norm.running_mean, norm.running_var = normal(rng, dim), normal(rng, dim).abs()
        shape = rng.randint(1, 3), dim, rng.randint(1, 5), rng.randint(1, 5)
        return [normal(rng, *shape) for _ in range(stages)], fuse, norm

    def joined(parts: Sequence[Tensor], before: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        return torch.cat([before(part) if before else part for part in reversed(parts)], dim=1)

    cases = drawn(draw)
    found = diagnose(
        answer,
        fuse_layer,
        cases,
        {
            "the ReLU comes before the norm. Here the norm comes first, so it can be folded into "
            "the fusion.": lambda parts, fuse, norm: norm(fuse(joined(parts)).relu()),
            "the norm is missing. Eq. 4 does not have it, but the model does.": (
                lambda parts, fuse, norm: fuse(joined(parts)).relu()
            ),
            "the ReLU is missing.": lambda parts, fuse, norm: norm(fuse(joined(parts))),
            "norm and ReLU are both missing.": lambda parts, fuse, norm: fuse(joined(parts)),
            "norm and ReLU stand after each projection. They belong after the fusion, once.": (
                lambda parts, fuse, norm: fuse(joined(parts, lambda part: norm(part).relu()))
            ),
            "norm and ReLU stand after each projection as well, as in mmsegmentation's own head. "
            "The published weights have them after the fusion alone.": lambda parts, fuse, norm: (
                norm(fuse(joined(parts, lambda part: norm(part).relu()))).relu()
            ),
            "the norm stands after each projection. It belongs after the fusion, once.": (
                lambda parts, fuse, norm: fuse(joined(parts, norm)).relu()
            ),
            "there is a ReLU after each projection as well. Then the two matrices could not be "
            "multiplied.": lambda parts, fuse, norm: norm(fuse(joined(parts, F.relu))).relu(),
            "the ReLU stands after each projection. It belongs after the norm.": (
                lambda parts, fuse, norm: norm(fuse(joined(parts, F.relu)))
            ),
            "the stages are joined from 1 to 4, but the published weights begin with stage 4.": (
                lambda parts, fuse, norm: norm(fuse(torch.cat([*parts], dim=1))).relu()
            ),
            "this is GELU, which Mix-FFN has. The decoder has a ReLU.": (
                lambda parts, fuse, norm: F.gelu(norm(fuse(joined(parts))))
            ),
            "the norm takes the statistics of this batch. In evaluation it takes those that it has "
            "kept.": lambda parts, fuse, norm: norm.train()(fuse(joined(parts))).relu(),
            "the norm's own scale and shift are missing.": lambda parts, fuse, norm: F.batch_norm(
                fuse(joined(parts)), norm.running_mean, norm.running_var, eps=norm.eps
            ).relu(),
        },
        {
            "this is right for four stages, but there may be more or fewer.": (
                lambda parts, fuse, norm: len(parts) == 4
            ),
        },
    )
    if found and uses(answer, cases[-1], "dropout"):
        return "there is a dropout here. In evaluation it does nothing, so leave it out."
    return found
