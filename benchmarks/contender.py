"""One contender at one task, in a process of its own; `python -m benchmarks` starts many."""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import CONTENDERS, is_module
from benchmarks.exports import export
from benchmarks.job import CLASSES, Job
from benchmarks.rates import arithmetic_rate, bandwidth
from benchmarks.without import TRICKS


def made(job: Job) -> Any:
    return (CONTENDERS | TRICKS)[job.contender](job)


def time_forward(job: Job) -> list[float]:
    """Milliseconds from an image to logits at a quarter of its size."""
    contender, images = made(job), images_for(job)
    quarter = -(-job.size // 4)
    with torch.inference_mode():
        check_shape(contender.forward(images), (job.batch, CLASSES, quarter, quarter))
        return milliseconds(lambda: contender.forward(images), job)


def time_predict(job: Job) -> list[float]:
    """Milliseconds from an image to labels at its own size."""
    contender, images = made(job), images_for(job)
    with torch.inference_mode():
        check_shape(contender.predict(images), (job.batch, job.size, job.size))
        return milliseconds(lambda: contender.predict(images), job)


def time_training(job: Job) -> list[float]:
    """Milliseconds of forward pass, loss, backward pass and AdamW."""
    return milliseconds(training_step(made(job), job), job)


def forward_memory(job: Job) -> list[float]:
    """Megabytes that a forward pass adds, at its peak, to what the loaded model takes."""
    contender, images = made(job), images_for(job)
    with torch.inference_mode():
        if is_module(contender):
            contender.forward(images[..., :64, :64])  # libraries load at the first pass, not now
        return peak_megabytes(lambda: contender.forward(images), job)


def training_memory(job: Job) -> list[float]:
    """Megabytes that a training step adds, with gradients and what AdamW remembers."""
    contender = made(job)
    training_step(contender, job, side=64, learns=False)()
    return peak_megabytes(training_step(contender, job), job)


def time_import(job: Job) -> list[float]:
    """Milliseconds of importing the model's class, once torch is there."""
    start = time.perf_counter()
    if job.contender == "segformer_edu":
        import segformer_edu  # noqa: F401
    else:
        from transformers import SegformerForSemanticSegmentation  # noqa: F401
    return [1e3 * (time.perf_counter() - start)]


TASKS: dict[str, Callable[[Job], list[float]]] = {
    "forward": time_forward,
    "forward, busy": time_forward,
    "forward, busy, spinning": time_forward,
    "predict": time_predict,
    "predict, photograph": time_predict,
    "predict, scene": time_predict,
    "training": time_training,
    "forward memory": forward_memory,
    "training memory": training_memory,
    "import": time_import,
    "arithmetic rate": arithmetic_rate,
    "bandwidth": bandwidth,
    "export": export,
}


def images_for(job: Job) -> Tensor:
    if job.sees_a_picture:
        from benchmarks.learned import picture_for

        return picture_for(job)
    shape = (job.batch, 3, job.size, job.size)
    return torch.randn(shape, device=job.device, dtype=job.torch_dtype)


def training_step(
    contender: Any, job: Job, side: int | None = None, learns: bool = True
) -> Callable[[], None]:
    """Forward, loss, backward and AdamW on images of `side` pixels, job.size if None.

    Without `learns` the weights stay, and AdamW has nothing to remember yet.
    """
    images = images_for(job)[..., :side, :side].contiguous()
    labels = torch.randint(CLASSES, (job.batch, *images.shape[-2:]), device=job.device)
    contender.model.train()
    optimizer = torch.optim.AdamW(contender.model.parameters(), lr=6e-5)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        contender.loss(images, labels).backward()
        if learns:
            optimizer.step()

    return step


def check_shape(answer: Any, expected: tuple[int, ...]) -> None:
    """Refuse a contender that does not do the same work as the others."""
    if tuple(answer.shape) != expected:
        raise SystemExit(f"This contender returns {tuple(answer.shape)}; the task is {expected}.")


def milliseconds(run: Callable[[], Any], job: Job) -> list[float]:
    """How long each of job.repeats passes takes, warm."""
    from segformer_edu.memory import keep_freed_memory  # imported here: an import is measured, too

    keep_freed_memory()
    times = []
    for _ in range(job.warm_up + job.repeats):
        synchronize(job)
        start = time.perf_counter()
        run()
        synchronize(job)
        times.append(1e3 * (time.perf_counter() - start))
    return times[job.warm_up :]


def synchronize(job: Job) -> None:
    if job.device == "cuda":
        torch.cuda.synchronize()


def peak_megabytes(run: Callable[[], Any], job: Job) -> list[float]:
    """How much one pass raises the peak of held memory; empty where it cannot be measured."""
    if job.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return [(torch.cuda.max_memory_allocated() - before) / 1e6]
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)  # or a pass would reuse what loading has freed
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_bytes(b"5")  # the peak is now what is held now
        peak = peak_of_proc
    elif sys.platform != "win32":
        peak = peak_of_process
    else:
        return []
    before = peak()
    run()
    return [(peak() - before) / 1e6]


def peak_of_proc() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def peak_of_process() -> int:
    """Without /proc the peak cannot be reset: too low, if loading took more than the pass."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    print("\n" + json.dumps(TASKS[job.task](job)))  # the last line: libraries may print before


if __name__ == "__main__":
    main()
