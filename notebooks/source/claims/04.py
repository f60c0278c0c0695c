"""The numbers that lesson 04 states: each function computes one from the package."""

from operator import mul

import torch

from segformer_edu import MixFFN, MixTransformer, SegFormer, SegFormerConfig
from segformer_edu.analysis.position import border_reach, encoder_maps, fit_probe, pad_with
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import Scenes


def stage_1_hidden() -> str:
    config = SegFormerConfig.named("b0")
    return str(config.mlp_ratios[0] * config.embed_dims[0])


def stage_3_channels() -> str:
    return str(SegFormerConfig.named("b0").embed_dims[2])


def depthwise_share_stage_4() -> str:
    counts = _mix_ffn_parameters(256)
    return f"{counts['depthwise'] / sum(counts.values()):.1%}"


def depthwise_parameters() -> str:
    return f"{_b0_depthwise():,}"


def depthwise_share() -> str:
    encoder = MixTransformer(SegFormerConfig.named("b0"))
    return f"{_b0_depthwise() / sum(weight.numel() for weight in encoder.parameters()):.1%}"


def b0_row_from_the_top() -> str:
    return str(_b0_knows_of_the_border()[0])


def b0_row_from_the_bottom() -> str:
    return str(_b0_knows_of_the_border()[1])


def columns_circular() -> str:
    return f"{_columns_read_with_circular_padding(2026):.2f}"


def columns_circular_range() -> str:
    others = [_columns_read_with_circular_padding(seed) for seed in (1, 2, 3, 4, 5)]
    return f"{min(others):.2f} to {max(others):.2f}"


def _columns_read_with_circular_padding(seed: int) -> float:
    """R² at the last stage of nano, on half of 64 scenes after fitting to the other half."""
    scenes = Scenes(64, 128, seed)
    pad_with(encoder := SegFormer.from_pretrained("nano").encoder, "circular")
    images = torch.cat([normalize(scenes.picture(index)[0]) for index in range(64)])
    last = encoder_maps(encoder, images)[-1]
    return fit_probe(last[:32]).score(last[32:])[1]


def _b0_knows_of_the_border() -> tuple[int, int]:
    """The pixel rows of the innermost tokens of an untrained B0's stage 4 that know of the top, and
    of the bottom; token i has its middle on pixel i · stride.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = MixTransformer(SegFormerConfig.named("b0")).double().eval()
    grey = torch.tensor([0.9, -0.4, 0.3]).double().view(1, 3, 1, 1).expand(1, 3, 512, 512)
    tokens = encoder_maps(encoder, grey.contiguous())[-1][0]
    stride = 512 // len(tokens)
    top, bottom = border_reach(tokens)
    return (top - 1) * stride, (len(tokens) - bottom) * stride


def _b0_depthwise() -> int:
    config = SegFormerConfig.named("b0")
    per_block = (_mix_ffn_parameters(dim)["depthwise"] for dim in config.embed_dims)
    return sum(map(mul, config.depths, per_block))


def _mix_ffn_parameters(dim: int) -> dict[str, int]:
    parts = MixFFN(dim, 4 * dim).named_children()
    return {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts}
