"""What a machine can do at most, and how long a SegFormer must take for that (lesson 10).

The roofline (Williams, Waterman and Patterson 2009): a computation needs at least the time of its
arithmetic at the machine's best rate, and at least the time to move its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.analysis.cost import FLOAT_BYTES, StageCost, check_size, stage_cost
from segformer_edu.analysis.timing import seconds_a_call
from segformer_edu.checks import is_whole
from segformer_edu.config import SegFormerConfig, Stage, check_config

FAR, NEAR = 2**24, 2**15  # numbers: 64 MiB, more than most caches hold; 128 KiB, which any holds


class Ceilings(NamedTuple):
    """What a machine does at most in a second.

    Args:
        operations: multiplications and additions, of float32.
        memory: bytes that a copy of large tensors reads and writes.
        cache: the same for tensors small enough to stay in the processor's cache.
    """

    operations: float
    memory: float
    cache: float

    @property
    def ridge(self) -> float:
        """Operations a byte at which arithmetic takes as long as moving the bytes."""
        return self.operations / self.memory

    def roof(self, intensity: float) -> float:
        """The most operations in a second, of so many for each byte that is moved."""
        return min(self.operations, self.memory * intensity)


class Work(NamedTuple):
    """One operation of a model: what it computes, and what it reads and writes.

    Args:
        part: "stage 1", …, "decoder".
        name: of the operation.
        multiply_adds: 0 for norms, activations, sums and resizes, as in the paper's "FLOPs".
        bytes: of its inputs, weights and outputs, each once.
    """

    part: str
    name: str
    multiply_adds: int
    bytes: int

    def arithmetic(self, ceilings: Ceilings) -> float:
        """Seconds of its multiplications and additions at the best rate."""
        return 2 * self.multiply_adds / ceilings.operations

    def moving(self, ceilings: Ceilings) -> float:
        """Seconds to read and write its numbers, if they come from memory and go there."""
        return self.bytes / ceilings.memory

    def least(self, ceilings: Ceilings) -> float:
        """The longer of the two: the roof."""
        return max(self.arithmetic(ceilings), self.moving(ceilings))


def measured_ceilings() -> Ceilings:
    """What this machine reaches now, with as many threads as torch has.

    The arithmetic is that of a large matrix product or of a 1×1 convolution, whichever is faster,
    because torch computes the two by different libraries. The convolution is of many images: for a
    few, and one thread, torch would leave it to the library of the matrix product.
    """
    a = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    pixels = a[:, :512].reshape(32, 1, 32, 512).permute(0, 3, 1, 2)  # channels lie side by side
    kernel = a[:512, :512, None, None].contiguous()
    product = 2 * 1024**3 / seconds_a_call(torch.mm, a, a)
    convolution = 2 * 1024 * 512**2 / seconds_a_call(F.conv2d, pixels, kernel)
    return Ceilings(max(product, convolution), copied(FAR), copied(NEAR))


def copied(numbers: int) -> float:
    """Bytes that a copy of so many numbers reads and writes in a second."""
    source, target = torch.ones(2, numbers)
    return 2 * FLOAT_BYTES * numbers / seconds_a_call(target.copy_, source)


def work_of(
    config: SegFormerConfig, size: Sequence[int], published: bool = False, batch: int = 1
) -> list[Work]:
    """The operations of one forward pass in evaluation, on whole maps, one after the other.

    Args:
        config: which SegFormer.
        size: height and width of the images.
        published: the decoder in the order of eq. 4, in place of the package's.
        batch: images.

    Raises:
        ValueError: config is not a SegFormerConfig, or the model would refuse the size.
    """
    check_config(config)
    check_size(size, config.min_image_size)
    if not is_whole(batch) or batch < 1:
        raise ValueError(f"batch = {batch!r}: give a whole number of images.")
    height, width = map(int, size)
    done: list[Work] = []
    stages: list[StageCost] = []
    for number, stage in enumerate(config.stages, start=1):
        pixels = batch * height * width
        stages.append(stage_cost(stage, (height, width)))
        done += _stage_work(f"stage {number}", stage, stages[-1], pixels, batch)
        height, width = stages[-1].size
    tokens = [batch * stage.tokens for stage in stages]
    decode = _published_decoder if published else _commuted_decoder
    return done + decode(config, tokens)


def _stage_work(
    part: str, stage: Stage, bill: StageCost, pixels: int, batch: int
) -> Iterable[Work]:
    c_in, c, depth, _, r, mlp_ratio, patch, _, _ = stage
    n, m, hidden = batch * bill.tokens, batch * bill.keys, mlp_ratio * c

    def linear(name: str, tokens: int, inputs: int, outputs: int) -> Work:
        return _linear(part, name, tokens, inputs, outputs)

    def norm(tokens: int) -> Work:
        return _touch(part, "norm", 2 * tokens * c + 2 * c)

    add = _touch(part, "skip", 3 * n * c)
    reduction = [] if r == 1 else [_reduction(part, n, m, c, r), norm(m)]
    block = [
        norm(n),
        linear("query", n, c, c),
        *reduction,
        linear("key", m, c, c),
        linear("value", m, c, c),
        Work(part, "attention", 2 * n * bill.keys * c, FLOAT_BYTES * 2 * (n + m) * c),
        linear("output", n, c, c),
        add,
        norm(n),
        linear("expand", n, c, hidden),
        Work(part, "depthwise", 9 * n * hidden, FLOAT_BYTES * (2 * n * hidden + 10 * hidden)),
        _touch(part, "GELU", 2 * n * hidden),
        linear("contract", n, hidden, c),
        add,
    ]
    weights = patch**2 * c_in * c
    moved = pixels * c_in + weights + c + n * c
    embedding = Work(part, "patches", n * weights, FLOAT_BYTES * moved)
    return [embedding, norm(n), *(depth * block), norm(n)]


def _reduction(part: str, n: int, m: int, c: int, r: int) -> Work:
    weights = r**2 * c**2
    return Work(part, "reduction", m * weights, FLOAT_BYTES * (n * c + weights + c + m * c))


def _published_decoder(config: SegFormerConfig, tokens: Sequence[int]) -> list[Work]:
    d, finest, stages = config.decoder_dim, tokens[0], len(tokens)
    project = [
        _decoder_linear("project", n, c, d) for n, c in zip(tokens, config.embed_dims, strict=True)
    ]
    resize = [_touch("decoder", "resize", (n + finest) * d) for n in tokens]
    fuse = _linear("decoder", "fuse", finest, stages * d, d, bias=False)
    return [
        *project,
        *resize,
        _touch("decoder", "concatenate", 2 * stages * finest * d),
        fuse,
        _touch("decoder", "norm", 2 * finest * d + 4 * d),
        _touch("decoder", "ReLU", 2 * finest * d),
        _decoder_linear("classify", finest, d, config.num_classes),
    ]


def _commuted_decoder(config: SegFormerConfig, tokens: Sequence[int]) -> list[Work]:
    """Compose; project each stage at its own size; resize and add; ReLU; classify."""
    d, finest = config.decoder_dim, tokens[0]
    done = []
    for n, c in zip(tokens, config.embed_dims, strict=True):
        done.append(_linear("decoder", "compose", c, d, d, bias=False))
        done.append(_decoder_linear("project", n, c, d))
    for n in tokens[1:]:
        done.append(_touch("decoder", "resize", (n + finest) * d))
        done.append(_touch("decoder", "add", 3 * finest * d))
    done.append(_touch("decoder", "ReLU", 2 * finest * d))
    return [*done, _decoder_linear("classify", finest, d, config.num_classes)]


def _decoder_linear(name: str, tokens: int, inputs: int, outputs: int) -> Work:
    return _linear("decoder", name, tokens, inputs, outputs)


def _linear(
    part: str, name: str, tokens: int, inputs: int, outputs: int, bias: bool = True
) -> Work:
    moved = tokens * (inputs + outputs) + inputs * outputs + bias * outputs
    return Work(part, name, tokens * inputs * outputs, FLOAT_BYTES * moved)


def _touch(part: str, name: str, numbers: int) -> Work:
    """An operation that reads and writes so many numbers, and has no multiply-adds."""
    return Work(part, name, 0, FLOAT_BYTES * numbers)


@dataclass(frozen=True)
class Operation:
    """An operation that can be run, with what it computes and moves.

    Args:
        run: computes it once.
        multiply_adds, bytes: as in `Work`.
        numbers: how many it writes.
    """

    run: Callable[[], Any]
    multiply_adds: int
    bytes: int
    numbers: int

    @property
    def operations(self) -> int:
        """Twice the multiply-adds; where there are none, one for each number that it writes."""
        return 2 * self.multiply_adds or self.numbers


def operations_of_b0(generator: torch.Generator) -> dict[str, Operation]:
    """Eight operations of B0 at 512×512, each on numbers of its own, by what they are called.

    Args:
        generator: for those numbers.
    """

    def tokens(side: int, channels: int) -> Tensor:
        return torch.randn(1, side, side, channels, generator=generator)

    def convolution(side: int, inputs: int, outputs: int, kernel: int = 1, groups: int = 1) -> Any:
        x, layer = (
            tokens(side, inputs),
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups),
        )
        weights = layer.weight.numel()
        moved = side**2 * (inputs + outputs) + weights + outputs
        if kernel == 1:  # its rows as images: many of them go to the faster library
            x = x.view(side, 1, side, inputs)
        channels_last = x.permute(0, 3, 1, 2)
        return Operation(
            lambda: layer(channels_last), side**2 * weights, FLOAT_BYTES * moved, side**2 * outputs
        )

    def elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> Operation:
        numbers = function(x).numel()
        return Operation(lambda: function(x), 0, FLOAT_BYTES * (x.numel() + numbers), numbers)

    small = tokens(16, 256).permute(0, 3, 1, 2)
    q, k = tokens(128, 32).flatten(1, 2), tokens(16, 32).flatten(1, 2)  # one head
    pairs = q.shape[1] * k.shape[1]
    attention = Operation(
        lambda: F.scaled_dot_product_attention(q[:, None], k[:, None], k[:, None]),
        2 * pairs * 32,
        FLOAT_BYTES * 2 * (q.numel() + k.numel()),
        q.numel(),
    )
    return {
        "1×1 convolution, stage 1": convolution(128, 32, 128),
        "1×1 convolution, stage 4": convolution(16, 256, 1024),
        "1×1 convolution, fusion": convolution(128, 1024, 256),
        "3×3 depthwise, stage 1": convolution(128, 128, 128, kernel=3, groups=128),
        "attention, stage 1": attention,
        "LayerNorm, stage 1": elementwise(nn.LayerNorm(32), tokens(128, 32)),
        "GELU, stage 1": elementwise(F.gelu, tokens(128, 128)),
        "resize, stage 4 to 1": elementwise(
            lambda x: F.interpolate(x, (128, 128), mode="bilinear"), small
        ),
    }
