"""Padding modes, the border's reach, and the probe, each against something independent."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu import MixFFN, MixTransformer, OverlapPatchEmbedding
from segformer_edu.analysis.position import (
    DIM,
    PADDING_MODES,
    block_of,
    border_reach,
    deviation,
    encoder_maps,
    fit_probe,
    flat_map_deviations,
    from_the_border,
    kinds,
    pad_with,
    parts_that_pad,
    position_scores,
    positions,
    reordered_tiles,
    travelled,
    zeros_only_in,
)

RNG = np.random.default_rng(0)
# What torch.nn.functional.pad calls the modes of a convolution.
NAMES = {"zeros": "constant"}


def test_reordered_tiles_are_the_tiles_of_the_photograph():
    photo = RNG.integers(0, 256, (6, 9, 3))
    order = RNG.permutation(6)
    moved = reordered_tiles(photo, order, side=3)
    corners = [(row, column) for row in (0, 3) for column in (0, 3, 6)]
    for (row, column), number in zip(corners, order, strict=True):
        y, x = corners[number]
        tile = photo[y : y + 3, x : x + 3]
        assert np.array_equal(moved[row : row + 3, column : column + 3], tile)


@pytest.mark.parametrize("size", [(1, 1), (4, 7), (5, 5), (6, 3)])
def test_places_are_counted_from_the_nearest_border(size):
    expected = np.zeros(size)
    for ring in range(1, 3):  # each ring lies one further inside
        expected[ring:-ring, ring:-ring] = ring
    assert np.array_equal(from_the_border(*size), expected)


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_every_padded_convolution_pads_in_the_new_way(mode, randomized):
    ffn = randomized(MixFFN(4, 8))
    x = torch.randn(1, 6, 7, 4)
    pad_with(ffn, mode)
    hidden = F.pad(ffn.expand(x).permute(0, 3, 1, 2), (1, 1, 1, 1), NAMES.get(mode, mode))
    weight, bias = ffn.depthwise.weight, ffn.depthwise.bias
    mixed = F.conv2d(hidden, weight, bias, groups=8).permute(0, 2, 3, 1)
    torch.testing.assert_close(ffn(x), ffn.contract(F.gelu(mixed)))


def test_convolutions_that_do_not_pad_are_left_alone(small_model):
    pad_with(small_model, "circular")
    modes = {
        type(owner).__name__: part.padding_mode
        for owner in small_model.modules()
        for part in owner.children()
        if isinstance(part, nn.Conv2d)
    }
    assert modes["MixFFN"] == modes["OverlapPatchEmbedding"] == "circular"
    assert modes["SpatialReduction"] == "zeros"


def test_the_parts_that_pad_are_named_and_the_zeros_left_where_they_are_wanted(small_model):
    assert parts_that_pad(small_model) == ["MixFFN", "OverlapPatchEmbedding"]
    zeros_only_in(small_model, "MixFFN")
    modes = {
        (type(owner).__name__, part.padding_mode)
        for owner in small_model.modules()
        for part in owner.children()
        if isinstance(part, nn.Conv2d) and any(part.padding)
    }
    assert modes == {("MixFFN", "zeros"), ("OverlapPatchEmbedding", "replicate")}


def test_zeros_in_the_patch_embeddings_alone_tell_nothing_of_the_bottom(small_config, randomized):
    """No patch embedding reads zeros there, and the rest does not carry the top's around to it."""
    encoder = randomized(MixTransformer(small_config)).double().eval()
    flat = torch.tensor([0.9, -0.4, 0.3]).double().view(1, 3, 1, 1).expand(1, 3, 256, 256)
    knows = {}
    for part in ("OverlapPatchEmbedding", "MixFFN"):
        zeros_only_in(encoder, part)
        reach = [border_reach(each[0]) for each in encoder_maps(encoder, flat.contiguous())[:3]]
        knows[part] = [(top > 0, bottom > 0) for top, bottom in reach]
    assert knows == {"OverlapPatchEmbedding": [(True, False)] * 3, "MixFFN": [(True, True)] * 3}


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode = 'same': choose one of zeros"):
        pad_with(MixFFN(2, 4), "same")


def test_maps_are_the_encoders_with_the_channels_last(small_config, randomized):
    encoder = randomized(MixTransformer(small_config)).eval()
    images = torch.randn(2, 3, 64, 96)
    for ours, theirs in zip(encoder_maps(encoder, images), encoder(images), strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs.detach().movedim(1, -1), rtol=1e-4, atol=1e-5)


def test_under_circular_padding_a_large_flat_image_has_no_border(small_config, randomized):
    """A map that Mix-FFN would otherwise cut into strips, each wrapped by itself."""
    encoder = randomized(MixTransformer(small_config)).eval()
    pad_with(encoder, "circular")
    noise = torch.randn(1, 3, 288, 256)
    with torch.no_grad():
        rolled = encoder_maps(encoder, noise.roll((32, 64), dims=(2, 3)))
        plain = encoder_maps(encoder, noise)
    for stage, (a, b) in enumerate(zip(rolled, plain, strict=True)):
        stride = 4 * 2**stage
        np.testing.assert_allclose(
            a, np.roll(b, (32 // stride, 64 // stride), axis=(1, 2)), rtol=1e-4, atol=1e-4
        )


def test_deviation_is_the_relative_distance_from_the_middle():
    tokens = np.zeros((3, 5, 2))
    tokens[..., 0] = 2  # the middle, [1, 2], is (2, 0)
    tokens[0, 0] = 2, 3
    tokens[2, 4] = -2, 0
    expected = np.zeros((3, 5))
    expected[0, 0], expected[2, 4] = 1.5, 2
    np.testing.assert_allclose(deviation(tokens), expected)


@pytest.mark.parametrize(
    ("place", "ring"), [((0, 3), 1), ((5, 1), 2), ((2, 4), 3), ((3, 3), 4), ((4, 4), 4)]
)
def test_travelled_counts_rings_from_the_border(place, ring):
    differs = np.zeros((8, 8), dtype=bool)
    assert travelled(differs) == 0
    differs[0] = True
    differs[place] = True
    assert travelled(differs) == ring


@pytest.mark.parametrize("strength", [1e-6, 0.1])
def test_the_probe_is_least_squares_with_a_row_more_for_each_channel(strength):
    """Ridge regression as plain least squares on centred data with √λ·I below it."""
    maps = 3 + RNG.normal(size=(4, 5, 6, 7))
    probe = fit_probe(maps, strength)
    x = maps.reshape(-1, 7)
    y = np.tile(positions(5, 6).reshape(-1, 2), (4, 1))
    x, y = x - x.mean(0), y - y.mean(0)
    ridge = strength * np.linalg.eigvalsh(x.T @ x).mean()
    rows = np.concatenate([x, np.sqrt(ridge) * np.eye(7)])
    weight, *_ = np.linalg.lstsq(rows, np.concatenate([y, np.zeros((7, 2))]), rcond=None)
    np.testing.assert_allclose(probe.weight, weight, atol=1e-9)
    np.testing.assert_allclose(probe.predict(maps).mean((0, 1, 2)), [0.5, 0.5])


def test_the_probe_finds_position_that_is_there_and_none_that_is_not():
    places = np.broadcast_to(positions(6, 8), (10, 6, 8, 2))
    told = np.concatenate([places @ RNG.normal(size=(2, 4)), RNG.normal(size=(10, 6, 8, 4))], -1)
    rows, columns = fit_probe(told[:5]).score(told[5:])
    assert rows > 0.99 and columns > 0.99
    silent = RNG.normal(size=(10, 6, 8, 4))
    assert all(abs(score) < 0.2 for score in fit_probe(silent[:5]).score(silent[5:]))


def test_rows_and_columns_are_scored_apart():
    places = np.broadcast_to(positions(6, 8), (10, 6, 8, 2))
    only_rows = np.concatenate([places[..., :1], RNG.normal(size=(10, 6, 8, 2))], -1)
    rows, columns = fit_probe(only_rows[:5]).score(only_rows[5:])
    assert rows > 0.99 and columns < 0.1


def test_a_score_is_r_squared():
    maps = RNG.normal(size=(3, 4, 5, 2))
    probe = fit_probe(maps)
    truth = np.broadcast_to(positions(4, 5), (3, 4, 5, 2)).reshape(-1, 2)
    predicted = probe.predict(maps).reshape(-1, 2)
    expected = 1 - ((truth - predicted) ** 2).mean(0) / truth.var(0)
    np.testing.assert_allclose(probe.score(maps), expected)


def test_constant_tokens_score_zero():
    """No better than always answering the middle."""
    maps = np.broadcast_to(RNG.normal(size=(6, 1, 1, 3)), (6, 4, 4, 3))
    np.testing.assert_allclose(fit_probe(maps[:3]).score(maps[3:]), 0, atol=1e-9)


def test_position_is_judged_on_the_images_that_the_probe_has_not_seen(small_config, randomized):
    encoder = randomized(MixTransformer(small_config)).eval()
    images = torch.randn(6, 3, 64, 64)
    for maps, scores in zip(
        encoder_maps(encoder, images), position_scores(encoder, images), strict=True
    ):
        assert scores == fit_probe(maps[:3]).score(maps[3:])


def test_the_border_is_known_until_the_first_token_like_the_middle():
    tokens = np.ones((7, 5, 3))
    tokens[[0, 1, 6], 2] = 2
    tokens[[5, 2], 0] = 3  # not in the middle column
    assert border_reach(tokens) == (2, 1)


def test_tokens_of_one_kind_share_a_number():
    few = torch.tensor([[1.0, 2.0], [1.000001, 2.0], [1.0, 2.1]])
    assert kinds(few[[0, 1, 2, 1, 0, 2]].view(2, 3, 2)).tolist() == [[1, 1, 2], [1, 1, 2]]
    assert kinds(few[[0, 1, 2]][None], tolerance=0).tolist() == [[1, 2, 3]]


def test_the_blocks_are_those_of_the_model_with_another_convolution():
    torch.manual_seed(0)
    block = block_of("reflect", 5, attention=False)
    convolution = block.mix_ffn.depthwise
    assert (convolution.kernel_size, convolution.padding) == ((5, 5), (2, 2))
    assert convolution.padding_mode == "reflect" and convolution.groups == 16
    x = torch.randn(1, 6, 6, DIM).double()
    assert torch.equal(block.attention(x), torch.zeros_like(x))
    assert block_of("zeros", 3, attention=True).attention(x).abs().max() > 0.01


def test_flat_maps_leave_the_generator_alone():
    flat_map_deviations.cache_clear()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    flat_map_deviations("zeros", 3, 8, True)
    assert torch.equal(torch.rand(1), expected)


def test_positions_are_centres():
    assert positions(2, 4)[1, 0].tolist() == [0.75, 0.125]
    assert positions(2, 4).shape == (2, 4, 2)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: deviation(np.ones((3, 4))), r"shape \(3, 4\): give \(H, W, C\)"),
        (lambda: deviation(np.zeros((3, 4, 2))), "the middle token is zero"),
        (lambda: fit_probe(np.ones((3, 4, 2))), r"shape \(3, 4, 2\): give \(B, H, W, C\)"),
        (lambda: fit_probe(np.ones((1, 3, 4, 2)), 0.0), "strength = 0.0: give a positive"),
        (lambda: fit_probe(np.ones((1, 3, 4, 2)), float("nan")), "strength = nan"),
    ],
)
def test_impossible_arguments_are_refused(refused, words):
    with pytest.raises(ValueError, match=words):
        refused()


def test_parts_can_pad_in_ways_of_their_own(small_config):
    encoder = MixTransformer(small_config)
    pad_with(encoder, "circular")
    pad_with(encoder.stages[0].patch_embedding, "zeros")
    embeddings = [each for each in encoder.modules() if isinstance(each, OverlapPatchEmbedding)]
    modes = [each.projection.padding_mode for each in embeddings]
    assert modes == ["zeros", "circular", "circular", "circular"]


def test_what_rounding_leaves_is_no_deviation():
    tokens = np.ones((2, 2, 1))
    tokens[0, 0], tokens[0, 1] = 1 + 4e-15, 1 + 4e-13
    assert (deviation(tokens) > 0).tolist() == [[False, True], [False, False]]
