"""Batch normalisation over the batches of all processes together, on any device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segformer_edu.decoder import AllMLPDecoder
from segformer_edu.segformer import SegFormer


class SumOverProcesses(torch.autograd.Function):
    """The sum of every process's tensor; a gradient flows back to all of them.

    torch's own, torch.distributed.nn.functional.all_reduce, is deprecated in torch 2.13.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        gradient = upstream.clone()
        torch.distributed.all_reduce(gradient)
        return gradient


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """A BatchNorm2d that takes mean and variance over a whole batch that several processes share.

    torch's own SyncBatchNorm refuses a CPU ("expected input tensor to be on GPU or XPU"), where a
    run must follow the same curve. Every process must hold equally many samples of the same size.
    Parameters and buffers have the same names as those of BatchNorm2d.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1] * torch.distributed.get_world_size()
        with torch.autocast(x.device.type, enabled=False):
            values = x.float()
            mean = SumOverProcesses.apply(values.sum((0, 2, 3))) / count  # (C,)
            centred = values - mean[:, None, None]
            variance = SumOverProcesses.apply(centred.square().sum((0, 2, 3))) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, which evaluation uses, towards those of this batch."""
        running_mean, running_variance = self.running_mean, self.running_var
        assert running_mean is not None and running_variance is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        running_mean.lerp_(mean, self.momentum)
        running_variance.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def synchronize_batch_norm(model: SegFormer) -> None:
    """Replace the model's only BatchNorm, the decoder's, by one that sees all processes."""
    decoder = model.decoder
    assert isinstance(decoder, AllMLPDecoder)  # a folded one does not train
    norm = GlobalBatchNorm2d(decoder.norm.num_features, decoder.norm.eps)
    norm.load_state_dict(decoder.norm.state_dict())
    decoder.norm = norm
