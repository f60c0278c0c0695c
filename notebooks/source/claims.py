"""The numbers that the lessons' prose states: each function computes one from the package."""

import json
import math
from dataclasses import fields, replace
from functools import cache
from itertools import accumulate, product
from operator import mul
from statistics import mean, stdev

import numpy as np
import torch

from experiments import decoder_heads, hierarchy
from experiments import training as minute
from experiments.stochastic_depth import HERE as EXPERIMENTS
from experiments.stochastic_depth import digits
from segformer_edu import (
    MixFFN,
    MixTransformer,
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
    drop_rates,
)
from segformer_edu.analysis import Cost, StageCost, cost
from segformer_edu.analysis.patches import PatchRow
from segformer_edu.analysis.position import deviation, encoder_maps
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES, Scenes, scene
from segformer_edu.training import Settings
from segformer_edu.training.pictures import VALIDATION_SEED
from segformer_edu.widgets import AttentionBill
from segformer_edu.widgets.attention_bill import SIDES
from segformer_edu.widgets.encoder import State as PyramidState
from segformer_edu.widgets.stochastic_depth import RATES
from segformer_edu.widgets.training_run import SHOWN, found_at, saved, unseen
from segformer_edu.widgets.training_run import STEPS as RUN_STEPS

# Lesson 00


def _b0_parameters() -> int:
    model = SegFormer(SegFormerConfig.named("b0"))
    return sum(weight.numel() for weight in model.parameters())


def b0_millions() -> str:
    return f"{_b0_parameters() / 1e6:.2f}"


def b0_megabytes() -> str:
    return f"{4 * _b0_parameters() / 1e6:.0f}"  # float32


def b0_classes() -> str:
    return str(SegFormerConfig.named("b0").num_classes)


def b0_last_channels() -> str:
    return str(SegFormerConfig.named("b0").embed_dims[-1])


# Lesson 01


def vit_tokens() -> str:
    return f"{PatchRow(512, 16, 16, 0).count ** 2:,}"


def vit_values() -> str:
    return str(_values(16))


def values_4() -> str:
    return str(_values(4))


def values_7() -> str:
    return str(_values(7))


def parameters_4() -> str:
    return f"{_projection_parameters(4):,}"


def parameters_7() -> str:
    return f"{_projection_parameters(7):,}"


def overlap_factor() -> str:
    return f"{_values(7) / _values(4):.2f}"


def seen_by_32() -> str:
    rows, columns = ((PatchRow(side, 32, 32, 0).coverage > 0).mean() for side in (500, 300))
    return f"{rows * columns:.1%}"


def stage_1_tokens() -> str:
    return f"{PatchRow(512, 7, 4, 3).count ** 2:,}"


def _values(patch_size: int) -> int:
    return 3 * patch_size**2


def _projection_parameters(patch_size: int) -> int:
    projection = OverlapPatchEmbedding(3, 32, patch_size, 4).projection
    return sum(weight.numel() for weight in projection.parameters())


# Lesson 02


def attention_entries_stage1() -> str:
    return f"{_unreduced_stage_1(512, stride=4).attention_entries_per_block:,}"


def attention_pixels_512() -> str:
    return f"{_unreduced_stage_1(512, stride=1).tokens:,}"


def attention_entries_512_pixels() -> str:
    return f"{_unreduced_stage_1(512, stride=1).attention_entries_per_block:,}"


def attention_entries_1024_pixels() -> str:
    return f"{_unreduced_stage_1(1024, stride=1).attention_entries_per_block:,}"


def attention_matrix_over_linears() -> str:
    parts = _unreduced_stage_1(512, stride=4).multiply_adds_of
    return f"{parts.attention_matmuls / parts.projections:.0f}"


def attention_mib_64() -> str:
    return f"{4 * _unreduced_stage_1(256, stride=4).attention_entries_per_block / 2**20:.0f}"


def bill_nominal_memory() -> str:
    return str(AttentionBill.first.memory)


def bill_largest_side() -> str:
    states = [replace(AttentionBill.first, side=side) for side in SIDES]
    return str(max(each.side for each in states if 2 * each.matrix_bytes < each.memory_bytes))


def _unreduced_stage_1(side: int, stride: int) -> StageCost:
    """Stage 1 of B0 in which every token asks every other."""
    config = SegFormerConfig(strides=(stride, 2, 2, 2), reduction_ratios=(1, 1, 1, 1))
    return cost(config, (side, side)).stages[0]


# Lesson 03


def keys_per_stage() -> str:
    (keys,) = {stage.keys for stage in _b0(512).stages}
    return str(keys)


def stride_times_r() -> str:
    config = SegFormerConfig.named("b0")
    strides = accumulate(config.strides, mul)
    (pixels,) = {s * r for s, r in zip(strides, config.reduction_ratios, strict=True)}
    return str(pixels)


def reduction_over_linears() -> str:
    attention = SpatialReductionAttention(32, 1, 8)
    reduction = sum(weight.numel() for weight in attention.reduce.projection.parameters())
    linears = sum(weight.numel() for weight in SpatialReductionAttention(32, 1, 1).parameters())
    return f"{reduction / linears:.0f}"


def reduction_parameters() -> str:
    full = cost(SegFormerConfig(reduction_ratios=(1, 1, 1, 1)), (512, 512))
    return f"{(_b0(512).parameters - full.parameters) / 1e6:.2f}"


def stage_1_full_over_r4() -> str:
    reduced = cost(SegFormerConfig(reduction_ratios=(4, 4, 2, 1)), (512, 512)).stages[0]
    return f"{_unreduced_stage_1(512, stride=4).multiply_adds / reduced.multiply_adds:.0f}"


def saved_in_stage_1() -> str:
    full, reduced = _unreduced(512, 512), _b0(512)
    saved = full.stages[0].multiply_adds - reduced.stages[0].multiply_adds
    return f"{saved / (full.encoder_multiply_adds - reduced.encoder_multiply_adds):.0%}"


def encoder_factor() -> str:
    return f"{_unreduced(512, 512).encoder_multiply_adds / _b0(512).encoder_multiply_adds:.0f}"


def layer_factor() -> str:
    full, reduced = (bill.stages[0].multiply_adds_of for bill in (_unreduced(512, 512), _b0(512)))
    whole, part = (
        each.projections + each.reduction + each.attention_matmuls for each in (full, reduced)
    )
    return f"{whole / part:.0f}"


def stored_full() -> str:
    return f"{4 * _unreduced(512, 512).stages[0].attention_entries_per_block / 2**20:,.0f}"


def stored_reduced() -> str:
    return f"{4 * _b0(512).stages[0].attention_entries_per_block / 2**20:,.0f}"


def window_numbers() -> str:
    return f"{_window()[1]:,}"


def blind_directions() -> str:
    key, window = _window()
    return f"{window - key:,}"


def seen_31() -> str:
    return f"{_b0(124).stages[0].share_of_tokens_seen:.1%}"


def smallest_side() -> str:
    return str(SegFormerConfig.named("b0").min_image_size)


def task_keys() -> str:
    (keys,) = {stage.keys for stage in cost(SegFormerConfig.named("b0"), (384, 512)).stages}
    return str(keys)


def task_padded_keys() -> str:
    (keys,) = {stage.keys for stage in cost(SegFormerConfig.named("b0"), (512, 320)).stages}
    return str(keys)


def task_factor() -> str:
    published = cost(SegFormerConfig.named("b0"), (500, 300))
    return f"{_unreduced(500, 300).encoder_multiply_adds / published.encoder_multiply_adds:.1f}"


def task_padded() -> str:
    padded = cost(SegFormerConfig.named("b0"), (512, 320))
    return f"{padded.encoder_multiply_adds / _unreduced(500, 300).encoder_multiply_adds:.0%}"


def _b0(side: int) -> Cost:
    return cost(SegFormerConfig.named("b0"), (side, side))


def _unreduced(height: int, width: int) -> Cost:
    """B0 in which every token asks every other, in all stages."""
    return cost(SegFormerConfig(reduction_ratios=(1, 1, 1, 1)), (height, width))


def _window() -> torch.Size:
    """Numbers in a key of B0's stage 1, and in the window that it is made from."""
    return SpatialReductionAttention(32, 1, 8).reduce.projection.weight.flatten(1).shape


# Lesson 05


def first_block_missing() -> str:
    return f"{1 / drop_rates(0.5, 18, 'paper')[0]:.0f}"


def expected_54() -> str:
    return f"{54 - sum(drop_rates(0.5, 54, 'paper')):.2f}"


def networks_54() -> str:
    exponent = math.floor(math.log10(2**54))
    return f"about {2**54 / 10**exponent:.1f}·10{str(exponent).translate(_SUPERSCRIPT)}"


def loss_factor() -> str:
    """Of the means that the picture shows, at the last epoch."""
    return f"{_last('losses'):.0f}"


def gradient_factor() -> str:
    return f"{_last('gradients'):.0f}"


def loss_factors() -> str:
    return _range_of_last("losses")


def gradient_factors() -> str:
    return _range_of_last("gradients")


def constant_error() -> str:
    return _spread("constant depth", "error")


def stochastic_error() -> str:
    return _spread("stochastic depth", "error")


def error_difference() -> str:
    stochastic, constant = (mean(_measured(f"{kind} depth", "error")) for kind in _KINDS)
    return f"{stochastic - constant:.2f}"


def error_difference_images() -> str:
    return f"{float(error_difference()) / 100 * len(digits()[2]):.0f}"


def digits_tested() -> str:
    return str(len(digits()[2]))


def blocks_computed() -> str:
    return f"{1 - mean(drop_rates(0.5, 18, 'paper')):.0%}"


def without_p_l_factor() -> str:
    without, right = (
        mean(_measured("stochastic depth", e)) for e in ("error without p_l", "error")
    )
    return f"{without / right:.1f}"


def b0_complete() -> str:
    kept = math.prod((1 - rate) ** 2 for rate in drop_rates(0.1, 8))  # two branches a block
    return f"{kept:.0%}"


def layerdrop_cost() -> str:
    dropped, plain = (mean(_measured(name, "error")) for name in ("LayerDrop", "nothing dropped"))
    return f"{dropped - plain:.1f}"


def unpractised_factor() -> str:
    """How much the error grows when 3 of 6 blocks go, after training with nothing dropped."""
    after = _measured("nothing dropped", "errors after cuts").mean(axis=0)
    return f"{after[3] / after[0]:.0f}"


def drop_path_mean() -> str:
    return f"{mean(drop_rates(0.5, 6)):.2f}"


def task_paper() -> str:
    return _least_rate("paper")


def task_linspace() -> str:
    return _least_rate("linspace")


_KINDS = "stochastic", "constant"
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@cache
def _results() -> list[dict]:
    return json.loads((EXPERIMENTS / "stochastic_depth.json").read_text(encoding="utf-8"))["runs"]


def _measured(network: str, what: str) -> np.ndarray:
    return np.array([run[what] for run in _results() if run["network"] == network])


def _spread(network: str, what: str) -> str:
    values = _measured(network, what).tolist()
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def _last(what: str) -> float:
    """Stochastic over constant depth in the last epoch, geometric means over the seeds."""
    stochastic, constant = (np.log(_measured(f"{kind} depth", what)[:, -1]) for kind in _KINDS)
    return math.exp(stochastic.mean() - constant.mean())


def _range_of_last(what: str) -> str:
    """Stochastic over constant depth in the last epoch, seed by seed: the least and the most."""
    stochastic, constant = (_measured(f"{kind} depth", what)[:, -1] for kind in _KINDS)
    ratios = stochastic / constant
    return f"{ratios.min():.0f} to {ratios.max():.0f}"


def _least_rate(rule: str) -> str:
    return str(min(r for r in RATES if mean(drop_rates(r, 4, rule)) >= 0.25 - 1e-9))


# Lesson 04


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


def b0_pixels_from_the_top() -> str:
    return str(_b0_knows_of_the_border()[0])


def b0_pixels_from_the_bottom() -> str:
    return str(_b0_knows_of_the_border()[1])


def _b0_knows_of_the_border() -> tuple[int, int]:
    """How many pixels from the top, and from the bottom, stage 4 of an untrained B0 knows of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = MixTransformer(SegFormerConfig.named("b0")).double().eval()
    grey = torch.tensor([0.9, -0.4, 0.3]).double().view(1, 3, 1, 1).expand(1, 3, 512, 512)
    tokens = encoder_maps(encoder, grey.contiguous())[-1][0]
    differs = deviation(tokens)[:, len(tokens) // 2] > 0
    step = 512 // len(tokens)
    return step * int(differs.argmin()), step * int(differs[::-1].argmin())


def _b0_depthwise() -> int:
    config = SegFormerConfig.named("b0")
    per_block = (_mix_ffn_parameters(dim)["depthwise"] for dim in config.embed_dims)
    return sum(map(mul, config.depths, per_block))


def _mix_ffn_parameters(dim: int) -> dict[str, int]:
    parts = MixFFN(dim, 4 * dim).named_children()
    return {name: sum(weight.numel() for weight in part.parameters()) for name, part in parts}


# Lesson 07


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
    return f"{_b0(512).decoder.reference_multiply_adds / 1e9:.2f}"


def b0_head_factor() -> str:
    head = _b0(512).decoder
    return f"{head.reference_multiply_adds / head.multiply_adds:.1f}"


def _nano() -> Cost:
    return cost(SegFormerConfig.named("nano"), (128, 128))


# Lesson 06


def flops_gap() -> str:
    """The widest of the gaps between the paper's Table 1 and ours; rounded up."""
    printed = {"b0": 8.4, "b1": 15.9, "b2": 62.4, "b3": 79.0, "b4": 95.7, "b5": 183.3}
    gaps = []
    for name, giga in printed.items():
        side = 640 if name == "b5" else 512
        bill = cost(SegFormerConfig.named(name), (side, side))
        gaps.append(abs(1 - 1e9 * giga / bill.reference_multiply_adds))
    return f"{math.ceil(1000 * max(gaps)) / 10:.1f} %"


def one_channel_products() -> str:
    column = SegFormerConfig(
        embed_dims=(1,),
        depths=(8,),
        num_heads=(1,),
        reduction_ratios=(1,),
        mlp_ratios=(4,),
        patch_sizes=(7,),
        strides=(4,),
    )
    products = cost(column, (512, 512)).stages[0].multiply_adds_of.attention_matmuls
    return f"{products / 1e9:.1f}"


def stage_4_side() -> str:
    return str(cost(SegFormerConfig.named("nano"), (256, 256)).stages[-1].size[0])


def trial_steps() -> str:
    return str(hierarchy.STEPS)


def column_factor() -> str:
    """What section 8's column costs over its pyramid, at 1024×1024."""
    pyramid = SegFormerConfig.named("nano", depths=(1, 1, 1, 1))
    column = SegFormerConfig(
        num_classes=8,
        embed_dims=(18,),
        depths=(4,),
        num_heads=(1,),
        reduction_ratios=(4,),
        mlp_ratios=(4,),
        patch_sizes=(7,),
        strides=(4,),
        decoder_dim=64,
    )
    dear, cheap = (cost(each, (1024, 1024)).multiply_adds for each in (column, pyramid))
    return f"{dear / cheap:.1f}"


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


def decoder_parameters_share() -> str:
    return f"{_b0(512).decoder.parameters / _b0(512).parameters:.0%}"


def decoder_work_share() -> str:
    bill = _b0(512)
    return f"{bill.decoder.reference_multiply_adds / bill.reference_multiply_adds:.0%}"


def play_blocks() -> str:
    return str(sum(_deepest_within_b1().depths))


def play_width() -> str:
    return str(_deepest_within_b1().embed_dims[-1])


def b1_last_channels() -> str:
    return str(SegFormerConfig.named("b1").embed_dims[-1])


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


# Lesson 08


def unseen_scenes() -> str:
    return str(Settings().validation)


def tensors() -> str:
    return str(len(list(SegFormer(minute.CONFIG).parameters())))


def minute_steps() -> str:
    return f"{minute.STEPS:,}"


def few_steps() -> str:
    return str(minute.FEW_STEPS)


def grid_pictures() -> str:
    return f"{minute.SEEN:,}"


def seed_spread() -> str:
    found = [row["miou"] for row in _minutes("seeds")]
    return f"{max(found) - min(found):.3f}"


def blind_accuracy() -> str:
    labels = np.stack([Scenes(200, 96, seed=VALIDATION_SEED).picture(i)[1] for i in range(200)])
    blind = np.isin(labels, [CLASSES.index("person"), CLASSES.index("pole")])
    return f"{1 - blind.mean():.0%}"


def sgd_over_adam() -> str:
    rows = [row for row in _minutes("optimizers") if row["optimizer"] == "SGD"]
    return f"{max(rows, key=lambda row: row['miou'])['learning rate'] / minute.LEARNING_RATE:.0f}"


def warmup_gains() -> str:
    rows = [row for row in _minutes("optimizers") if row["optimizer"] == "AdamW"]
    found = {(row["seed"], row["warm-up"] > 0): row["miou"] for row in rows}
    seeds = sorted({seed for seed, _ in found})
    return " and ".join(f"{found[seed, True] - found[seed, False]:.3f}" for seed in seeds)


def ten_steps() -> str:
    return f"{_minutes('ten')[0]['steps']:,}"


def ten_miou() -> str:
    return f"{_minutes('ten')[0]['miou']:.2f}"


def ten_minutes() -> str:
    return f"{_minutes('ten')[0]['seconds'] / 60:.0f}"


def three_fifths_step() -> str:
    return str(next(step for step in RUN_STEPS if found_at(step).pixel_accuracy > 0.595))


def hardly_known() -> str:
    iou = found_at(int(three_fifths_step())).iou
    return " and ".join(f"{name}s" for name, each in zip(CLASSES, iou, strict=True) if each < 0.1)


def worst_scene() -> str:
    return str(1 + min(SHOWN, key=_right_at_the_end))


def _right_at_the_end(number: int) -> float:
    return float((saved().predictions[number, -1] == unseen(number)[1]).mean())


def _minutes(part: str) -> list[dict]:
    return json.loads((EXPERIMENTS / "training.json").read_text(encoding="utf-8"))[part]["rows"]
