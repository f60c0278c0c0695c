"""Lesson 03: its class agrees with the package's, and what it says of fewer keys holds."""

import contextlib
import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu import (
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
)
from segformer_edu.analysis import cost
from segformer_edu.analysis.attention_maps import attentions_of
from segformer_edu.attention import SpatialReduction
from segformer_edu.data.photos import normalize, sample_photo
from segformer_edu.widgets.spatial_reduction import RATIOS, SIZES
from tests.lessons.written import written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/03_spatial_reduction.py"
B0 = SegFormerConfig.named("b0")


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


def test_the_widgets_peak_memory_is_in_the_decoder_whatever_the_ratios():
    for size in SIZES:
        peaks = set()
        for chosen in itertools.product(RATIOS, repeat=4):
            with contextlib.suppress(ValueError):  # no key left
                peaks.add(cost(B0.replace(reduction_ratios=chosen), size).peak_activation_bytes)
        assert len(peaks) == 1
        shallow = B0.replace(decoder_dim=B0.decoder_dim // 2)
        assert cost(shallow, size).peak_activation_bytes < min(peaks)


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


def test_some_30_directions_can_hold_most_of_what_varies_between_windows():
    """0.91 and 0.92 with four embeddings, and the means of the channels 0.60 to 0.62; 30 directions
    at random hold 0.02.
    """
    for seed in range(4):
        torch.manual_seed(seed)
        with torch.no_grad():
            tokens = OverlapPatchEmbedding(3, 32, 7, 4)(normalize(sample_photo("astronaut")))
        windows = F.unfold(tokens.permute(0, 3, 1, 2), 8, stride=8)[0].T.double()
        windows = windows - windows.mean(0)
        best = torch.linalg.svd(windows, full_matrices=False)[2][:30]
        chance = torch.linalg.qr(torch.randn(2048, 30, dtype=torch.float64))[0].T
        means = torch.eye(32, dtype=torch.float64).repeat_interleave(64, dim=1) / 8
        held, by_chance, by_the_mean = (
            ((windows @ directions.T) ** 2).sum() / (windows**2).sum()
            for directions in (best, chance, means)
        )
        assert 0.89 < held < 0.94 and by_chance < 0.05 and 0.57 < by_the_mean < 0.65


def test_the_mean_of_a_window_is_a_map_that_the_strided_convolution_can_become():
    convolution = nn.Conv2d(6, 6, 4, stride=4)
    maps = torch.randn(2, 6, 8, 12)
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(6)[:, :, None, None].expand(6, 6, 4, 4) / 16)
        convolution.bias.zero_()
        torch.testing.assert_close(convolution(maps), F.avg_pool2d(maps, 4))


def test_with_fewer_keys_the_suit_is_found_and_at_r_16_the_querys_own_window_hardly_is():
    photo = sample_photo("astronaut")
    red, green, blue = torch.as_tensor(photo).double().unbind(-1)
    orange = ((red > 100) & (red > 1.5 * blue) & (green < 0.7 * red)).double()
    assert orange.mean() == pytest.approx(0.24, abs=0.01)
    for seed in range(4):  # the lesson's weights are those of seed 0
        torch.manual_seed(seed)
        with torch.no_grad():
            tokens = OverlapPatchEmbedding(3, 32, 7, 4)(normalize(photo))
        on_the_suit, own = {}, {}
        for r in (1, 8, 16):
            keys = F.avg_pool2d(tokens.permute(0, 3, 1, 2), r)[0]
            scores = torch.einsum("c,chw->hw", tokens[0, 84, 36], keys) / 32**0.5
            weights = scores.flatten().softmax(0).view_as(scores)
            share_of_orange = F.avg_pool2d(orange[None], 4 * r)[0]
            on_the_suit[r] = (weights * share_of_orange).sum()
            own[r] = weights[84 // r, 36 // r] / weights.max()
        assert 0.5 < on_the_suit[16] < 0.95 * on_the_suit[8] < on_the_suit[1]
        assert own[16] < 0.3 < 0.5 < own[8]
        near = (torch.einsum("c,ijc->ij", tokens[0, 84, 36], tokens[0, 80:96, 32:48])) / 32**0.5
        suit = F.avg_pool2d(orange[None], 4)[0, 80:96, 32:48]
        assert near[suit < 0.01].mean() < near.mean() - 2 < near[suit > 0.99].mean() - 3


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


@pytest.mark.parametrize(
    ("size", "ratios"), [((384, 512), (8, 4, 2, 1)), ((500, 300), (1, 1, 1, 1))]
)
def test_the_widgets_task_has_the_answer_that_the_lesson_gives(size, ratios):
    fitting = {}
    for chosen in itertools.product(RATIOS, repeat=4):
        try:
            bill = cost(B0.replace(reduction_ratios=chosen), size)
        except ValueError:
            continue  # no key left
        if all(s.share_of_tokens_seen == 1 and s.keys >= 100 for s in bill.stages):
            fitting[chosen] = bill.encoder_multiply_adds
    assert min(fitting, key=fitting.get) == ratios
