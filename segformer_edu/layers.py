"""What the parts of the model share: Linear over maps, initial weights, the evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A Linear over the channels of a map, `(B, H, W, C_in)` → `(B, H, W, C_out)`.

    A Linear that acts on every pixel alone *is* a 1×1 convolution, so both give the same numbers.
    The convolution is faster on CPUs (benchmarks/README.md) and the matrix product on GPUs; what
    compiles or runs an exported graph makes its own choice. Each row goes in as an image, because
    with one thread, PyTorch leaves a batch of fewer than 16 images to a kernel half as fast.
    """
    if x.device.type == "cpu" and x.ndim == 4 and not torch.compiler.is_compiling():
        rows = x.flatten(0, 1)[:, None].permute(0, 3, 1, 2)  # (B·H, C_in, 1, W)
        rows = F.conv2d(rows, weight[:, :, None, None], bias)  # (B·H, C_out, 1, W)
        return rows.permute(0, 2, 3, 1).view(*x.shape[:3], len(weight))
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear`, computed on maps by `linear` above."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class PointwiseConv2d(nn.Conv2d):
    """A 1×1 convolution of a map `(B, C, H, W)`, computed by `linear` above."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def initialize(module: nn.Module) -> None:
    """Initial weights: small normal Linears, convolutions scaled by fan-out, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    if isinstance(module, (nn.Linear, nn.Conv2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; afterwards each of its modules is as it was before."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
