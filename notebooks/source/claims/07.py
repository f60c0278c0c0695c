"""The numbers that lesson 07 states: each function computes one from the package."""

import json
from statistics import mean, stdev

import torch
from torch import nn
from torch.nn import functional as F

from experiments import decoder_heads
from notebooks.source.claims.shared import b0
from segformer_edu import MixTransformer, SegFormer, SegFormerConfig
from segformer_edu.analysis import Cost, cost
from segformer_edu.analysis.heads import fit, linear_head, side_by_side
from segformer_edu.training import confusion_matrix, scores


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


def few_scenes() -> str:
    return str(decoder_heads.FITTED_TO[0])


def more_scenes() -> str:
    return str(decoder_heads.FITTED_TO[1])


def linear_few_short() -> str:
    return _reached(0, "linear", 0)


def relu_few_short() -> str:
    return _reached(0, "with a ReLU", 0)


def linear_few_long() -> str:
    return _reached(0, "linear", 1)


def relu_few_long() -> str:
    return _reached(0, "with a ReLU", 1)


def linear_more_short() -> str:
    return _reached(1, "linear", 0)


def relu_more_short() -> str:
    return _reached(1, "with a ReLU", 0)


def linear_more_long() -> str:
    return _reached(1, "linear", 1)


def relu_more_long() -> str:
    return _reached(1, "with a ReLU", 1)


def _reached(scenes: int, head: str, length: int) -> str:
    """Of nano's mIoU, mean and standard deviation over what the experiment wrote.

    Args:
        scenes, length: which of the experiment's choices, 0 or 1.
        head: as the experiment calls it.
    """
    rows = json.loads(decoder_heads.RESULTS.read_text(encoding="utf-8"))["runs"]
    shares = decoder_heads.shares(
        rows, decoder_heads.FITTED_TO[scenes], head, decoder_heads.ITERATIONS[length]
    )
    return f"{mean(shares):.1f} ± {stdev(shares):.1f} %"


def linear_on_untrained() -> str:
    return _linear_on_untrained(factor=1)


def linear_on_larger() -> str:
    return _linear_on_untrained(factor=5)


@torch.no_grad()
def _linear_on_untrained(factor: float) -> str:
    """The mIoU of the lesson's linear head where the encoder has random weights.

    Args:
        factor: by which the weights of its Linears are larger than the package draws them.
    """
    torch.manual_seed(0)
    encoder = MixTransformer(SegFormerConfig.named("nano")).eval()
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            layer.weight *= factor
    images, labels = decoder_heads.scenes(24, 707)
    others, truth = decoder_heads.scenes(32, 709)
    inputs = side_by_side(encoder(others))
    head = linear_head(inputs.shape[1], 8)
    fit(head, inputs, truth.long())
    logits = head(side_by_side(encoder(images)))
    predicted = F.interpolate(logits, images.shape[2:], mode="bilinear").argmax(1)
    return f"{scores(confusion_matrix(predicted, labels, 8)).miou:.2f}"


def twin_reach_1() -> str:
    config = SegFormerConfig.named("nano")
    convolutions = 2 * config.depths[0]  # of 3×3, each a token further to both sides
    return str(config.patch_sizes[0] + 2 * convolutions * config.strides[0])


def b0_stacked() -> str:
    config = SegFormerConfig.named("b0")
    return f"{config.num_stages * config.decoder_dim * 128**2 / 1e6:.1f}"


def b0_head_factor() -> str:
    head = b0(512).decoder
    return f"{head.reference_multiply_adds / head.multiply_adds:.1f}"


def b0_compose_share() -> str:
    head = b0(512).decoder
    return f"{1 - head.folded_multiply_adds / head.multiply_adds:.0%}"


def norm_in_batch() -> str:
    return _with_norm_in_training(batch=24)


def norm_one_by_one() -> str:
    return _with_norm_in_training(batch=1)


@torch.no_grad()
def _with_norm_in_training(batch: int) -> str:
    """nano's mIoU on the lesson's scenes, where the norm takes the statistics of each batch."""
    nano = SegFormer.from_pretrained("nano")
    nano.decoder.norm.train()
    images, labels = decoder_heads.scenes(24, 707)
    logits = torch.cat([nano(part) for part in images.split(batch)])
    predicted = F.interpolate(logits, images.shape[2:], mode="bilinear").argmax(1)
    return f"{scores(confusion_matrix(predicted, labels, 8)).miou:.2f}"


def _nano() -> Cost:
    return cost(SegFormerConfig.named("nano"), (128, 128))
