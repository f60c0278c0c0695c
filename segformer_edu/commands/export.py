"""`python -m segformer_edu export`: write a model as ONNX, checked before it is kept."""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.commands.parser import add_command, add_weights, check_out, missing_package
from segformer_edu.commands.quantize import check_packages, judge, open_pictures, to_int8
from segformer_edu.data.photos import IMAGENET_MEAN, IMAGENET_STD
from segformer_edu.extras import install_command
from segformer_edu.files import write_atomically
from segformer_edu.segformer import SegFormer, labels_from_logits

DESCRIPTION = """\
Write a model as ONNX: for ONNX Runtime, OpenVINO, TensorRT, a browser. Batch, height and width stay
free. The decoder is folded (fewer multiplications, the same answers).

Input   images  (B, 3, H, W) float32: red, green, blue of 0 … 1, ImageNet's mean taken off, divided
                by its spread; both are in the file's metadata, with the classes' names.
                Of a model trained with --bands C: C channels, whole numbers as shares of the
                largest of their kind, with the mean and spread that were measured
Outputs logits  (B, K, H/4, W/4) float32
        labels  (B, H, W) int64: the class of every pixel; with --labels

ONNX Runtime computes all outputs even where it is asked for one, and the labels cost it more than
the model. Before the file is kept, its answers are compared with PyTorch's at three sizes.

With --int8, convolutions and Linears work on 8-bit numbers, which processors with such instructions
(VNNI) do several at a time. Half of the pictures of --calibrate give the ranges; on the other half
the labels are compared with those of float."""
EXAMPLES = """\
examples:
  python -m segformer_edu export --weights run/best --out model.onnx
  in 8 bits, for pictures such as those in photos, scored with masks of the same names:
    python -m segformer_edu export --weights run/best --out model.onnx --int8 \\
        --calibrate photos --masks masks
"""
TOLERANCE = 1e-4  # of the largest logit
SIZES = ((2, 64, 96), (1, 65, 97), (3, 127, 50))  # of which the first is traced


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "export",
        run,
        help="write a model as ONNX, for other engines",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add_weights(parser)
    parser.add_argument("--out", required=True, metavar="ONNX", type=Path, help="what to write")
    parser.add_argument(
        "--labels", action="store_true", help="also the class of every pixel, at full size"
    )
    parser.add_argument("--int8", action="store_true", help="8-bit numbers; needs --calibrate")
    parser.add_argument(
        "--calibrate",
        metavar="FOLDER",
        type=Path,
        help="pictures of the kind and size that the model will see; 50 or more are good, and at "
        "most 200 are used",
    )
    parser.add_argument(
        "--masks",
        metavar="FOLDER",
        type=Path,
        help="masks of the pictures of --calibrate, as evaluate reads them: mIoU is printed, too",
    )


def run(options: argparse.Namespace) -> int:
    check_out(options.out, ".onnx")
    check_flags(options)
    model = SegFormer.from_pretrained(options.weights)
    if options.int8:
        check_packages()
        pictures = open_pictures(options.calibrate, options.masks, model.config)
    content = to_onnx(model, options.labels)
    try:
        difference = compare(content, model)
        checked = f"ONNX Runtime's logits within {difference:.0e} of PyTorch's, its labels the same"
        if options.int8:
            exact, content = content, to_int8(content, pictures)
            checked = judge(exact, content, pictures)
    except ModuleNotFoundError:
        checked = f"not checked: onnxruntime is missing; {install_command('export')} brings it"
    write_atomically(options.out, content)
    print(f"{options.out}: {len(content) / 1e6:.1f} MB; {checked}")
    return 0


def check_flags(options: argparse.Namespace) -> None:
    """Refuse, before any work is done, flags of which one lacks another."""
    if options.int8 and options.calibrate is None:
        raise ValueError("--int8 needs --calibrate FOLDER, pictures that show the usual ranges.")
    for flag in ("calibrate", "masks"):
        if vars(options)[flag] is not None and not options.int8:
            raise ValueError(f"--{flag} is for --int8: give that, too, or leave --{flag} out.")


class Logits(nn.Module):
    """What the exported graph computes."""

    def __init__(self, model: SegFormer) -> None:
        super().__init__()
        self.model = model.folded()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.model(images),)


class LogitsAndLabels(Logits):
    """What it computes with --labels."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits = self.model(images)  # (B, K, H/4, W/4)
        full = F.interpolate(logits, images.shape[-2:], mode="bilinear")
        return logits, full.argmax(1) if full.shape[1] > 1 else (full[:, 0] > 0).long()


def to_onnx(model: SegFormer, labels: bool = False) -> bytes:
    """An ONNX file with free batch, height and width.

    Args:
        model: what to write.
        labels: whether the class of every pixel is an output, too.

    Raises:
        ValueError: a package is missing.
    """
    try:
        import onnxscript  # noqa: F401, because torch asks for it only after minutes of work
    except ModuleNotFoundError as error:
        raise missing_package(error, "To export", "export") from None
    dynamic = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns: there is no torchvision
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        graph = torch.export.export(
            (LogitsAndLabels if labels else Logits)(model).eval(),
            (example_images(model, SIZES[0]),),
            dynamic_shapes={"images": {0: dynamic, 2: dynamic, 3: dynamic}},
        )
        program = torch.onnx.export(
            graph,
            dynamo=True,
            input_names=["images"],
            output_names=["logits", "labels"] if labels else ["logits"],
            verbose=False,
        )
    assert program is not None  # dynamo returns one
    mean, std = model.config.normalization or (IMAGENET_MEAN, IMAGENET_STD)
    program.model.metadata_props.update(
        class_names=json.dumps(model.config.class_names),
        mean=json.dumps(mean),
        std=json.dumps(std),
    )
    return program.model_proto.SerializeToString()


def compare(content: bytes, model: SegFormer) -> float:
    """The largest difference between ONNX Runtime's logits and PyTorch's, of the largest logit.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
        ValueError: its answers are not those of PyTorch.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    largest = 0.0
    for size in SIZES:
        images = example_images(model, size)
        logits, *labels = map(torch.tensor, session.run(None, {"images": images.numpy()}))
        with torch.no_grad():
            expected = model(images)
        difference = float((logits - expected).abs().max() / expected.abs().max())
        found = labels[0] if labels else labels_from_logits(logits, images.shape[-2:])
        same = float((found == model.predict(images)).float().mean())
        if not (difference <= TOLERANCE and same > 0.999):  # a tie may fall either way
            raise ValueError(
                f"ONNX Runtime's logits for images {tuple(images.shape)} differ from PyTorch's by "
                f"{difference:.1e} of the largest, and {1 - same:.1%} of its labels: the file was "
                f"not written. Try another version of onnxruntime or of onnxscript."
            )
        largest = max(largest, difference)
    return largest


def example_images(model: SegFormer, size: tuple[int, int, int]) -> Tensor:
    """Noise, the same every time, large enough for the model."""
    batch, height, width = size
    least = model.config.min_image_size
    shape = (batch, model.config.in_channels, max(height, least), max(width, least + 1))
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
