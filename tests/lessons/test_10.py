"""Lesson 10: what it says, except for how long anything takes, holds on other inputs, too."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.__main__ import HERE
from benchmarks.contenders import COMPILED, OURS_OV, OV
from experiments.decoder_heads import scenes
from segformer_edu import AllMLPDecoder, SegFormer, SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.analysis.memory import peak_bytes
from segformer_edu.data.scenes import CLASSES
from segformer_edu.exercises import lesson10
from segformer_edu.layers import Linear, PointwiseConv2d, linear
from segformer_edu.training import confusion_matrix, scores
from tests.lessons.written import written_out
from tools.prose import load_claims

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/10_fast_segformer.py"
DIMS, SIZES = (6, 10, 14, 18), [(17, 25), (9, 13), (5, 7), (3, 4)]
CHANNELS_LAST = torch.channels_last


@pytest.fixture(scope="module")
def lesson():
    fast = {"Linear": Linear, "PointwiseConv2d": PointwiseConv2d, "linear": linear}
    return written_out(SOURCE, torch=torch, nn=nn, F=F, copy=copy, **fast)


@pytest.fixture(scope="module")
def nano():
    return SegFormer.from_pretrained("nano")


def maps_of(batch=2):
    return [
        torch.randn(batch, *size, dim).permute(0, 3, 1, 2)
        for dim, size in zip(DIMS, SIZES, strict=True)
    ]


@torch.no_grad()
@pytest.mark.parametrize("name", ["PublishedDecoder", "SlowDecoder"])
def test_the_decoders_of_the_lesson_give_the_packages_logits(lesson, randomized, name):
    written = randomized(lesson[name](DIMS, 12, 5)).eval()
    final = AllMLPDecoder(DIMS, 12, 5).eval()
    final.load_state_dict(written.state_dict())
    maps = maps_of()
    torch.testing.assert_close(written(maps), final(maps), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_mistake_leaves_resized_maps_in_another_layout(lesson):
    """And without the word, the maps stay channels last."""
    layouts = {}
    for name in ("PublishedDecoder", "SlowDecoder"):
        decoder = lesson[name](DIMS, 12, 5).eval()

        def seen(x, name=name, run=decoder.fused):
            layouts[name] = x.is_contiguous(memory_format=CHANNELS_LAST)
            return run(x)

        decoder.fused = seen
        decoder(maps_of())
    assert layouts == {"PublishedDecoder": True, "SlowDecoder": False}
    source = SOURCE.read_text(encoding="utf-8")
    assert source.count(".transpose(1, 2).contiguous()") == 1
    fixed = torch.randn(2, 20, 12).transpose(1, 2).unflatten(2, (4, 5))
    assert fixed.is_contiguous(memory_format=CHANNELS_LAST)


def test_stage_4_has_most_parameters_and_does_least_and_the_decoder_does_most():
    bill = cost(SegFormerConfig.named("b0", num_classes=150), (512, 512))
    stages = bill.stages
    assert stages[3].parameters > 0.5 * bill.parameters
    assert stages[3].multiply_adds == min(stage.multiply_adds for stage in stages)
    assert bill.decoder.parameters < bill.parameters / 8
    assert bill.decoder.reference_multiply_adds > bill.encoder_multiply_adds


@torch.no_grad()
def test_a_linear_changes_places_with_a_crop_a_shift_and_a_mean():
    x, weight = torch.randn(2, 3, 6, 6), torch.randn(5, 3, 1, 1)
    for move in (
        lambda x: x[:, :, 1:4, 2:],
        lambda x: x.roll(2, dims=3),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.interpolate(x, (9, 13), mode="bilinear"),
    ):
        torch.testing.assert_close(F.conv2d(move(x), weight), move(F.conv2d(x, weight)))


@torch.no_grad()
def test_strips_of_16_rows_need_a_quarter_of_the_memory_and_shorter_ones_more_again(lesson):
    mix_ffn = SegFormer(SegFormerConfig()).eval().encoder.stages[0].blocks[0].mix_ffn
    lesson |= {"mix_ffn": mix_ffn, "tokens": torch.randn(1, 128, 128, 32)}
    mixed = lesson["mixed"]
    for rows in (2, 16, 48):
        torch.testing.assert_close(mixed(rows), mix_ffn.mix(lesson["tokens"]))
    peaks = {rows: peak_bytes(mixed, rows) for rows in (2, 4, 8, 16, 32, 64, 128)}
    assert min(peaks, key=peaks.get) == 16
    assert 0.15 < peaks[16] / peaks[128] < 0.3
    assert peaks[2] > peaks[4] > peaks[8] > peaks[16] < peaks[32] < peaks[64] < peaks[128]


@torch.no_grad()
def test_plain_attention_stores_the_scores_twice_and_the_fused_kernel_never(lesson):
    q, k, v = torch.randn(1, 2, 400, 8), *torch.randn(2, 1, 2, 50, 8)
    fused = F.scaled_dot_product_attention
    torch.testing.assert_close(lesson["explicit"](q, k, v), fused(q, k, v))
    one_matrix = 4 * 2 * 400 * 50
    assert 2 * one_matrix <= peak_bytes(lesson["explicit"], q, k, v) < 3 * one_matrix
    assert peak_bytes(fused, q, k, v) < one_matrix


@torch.no_grad()
@pytest.mark.parametrize("draw", [4242, 901])
def test_what_rounding_the_weights_costs(lesson, nano, draw):
    images, labels = scenes(24, draw)

    def miou(bits, rows):
        model = copy.deepcopy(nano)
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(lesson["rounded"](weight, bits, rows))
        return scores(confusion_matrix(model.predict(images), labels, len(CLASSES))).miou

    whole = scores(confusion_matrix(nano.predict(images), labels, len(CLASSES))).miou
    assert abs(miou(8, True) - whole) < 0.005 and abs(miou(8, False) - whole) < 0.005
    assert whole - 0.02 < miou(4, True) and miou(4, False) < whole
    assert miou(2, False) < miou(2, True) < miou(3, False) < miou(3, True) < whole - 0.01


@torch.no_grad()
def test_bfloat16_moves_the_logits_by_about_a_hundredth_of_their_spread():
    for seed in range(3):
        torch.manual_seed(seed)
        model = SegFormer(SegFormerConfig.named("b0", num_classes=150)).eval()
        images = torch.randn(1, 3, 64, 64)
        wide = model(images)
        narrow = copy.deepcopy(model).bfloat16()(images.bfloat16()).float()
        assert 0.005 < (wide - narrow).abs().mean() / wide.std() < 0.015


@torch.no_grad()
@pytest.mark.parametrize(("batch", "copies"), [(2, [8]), (1, [])])
def test_the_line_of_exercise_3_copies_and_none_but_it(batch, copies):
    """And for one picture it does not, as its takeaway says."""
    depthwise = nn.Conv2d(64, 64, 3, padding=1, groups=64)
    text = SOURCE.read_text(encoding="utf-8")
    block = text[text.index("# y = x.permute(0, 3, 1, 2)") : text.index("# y = y.mean(dim=1)")]
    lines = [line.removeprefix("# ").partition("#")[0].strip() for line in block.splitlines()]
    names = {"x": torch.randn(batch, 32, 32, 64), "depthwise": depthwise}
    names["y"], found = names["x"], []
    for number, line in enumerate(filter(None, lines), start=1):
        before = names["y"].untyped_storage().data_ptr()
        exec(line, names)
        if names["y"].untyped_storage().data_ptr() != before and "depthwise" not in line:
            found.append(number)
    assert number == 8 and found == copies
    assert names["y"].shape == (4 * batch, 1024, 16)


def test_the_encoders_cost_is_a_part_with_n_and_one_with_n_squared():
    for name in ("b0", "b2", "b5"):
        config = SegFormerConfig.named(name)
        costs = [cost(config, (side, side)).encoder_multiply_adds for side in (256, 512, 1024)]
        assert lesson10.cost_at_1024(*costs[:2]) == pytest.approx(costs[2], rel=1e-12)
        assert 4 * costs[1] < costs[2] < 16 * costs[1]


@torch.no_grad()
def test_a_norm_in_front_of_a_padded_convolution_cannot_be_folded_at_the_border():
    norm, convolution = nn.BatchNorm2d(3).eval(), nn.Conv2d(3, 4, 3, padding=1)
    norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    constant = norm.bias - norm.running_mean * factor
    weight = convolution.weight * factor[:, None, None]
    bias = convolution.bias + convolution.weight.sum((2, 3)) @ constant
    x = torch.randn(1, 3, 8, 8)
    folded, right = F.conv2d(x, weight, bias, padding=1), convolution(norm(x))
    torch.testing.assert_close(folded[..., 1:-1, 1:-1], right[..., 1:-1, 1:-1])
    assert (folded - right).abs()[..., 0, :].max() > 0.01


def test_the_benchmarks_table_has_a_row_for_every_contender():
    claims = load_claims(SOURCE.parent / "claims", "10")
    rows = claims["forward_table"]().splitlines()
    assert len(rows) > 4 and all(row.count("|") == 4 for row in rows)
    assert float(claims["transformers_times"]()) > 2
    assert float(claims["compiled_theirs"]()) > 1.5
    order = [float(claims[name]().replace(",", "")) for name in ("quiet", "yielding", "spinning")]
    assert order == sorted(order)


def test_openvino_is_faster_at_two_sizes_and_compiling_makes_the_package_slower():
    """As section 9 says of the benchmark."""
    rows = json.loads((HERE / "results.json").read_text(encoding="utf-8"))["results"]
    scene = {"task": "forward", "model": "b0", "batch": 1, "dtype": "float32"}
    ratio = {
        (row["size"], row["contender"]): row["ratio"]
        for row in rows
        if all(row[name] == value for name, value in scene.items())
    }
    for size in (256, 1024):
        assert ratio[size, OV] < 1 and ratio[size, OURS_OV] < 1
    assert ratio[512, COMPILED] > 1
