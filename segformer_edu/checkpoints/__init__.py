"""Published weights in, our weights out.

`layouts` translates the names of weights, `files` reads them, `configs` finds out which SegFormer
they belong to, and `reductions` exchanges attention's reductions for those of other ratios. No
model is built here: `SegFormer.from_pretrained` and `save_pretrained` do that.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import safetensors.torch
from torch import Tensor

from segformer_edu.checkpoints.configs import (
    describes_segformer,
    from_hugging_face,
    infer,
    to_hugging_face,
)
from segformer_edu.checkpoints.files import CONFIG, WEIGHTS, locate, read_json, read_tensors
from segformer_edu.checkpoints.layouts import HUGGING_FACE, Weights, translate
from segformer_edu.checkpoints.reductions import with_reductions
from segformer_edu.config import SegFormerConfig, check_config
from segformer_edu.data.image_files import SHOWN
from segformer_edu.data.photos import IMAGENET_MEAN, IMAGENET_STD
from segformer_edu.files import expanded

PREPROCESSOR = "preprocessor_config.json"
PREPROCESSING = {  # what the model expects of pictures; they keep their size
    "image_processor_type": "SegformerImageProcessor",
    "do_resize": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": IMAGENET_MEAN,
    "image_std": IMAGENET_STD,
    "do_reduce_labels": False,
}


def read(
    path_or_hub_id: str | Path,
    config: SegFormerConfig | None = None,
    num_classes: int | None = None,
) -> tuple[SegFormerConfig, Weights]:
    """The config and the weights for `SegFormer.from_pretrained`, which describes the arguments."""
    if config is not None:
        check_config(config)
    path = locate(path_or_hub_id)
    weights = translate(read_tensors(path), str(path))
    other = weights.foreign and f"a decoder of another kind ({weights.foreign})"
    if num_classes is None and not weights.has_decoder:
        raise ValueError(
            f"{path} holds an encoder only, and {other or 'no decoder that labels pixels'}: train "
            f"one (`python -m segformer_edu train --weights`), or pass num_classes to "
            f"from_pretrained for one with random weights."
        )
    config = config or _described(path.with_name(CONFIG), weights) or infer(weights)
    if num_classes is not None:
        names, config = config.class_names, config.replace(num_classes=num_classes, class_names=())
        if len(names) in (num_classes, max(num_classes, 2)):
            config = config.replace(class_names=names)
    weights = with_reductions(weights, path.parent, config)
    if sum(config.depths) > len(weights.tensors):
        raise ValueError(
            f"{path} holds {len(weights.tensors)} tensors, but its config asks for "
            f"{sum(config.depths)} blocks: they do not belong together. Correct the config or pass "
            f"config=…."
        )
    if not weights.has_decoder:
        weights = replace(weights, random="decoder.")
        if other:
            warnings.warn(
                f"{path} holds {other}, which is left out: the decoder starts from random weights, "
                f"the encoder is loaded. Train it.",
                stacklevel=3,
            )
    elif num_classes is not None and weights.num_classes not in (None, num_classes):
        weights = replace(weights, random="decoder.classifier.")
        warnings.warn(
            f"{path} has {weights.num_classes} classes, but num_classes = {num_classes}: the "
            f"classifier starts from random weights, everything else is loaded. Train it.",
            stacklevel=3,
        )
    return config, weights


def _described(path: Path, weights: Weights) -> SegFormerConfig | None:
    """The config in a Hugging Face config.json beside the weights, if there is one."""
    if not path.exists() or not describes_segformer(description := read_json(path)):
        return None
    try:
        return from_hugging_face(description, weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def fitting(weights: Weights, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights for a model whose `state` has these names, shapes and types.

    They are copies, in the types of `state`, without what starts from random weights.

    Raises:
        ValueError: a tensor is missing, unexpected, or of another shape or type (all are named), or
            the part that starts from random weights is far larger than the rest.
    """

    def given(name: str) -> bool:
        return weights.random is None or not name.startswith(weights.random)

    tensors = {name: x for name, x in weights.tensors.items() if given(name)}
    expected = {name: x for name, x in state.items() if given(name)}
    problems = [f"  unexpected: {name}" for name in weights.unexpected]
    problems += [
        f"  unexpected: {weights.their_name(name)} (ours: {name})"
        for name in tensors
        if name not in expected
    ]
    for name, parameter in expected.items():
        both_names = f"{weights.their_name(name)} (ours: {name})"
        if name not in tensors:
            problems.append(f"  missing: {both_names}")
        elif (found := tensors[name]).shape != parameter.shape:
            shapes = f"{tuple(found.shape)} in the file, {tuple(parameter.shape)} in the model"
            problems.append(f"  other shape: {both_names} is {shapes}")
        elif found.is_floating_point() != parameter.is_floating_point():
            problems.append(f"  other type: {both_names} is {found.dtype}, not {parameter.dtype}")
    if more := problems[SHOWN:]:
        problems = [*problems[:SHOWN], f"  … and {len(more)} more"]
    if problems:
        raise ValueError(
            "\n".join(
                [
                    f"{weights.source} ({weights.layout.name} layout) does not fit the config:",
                    *problems,
                    "Put the config.json of these weights beside them; in Python, pass their "
                    "config, or num_classes for other classes.",
                ]
            )
        )
    held, wanted = (sum(x.numel() for x in each.values()) for each in (tensors, state))
    if wanted > 10 * held + 10**8:
        raise ValueError(
            f"{weights.source} holds {held} numbers, but with the decoder of its config the model "
            f"would hold {wanted}: they do not belong together. Correct config.json."
        )
    return {name: x.to(expected[name].dtype, copy=True) for name, x in tensors.items()}


def write(config: SegFormerConfig, state: Mapping[str, Tensor], folder: str | Path) -> None:
    """Write a model's config and state, as `SegFormer.save_pretrained` describes."""
    folder = expanded(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give the name of a folder to write.")
    tensors = {
        str(HUGGING_FACE.theirs(name, config.num_stages)): x.detach().cpu().contiguous()
        for name, x in state.items()
    }
    dtype = state["decoder.classifier.weight"].dtype
    description = json.dumps(to_hugging_face(config, dtype), indent=2, ensure_ascii=False)
    weights = safetensors.torch.save(tensors, {"format": "pt"})
    files = {CONFIG: f"{description}\n".encode(), WEIGHTS: weights}
    if config.image_mean or config.in_channels == len(IMAGENET_MEAN):
        content = f"{json.dumps(preprocessing(config), indent=2)}\n"
        files = {PREPROCESSOR: content.encode(), **files}
    try:
        _replace_files(folder, files)
    except OSError as error:
        raise OSError(
            f"The model could not be written to {folder} ({error}); what was there is unchanged. "
            f"Free some space, or choose a folder you may write to."
        ) from error


def preprocessing(config: SegFormerConfig) -> dict[str, object]:
    """What the model expects of photographs, or of bands as `data.bands` reads them."""
    if not config.image_mean:
        return PREPROCESSING
    measured = {"image_mean": config.image_mean, "image_std": config.image_std}
    return {**PREPROCESSING, "do_rescale": False, **measured}


def _replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files under other names, then move them, so that no reader sees half of one. The
    last, the weights, belongs to the one before, the config; what comes first is the same in all of
    a run.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    old_config = (folder / CONFIG).read_bytes() if (folder / CONFIG).exists() else None
    parts = {folder / name: folder / f".{name}.{os.getpid()}.part" for name in files}
    try:
        for path, part in parts.items():
            part.write_bytes(files[path.name])
        *others, weights = parts
        for path in others:
            os.replace(parts[path], path)
        try:
            os.replace(parts[weights], weights)
        except BaseException:  # the old weights are still there: so must be their config
            if old_config is None:
                (folder / CONFIG).unlink()
            else:
                (folder / CONFIG).write_bytes(old_config)
            raise
    except BaseException:  # Ctrl-C among them
        for part in parts.values():
            part.unlink(missing_ok=True)
        if made:
            (folder / PREPROCESSOR).unlink(missing_ok=True)
            folder.rmdir()
        raise
