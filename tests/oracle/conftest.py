"""The model of Hugging Face transformers with the same shape and the same weights as ours."""

import re

import pytest
from transformers import SegformerConfig as TheirConfig
from transformers import SegformerForSemanticSegmentation

from segformer_edu import SegFormer, SegFormerConfig

# Our names of parameters, and what transformers calls them in memory.
RENAME = (
    (r"^encoder\.stages", "segformer.stages"),
    (r"patch_embedding\.projection", "patch_embeddings.proj"),
    (r"patch_embedding\.norm", "patch_embeddings.layer_norm"),
    (r"(blocks\.\d+)\.norm1", r"\1.layernorm_before"),
    (r"(blocks\.\d+)\.norm2", r"\1.layernorm_after"),
    (r"attention\.(query|key|value|output)\.", lambda m: f"attention.{m[1][0]}_proj."),
    (r"attention\.reduce\.projection", "attention.sequence_reduction.sequence_reduction"),
    (r"attention\.reduce\.norm", "attention.sequence_reduction.layer_norm"),
    (r"mix_ffn\.expand", "mlp.fc1"),
    (r"mix_ffn\.depthwise", "mlp.dwconv.dwconv"),
    (r"mix_ffn\.contract", "mlp.fc2"),
    (r"^(segformer\.stages\.\d+)\.norm", r"\1.layer_norm"),
    (r"^decoder\.projections\.(\d+)", r"decode_head.linear_projections.\1.proj"),
    (r"^decoder\.fuse", "decode_head.linear_fuse"),
    (r"^decoder\.norm", "decode_head.batch_norm"),
    (r"^decoder\.classifier", "decode_head.classifier"),
)

CONFIGS = {
    name: SegFormerConfig.named(name) for name in ("b0", "b1", "b2", "b3", "b4", "b5", "nano")
}
CONFIGS |= {
    "one_class": SegFormerConfig(num_classes=1),
    "grey_image": SegFormerConfig(in_channels=1, num_classes=2),
    "twelve_channels": SegFormerConfig(in_channels=12, num_classes=7),
    "uneven_depths": SegFormerConfig(depths=(1, 3, 2, 1), num_classes=21),
    "narrow": SegFormerConfig(embed_dims=(6, 10, 14, 18), num_heads=(3, 2, 7, 1), num_classes=3),
    "many_heads": SegFormerConfig(num_heads=(8, 16, 20, 32), num_classes=11),
    "no_reduction": SegFormerConfig(reduction_ratios=(1, 1, 1, 1), num_classes=4),
    "odd_reduction": SegFormerConfig(reduction_ratios=(5, 3, 2, 2), num_classes=4),
    "falling_dims": SegFormerConfig(embed_dims=(64, 32, 40, 16), num_classes=5),
    "paper_mlp_ratios": SegFormerConfig(mlp_ratios=(8, 8, 4, 4), decoder_dim=48, num_classes=9),
    "other_patches": SegFormerConfig(patch_sizes=(5, 4, 2, 3), strides=(3, 2, 2, 1), num_classes=6),
}
for stages in (3, 5):
    CONFIGS[f"{stages}_stages"] = SegFormerConfig(
        num_classes=8,
        embed_dims=(16, 32, 48, 64, 80)[:stages],
        depths=(2, 1, 2, 1, 1)[:stages],
        num_heads=(1, 2, 3, 4, 5)[:stages],
        reduction_ratios=(4, 2, 2, 1, 1)[:stages],
        mlp_ratios=(4, 2, 3, 4, 1)[:stages],
        patch_sizes=(7, 3, 3, 3, 3)[:stages],
        strides=(4, 2, 2, 2, 2)[:stages],
        decoder_dim=32,
    )
LIGHT = [name for name in CONFIGS if name not in ("b2", "b3", "b4", "b5")]


@pytest.fixture(scope="module", params=CONFIGS)
def twins(request, randomized, device):
    """Ours and theirs, for every configuration."""
    return make_twins(CONFIGS[request.param], randomized, device)


@pytest.fixture(scope="module", params=LIGHT)
def light_twins(request, randomized, device):
    """Ours and theirs, for every configuration that is quick at full size or in float64."""
    return make_twins(CONFIGS[request.param], randomized, device)


def make_twins(config, randomized, device):
    """Our model and theirs with the same random weights, without dropout, in evaluation mode."""
    config = config.replace(block_norm_eps=1e-5, drop_path_rate=0.0, decoder_dropout=0.0)
    ours = randomized(SegFormer(config)).eval().to(device)
    return ours, make_theirs(ours).to(device)


def make_theirs(ours):
    """Their model with the shape and the weights of ours, in evaluation mode."""
    config = ours.config
    theirs = SegformerForSemanticSegmentation(
        TheirConfig(
            num_labels=config.num_classes,
            num_channels=config.in_channels,
            num_encoder_blocks=config.num_stages,
            hidden_sizes=config.embed_dims,
            depths=config.depths,
            num_attention_heads=config.num_heads,
            sr_ratios=config.reduction_ratios,
            mlp_ratios=config.mlp_ratios,
            patch_sizes=config.patch_sizes,
            strides=config.strides,
            decoder_hidden_size=config.decoder_dim,
            drop_path_rate=0.0,
            classifier_dropout_prob=0.0,
        )
    )
    theirs.load_state_dict({their_name(name): x for name, x in ours.state_dict().items()})
    return theirs.eval()


@pytest.fixture(scope="session", name="their_name")
def _their_name():
    return their_name


def their_name(name):
    """What transformers calls a parameter of ours."""
    for pattern, replacement in RENAME:
        name = re.sub(pattern, replacement, name)
    return name
