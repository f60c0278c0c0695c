"""Which SegFormer a file holds, read from a Hugging Face config.json or from the tensors."""

from __future__ import annotations

from typing import Any

import torch

from segformer_edu.checkpoints.layouts import Weights
from segformer_edu.checks import check_positive
from segformer_edu.config import VARIANTS, SegFormerConfig

FIELDS = {  # theirs → ours
    "num_channels": "in_channels",
    "hidden_sizes": "embed_dims",
    "depths": "depths",
    "num_attention_heads": "num_heads",
    "sr_ratios": "reduction_ratios",
    "mlp_ratios": "mlp_ratios",
    "patch_sizes": "patch_sizes",
    "strides": "strides",
    "decoder_hidden_size": "decoder_dim",
    "drop_path_rate": "drop_path_rate",
    "classifier_dropout_prob": "decoder_dropout",
}
BLOCK = "segformer_edu"  # holds what their config.json has no field for; transformers ignores it
IN_BLOCK = ("block_norm_eps", "drop_path_rule", "gradient_checkpointing", "image_mean", "image_std")
NAMES = "class_names"  # in the block if there are more than logits: two of a binary model


def describes_segformer(description: dict[str, Any]) -> bool:
    """Whether a config.json is Hugging Face's: other libraries use the name for other things."""
    return "model_type" in description


def from_hugging_face(description: dict[str, Any], weights: Weights) -> SegFormerConfig:
    """The config that a Hugging Face config.json describes; missing fields take B0's values.

    The epsilon is that of the weights' layout unless our own block gives one: transformers ignores
    its `layer_norm_eps`. Dropout inside the blocks, 0 in all published models, is not read.

    Raises:
        ValueError: another kind of model, another activation, a field of the wrong type, or one
            that is missing although the weights' sizes are not B0's.
    """
    for field, allowed in {"model_type": "segformer", "hidden_act": "gelu"}.items():
        if description.get(field, allowed) != allowed:
            raise ValueError(f"{field} = {description[field]!r}: a SegFormer has {allowed!r}.")
    block = description.get(BLOCK, {})
    if not isinstance(block, dict):
        raise ValueError(f"{BLOCK} = {block!r}: an object is needed.")
    known = (*IN_BLOCK, NAMES)
    if unknown := sorted(set(block) - set(known)):
        raise ValueError(f"{BLOCK} holds {unknown[0]!r}; it may hold {', '.join(known)}.")
    if (stages := description.get("num_encoder_blocks")) is not None:
        check_positive(num_encoder_blocks=stages)
    fields: dict[str, Any] = {
        ours: value[:stages] if isinstance(value, list) else value  # their lists may be longer
        for theirs, ours in FIELDS.items()
        if (value := description.get(theirs)) is not None
    }
    _refuse_gaps(fields, weights)
    names = _class_names(description.get("id2label")) if weights.has_decoder else ()
    num_classes = len(names) or description.get("num_labels", weights.num_classes or 1)
    generic = list(names) == [f"LABEL_{label}" for label in range(len(names))]
    block = {NAMES: () if generic else names, **block}
    return SegFormerConfig(
        **fields,
        num_classes=num_classes,
        **{"block_norm_eps": weights.layout.block_norm_eps, **block},
    )


def _refuse_gaps(fields: dict[str, Any], weights: Weights) -> None:
    """Refuse to assume B0's value for a missing field if the weights show another one."""
    missing = {ours: theirs for theirs, ours in FIELDS.items() if ours not in fields}
    if not missing:
        return
    for ours, told in _sizes(weights).items():
        if ours in missing and told != (default := getattr(SegFormerConfig, ours)):
            raise ValueError(
                f"{missing[ours]} is missing, and the weights have {told} instead of B0's "
                f"{default}: add it to its config.json."
            )


def _class_names(id2label: Any) -> tuple[str, ...]:
    """{"0": "wall", "1": "building", …} → ("wall", "building", …)."""
    if id2label is None:
        return ()
    if not isinstance(id2label, dict) or set(id2label) != set(map(str, range(len(id2label)))):
        raise ValueError(f'id2label = {id2label!r}: {{"0": name, "1": name, …}} is needed.')
    return tuple(id2label[str(label)] for label in range(len(id2label)))


def to_hugging_face(config: SegFormerConfig, dtype: torch.dtype) -> dict[str, Any]:
    """The content of a config.json from which transformers builds the same model."""
    names = config.class_names or [f"LABEL_{label}" for label in range(config.num_classes)]
    block = {field: x for field in IN_BLOCK if (x := getattr(config, field)) != ()}
    if len(names) > config.num_classes:
        block[NAMES] = names
    names = names[-config.num_classes :]
    return {
        "model_type": "segformer",
        "architectures": ["SegformerForSemanticSegmentation"],
        "dtype": str(dtype).removeprefix("torch."),
        **{theirs: getattr(config, ours) for theirs, ours in FIELDS.items()},
        "num_encoder_blocks": config.num_stages,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": config.block_norm_eps,
        "reshape_last_stage": True,
        "id2label": {str(label): name for label, name in enumerate(names)},
        "label2id": {name: label for label, name in enumerate(names)},
        BLOCK: block,
    }


def infer(weights: Weights) -> SegFormerConfig:
    """The config that follows from the tensors; heads and strides are the fitting variant's.

    Raises:
        ValueError: a tensor that determines a size is missing, or no variant has these sizes.
    """
    sizes = _sizes(weights)
    telling = ("embed_dims", "depths", "patch_sizes")
    variants = map(SegFormerConfig.named, VARIANTS)
    fits = [v for v in variants if all(getattr(v, name) == sizes[name] for name in telling)]
    if not fits:
        found = ", ".join(f"{name} = {sizes[name]}" for name in telling)
        raise ValueError(
            f"{weights.source} holds {found}, which fits no published variant, and heads and "
            f"strides cannot be read from weights: put its config.json beside it, or, in Python, "
            f"pass a SegFormerConfig."
        )
    return fits[0].replace(block_norm_eps=weights.layout.block_norm_eps, **sizes)


def _sizes(weights: Weights) -> dict[str, Any]:
    """The fields that follow from the shapes of the tensors.

    Raises:
        ValueError: a tensor that determines a size is missing.
    """
    stages = [f"encoder.stages.{stage}." for stage in range(weights.num_stages)]

    def size(name: str, axis: int) -> int:
        if (length := weights.size(name, axis)) is None:
            raise ValueError(
                f"{weights.source} lacks {weights.their_name(name)} (ours: {name}), which "
                f"determines the model's size, or gives it too few axes. Fetch the file again."
            )
        return length

    embeddings = [stage + "patch_embedding.projection.weight" for stage in stages]
    embed_dims = tuple(size(name, 0) for name in embeddings)
    patch_sizes = tuple(size(name, 2) for name in embeddings)
    hidden = [size(stage + "blocks.0.mix_ffn.expand.weight", 0) for stage in stages]
    reductions = [
        weights.size(stage + "blocks.0.attention.reduce.projection.weight", 2) for stage in stages
    ]
    depths = tuple(
        len({name.split(".")[4] for name in weights.tensors if name.startswith(stage + "blocks.")})
        for stage in stages
    )
    sizes: dict[str, Any] = {
        "in_channels": size(embeddings[0], 1),
        "embed_dims": embed_dims,
        "depths": depths,
        "reduction_ratios": tuple(r or 1 for r in reductions),
        "mlp_ratios": tuple(h // dim for h, dim in zip(hidden, embed_dims, strict=True)),
        "patch_sizes": patch_sizes,
    }
    if weights.has_decoder:
        sizes["decoder_dim"] = size("decoder.fuse.weight", 0)
        sizes["num_classes"] = size("decoder.classifier.weight", 0)
    return sizes
