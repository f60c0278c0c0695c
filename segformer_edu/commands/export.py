"""`python -m segformer_edu export`: write a model for other engines, checked, or as a page."""

from __future__ import annotations

import argparse
import io
import json
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.commands.live_page import live_page
from segformer_edu.commands.parser import add_command, add_weights, check_out, missing_package
from segformer_edu.commands.quantize import check_packages, judge, open_pictures, to_int8
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.photos import IMAGENET_MEAN, IMAGENET_STD
from segformer_edu.extras import install_command
from segformer_edu.files import write_atomically
from segformer_edu.segformer import SegFormer, labels_from_logits

DESCRIPTION = """\
Write a model as ONNX: for ONNX Runtime, OpenVINO, TensorRT, a browser. Batch, height and width stay
free; --size fixes them, which some engines need. The decoder is folded (fewer multiplications, the
same answers). Two other endings of --out name files that torch reads: .pt is TorchScript, a trace
for one --size, from which coremltools makes a Core ML model; .pt2 is a program of torch.export.

The ending .html writes a page that runs the model by itself in a browser, without Python or
network: label pictures, paint over them, ask a pixel, switch parts off. Send it to a friend. It
holds --pictures (48 at most) with the truth of --masks, if they are given. The model first sees
them with as many pixels a side as --fit says: those of its training, as far as they are known and
at most 512, or else 128.

Input   images  (B, 3, H, W) float32: red, green, blue of 0 … 1, ImageNet's mean taken off, divided
                by its spread; both are in the file's metadata, with the classes' names.
                Of a model trained with --bands C: C channels, whole numbers as shares of the
                largest of their kind, with the mean and spread that were measured
Outputs logits  (B, K, H/4, W/4) float32
        labels  (B, H, W) int64: the class of every pixel; with --labels

ONNX Runtime computes all outputs even where it is asked for one, and the labels cost it more than
the model. Before the file is kept, its answers are compared with PyTorch's, at three sizes if it
takes any.

With --float16, weights and maps have 16 bits, for GPUs and smaller files. Images and logits stay
float32, so the file is used as it would be without.

With --int8, convolutions and Linears work on 8-bit numbers, which processors with such instructions
(VNNI) do several at a time. Half of the pictures of --calibrate give the ranges; on the other half
the labels are compared with those of float."""
EXAMPLES = """\
examples:
  python -m segformer_edu export --weights run/best --out model.onnx
  for an engine that knows opset 17 at most, and one size:
    python -m segformer_edu export --weights run/best --out model.onnx --opset 17 --size 512x1024
  for Core ML; on a Mac, coremltools.convert reads the file:
    python -m segformer_edu export --weights run/best --out model.pt --size 512x512
  in 8 bits, for pictures such as those in photos, scored with masks of the same names:
    python -m segformer_edu export --weights run/best --out model.onnx --int8 \\
        --calibrate photos --masks masks
  a page that opens by a double-click, with pictures and their truth:
    python -m segformer_edu export --weights run/best --out mine.html \\
        --pictures photos --masks masks
"""
SIZES = ((2, 64, 96), (1, 65, 97), (3, 127, 50))  # batch, height, width; the first is traced
OPSETS = range(17, 26)  # those in which the graph can be written
READING = {  # flags that say how --masks are read, as in training
    "values": ("A,B,…", "the number of each class, if not 0, 1, 2, …; 1-150 is a range"),
    "ignore": ("A,B,…", "numbers that do not count [255]"),
    "colors": ("FILE", "a text file that says which colour is which class"),
}
READERS = {".onnx": "ONNX Runtime", ".pt": "TorchScript", ".pt2": "torch.export"}
PAGE = ".html"


@dataclass(frozen=True)
class Allowed:
    """How far a file's answers may be from PyTorch's.

    Args:
        difference: of two logits, as a part of the largest.
        same: the least share of pixels that have the same label; a tie may fall either way.
        remedy: what the user can do otherwise.
    """

    difference: float
    same: float
    remedy: str


ALLOWED = {
    torch.float32: Allowed(1e-4, 0.999, "Try another version of onnxruntime or of onnxscript."),
    torch.float16: Allowed(1e-2, 0.99, "Leave --float16 out."),  # nano and B0: 0.001, 0.998
}


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "export",
        run,
        help="write a model as ONNX, for other engines, or as a page that runs it",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    add_weights(parser)
    kinds = ", ".join([*READERS, PAGE])
    parser.add_argument(
        "--out", required=True, metavar="FILE", type=Path, help=f"what to write: {kinds}"
    )
    parser.add_argument(
        "--labels", action="store_true", help="also the class of every pixel, at full size"
    )
    parser.add_argument(
        "--size",
        metavar="HxW",
        type=size_of,
        help="one image of this height and width at a time, instead of any number of any size",
    )
    parser.add_argument(
        "--opset",
        metavar="N",
        type=int,
        choices=OPSETS,
        help=f"the version of ONNX's operators, {OPSETS[0]} to {OPSETS[-1]}, for older engines",
    )
    parser.add_argument("--float16", action="store_true", help="16-bit numbers inside")
    parser.add_argument("--int8", action="store_true", help="8-bit numbers; needs --calibrate")
    parser.add_argument(
        "--calibrate",
        metavar="FOLDER",
        type=Path,
        help="pictures of the kind and size that the model will see; 50 or more are good, and at "
        "most 200 are used",
    )
    parser.add_argument(
        "--fit",
        metavar="N",
        type=int,
        help="scale the pictures of --calibrate into a square of this side, as --fit in training; "
        "in a page, the longer side that the model first sees",
    )
    parser.add_argument(
        "--masks",
        metavar="FOLDER",
        type=Path,
        help="masks of the pictures of --calibrate or --pictures, as evaluate reads them: mIoU is "
        "said, too",
    )
    parser.add_argument(
        "--pictures", metavar="FOLDER", type=Path, help="photographs that a page offers to label"
    )
    for flag, (shown, text) in READING.items():
        parser.add_argument(f"--{flag}", metavar=shown, help=f"masks: {text}")
    parser.add_argument(
        "--no-upright",
        dest="upright",
        action="store_false",
        default=None,
        help="masks: they were drawn over photographs that no EXIF tag had turned",
    )


def size_of(given: str) -> tuple[int, int]:
    """Height and width, from a text such as 512x1024."""
    found = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", given)
    if found is None:
        raise argparse.ArgumentTypeError(f"{given!r} is not HEIGHTxWIDTH, such as 512x1024")
    return int(found[1]), int(found[2])


def run(options: argparse.Namespace) -> int:
    check_out(options.out, *READERS, PAGE)
    check_flags(options)
    model = SegFormer.from_pretrained(options.weights)
    if options.out.suffix.lower() == PAGE:
        shown = options.pictures, options.masks, options.fit, reading_of(options)
        content, said = live_page(options.weights, model, *shown)
        write_atomically(options.out, content)
        print(f"{options.out}: {len(content) / 1e6:.1f} MB; {said}")
        return 0
    if options.size:
        check_size(options.size, model.config)
    if options.int8:
        check_packages()
        given = options.calibrate, options.masks, model.config, options.size, options.fit
        pictures = open_pictures(*given, reading_of(options))
    ending, labels, size = options.out.suffix.lower(), options.labels, options.size
    dtype = torch.float16 if options.float16 else torch.float32
    if ending == ".onnx":
        content = to_onnx(model, labels, size, options.opset, dtype)
    else:
        content = to_torch(ending, model, labels, size, dtype)
    try:
        checked = compare(ending, content, model, size, ALLOWED[dtype])
        if options.int8:
            exact, content = content, to_int8(content, pictures)
            checked = judge(exact, content, pictures)
    except ModuleNotFoundError:
        checked = f"not checked: onnxruntime is missing; {install_command('export')} brings it"
    write_atomically(options.out, content)
    print(f"{options.out}: {len(content) / 1e6:.1f} MB; {checked}")
    return 0


def check_flags(options: argparse.Namespace) -> None:
    """Refuse, before any work is done, flags of which one lacks or excludes another."""
    given, ending = vars(options), options.out.suffix.lower()
    if options.float16 and options.int8:
        raise ValueError("--float16 and --int8 exclude each other: leave one of them out.")
    if options.int8 and options.calibrate is None:
        raise ValueError("--int8 needs --calibrate FOLDER, pictures that show the usual ranges.")
    if ending == PAGE:
        for flag in ("labels", "size", "opset", "float16", "int8", "calibrate"):
            if given[flag]:
                raise ValueError(f"--{flag} is for other engines, not for a page: leave it out.")
    elif options.pictures is not None:
        raise ValueError(
            "--pictures is for a page: let --out end in .html, or leave --pictures out."
        )
    if options.calibrate is not None and not options.int8:
        raise ValueError("--calibrate is for --int8: give that, too, or leave --calibrate out.")
    if options.fit is not None and not (options.int8 or ending == PAGE):
        raise ValueError(
            "--fit is for --int8, or for a page: give --int8, let --out end in .html, or leave "
            "--fit out."
        )
    for flag in (*READING, "no-upright"):
        if given[flag.removeprefix("no-")] is not None and options.masks is None:
            raise ValueError(f"--{flag} is for --masks: give that, too, or leave --{flag} out.")
    if options.masks is not None and not (options.int8 or options.pictures):
        raise ValueError(
            "--masks is for --int8, or for --pictures: give one of them, too, or leave --masks out."
        )
    for flag in ("opset", "int8"):
        if given[flag] and ending != ".onnx":
            raise ValueError(
                f"--{flag} is for ONNX: let --out end in .onnx, or leave --{flag} out."
            )
    if ending == ".pt" and not options.size:
        raise ValueError(
            f"--out {options.out}: a trace holds for one size; give it, such as --size 512x512."
        )


def reading_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the flags say of masks, as `Folder` takes it."""
    given = vars(options)
    names = {"values": "values", "ignore": "ignore_index", "colors": "colors", "upright": "upright"}
    return {name: given[flag] for flag, name in names.items() if given[flag] is not None}


def check_size(size: tuple[int, int], config: SegFormerConfig) -> None:
    if min(size) < config.min_image_size:
        raise ValueError(
            f"--size {size[0]}x{size[1]} is too small: this model needs {config.min_image_size} "
            f"pixels each way."
        )


class Logits(nn.Module):
    """What the exported graph computes."""

    def __init__(self, model: SegFormer, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model.folded().to(dtype), dtype

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.model(images.to(self.dtype)).float(),)


class LogitsAndLabels(Logits):
    """What it computes with --labels."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        (logits,) = super().forward(images)  # (B, K, H/4, W/4)
        full = F.interpolate(logits, images.shape[-2:], mode="bilinear")
        return logits, full.argmax(1) if full.shape[1] > 1 else (full[:, 0] > 0).long()


def to_onnx(
    model: SegFormer,
    labels: bool = False,
    size: tuple[int, int] | None = None,
    opset: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> bytes:
    """An ONNX file.

    Args:
        model: what to write.
        labels: whether the class of every pixel is an output, too.
        size: height and width, for one image at a time; free, as the batch is, if not given.
        opset: the version of ONNX's operators; torch's choice if not given.
        dtype: of weights and maps; images and logits are float32.

    Raises:
        ValueError: a package is missing, or the graph cannot be written in that version.
    """
    try:
        import onnxscript  # noqa: F401, because torch asks for it only after minutes of work
    except ModuleNotFoundError as error:
        raise missing_package(error, "To export", "export") from None
    for talker in ("torch.onnx", "onnxscript"):  # they warn of a missing torchvision, and more
        logging.getLogger(talker).setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(
            graph(model, labels, size, dtype),
            dynamo=True,
            input_names=["images"],
            output_names=["logits", "labels"] if labels else ["logits"],
            opset_version=opset,
            verbose=False,
        )
    assert program is not None  # dynamo returns one
    program.optimize()  # once more: conversion to another version leaves tensors without a use
    if opset not in (None, program.model.opset_imports[""]):
        raise ValueError(
            f"--opset {opset}: torch {torch.__version__} could not write this graph so; choose a "
            f"later one, or leave --opset out."
        )
    program.model.metadata_props.update(told(model.config))
    return program.model_proto.SerializeToString()


def to_torch(
    ending: str, model: SegFormer, labels: bool, size: tuple[int, int] | None, dtype: torch.dtype
) -> bytes:
    """A file that torch reads without this package: TorchScript (.pt), or an exported program."""
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):  # torch.jit grows old
        program = graph(model, labels, size, dtype)
        if ending == ".pt":
            module = program.module()
            drop_aliases(module)
            traced = torch.jit.trace(module, program.example_inputs[0])
            torch.jit.save(traced, file, told(model.config))
        else:
            torch.export.save(program, file, extra_files=told(model.config))
    return file.getvalue()


def graph(
    model: SegFormer, labels: bool, size: tuple[int, int] | None, dtype: torch.dtype
) -> torch.export.ExportedProgram:
    """What is written, as torch's graph of a model that is folded."""
    free = torch.export.Dim.DYNAMIC
    return torch.export.export(
        (LogitsAndLabels if labels else Logits)(model, dtype).eval(),
        (example_images(model.config, sizes(model.config, size)[0]),),
        dynamic_shapes=None if size else {"images": {0: free, 2: free, 3: free}},
    )


def drop_aliases(module: torch.fx.GraphModule) -> None:
    """Take out of a graph, in place, what only renames a tensor, which coremltools refuses."""
    alias = torch.ops.aten.alias.default
    for node in module.graph.find_nodes(op="call_function", target=alias):
        node.replace_all_uses_with(node.args[0])
        module.graph.erase_node(node)
    module.recompile()


def told(config: SegFormerConfig) -> dict[str, str]:
    """What the file says of itself, each as JSON."""
    mean, std = config.normalization or (IMAGENET_MEAN, IMAGENET_STD)
    return {
        "class_names": json.dumps(config.class_names),
        "mean": json.dumps(mean),
        "std": json.dumps(std),
    }


def reader(ending: str, content: bytes) -> Callable[[Tensor], list[Tensor]]:
    """The file as a function of images.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
    """
    if ending == ".onnx":
        import onnxruntime

        try:
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # of many kinds, none of which it exports
            raise ValueError(
                f"ONNX Runtime {onnxruntime.__version__} cannot read the file, which was not "
                f"written: {str(error).strip()} Try an earlier --opset, or a newer onnxruntime."
            ) from error
        return lambda images: [*map(torch.tensor, session.run(None, {"images": images.numpy()}))]
    if ending == ".pt":
        return torch.jit.load(io.BytesIO(content))
    return torch.export.load(io.BytesIO(content)).module()


def compare(
    ending: str,
    content: bytes,
    model: SegFormer,
    size: tuple[int, int] | None = None,
    allowed: Allowed = ALLOWED[torch.float32],
) -> str:
    """How far the answers of the file's reader are from PyTorch's, in words.

    Raises:
        ModuleNotFoundError: ONNX Runtime is not installed.
        ValueError: they are not those of PyTorch.
    """
    who, answer = READERS[ending], reader(ending, content)
    largest, least = 0.0, 1.0
    for seed, each in enumerate(sizes(model.config, size), start=1):
        images = example_images(model.config, each, seed)
        with torch.no_grad():
            logits, *labels = answer(images)
            expected = model(images)
        difference = float((logits - expected).abs().max() / expected.abs().max())
        found = labels[0] if labels else labels_from_logits(logits, images.shape[-2:])
        same = float((found == model.predict(images)).float().mean())
        if not (difference <= allowed.difference and same > allowed.same):
            raise ValueError(
                f"{who}'s logits for images {tuple(images.shape)} differ from PyTorch's by "
                f"{difference:.1e} of the largest, and {1 - same:.1%} of its labels: the file was "
                f"not written. {allowed.remedy}"
            )
        largest, least = max(largest, difference), min(least, same)
    return f"{who}'s logits within {largest:.0e} of PyTorch's, {least:.2%} of its labels the same"


def sizes(config: SegFormerConfig, size: tuple[int, int] | None) -> list[tuple[int, int, int]]:
    """Batch, height and width of the images that the file is tried on; large enough if free."""
    if size:
        return [(1, *size)]
    least = config.min_image_size
    return [(batch, max(height, least), max(width, least + 1)) for batch, height, width in SIZES]


def example_images(config: SegFormerConfig, size: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Noise, the same every time."""
    batch, *sides = size
    shape = (batch, config.in_channels, *sides)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
