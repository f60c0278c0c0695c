"""Published weights in, our weights out.

`layouts` knows who calls a weight what, `files` reads bytes, `configs` finds out which SegFormer
they belong to.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
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
from segformer_edu.config import SegFormerConfig
from segformer_edu.decoder import FoldedDecoder
from segformer_edu.files import expanded
from segformer_edu.segformer import SegFormer


def load(
    path_or_hub_id: str | Path,
    config: SegFormerConfig | None = None,
    num_classes: int | None = None,
) -> SegFormer:
    """What `SegFormer.from_pretrained` does, and describes."""
    if config is not None and not isinstance(config, SegFormerConfig):
        raise ValueError(f"config = {config!r}: give a SegFormerConfig, or leave it out.")
    path = locate(path_or_hub_id)
    weights = translate(read_tensors(path), str(path))
    if num_classes is None and not weights.has_decoder:
        raise ValueError(
            f"{path} holds an encoder only: pass num_classes=…, and a decoder for so many classes "
            f"starts from random weights."
        )
    config = config or _described(path.with_name(CONFIG), weights) or infer(weights)
    if num_classes is not None:
        names = config.class_names if len(config.class_names) == num_classes else ()
        config = config.replace(num_classes=num_classes, class_names=names)
    fresh: tuple[str, ...] = ()  # beginnings of the names that start from random weights
    if not weights.has_decoder:
        fresh = ("decoder.",)
    elif num_classes is not None and weights.num_classes not in (None, num_classes):
        fresh = ("decoder.classifier.",)
        warnings.warn(
            f"{path} has {weights.num_classes} classes and num_classes = {num_classes}: the "
            f"classifier starts from random weights, everything else is loaded. Train it.",
            stacklevel=3,
        )
    _refuse_giant(config, weights)
    model = SegFormer(config)
    state = model.state_dict()
    tensors = {name: x for name, x in weights.tensors.items() if not name.startswith(fresh)}
    expected = {name: x for name, x in state.items() if not name.startswith(fresh)}
    _compare(tensors, expected, weights)
    model.load_state_dict({**state, **tensors})
    return model.eval()


def _described(path: Path, weights: Weights) -> SegFormerConfig | None:
    """The config in a config.json of Hugging Face's kind beside the weights, if there is one."""
    if not path.exists() or not describes_segformer(description := read_json(path)):
        return None
    try:
        return from_hugging_face(description, weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _refuse_giant(config: SegFormerConfig, weights: Weights) -> None:
    """Refuse a config that asks for far more parameters than a file holds, before taking memory."""
    wanted = config.approximate_parameters
    held = sum(x.numel() for x in weights.tensors.values())
    if wanted > 10 * held + 10**8:
        raise ValueError(
            f"{weights.source} holds {held} numbers and its config asks for about {wanted}: they "
            f"do not belong together. Correct the config or pass config=…."
        )


def _compare(tensors: dict[str, Tensor], expected: dict[str, Tensor], weights: Weights) -> None:
    """Refuse anything missing, unexpected or of another shape or type, each by both its names."""
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
    if problems:
        raise ValueError(
            "\n".join(
                [
                    f"{weights.source} ({weights.layout.name} layout) does not fit the config:",
                    *problems,
                    "Pass the config= it was made with; num_classes= for other classes.",
                ]
            )
        )


def save(model: SegFormer, folder: str | Path) -> None:
    """What `SegFormer.save_pretrained` does, and describes."""
    if isinstance(model.decoder, FoldedDecoder):
        raise ValueError(
            "A folded model has no separate decoder matrices to save: save the model from which "
            "folded() made it, and fold after loading."
        )
    folder = expanded(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give the name of a folder to write.")
    stages = model.config.num_stages
    tensors = {
        str(HUGGING_FACE.theirs(name, stages)): x.detach().cpu().contiguous()
        for name, x in model.state_dict().items()
    }
    dtype = next(model.parameters()).dtype
    config = json.dumps(to_hugging_face(model.config, dtype), indent=2, ensure_ascii=False)
    weights = safetensors.torch.save(tensors, {"format": "pt"})
    try:
        _replace_files(folder, (config + "\n").encode(), weights)
    except OSError as error:
        raise OSError(
            f"The model could not be written to {folder} ({error}); what was there is unchanged. "
            f"Free some space, or choose a folder you may write to."
        ) from error


def _replace_files(folder: Path, config: bytes, weights: bytes) -> None:
    """Write both files beside the folder, then move them into it: no reader sees half a file."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        new_config, new_weights = Path(temporary, CONFIG), Path(temporary, WEIGHTS)
        new_config.write_bytes(config)
        new_weights.write_bytes(weights)
        folder.mkdir(exist_ok=True)
        old_config = (folder / CONFIG).read_bytes() if (folder / CONFIG).exists() else None
        os.replace(new_config, folder / CONFIG)
        try:
            os.replace(new_weights, folder / WEIGHTS)
        except OSError:  # the old weights are still there: so must be their config
            if old_config is None:
                (folder / CONFIG).unlink()
            else:
                (folder / CONFIG).write_bytes(old_config)
            raise
