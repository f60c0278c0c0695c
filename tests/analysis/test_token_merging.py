"""Merged tokens are averaged, answered once, and spread again; their cost is what is counted."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import token_merging
from segformer_edu.analysis.token_merging import (
    MATCHINGS,
    NOTHING,
    Merging,
    MergingAttention,
    merged,
)
from segformer_edu.attention import SpatialReductionAttention

CHANCE = torch.Generator()


@pytest.fixture
def attention(randomized):
    return randomized(SpatialReductionAttention(8, num_heads=2, reduction_ratio=1)).eval()


def tokens(*shape, seed=0):
    return torch.randn(*shape, 8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("proportional", [False, True])
def test_merging_nothing_gives_the_same_logits(proportional):
    model = SegFormer.from_pretrained("nano")
    images = torch.randn(2, 3, 70, 101, generator=torch.Generator().manual_seed(0))
    own = model(images)
    rounding = 1e-5 * own.abs().max()
    assert (merged(model, proportional=proportional)(images) - own).abs().max() < rounding
    some = [Merging(0.5)] + [NOTHING] * 3
    assert not torch.allclose(merged(model, queries=some)(images), own, atol=0.01)
    assert torch.equal(model(images), own)  # it stays as it is


@pytest.mark.parametrize("matching", MATCHINGS)
@pytest.mark.parametrize("size", [(8, 8), (5, 7)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.75])
def test_every_group_is_one_token_that_stays_or_one_that_is_left_alone(matching, size, share):
    merging = Merging(share, 2, matching)
    groups = merging.groups(tokens(3, *size), CHANCE.manual_seed(0))
    assert groups.number == size[0] * size[1] - merging.merged(size)
    stays = [row % 2 == 0 == column % 2 for row in range(size[0]) for column in range(size[1])]
    for of in groups.of:
        members = [(of == group).nonzero().flatten().tolist() for group in range(groups.number)]
        for each in members:
            assert len(each) == 1 or sum(stays[token] for token in each) == 1


def test_similar_merges_the_pairs_with_the_highest_cosines():
    x = tokens(1, 4, 6)
    staying = [(row, column) for row in (0, 2) for column in (0, 2, 4)]
    pairs = []
    for place in [(row, column) for row in range(4) for column in range(6)]:
        if place not in staying:
            cosines = [F.cosine_similarity(x[0][place], x[0][other], dim=0) for other in staying]
            best = max(range(len(staying)), key=cosines.__getitem__)
            pairs.append((cosines[best].item(), place, staying[best]))
    of = Merging(0.25).groups(x, CHANCE).of.view(4, 6)
    for _, place, other in sorted(pairs)[-6:]:
        assert of[place] == of[other]
    assert of.unique().numel() == 18


def test_neighbours_of_all_cells_are_an_average_pooling():
    x = tokens(2, 6, 8)
    groups = Merging(0.75, 2, "neighbours").groups(x, CHANCE)
    pooled = F.avg_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    means = groups.mean(x)
    torch.testing.assert_close(means[:, 0], pooled.flatten(1, 2))
    repeated = pooled.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(groups.spread(means, like=x), repeated)


def test_a_group_is_drawn_in_the_mean_colour_of_its_patches():
    photo = np.random.default_rng(0).integers(256, size=(24, 32, 3), dtype=np.uint8)
    groups = Merging(0.75, 2, "neighbours").groups(tokens(1, 6, 8), CHANCE)
    shown = token_merging.mean_colours(photo, groups, (6, 8))
    assert shown.shape == photo.shape and shown.dtype == np.uint8
    for top, left in product(range(0, 24, 8), range(0, 32, 8)):
        window = slice(top, top + 8), slice(left, left + 8)
        assert abs(shown[window] - photo[window].mean((0, 1))).max() <= 0.51


def test_equal_tokens_can_be_merged_without_a_trace(attention):
    of_cells = tokens(2, 3, 4).repeat_interleave(2, 1).repeat_interleave(2, 2)
    expected = attention(of_cells)
    some = Merging(0.4, 2, "neighbours")
    counted = MergingAttention(attention, some, some, proportional=True, seed=0)
    torch.testing.assert_close(counted(of_cells), expected)
    queries_only = MergingAttention(attention, some, NOTHING, proportional=False, seed=0)
    torch.testing.assert_close(queries_only(of_cells), expected)
    uncounted = MergingAttention(attention, some, some, proportional=False, seed=0)
    assert (uncounted(of_cells) - expected).abs().max() > 0.01  # a merged key lost its weight


@pytest.mark.parametrize("matching", MATCHINGS)
def test_answers_are_the_same_each_time_and_the_seed_matters_to_what_is_drawn(attention, matching):
    x, some = tokens(2, 6, 6), Merging(0.5, 2, matching)
    first, again, other = (
        MergingAttention(attention, some, some, proportional=False, seed=seed)(x)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (matching == "similar")


def test_pictures_of_a_batch_are_matched_each_for_itself(attention):
    x, some = tokens(3, 6, 6), Merging(0.5)
    merging = MergingAttention(attention, some, some, proportional=True, seed=0)
    torch.testing.assert_close(merging(x)[1:2], merging(x[1:2]))


@pytest.mark.parametrize("ratios", [(4, 2, 1, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("matching", ["similar", "neighbours"])
def test_multiply_adds_are_those_that_a_running_model_saves(ratios, matching):
    config = SegFormerConfig.named("nano", depths=(1, 2, 1, 1), reduction_ratios=ratios)
    model = SegFormer(config).eval()
    keys = [Merging(0.6, 2, matching)] * 2 + [NOTHING] * 2
    queries = [NOTHING] + [Merging(0.8, 4, matching)] * 3

    def counted(model):
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, 3, 96, 128))
        return flops.get_total_flops() / 2

    adds = token_merging.multiply_adds(config, (96, 128))
    fewer = token_merging.multiply_adds(config, (96, 128), queries, keys)
    assert adds - fewer == counted(model) - counted(merged(model, queries, keys))


def test_what_cannot_be_merged_is_refused():
    with pytest.raises(ValueError, match="one token of each 2×2 cell stays, so at most 0.75"):
        Merging(0.8)
    with pytest.raises(ValueError, match="matching = 'dissimilar'"):
        Merging(matching="dissimilar")
    with pytest.raises(ValueError, match="one Merging for each of the 4 stages; got 4 and 2"):
        merged(SegFormer.from_pretrained("nano"), keys=[NOTHING] * 2)
    with pytest.raises(ValueError, match="give a whole SegFormer"):
        merged(torch.nn.Identity())
