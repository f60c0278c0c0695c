"""How fast this machine multiplies and moves numbers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.job import Job


def arithmetic_rate(job: Job) -> list[float]:
    """10⁹ multiply-adds a second, of the fastest of a few matrix products and convolutions."""

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=job.device, dtype=job.torch_dtype)

    square, tall, wide = tensor(1024, 1024), tensor(16384, 256), tensor(1024, 256)
    x = tensor(1, 256, 128, 128).contiguous(memory_format=torch.channels_last)
    w1, w3 = tensor(256, 256, 1, 1), tensor(256, 256, 3, 3)
    kernels: list[tuple[int, Callable[[], Any]]] = [
        (1024**3, lambda: square @ square),
        (16384 * 256 * 1024, lambda: F.linear(tall, wide)),
        (128**2 * 256**2, lambda: F.conv2d(x, w1)),
        (9 * 128**2 * 256**2, lambda: F.conv2d(x, w3, padding=1)),
    ]
    with torch.inference_mode():
        return [max(count / least_seconds(run, job) / 1e9 for count, run in kernels)]


def bandwidth(job: Job) -> list[float]:
    """10⁹ bytes a second that a copy of 256 MB reads and writes."""
    given = torch.ones(2**26, device=job.device)
    kept = torch.empty_like(given)
    return [2 * given.nbytes / least_seconds(lambda: kept.copy_(given), job) / 1e9]


def least_seconds(run: Callable[[], Any], job: Job) -> float:
    """Of so many passes: the quickest was disturbed least."""
    times = []
    for _ in range(job.warm_up + 2 * job.repeats):
        start = time.perf_counter()
        run()
        if job.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
