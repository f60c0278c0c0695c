"""Eight-bit numbers in an exported graph, calibrated on pictures and checked on others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from segformer_edu.commands.given_pictures import GivenPictures
from segformer_edu.commands.parser import missing_package
from segformer_edu.config import SegFormerConfig
from segformer_edu.data.photos import normalize
from segformer_edu.segformer import labels_from_logits
from segformer_edu.tiles import TILE
from segformer_edu.training.metrics import confusion_matrix, scores

LARGEST = 2 * TILE**2  # pixels of a picture, which the graph labels whole; `segment` cuts it
MOST = 200  # pictures that are used, of however many there are
LEAST_AGREEMENT = 0.9  # the share of pixels that keep their label, or the file is not kept
MOST_LOST = 0.01  # mIoU
PASSES = 5  # that are timed

Sample = tuple[Tensor, Tensor | None]  # an image as the model expects it, and its labels


class Pictures(GivenPictures):
    """Every second picture calibrates, and the others are held out."""

    def sample(self, index: int) -> Sample:
        photo, labels = self[index]
        return normalize(photo), None if labels is None else torch.from_numpy(labels)[None].long()

    def calibrating(self) -> Iterator[Tensor]:
        for index in range(len(self))[::2]:
            yield self.sample(index)[0]

    def held_out(self) -> Iterator[Sample]:
        for index in range(len(self))[1::2]:
            yield self.sample(index)


def open_pictures(
    folder: Path,
    masks: Path | None,
    config: SegFormerConfig,
    size: tuple[int, int] | None = None,
    side: int | None = None,
    reading: Mapping[str, Any] | None = None,
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
    pictures = Pictures("--calibrate", folder, masks, config, MOST, side, reading)
    if len(pictures) < 2:
        raise ValueError(
            f"--calibrate {folder} holds one picture, and two is the least: one calibrates and one "
            f"is held out. Give 50 or more like those to come."
        )
    bar = tqdm(pictures.paths, "reading", unit=" pictures", delay=2, leave=False)
    for index, path in enumerate(bar):
        photo, _ = pictures[index]
        height, width = photo.shape[:2]
        has = f"--calibrate {folder}: {path.name} has {height}×{width} pixels"
        if min(height, width) < config.min_image_size:
            raise ValueError(f"{has}, and the model needs {config.min_image_size}: take it out.")
        if size is None and height * width > LARGEST:
            raise ValueError(
                f"{has}, too many for the memory that attention takes: give --fit, the same as in "
                f"training, or 1024."
            )
        if size not in (None, (height, width)):
            raise ValueError(
                f"{has}, not those of --size: resize the pictures, or leave --size out."
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
            count = (len(pictures) + 1) // 2
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
    count = len(pictures) // 2
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
    if pictures.labelled:
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
