"""Models of transformers with random weights, and their states under every published name."""

import re

import pytest
import torch
from transformers import SegformerConfig as TheirConfig
from transformers import SegformerForSemanticSegmentation

TINY = {
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 2, 1, 1],
    "num_attention_heads": [1, 2, 3, 4],
    "decoder_hidden_size": 16,
    "num_labels": 5,
}

# From the names of a transformers model in memory to those of the paper's code, written by hand
# from the published names, apart from the tables of the package. Stages there count from 1.
TO_REFERENCE = [
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.proj\.", r"backbone.patch_embed<\1>.proj."),
    (
        r"^segformer\.stages\.(\d)\.patch_embeddings\.layer_norm\.",
        r"backbone.patch_embed<\1>.norm.",
    ),
    (r"^segformer\.stages\.(\d)\.layer_norm\.", r"backbone.norm<\1>."),
    (r"^segformer\.stages\.(\d)\.blocks\.", r"backbone.block<\1>."),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"attention\.sequence_reduction\.sequence_reduction", "attn.sr"),
    (r"attention\.sequence_reduction\.layer_norm", "attn.norm"),
    (r"attention\.q_proj", "attn.q"),
    (r"attention\.o_proj", "attn.proj"),
    (r"decode_head\.linear_projections\.(\d)\.proj", r"decode_head.linear_c<\1>.proj"),
    (r"decode_head\.linear_fuse\.", "decode_head.linear_fuse.conv."),
    (r"decode_head\.batch_norm\.", "decode_head.linear_fuse.bn."),
    (r"decode_head\.classifier\.", "decode_head.linear_pred."),
]


def to_reference(state):
    """The paper's names; key and value joined, the key's rows first; the dead conv_seg added."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in TO_REFERENCE:
            name = re.sub(pattern, replacement, name)
        name = re.sub(r"<(\d)>", lambda found: str(int(found[1]) + 1), name)
        if "k_proj" in name:
            continue
        if "v_proj" in name:
            theirs = next(key for key in state if state[key] is tensor)
            tensor = torch.cat([state[theirs.replace("v_proj", "k_proj")], tensor])
            name = name.replace("attention.v_proj", "attn.kv")
        renamed[name] = tensor
    renamed["decode_head.conv_seg.weight"] = torch.randn(5, 16, 1, 1)
    renamed["decode_head.conv_seg.bias"] = torch.randn(5)
    return renamed


def to_smp(state):
    """The names of segmentation_models_pytorch, whose decoder counts stages from the last."""
    renamed = {}
    for name, tensor in to_reference(state).items():
        if "conv_seg" in name:
            continue
        name = name.replace("backbone.", "encoder.")
        name = name.replace("decode_head.linear_fuse.conv.", "decoder.fuse_stage.0.")
        name = name.replace("decode_head.linear_fuse.bn.", "decoder.fuse_stage.1.")
        name = name.replace("decode_head.linear_pred.", "segmentation_head.0.")
        for number, position in {"1": "3", "2": "2", "3": "1", "4": "0"}.items():
            name = name.replace(
                f"decode_head.linear_c{number}.proj.", f"decoder.mlp_stage.{position}.linear."
            )
        renamed[name] = tensor
    return renamed


# From a transformers model's names to those of mmsegmentation 1.x, as its issue 1380 quotes them.
TO_MMSEGMENTATION = [
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.proj\.", r"backbone.layers.\1.0.projection."),
    (
        r"^segformer\.stages\.(\d)\.patch_embeddings\.layer_norm\.",
        r"backbone.layers.\1.0.norm.",
    ),
    (r"^segformer\.stages\.(\d)\.layer_norm\.", r"backbone.layers.\1.2."),
    (r"^segformer\.stages\.(\d)\.blocks\.", r"backbone.layers.\1.1."),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"attention\.sequence_reduction\.sequence_reduction", "attn.sr"),
    (r"attention\.sequence_reduction\.layer_norm", "attn.norm"),
    (r"attention\.q_proj\.", "attn.attn.in_proj_"),
    (r"attention\.o_proj", "attn.attn.out_proj"),
    (r"mlp\.fc1", "ffn.layers.0"),
    (r"mlp\.dwconv\.dwconv", "ffn.layers.1"),
    (r"mlp\.fc2", "ffn.layers.4"),
]


def to_mmsegmentation(state):
    """mmsegmentation's names of the encoder: q, k, v in one tensor, 1×1 convolutions in the FFN."""
    renamed = {}
    for theirs, tensor in state.items():
        if re.search(r"^decode_head|k_proj|v_proj", theirs):
            continue
        name = theirs
        for pattern, replacement in TO_MMSEGMENTATION:
            name = re.sub(pattern, replacement, name)
        if "q_proj" in theirs:
            tensor = torch.cat([state[theirs.replace("q_proj", f"{x}_proj")] for x in "qkv"])
        if re.search(r"mlp\.fc[12]\.weight", theirs):
            tensor = tensor[:, :, None, None]
        renamed[name] = tensor
    return renamed


@pytest.fixture(scope="session")
def renamers():
    """Layout → function from the state of a transformers model to that layout's names."""
    layouts = {"reference": to_reference, "v5": dict, "smp": to_smp}
    return {**layouts, "mmsegmentation": to_mmsegmentation}


@pytest.fixture(scope="session")
def their_model(randomized):
    """A function that builds a model of transformers: tiny unless told otherwise.

    Its norms have the epsilon 1e-5, as always in transformers, unless block_norm_eps sets that of
    block and stage norms, as in the paper's code.
    """

    def build(block_norm_eps=1e-5, **changes):
        torch.manual_seed(3)
        config = TheirConfig(**{**TINY, **changes})
        model = randomized(SegformerForSemanticSegmentation(config)).eval()
        for name, module in model.named_modules():
            if re.search(r"layernorm_(before|after)$|stages\.\d\.layer_norm$", name):
                module.eps = block_norm_eps
        return model

    return build


@pytest.fixture(scope="session")
def images():
    return torch.randn(2, 3, 65, 97, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def same_logits(images):
    """A function that compares our model's logits with theirs, to 1e-5 of their scale."""

    @torch.no_grad()
    def compare(ours, theirs):
        expected = theirs(images).logits
        return (ours(images) - expected).abs().max() <= 1e-5 * expected.abs().max()

    return compare


@pytest.fixture
def tiny_config():
    from segformer_edu import SegFormerConfig

    def build(**changes):
        fields = {
            "embed_dims": (8, 16, 24, 32),
            "depths": (1, 2, 1, 1),
            "num_heads": (1, 2, 3, 4),
            "decoder_dim": 16,
            "num_classes": 5,
        }
        return SegFormerConfig(**{**fields, **changes})

    return build
