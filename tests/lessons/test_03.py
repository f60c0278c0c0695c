"""Lesson 03: its class agrees with the package's, and what it says of fewer keys holds."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu import (
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
)
from segformer_edu.analysis import attention_maps, cost
from segformer_edu.analysis.attention_maps import attentions_of
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.attention import SpatialReduction
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import Scenes
from segformer_edu.training.every_ratio import RATIOS
from tests.lessons.written import written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/03_spatial_reduction.py"
EXPERIMENTS = SOURCE.parents[2] / "experiments"
B0 = SegFormerConfig.named("b0")
NANO = SegFormer.from_pretrained("nano").config


@pytest.fixture(scope="module")
def lesson():
    names = {"math": math, "torch": torch, "nn": nn, "F": F, "SpatialReduction": SpatialReduction}
    names["generator"] = torch.Generator().manual_seed(0)
    return written_out(SOURCE, **names)


@pytest.mark.parametrize(("heads", "r", "size"), [(1, 2, (4, 6)), (4, 3, (8, 11)), (2, 8, (8, 17))])
def test_the_earlier_class_gives_the_packages_answers(lesson, randomized, heads, r, size):
    early = randomized(lesson["ReducedAttention"](8, heads, r))
    final = SpatialReductionAttention(8, heads, r)
    final.load_state_dict(early.state_dict())
    x = torch.randn(2, *size, 8)
    torch.testing.assert_close(early(x), final(x))


def test_nothing_is_lost_at_multiples_of_32_and_up_to_three_pixels_below():
    for side in range(29, 300):
        complete = all(s.share_of_tokens_seen == 1 for s in cost(B0, (side, side)).stages)
        assert complete == (-side % 32 <= 3)


def test_what_stage_1_leaves_out_at_124_reaches_the_keys_of_all_later_stages():
    torch.manual_seed(0)
    model = SegFormer(B0).eval()
    read: list[torch.Tensor] = []
    for stage in model.encoder.stages:
        for attention in attentions_of(stage):
            attention.key.register_forward_pre_hook(lambda module, given: read.append(given[0]))
    photo = torch.randn(1, 3, 124, 124)
    other = photo.clone()
    other[..., 112:, 112:] += 1  # in the strip that is grey in the lesson's picture
    with torch.no_grad():
        model.encoder(photo)
        model.encoder(other)
    blocks = sum(B0.depths)
    changed = [not torch.equal(*each) for each in zip(read[:blocks], read[blocks:], strict=True)]
    assert changed == [False] * B0.depths[0] + [True] * sum(B0.depths[1:])
    assert [stage.share_of_tokens_seen for stage in cost(B0, (124, 124)).stages[1:]] == [1, 1, 1]
    assert cost(B0, (125, 125)).stages[0].share_of_tokens_seen == 1


def test_keys_of_all_stages_are_32_pixels_apart_and_are_not_centred_in_the_same_places():
    """Where the pixels lie that a key is made of, with equal weights everywhere."""
    image = torch.zeros(1, 1, 512, 512, requires_grad=True)
    tokens, places = image, []
    for patch, stride, r in ((7, 4, 8), (3, 2, 4), (3, 2, 2), (3, 2, 1)):
        tokens = F.conv2d(tokens, torch.ones(1, 1, patch, patch), None, stride, patch // 2)
        keys = F.avg_pool2d(tokens, r)[0, 0]
        reached = [
            torch.autograd.grad(keys[8, column], image, retain_graph=True)[0].sum((0, 1, 2))
            for column in (8, 9)
        ]
        places.append([(each @ torch.arange(512.0) / each.sum()).item() for each in reached])
    assert [after - before for before, after in places] == pytest.approx([32] * 4)
    corner, middle = 8 * 32, 8 * 32 + 15.5  # of the window that is drawn for the first key
    assert places[3][0] == pytest.approx(corner)
    assert places[0][0] == pytest.approx(middle, abs=2)


def test_the_window_that_changes_unseen_does_change():
    """As in the lesson, with other weights."""
    reduction = SpatialReduction(32, 8)
    weight = reduction.projection.weight.detach().flatten(1)
    assert torch.linalg.matrix_rank(weight) == 32
    change = torch.randn(2048)
    change -= torch.linalg.pinv(weight) @ (weight @ change)
    x = torch.randn(1, 8, 8, 32)
    other = x + change.view(32, 8, 8).permute(1, 2, 0)
    torch.testing.assert_close(reduction(other), reduction(x), rtol=0, atol=1e-4)
    assert (other - x).std() > 0.9
    assert (reduction(x + torch.randn_like(x)) - reduction(x)).abs().max() > 0.1


def test_a_key_sees_30_directions_of_its_window(randomized):
    """32 pass the matrix; their level and their scale do not pass the LayerNorm."""
    reduction = randomized(SpatialReduction(32, 8)).double()
    x = torch.randn(1, 8, 8, 32, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(reduction, x).reshape(32, 2048)
    assert torch.linalg.matrix_rank(jacobian, rtol=1e-4) == 30
    projected = reduction.projection(x.permute(0, 3, 1, 2)).flatten()
    same = reduction.norm(projected), reduction.norm(3 * projected + 5)
    torch.testing.assert_close(*same, rtol=1e-3, atol=1e-3)


def test_the_mean_of_a_window_is_a_map_that_the_strided_convolution_can_become():
    convolution = nn.Conv2d(6, 6, 4, stride=4)
    maps = torch.randn(2, 6, 8, 12)
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(6)[:, :, None, None].expand(6, 6, 4, 4) / 16)
        convolution.bias.zero_()
        torch.testing.assert_close(convolution(maps), F.avg_pool2d(maps, 4))


def test_the_bug_changes_the_wrong_keys_and_its_fix_is_the_packages(lesson):
    convolution = nn.Conv2d(32, 32, 8, stride=8)
    x = torch.randn(1, 128, 128, 32)
    windows = convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1, 2)
    torch.testing.assert_close(lesson["reduced_keys"](x.flatten(1, 2), convolution), windows)

    touched = x.clone()
    touched[0, 84, 36] += 1  # in row 10, column 4 of the 16×16 keys
    noticed = {}
    for name in ("reduced_keys", "reduced_keys_with_a_bug"):
        before, after = (lesson[name](each.flatten(1, 2), convolution) for each in (x, touched))
        noticed[name] = ((after - before)[0].abs().amax(-1) > 1e-4).nonzero().flatten().tolist()
    assert noticed["reduced_keys"] == [10 * 16 + 4]
    assert noticed["reduced_keys_with_a_bug"] == list(range(4 * 16, 6 * 16))  # rows 4 and 5


def test_linear_attention_has_no_more_patterns_than_channels_and_softmax_has():
    q, k = torch.randn(2, 128, 4, dtype=torch.float64)
    kernel = (F.elu(q) + 1) @ (F.elu(k) + 1).T
    assert torch.linalg.matrix_rank(kernel / kernel.sum(-1, keepdim=True)) == 4
    assert torch.linalg.matrix_rank((q @ k.T / 2).softmax(-1)) > 40


def test_the_costs_of_the_table_are_those_of_analysis(lesson):
    for r, name in ((1, "full attention"), (8, "spatial reduction, r = 8")):
        stage = cost(B0.replace(reduction_ratios=(r, 4, 2, 1)), (512, 512)).stages[0]
        per_block = stage.multiply_adds_of.attention_matmuls / B0.depths[0]
        assert lesson["products"](stage.tokens)[name] == per_block


def test_the_reduction_costs_the_same_at_every_ratio():
    stages = [cost(B0.replace(reduction_ratios=(r, 4, 2, 1)), (512, 512)) for r in (2, 4, 8, 16)]
    counts = {each.stages[0].multiply_adds_of.reduction for each in stages}
    assert counts == {2 * 128**2 * 32**2}  # two blocks of N·C²


@pytest.fixture(scope="module")
def mious():
    """Ratios → mIoU, for each size."""
    rows = json.loads((EXPERIMENTS / "every_ratio.json").read_text(encoding="utf-8"))["rows"]
    found = {128: {}, 256: {}}
    for row in rows:
        found[row["size"]][tuple(row["ratios"])] = row["miou"]
    return found


def test_the_ratios_decide_the_cost_and_hardly_the_miou(mious):
    assert len(mious[256]) == 96
    for size, found in mious.items():
        assert max(found.values()) - min(found.values()) < 0.006, size
        assert abs(found[1, 1, 1, 1] - found[8, 8, 4, 2]) < 0.003, size
    dear, cheap = (
        cost(NANO.replace(reduction_ratios=ratios), (256, 256)).multiply_adds
        for ratios in ((1, 1, 1, 1), (8, 8, 4, 2))
    )
    assert dear > 8 * cheap


def test_what_the_widest_windows_lose():
    rows = json.loads((EXPERIMENTS / "ratio_losses.json").read_text(encoding="utf-8"))["rows"]
    found = {(row["size"], *map(tuple, (row["ratios"], row["less"]))): row for row in rows}
    widest = found[128, (8, 8, 4, 2), (1, 1, 1, 1)]
    for lost in ("miou", "vehicle", "pole", "right at borders", "right elsewhere"):
        assert widest[lost][2] < 0, lost
    assert widest["person"][1] < 0 < widest["person"][2]
    assert widest["right at borders"][0] < 2 * widest["right elsewhere"][0] < 0
    low, high = found[256, (8, 8, 4, 2), (1, 1, 1, 1)]["miou"][1:]
    assert low < 0 < high
    assert found[256, (8, 2, 1, 2), (4, 2, 1, 1)]["miou"][1] > 0
    keys = [s.keys for s in cost(NANO.replace(reduction_ratios=(8, 8, 4, 2)), (128, 128)).stages]
    assert keys == [16, 4, 4, 4]  # "most stages four keys"


def test_the_lamps_are_learned_at_every_ratio_that_was_tried():
    rows = json.loads((EXPERIMENTS / "lamps.json").read_text(encoding="utf-8"))["rows"]
    config = SegFormer.from_pretrained("lamps").config
    for ratios in ((1, 1, 1, 1), (8, 8, 4, 2)):
        ends = [
            row["right"][-1]
            for row in rows
            if (tuple(row["ratios"]), row["lamp"]) == (ratios, "its colour")
        ]
        assert len(ends) == 5 and min(ends) > 0.99
    _, *later = cost(config.replace(reduction_ratios=(8, 8, 4, 2)), (64, 256)).stages
    assert {stage.key_size for stage in later} == {(1, 4)}  # of 64 × 64 pixels


def test_without_attention_nano_still_knows_much():
    images, labels = map(torch.stack, zip(*list(Scenes(30, 128, seed=7)), strict=True))
    model = SegFormer.from_pretrained("nano").eval()
    right = [
        (each.predict(images) == labels).float().mean()
        for each in (model, without_branches(model, branches(model, "attention")))
    ]
    assert 0.75 < right[1] < right[0] - 0.02


@pytest.mark.parametrize("r", [1, 4, 8])
def test_the_query_at_the_crossing_looks_along_it(r):
    image, _ = Scenes(1, 256, seed=2026).picture(0)
    config = NANO.replace(reduction_ratios=(r, *NANO.reduction_ratios[1:]))
    model = SegFormer.from_pretrained("nano", config=config)
    look = attention_maps(model, normalize(image))[0][-1][0, 0, 38, 25]
    crossing = look[40 // r : 48 // r].sum()  # of 64 rows of tokens, those with its stripes
    assert crossing > 1.4 * 8 / 64


def test_most_queries_of_stage_1_have_a_similar_map_and_at_r_1_it_is_one_of_edges():
    image, _ = Scenes(1, 256, seed=2026).picture(0)
    for r in (1, 4, 8):
        config = NANO.replace(reduction_ratios=(r, *NANO.reduction_ratios[1:]))
        model = SegFormer.from_pretrained("nano", config=config)
        maps = attention_maps(model, normalize(image))[0][-1][0, 0]  # (64, 64, h, w)
        similar = torch.cosine_similarity(maps.flatten(2), maps[38, 25].flatten(), dim=-1)
        assert similar.median() > 0.6
        if r == 1:
            spread = normalize(image)[0].unflatten(2, (64, 4)).unflatten(1, (64, 4)).std((2, 4))
            assert (maps[38, 25] * spread.mean(0)).sum() > 1.3 * spread.mean()


def test_only_r_1_divides_the_maps_of_124_by_100():
    for stage, ratios in enumerate(RATIOS[:3]):
        whole = [
            r
            for r in ratios
            if cost(
                NANO.replace(reduction_ratios=[r if s == stage else 1 for s in range(4)]),
                (124, 100),
            )
            .stages[stage]
            .share_of_tokens_seen
            == 1
        ]
        assert whole == [1]
    sides = [s.size for s in cost(NANO, (124, 100)).stages[:3]]
    assert sides == [(31, 25), (16, 13), (8, 7)]
