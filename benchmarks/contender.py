"""One contender at one task, in a process of its own: `python -m benchmarks` starts many of these.

Every contender is a SegFormer-B0 with 150 classes and random weights, float32.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 150
WARM_UP = 3  # passes before the first that counts


@dataclass(frozen=True)
class Job:
    """What to measure.

    Args:
        task: a name in TASKS, or "export".
        contender: a name in CONTENDERS, or in TRICKS: the model without that one.
        device: "cpu" or "cuda".
        size: side of the image, in pixels.
        repeats: how many passes are timed.
        threads: threads of every contender.
        exported: path of transformers' model as an ONNX file.
    """

    task: str
    contender: str
    device: str
    size: int
    repeats: int
    threads: int
    exported: str


class Ours:
    """This package."""

    def __init__(self, job: Job) -> None:
        from segformer_edu import SegFormer, SegFormerConfig

        model = SegFormer(SegFormerConfig.named("b0", num_classes=CLASSES)).eval()
        self.model = self.prepared(model).to(job.device)

    def prepared(self, model: Any) -> Any:
        return model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def predict(self, images: Tensor) -> Tensor:
        return self.model.predict(images)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        from segformer_edu import segmentation_loss

        return segmentation_loss(self.model(images), labels)


class Folded(Ours):
    """This package's model with the decoder's matrices composed once and for all."""

    def prepared(self, model: Any) -> Any:
        return model.folded()


class Transformers:
    """Hugging Face transformers, whose default config is B0 as well, with torch's own attention."""

    attention = "sdpa"

    def __init__(self, job: Job) -> None:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        config = SegformerConfig(num_labels=CLASSES, attn_implementation=self.attention)
        self.model = SegformerForSemanticSegmentation(config).eval().to(job.device)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits

    def predict(self, images: Tensor) -> Tensor:
        size = images.shape[-2:]
        return F.interpolate(self.forward(images), size, mode="bilinear").argmax(1)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.model(images, labels=labels).loss


class TransformersEager(Transformers):
    """The same, with the attention matrix computed in full."""

    attention = "eager"


class OnnxRuntime:
    """ONNX Runtime on the export of transformers."""

    def __init__(self, job: Job) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
        self.session = onnxruntime.InferenceSession(
            job.exported, options, providers=["CPUExecutionProvider"]
        )

    def forward(self, images: Tensor) -> Any:
        return self.session.run(None, {"images": images.numpy()})[0]


class OpenVino:
    """OpenVINO on the export of transformers."""

    def __init__(self, job: Job) -> None:
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": job.threads,
            "INFERENCE_PRECISION_HINT": "f32",  # like all the others; its own choice may be bf16
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.model = openvino.Core().compile_model(job.exported, "CPU", settings)

    def forward(self, images: Tensor) -> Any:
        return self.model(images.numpy(), share_inputs=True, share_outputs=True)[0]


class MatrixProducts(Ours):
    """This package's model, with its Linears over maps computed by `F.linear`."""

    def prepared(self, model: Any) -> Any:
        from segformer_edu import decoder, layers

        layers.linear = decoder.linear = F.linear
        return model


class WholeMaps(Ours):
    """This package's model, with every map computed at once."""

    def prepared(self, model: Any) -> Any:
        from segformer_edu import decoder, segformer, strips

        def whole(size: Any, x: Tensor, *_: Any) -> Any:
            yield 0, size[0]

        strips.strips = decoder.strips = segformer.strips = whole
        return model


class PublishedOrder(Ours):
    """This package's model, with its decoder in the published order: project, concatenate, fuse."""

    def prepared(self, model: Any) -> Any:
        decoder = model.decoder

        def decode(maps: list[Tensor]) -> Tensor:
            projected = [
                F.interpolate(
                    project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
                    maps[0].shape[2:],
                    mode="bilinear",
                )
                for project, x in zip(decoder.projections, maps, strict=True)
            ]
            fused = decoder.norm(decoder.fuse(torch.cat(projected[::-1], dim=1)))
            return decoder.classifier(decoder.dropout(F.relu(fused)))

        decoder.forward = decode
        return model


class MemoryHandedBack(Ours):
    """This package's model in a process that returns freed memory to the system."""

    def prepared(self, model: Any) -> Any:
        from segformer_edu import memory

        memory.keep_freed_memory = lambda: None
        return model


# What makes the model fast, and the contender that does without it.
TRICKS: dict[str, type] = {
    "Linears over maps as 1×1 convolutions": MatrixProducts,
    "maps in strips of rows": WholeMaps,
    "one composed matrix a stage in the decoder": PublishedOrder,
    "freed memory kept by the process": MemoryHandedBack,
}
CONTENDERS: dict[str, type] = {
    "segformer_edu": Ours,
    "segformer_edu, folded": Folded,
    "transformers, sdpa": Transformers,
    "transformers, eager": TransformersEager,
    "ONNX Runtime": OnnxRuntime,
    "OpenVINO": OpenVino,
}


def made(job: Job) -> Any:
    return (CONTENDERS | TRICKS)[job.contender](job)


def time_forward(job: Job) -> list[float]:
    """Milliseconds from an image to logits at a quarter of its size."""
    contender, images = made(job), images_for(job)
    quarter = job.size // 4
    with torch.inference_mode():
        check_shape(contender.forward(images), (1, CLASSES, quarter, quarter))
        return milliseconds(lambda: contender.forward(images), job)


def time_predict(job: Job) -> list[float]:
    """Milliseconds from an image to labels at its own size."""
    contender, images = made(job), images_for(job)
    with torch.inference_mode():
        check_shape(contender.predict(images), (1, job.size, job.size))
        return milliseconds(lambda: contender.predict(images), job)


def time_training(job: Job) -> list[float]:
    """Milliseconds of forward pass, loss and backward pass, two images."""
    return milliseconds(training_step(made(job), job), job)


def forward_memory(job: Job) -> list[float]:
    """Megabytes that a forward pass adds, at its peak, to what the loaded model takes."""
    contender, images = made(job), images_for(job)
    with torch.inference_mode():
        if hasattr(contender, "model") and isinstance(contender.model, nn.Module):
            contender.forward(images[..., :64, :64])  # libraries load at the first pass, not now
        return peak_megabytes(lambda: contender.forward(images), job)


def training_memory(job: Job) -> list[float]:
    """Megabytes that a training step adds, gradients included."""
    contender = made(job)
    training_step(contender, job, side=64)()
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
    "training": time_training,
    "forward memory": forward_memory,
    "training memory": training_memory,
    "import": time_import,
}


def images_for(job: Job, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, job.size, job.size, device=job.device)


def training_step(contender: Any, job: Job, side: int | None = None) -> Callable[[], None]:
    """Forward, loss and backward on two images of `side` pixels, job.size if None."""
    images = images_for(job, batch=2)[..., :side, :side].contiguous()
    labels = torch.randint(CLASSES, (2, *images.shape[-2:]), device=job.device)
    contender.model.train()

    def step() -> None:
        contender.model.zero_grad(set_to_none=True)
        contender.loss(images, labels).backward()

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
    for _ in range(WARM_UP + job.repeats):
        synchronize(job)
        start = time.perf_counter()
        run()
        synchronize(job)
        times.append(1e3 * (time.perf_counter() - start))
    return times[WARM_UP:]


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


def export(job: Job) -> list[float]:
    """Write transformers' model to an ONNX file, for images of one size."""

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Transformers(job).model

        def forward(self, images: Tensor) -> Tensor:
            return self.model(images).logits

    torch.onnx.export(
        Logits().eval(), (images_for(job),), job.exported, input_names=["images"], dynamo=True
    )
    return []


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    measure = export if job.task == "export" else TASKS[job.task]
    print("\n" + json.dumps(measure(job)))  # on the last line, because libraries may print before


if __name__ == "__main__":
    main()
