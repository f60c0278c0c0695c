"""One measurement: which contender does what, on which model, at which size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

CLASSES = 150
MANY_PIXELS = 2**20  # above it one pass takes seconds, and is measured less often


@dataclass(frozen=True)
class Job:
    """What to measure.

    Args:
        task: a name in `contender.TASKS`.
        contender: a name in `contenders.CONTENDERS`, or in `without.TRICKS`.
        device: "cpu" or "cuda".
        model: a named variant of SegFormer.
        size: side of the images, in pixels.
        batch: how many images at a time.
        dtype: of weights and images: "float32", "bfloat16" or "float16".
        repeats: how many passes are timed.
        threads: threads of every contender.
        exports: the folder of ONNX files.
    """

    task: str
    contender: str
    device: str = "cpu"
    model: str = "b0"
    size: int = 512
    batch: int = 1
    dtype: str = "float32"
    repeats: int = 10
    threads: int = 2
    exports: str = ""

    @property
    def case(self) -> str:
        """What the contenders of one comparison have in common."""
        return f"{self.model.upper()}, {self.size}²" + (
            f", batch {self.batch}" * (self.batch > 1)
            + f", {self.dtype}" * (self.dtype != "float32")
        )

    @property
    def sees_a_picture(self) -> bool:
        """Whether the model has learned, and sees a picture (learned.py); else both are random."""
        return self.task.startswith("predict, ")

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    @property
    def warm_up(self) -> int:
        """Passes before the first that counts."""
        return 1 if self.batch * self.size**2 > MANY_PIXELS else 3

    def exported(self, library: str) -> Path:
        """The ONNX file of this job's model: ours takes any size, that of transformers one."""
        size = f"-{self.size}-{self.batch}" * (library == "transformers")
        return Path(self.exports, f"{library}-{self.model}{size}.onnx")

    @property
    def key(self) -> dict[str, Any]:
        """What names the job among the results."""
        left_out = ("repeats", "threads", "exports")
        return {name: value for name, value in asdict(self).items() if name not in left_out}
