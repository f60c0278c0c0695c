"""The ONNX files that the engines run: ours, ours in 8 bits, and those of transformers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.contenders import INT8, ORT, OV, Ours, Transformers
from benchmarks.job import Job


def export(job: Job) -> list[float]:
    """Write the ONNX file that the job's contender reads, unless it is there; nothing is timed."""
    if job.contender in (ORT, OV):
        path, write = job.exported("transformers"), write_transformers
    elif job.contender == INT8:
        path, write = job.exported("ours-int8"), write_int8
    else:
        path, write = job.exported("ours"), write_ours
    if not path.exists():
        write(job, path)
    return []


def write_transformers(job: Job, path: Path) -> None:
    """The model of transformers, for images of the job's size alone."""

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Transformers(job).model

        def forward(self, images: Tensor) -> Tensor:
            return self.model(images).logits

    model = Logits().eval()  # first, so that a seed gives the weights that the library has itself
    images = torch.randn(job.batch, 3, job.size, job.size)
    names = {"input_names": ["images"], "output_names": ["logits"]}
    torch.onnx.export(model, (images,), path, dynamo=True, external_data=False, **names)


def write_ours(job: Job, path: Path) -> None:
    from segformer_edu.commands.export import to_onnx

    path.write_bytes(to_onnx(Ours(job).model))


def write_int8(job: Job, path: Path) -> None:
    """Our file in 8 bits, calibrated on noise: the weights are random, too."""
    from segformer_edu.commands.quantize import open_pictures, to_int8

    ours, rng = job.exported("ours"), np.random.default_rng(0)
    if not ours.exists():
        write_ours(job, ours)
    with TemporaryDirectory() as folder:
        for number in range(4):
            noise = rng.integers(256, size=(job.size, job.size, 3), dtype=np.uint8)
            Image.fromarray(noise).save(Path(folder, f"{number}.png"))
        pictures = open_pictures(Path(folder), None, Ours(job).model.config)
        path.write_bytes(to_int8(ours.read_bytes(), pictures))
