"""The numbers that lesson 06 states: each function computes one from the package."""

import math
from dataclasses import fields
from functools import cache
from itertools import product
from statistics import mean

import torch

from experiments import hierarchy
from notebooks.source.claims.shared import b0
from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import Cost, columns, cost, map_contents
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import scene
from segformer_edu.widgets.encoder import State as PyramidState


def flops_gap() -> str:
    """The widest of the gaps between the paper's Table 1 and ours; rounded up."""
    printed = {"b0": 8.4, "b1": 15.9, "b2": 62.4, "b3": 79.0, "b4": 95.7, "b5": 183.3}
    gaps = []
    for name, giga in printed.items():
        side = 640 if name == "b5" else 512
        bill = cost(SegFormerConfig.named(name), (side, side))
        gaps.append(abs(1 - 1e9 * giga / bill.reference_multiply_adds))
    return f"{math.ceil(1000 * max(gaps)) / 10:.1f} %"


def b0_encoder_work() -> str:
    return f"{b0(512).encoder_multiply_adds / 1e9:.2f}"


def one_channel_products() -> str:
    products = (
        cost(columns.column(4, 1, width=1), (512, 512)).stages[0].multiply_adds_of.attention_matmuls
    )
    return f"{products / 1e9:.1f}"


def b2_rates() -> str:
    *others, last = (f"{x:.2g}" for x in SegFormerConfig.named("b2").stages[1].drop_path_rates)
    return f"{', '.join(others)} and {last}"


def stage_4_side() -> str:
    return str(cost(SegFormerConfig.named("nano"), (256, 256)).stages[-1].size[0])


def trial_steps() -> str:
    return str(hierarchy.STEPS)


def column_factor() -> str:
    """What section 8's column costs over its pyramid, at 1024×1024."""
    return _column_over_pyramid(4, (4, 2, 1, 1))


def column_factor_at_8() -> str:
    return _column_over_pyramid(8, (8, 4, 2, 1))


def column_factor_at_16() -> str:
    return _column_over_pyramid(16, (16, 8, 4, 2))


def column_alone_at_8() -> str:
    return _column_over_pyramid(8, (4, 2, 1, 1))


def strongly_penalised() -> str:
    """Stage 4 far from borders, over the lesson's draws, with a penalty of 1e-3."""
    return f"{_stage_4(1e-3)[0]:.0f}"


def strongly_penalised_near() -> str:
    return f"{_stage_4(1e-3)[1]:.0f}"


@cache
def _stage_4(strength: float) -> tuple[float, float]:
    """What stage 4 alone reaches far from borders and near them, over the lesson's draws."""
    encoder = SegFormer.from_pretrained("nano").encoder
    trials = [map_contents.rightly_labelled(encoder, seed, strength) for seed in range(606, 612)]
    far, near = zip(*(trial["stage 4"] for trial in trials), strict=True)
    return mean(far), mean(near)


def b2_maps() -> str:
    return f"{_of('b2').peak_activation_bytes / 1e6:.0f}"


def b2_weights() -> str:
    return f"{4 * _of('b2').parameters / 1e6:.0f}"


def b4_weights() -> str:
    return f"{4 * _of('b4').parameters / 1e6:.0f}"


def nano_growth() -> str:
    """By what factor the last stage's blocks spread x, on the scene that the lesson shows."""
    x = normalize(scene(6, 256, index=3)[0])
    with torch.no_grad():
        for stage in SegFormer.from_pretrained("nano").encoder.stages:
            begun = stage.patch_embedding(x)
            ended = begun
            for block in stage.blocks:
                ended = block(ended)
            x = stage.norm(ended).permute(0, 3, 1, 2)
    return f"{ended.std() / begun.std():.0f}"


def column_keys() -> str:
    return str(cost(columns.column(8, 4, width=1), (512, 512)).stages[0].keys)


def joined_channels() -> str:
    return f"{4 * SegFormerConfig.named('b0').decoder_dim:,}"


def decoder_channels() -> str:
    return str(SegFormerConfig.named("b0").decoder_dim)


def decoder_parameters_share() -> str:
    return f"{b0(512).decoder.parameters / b0(512).parameters:.0%}"


def decoder_work_share() -> str:
    bill = b0(512)
    return f"{bill.decoder.reference_multiply_adds / bill.reference_multiply_adds:.0%}"


def play_blocks() -> str:
    return str(sum(_deepest_within_b1().depths))


def play_width() -> str:
    return str(_deepest_within_b1().embed_dims[-1])


def b1_last_channels() -> str:
    return str(SegFormerConfig.named("b1").embed_dims[-1])


def _of(name: str) -> Cost:
    return cost(SegFormerConfig.named(name), (512, 512))


def _column_over_pyramid(r: int, ratios: tuple[int, ...]) -> str:
    pyramid = columns.PYRAMID.replace(reduction_ratios=ratios)
    fine = columns.FINE_COLUMN.replace(reduction_ratios=(r,))
    dear, cheap = (cost(each, (1024, 1024)).multiply_adds for each in (fine, pyramid))
    return f"{dear / cheap:.1f}"


def _deepest_within_b1() -> SegFormerConfig:
    """What lesson 06's task asks for; heads cost nothing, so one in each stage stands for any."""
    b1 = cost(SegFormerConfig.named("b1"), (512, 512))
    values = {field.name: field.metadata["values"] for field in fields(PyramidState)}
    fitting = []
    for dims, depths in product(values["embed_dims"], values["depths"]):
        config = SegFormerConfig(embed_dims=dims, depths=depths, num_heads=(1, 1, 1, 1))
        bill = cost(config, (512, 512))
        dearer = bill.reference_multiply_adds > b1.reference_multiply_adds
        if bill.parameters <= b1.parameters and not dearer:
            fitting.append(config)
    return max(fitting, key=lambda config: sum(config.depths))
