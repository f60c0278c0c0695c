"""The numbers that lesson 07 states: each function computes one from the package."""

import json
from statistics import mean, stdev

from experiments import decoder_heads
from notebooks.source.claims.shared import b0
from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import Cost, cost


def nano_parameters() -> str:
    return f"{_nano().parameters:,}"


def nano_decoder_parameters() -> str:
    return f"{_nano().decoder.parameters:,}"


def nano_tensors() -> str:
    return str(len(SegFormer(SegFormerConfig.named("nano")).state_dict()))


def probe_parameters() -> str:
    config = SegFormerConfig.named("nano")
    return f"{(sum(config.embed_dims) + 1) * config.num_classes:,}"


def short_fit() -> str:
    return str(decoder_heads.ITERATIONS[0])


def long_fit() -> str:
    return str(decoder_heads.ITERATIONS[1])


def linear_after_40() -> str:
    return _reached("linear", 40)


def relu_after_40() -> str:
    return _reached("with a ReLU", 40)


def linear_after_300() -> str:
    return _reached("linear", 300)


def relu_after_300() -> str:
    return _reached("with a ReLU", 300)


def _reached(head: str, iterations: int) -> str:
    """Of nano's mIoU, mean and standard deviation over what the experiment wrote."""
    rows = json.loads(decoder_heads.RESULTS.read_text(encoding="utf-8"))["runs"]
    shares = decoder_heads.shares(rows, head, iterations)
    return f"{mean(shares):.1f} ± {stdev(shares):.1f} %"


def twin_reach_1() -> str:
    config = SegFormerConfig.named("nano")
    convolutions = 2 * config.depths[0]  # of 3×3, each a token further to both sides
    return str(config.patch_sizes[0] + 2 * convolutions * config.strides[0])


def b0_stacked() -> str:
    config = SegFormerConfig.named("b0")
    return f"{config.num_stages * config.decoder_dim * 128**2 / 1e6:.1f}"


def b0_head_published() -> str:
    return f"{b0(512).decoder.reference_multiply_adds / 1e9:.2f}"


def b0_head_factor() -> str:
    head = b0(512).decoder
    return f"{head.reference_multiply_adds / head.multiply_adds:.1f}"


def _nano() -> Cost:
    return cost(SegFormerConfig.named("nano"), (128, 128))
