"""Eight-bit numbers in an exported graph, calibrated on pictures and checked on others."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from segformer_edu.commands.parser import missing_package
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.augment import fit
from segformer_edu.data.dataset import as_tensors
from segformer_edu.data.folder import ENDINGS, Folder, by_name
from segformer_edu.data.photos import normalize, read_photo
from segformer_edu.files import expanded
from segformer_edu.segformer import labels_from_logits
from segformer_edu.tiles import TILE
from segformer_edu.training.metrics import confusion_matrix, scores

LARGEST = 2 * TILE**2  # pixels of a picture, which the graph labels whole; `segment` cuts it
MOST = 200  # pictures that are used, of however many there are
LEAST_AGREEMENT = 0.9  # the share of pixels that keep their label, or the file is not kept
MOST_LOST = 0.01  # mIoU
PASSES = 5  # that are timed

Sample = tuple[Tensor, Tensor | None]  # an image as the model expects it, and its labels


@dataclass(frozen=True)
class Pictures:
    """The user's pictures, read one at a time: every second calibrates, the others are held out.

    Args:
        paths: their files.
        masks: the same pictures with their masks, if there are any.
        num_classes: classes K that the labels tell apart, two for a binary model.
        fit: the side of a square into which pictures are scaled, as those with masks are; None
            leaves them as they are.
    """

    paths: Sequence[Path]
    masks: Folder | None
    num_classes: int
    fit: int | None = None

    def __getitem__(self, index: int) -> Sample:
        if self.masks is None:
            photo = read_photo(self.paths[index])
            if self.fit:
                unlabelled = np.zeros(photo.shape[:2], dtype=np.uint8)
                photo, _ = fit(photo, unlabelled, (self.fit, self.fit))
            return normalize(photo), None
        image, labels = as_tensors(*self.masks.picture(index))
        return image[None], labels[None]

    def chosen(self) -> list[int]:
        """All pictures, or MOST of them, evenly spread over their names."""
        count = len(self.paths)
        return sorted({number * count // MOST for number in range(MOST)})

    def calibrating(self) -> Iterator[Tensor]:
        for index in self.chosen()[::2]:
            yield self[index][0]

    def held_out(self) -> Iterator[Sample]:
        for index in self.chosen()[1::2]:
            yield self[index]


def open_pictures(
    folder: Path,
    masks: Path | None,
    config: SegFormerConfig,
    size: tuple[int, int] | None = None,
    side: int | None = None,
) -> Pictures:
    """The pictures of --calibrate and --masks, each of which can be read, all of --size if given,
    scaled by --fit if that is.

    Raises:
        ValueError: there are fewer than two, or one that cannot be read or is of a wrong size.
    """
    if side is not None and side < config.min_image_size:
        raise ValueError(f"--fit {side}: the model needs {config.min_image_size} pixels or more.")
    if config.in_channels != 3 or config.normalization:
        raise ValueError(
            f"--int8 reads photographs, and this model takes other pictures, with in_channels = "
            f"{config.in_channels}: leave --int8 out."
        )
    if not expanded(folder).is_dir():
        raise ValueError(f"--calibrate {folder}: there is no such folder; give one of pictures.")
    paths = list(itertools.chain.from_iterable(by_name(expanded(folder)).values()))
    if len(paths) < 2:
        raise ValueError(
            f"--calibrate {folder} holds {len(paths)} pictures ({', '.join(ENDINGS)}), and two is "
            f"the least: one calibrates and one is held out. Give 50 or more like those to come."
        )
    labelled, num_classes = None, max(config.num_classes, 2)
    if masks is not None:
        try:
            labelled = Folder(folder, masks, num_classes, size=side)
        except ValueError as error:
            raise ValueError(f"--calibrate {folder}, --masks {masks}: {error}") from None
        paths = [path for path, _ in labelled.pairs]
    pictures = Pictures(paths, labelled, num_classes, side)
    for index in tqdm(pictures.chosen(), "reading", unit=" pictures", delay=2, leave=False):
        try:
            image, _ = pictures[index]
        except ValueError as error:
            raise ValueError(f"--calibrate {folder}: {error}") from None
        if min(image.shape[-2:]) < config.min_image_size:
            raise ValueError(
                f"--calibrate {folder}: {paths[index].name} has {image.shape[-2]}×"
                f"{image.shape[-1]} pixels, and the model needs {config.min_image_size}: take it "
                f"out."
            )
        if size is None and image.shape[-2:].numel() > LARGEST:
            raise ValueError(
                f"--calibrate {folder}: {paths[index].name} has {image.shape[-2]}×"
                f"{image.shape[-1]} pixels, too many for the memory that attention takes: give "
                f"--fit, the same as in training, or 1024."
            )
        if size not in (None, tuple(image.shape[-2:])):
            raise ValueError(
                f"--calibrate {folder}: {paths[index].name} has {image.shape[-2]}×"
                f"{image.shape[-1]} pixels, not those of --size: resize the pictures, or leave "
                f"--size out."
            )
    return pictures


def check_packages() -> None:
    """Refuse, before any work is done, if a package is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_package(error, "For --int8", "export") from None


def to_int8(content: bytes, pictures: Pictures) -> bytes:
    """The graph with 8-bit weights, a scale for each channel, and 8-bit maps between them, whose
    range is that of the calibrating pictures.

    Convolutions and Linears are quantised. Products of two maps stay float (q kᵀ, the weights times
    v, the mixing of rows in a resize), and so does the softmax between two of them: in 8 bits they
    make the whole of B0 slower, not faster. For norms and GELU there are no 8-bit kernels.
    """
    import onnx
    import onnxruntime
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnxruntime.set_default_logger_severity(3)  # errors; not what it leaves out of the graph

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            count = len(pictures.chosen()[::2])
            images = pictures.calibrating()
            bar = tqdm(images, "calibrating", count, unit=" pictures", leave=False, delay=2)
            self.images = iter(bar)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.images, None)
            return None if image is None else {"images": image.numpy()}

    with TemporaryDirectory() as folder:
        given, prepared, made = (Path(folder, f"{name}.onnx") for name in ("a", "b", "c"))
        given.write_bytes(content)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)  # free sizes confuse it
        model = onnx.load(prepared)
        as_convolutions(model.graph)
        onnx.save(model, prepared)
        quantization.quantize_static(
            prepared,
            made,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return made.read_bytes()


def as_convolutions(graph: Any) -> None:
    """Turn each Linear over a map into the 1×1 convolution that it is, in place.

    ONNX Runtime's 8-bit convolution adds the bias itself and hands 8-bit numbers on; after its
    8-bit matrix product the bias is added in float.
    """
    from onnx import helper, numpy_helper

    weights = {each.name: each for each in graph.initializer}
    sums = {node.input[0]: node for node in graph.node if node.op_type == "Add"}
    sums |= {node.input[1]: node for node in graph.node if node.op_type == "Add"}
    nodes, replaced = [], []
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            nodes.append(node)
            continue
        (x, weight), name = node.input, node.name
        inputs = [f"{name}_in", f"{name}_kernel"]
        kernel = numpy_helper.to_array(weights[weight]).T[:, :, None, None].copy()
        graph.initializer.append(numpy_helper.from_array(kernel, inputs[1]))
        output, total = node.output[0], sums.get(node.output[0])
        bias = [each for each in total.input if each in weights] if total else []
        if total and bias:
            output = total.output[0]
            replaced.append(total.name)
        nodes += [
            helper.make_node("Transpose", [x], inputs[:1], perm=(0, 3, 1, 2)),
            helper.make_node("Conv", [*inputs, *bias], [f"{name}_out"], name),
            helper.make_node("Transpose", [f"{name}_out"], [output], perm=(0, 2, 3, 1)),
        ]
    graph.ClearField("node")
    graph.node.extend(node for node in nodes if node.name not in replaced)


def judge(exact: bytes, rounded: bytes, pictures: Pictures) -> str:
    """What 8 bits cost and gain, on the pictures that are held out, in words.

    Raises:
        ValueError: they cost too much.
    """
    import onnxruntime

    sessions = [
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"])
        for each in (exact, rounded)
    ]
    count = len(pictures.chosen()) // 2
    times: list[list[float]] = []
    counts = torch.zeros(2, dtype=torch.int64)  # pixels that keep their label, and all
    confusions = torch.zeros(2, *2 * [pictures.num_classes], dtype=torch.int64)
    bar = tqdm(pictures.held_out(), "checking", count, unit=" pictures", leave=False, delay=2)
    for image, labels in bar:
        if not times:
            times = [[seconds(each, image) for each in sessions] for _ in range(PASSES)]
        found = [labels_of(session, image) for session in sessions]
        same = found[0] == found[1]
        counts += torch.tensor([same.sum(), same.numel()])
        if labels is not None:
            confusions += torch.stack(
                [confusion_matrix(x, labels, pictures.num_classes) for x in found]
            )
    kept = float(counts[0] / counts[1])
    faster = median(slow / fast for slow, fast in times)
    said = f"{kept:.2%} of the held-out pixels keep their label, {faster:.1f} times as fast here"
    lost = 0.0
    if pictures.masks is not None:
        before, after = (scores(each).miou for each in confusions)
        said += f", mIoU {after:.4f} ({before:.4f} in float)"
        lost = before - after
    if kept < LEAST_AGREEMENT or lost > MOST_LOST:
        raise ValueError(
            f"In 8 bits: {said}. The file was not written: give --calibrate more pictures, of the "
            f"kind that the model was trained on, or leave --int8 out."
        )
    return said


def seconds(session: Any, image: Tensor) -> float:
    start = time.perf_counter()
    session.run(None, {"images": image.numpy()})
    return time.perf_counter() - start


def labels_of(session: Any, image: Tensor) -> Tensor:
    (logits,) = session.run(["logits"], {"images": image.numpy()})
    return labels_from_logits(torch.tensor(logits), image.shape[-2:])
