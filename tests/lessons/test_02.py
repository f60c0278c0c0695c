"""Lesson 02: its class agrees with the package's, and what it says of attention's cost holds."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segformer_edu import (
    OverlapPatchEmbedding,
    SegFormer,
    SegFormerConfig,
    SpatialReductionAttention,
)
from segformer_edu.analysis.branches import without_branches
from segformer_edu.analysis.lamps import rightly_labelled_balls, shares_on_lamp
from segformer_edu.analysis.memory import peak_bytes
from segformer_edu.data.lamps import CLASSES, LIGHTS, Lamps
from segformer_edu.data.photos import normalize, sample_photo
from tests.lessons.written import written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/02_the_cost_of_attention.py"


@pytest.fixture(scope="module")
def lesson():
    return written_out(SOURCE, imports=True)


@pytest.mark.parametrize(("dim", "heads"), [(8, 1), (12, 3), (32, 8)])
def test_multi_head_attention_is_the_packages_with_nothing_reduced(lesson, randomized, dim, heads):
    early = randomized(lesson["MultiHeadAttention"](dim, heads))
    final = SpatialReductionAttention(dim, heads, reduction_ratio=1)
    final.load_state_dict(early.state_dict())
    x = torch.randn(2, 5, 7, dim)
    torch.testing.assert_close(early(x), final(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["attention", "attention_in_bands", "fused"])
@pytest.mark.parametrize("tokens", [5, 512, 700])
def test_every_form_is_attention_by_definition(lesson, form, tokens):
    q, k, v = torch.randn(3, 2, tokens, 8, dtype=torch.float64)
    powers = (torch.einsum("bqd,bkd->bqk", q, k) / math.sqrt(8)).exp()
    expected = torch.einsum("bqk,bkd->bqd", powers / powers.sum(2, keepdim=True), v)
    torch.testing.assert_close(lesson[form](q, k, v), expected)


def test_a_short_token_looks_more_at_a_long_one_of_its_kind_than_at_itself(lesson):
    wall, shaded = torch.tensor([[2.0, 0], [1, 0]])
    weights = (shaded @ torch.stack([wall, shaded, shaded.flip(0), wall.flip(0)]).T / 2**0.5).exp()
    assert weights[0] / weights[1] == pytest.approx(math.exp(1 / 2**0.5))  # 2.03


def test_after_layer_norm_every_token_goes_best_with_itself():
    torch.manual_seed(1)  # other weights than the lesson's
    pixels = F.interpolate(normalize(sample_photo("astronaut")), (128, 128), mode="area")
    with torch.no_grad():
        tokens = OverlapPatchEmbedding(3, 32, 7, 4)(pixels).flatten(0, 2)
    products = tokens @ tokens.T
    assert (products.diagonal() > products.amax(1) - 1e-3).all()


@pytest.fixture(scope="module")
def lamps():
    return SegFormer.from_pretrained("lamps").eval(), Lamps(100, seed=77)  # not the lesson's strips


def test_a_ball_looks_at_a_red_lamp_and_from_a_green_one_it_takes_less_than_an_even_share(lamps):
    (red, _), (green, even) = shares_on_lamp(*lamps, stage=1).values()
    assert red > 0.9 and green < 0.8 * even


@pytest.mark.parametrize("stage", [0, 2])
def test_the_attention_of_stages_1_and_3_is_not_needed(lamps, stage):
    model, strips = lamps
    silenced = without_branches(model, [(stage, 0, "attention")])
    assert rightly_labelled_balls(silenced, strips) > 0.99


@pytest.mark.parametrize(("stage", "said"), [(1, "green"), (3, "red")])
def test_without_the_attention_of_stage_2_all_balls_are_green_and_without_4_red(lamps, stage, said):
    model, strips = lamps
    silenced, found = without_branches(model, [(stage, 0, "attention")]), []
    for index in range(20):
        image, labels = strips.draw(index)
        balls = (labels > 0) & (strips.discs(index)[0].raster()[0] == 0)
        found.extend(silenced.predict(normalize(image))[0].numpy()[balls])
    assert np.mean(np.array(found) == CLASSES.index(said)) > 0.9


def test_balls_of_a_red_lamp_become_green_when_it_is_covered_and_red_again_when_it_is_lit(lamps):
    model, strips = lamps
    said = []
    for index in range(20):
        image, labels = strips.draw(index)
        lamp = strips.discs(index)[0].raster()[0] > 0.5
        dark, lit = image.copy(), image.copy()
        dark[lamp], lit[lamp] = (33, 33, 42), LIGHTS["red"]
        balls = (labels > 0) & ~lamp
        said.append(
            [
                (model.predict(normalize(x))[0].numpy()[balls] == y).mean()
                for x, y in ((dark, 2), (lit, 1))
            ]
        )
    assert np.mean(said, axis=0).min() > 0.95


def test_white_and_light_grey_make_nearly_the_same_token_and_orange_another():
    torch.manual_seed(1)
    embed = OverlapPatchEmbedding(3, 32, 7, 4)

    def token(*colour):
        plain = torch.tensor(colour, dtype=torch.uint8).expand(32, 32, 3).numpy()
        with torch.no_grad():
            return embed(normalize(plain))[0, 4, 4]

    white, grey, orange = token(255, 255, 255), token(180, 180, 180), token(230, 115, 25)
    assert F.cosine_similarity(white, grey, dim=0) > 0.95
    assert F.cosine_similarity(white, orange, dim=0) < 0.7


def test_the_padding_keeps_a_query_from_the_topmost_row_of_the_wall():
    torch.manual_seed(1)
    embed = OverlapPatchEmbedding(3, 32, 7, 4)
    pixels = F.interpolate(normalize(sample_photo("astronaut")), (128, 128), mode="area")

    def weights():  # of the first two rows, between her hair and the rocket
        with torch.no_grad():
            tokens = embed(pixels).flatten(0, 2)
        row = (tokens[7 * 32 + 21] @ tokens.T / math.sqrt(32)).softmax(-1).reshape(32, 32)
        return row[:2, 19:24].mean(1)

    first, second = weights()
    assert first < 0.7 * second
    embed.projection.padding_mode = "replicate"
    first, second = weights()
    assert first > 0.8 * second


def test_divided_scores_of_tokens_with_themselves_spread_the_more_the_wider_they_are():
    pixels = F.interpolate(normalize(sample_photo("astronaut")), (128, 128), mode="area")
    variances = []
    for width in (32, 64, 256):
        torch.manual_seed(1)  # other weights than the lesson's
        with torch.no_grad():
            tokens = OverlapPatchEmbedding(3, width, 7, 4)(pixels).flatten(0, 2)
        variances.append((tokens @ tokens.T / math.sqrt(width)).var())
    assert 1.5 * variances[0] < variances[1] < variances[2] / 2


def test_memory_grows_with_the_square_in_bands_linearly_and_fused_hardly(lesson):
    def peak(form, tokens):
        q, k, v = torch.randn(3, 1, tokens, 32)
        return peak_bytes(lesson[form], q, k, v)

    matrix = 4 * 2048**2
    assert peak("attention", 2048) == pytest.approx(2 * matrix, rel=0.03)
    assert peak("attention", 2048) / peak("attention", 1024) == pytest.approx(4, rel=0.05)
    in_bands = peak("attention_in_bands", 4096) / peak("attention_in_bands", 2048)
    assert in_bands == pytest.approx(2, rel=0.1)
    output, workspace = 4 * 4096 * 32, 4 * 2**20
    assert peak("fused", 4096) < 2 * output + workspace < peak("attention", 4096) / 20


def test_the_fused_kernel_stores_the_matrix_without_four_axes_or_one_width_or_with_dropout():
    q, k, v = torch.randn(3, 1, 1, 2048, 32)
    matrix = 4 * 2048**2

    def peak(*inputs, **options):
        return peak_bytes(partial(F.scaled_dot_product_attention, **options), *inputs)

    assert peak(q, k, v) < 0.1 * matrix
    assert peak(q[0], k[0], v[0]) > matrix
    assert peak(q, k, v[..., :16].contiguous()) > matrix
    assert peak(q, k, v, dropout_p=0.1) > matrix


def test_with_the_bug_a_query_that_has_made_up_for_it_moves_in_smaller_steps(lesson):
    heads, x, start = 4, torch.randn(50, 64), torch.randn(64, 64) / 8
    targets = torch.randn(1, heads, 50, 16)

    def scores(weight, buggy):
        q, k = ((x @ w).unflatten(-1, (heads, -1)).transpose(0, 1)[None] for w in (weight, start.T))
        if buggy:
            return lesson["scores_with_a_bug"](q, k, heads)
        return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])

    def step(weight, buggy):
        weight.requires_grad_()
        answers = scores(weight, buggy).softmax(-1) @ x[:, :16]
        (answers - targets).square().sum().backward()
        return weight.grad

    right, buggy = step(start.clone(), False), step(math.sqrt(heads) * start, True)
    torch.testing.assert_close(buggy / math.sqrt(heads), right / heads)  # in units of the right W


def test_the_peak_of_two_matrices_is_reached_twice_and_in_training_every_layer_keeps_one(lesson):
    x, matrix = torch.randn(1, 1024, 32), 4 * 1024**2

    def softmax_in_place(q, k, v, first, last):
        scores = (q / first) @ k.mT / last if last else (q / first) @ k.mT
        return torch.softmax(scores, -1, out=scores) @ v

    def layers(count, x):
        for _ in range(count):
            x = lesson["attention"](x, x, x)
        return x

    def trained(count):
        layers(count, x.clone().requires_grad_()).sum().backward()

    assert peak_bytes(softmax_in_place, x, x, x, 1, 32**0.5) == pytest.approx(2 * matrix, rel=0.1)
    assert peak_bytes(softmax_in_place, x, x, x, 32**0.5, None) == pytest.approx(matrix, rel=0.1)
    assert peak_bytes(layers, 4, x) == pytest.approx(2 * matrix, rel=0.1)
    growth = (peak_bytes(trained, 6) - peak_bytes(trained, 4)) / 2
    assert growth == pytest.approx(matrix, rel=0.2)


def test_more_heads_make_more_entries_and_no_more_arithmetic(lesson):
    x = torch.zeros(1, 8, 8, 32)
    counted = {}
    for heads in (1, 4):
        with FlopCounterMode(display=False) as counter:
            lesson["MultiHeadAttention"](32, heads)(x)
        counted[heads] = counter.get_total_flops()
    assert counted[1] == counted[4] == 2 * (4 * 64 * 32**2 + 2 * 64**2 * 32)
    entries = [SpatialReductionAttention(32, heads, 1).weights(x).numel() for heads in (1, 4)]
    assert entries == [64**2, 4 * 64**2]


def test_without_root_d_wide_heads_look_at_few_keys_and_give_way_little(lesson):
    def looked_at(scores):
        return lesson["effective_keys"](scores.softmax(-1))

    q, k = torch.randn(2, 256, 256)
    undivided, divided = q @ k.T, q @ k.T / 16
    assert undivided.var() == pytest.approx(256, rel=0.1)
    assert looked_at(undivided) < 2 < 100 < looked_at(divided)
    assert lesson["sensitivity"](undivided) < 0.25 < 0.9 < lesson["sensitivity"](divided)


def test_undivided_a_gradient_comes_through_few_keys_and_is_long_for_some_and_nothing_for_others(
    lesson,
):
    q, k, v, factors = torch.randn(4, 256, 256, dtype=torch.float64)

    def gradients(root):
        queries = q.clone().requires_grad_()
        scores = queries @ k.T / root
        scores.retain_grad()
        (F.softmax(scores, -1) @ v * factors).sum().backward()
        shares = scores.grad.abs() / scores.grad.abs().sum(-1, keepdim=True)
        return queries.grad.norm(dim=-1), lesson["effective_keys"](shares)

    (undivided, few), (divided, many) = gradients(1), gradients(16)
    assert undivided.mean() > 3 * divided.mean()
    assert 0.28 < (undivided < divided).double().mean() < 0.46  # over a third; 3 spreads of 3 %
    assert undivided.quantile(0.1) < 0.05 < 1 < divided.quantile(0.1)
    assert few < 5 and 100 < many < 140  # nearly half of 256


def test_scores_of_a_fresh_b0_are_small_even_undivided():
    torch.manual_seed(1)  # other weights than those of lesson 00
    model = SegFormer(SegFormerConfig.named("b0")).eval()
    variances = []

    def keep(attention, inputs, output):
        q, k, _ = attention.queries_keys_values(*inputs)
        variances.append((q @ k.transpose(-2, -1)).var())

    for part in model.encoder.modules():
        if isinstance(part, SpatialReductionAttention):
            part.register_forward_hook(keep)
    with torch.no_grad():
        model.encoder(normalize(sample_photo("astronaut")))
    assert len(variances) == 8 and max(variances) < 0.5


def test_sensitivity_is_the_trace_of_the_softmaxs_jacobian(lesson):
    scores = torch.randn(7, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda s: F.softmax(s, -1), scores)
    assert lesson["sensitivity"](scores) == pytest.approx(jacobian.trace().item())


def test_effective_keys_counts_keys_that_share_evenly(lesson):
    weights = torch.zeros(3, 9)
    weights[:, :4] = 0.25
    assert lesson["effective_keys"](weights) == pytest.approx(4)


@pytest.mark.parametrize(("heads", "hidden"), [(1, True), (4, False)])
def test_the_bug_hides_where_there_is_one_head(lesson, heads, hidden):
    q, k = torch.randn(2, 1, heads, 256, 64)
    right = q @ k.transpose(-2, -1) / 8
    buggy = lesson["scores_with_a_bug"](q, k, heads)
    assert torch.allclose(buggy, right, atol=1e-5) == hidden
    assert buggy.var() == pytest.approx(1 / heads, rel=0.1)


def test_pytorchs_counter_counts_the_explicit_form_and_misses_the_fused_one_on_a_cpu(lesson):
    x = torch.zeros(1, 64, 32)
    counted = {}
    for form in ("attention", "fused"):
        with FlopCounterMode(display=False) as counter:
            lesson[form](x, x, x)
        counted[form] = counter.get_total_flops()
    assert counted == {"attention": 2 * 2 * 64**2 * 32, "fused": 0}


def test_float16_ends_where_an_undivided_score_does_not_and_refuses_a_mask_of_minus_1e9():
    q = torch.full((1, 256), 20.0, dtype=torch.float16)
    assert (q @ q.T).isinf() and not ((q / 16) @ q.T).isinf()
    assert not (q.bfloat16() @ q.bfloat16().T).isinf()
    with pytest.raises(RuntimeError, match="overflow"):
        q.masked_fill(q > 0, -1e9)
    assert q.masked_fill(q > 0, -math.inf).isinf().all()
