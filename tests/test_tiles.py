"""Tiles: where they lie, how they are blended, and that their seams do not show."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from segformer_edu import SegFormer
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import Scenes
from segformer_edu.tiles import ROWS, predict_in_tiles, ramps, spans, tiling
from tests.test_segformer import largest_tensor


@given(
    side=st.integers(1, 3000),
    tile=st.integers(2, 12),
    overlap=st.integers(0, 6),
)
def test_tiles_cover_a_side_lie_on_one_grid_and_share_enough(side, tile, overlap):
    tile, overlap = 32 * tile, 32 * min(overlap, tile // 2)
    tiles = spans(side, tile, overlap, 32)
    assert tiles[0][0] == 0 and tiles[-1][1] == side
    assert all(first % 32 == 0 and tile - 32 < last - first <= tile for first, last in tiles[1:])
    shared = [before[1] - after[0] for before, after in zip(tiles, tiles[1:], strict=False)]
    assert all(overlap <= each < tile for each in shared)
    needed = 1 + max(0, np.ceil((side - tile) / (tile - overlap)))  # no fewer would do
    assert len(tiles) == needed


@given(side=st.integers(1, 3000), overlap=st.sampled_from([0, 32, 64]))
def test_weights_sum_to_one_and_change_in_a_straight_line(side, overlap):
    tiles = spans(side, 128, overlap, 32)
    weights = ramps(tiles)
    assert weights.shape == (len(tiles), side)
    torch.testing.assert_close(weights.sum(0), torch.ones(side))
    if len(tiles) == 2:
        (_, end), (start, _) = tiles
        shared = weights[1, start:end]
        torch.testing.assert_close(shared, (torch.arange(end - start) + 0.5) / (end - start))


@torch.no_grad()
def plainly(model, images, tile, overlap, size):
    """The same by the definition: all logits of the picture at once, then at full size."""
    stride = model.config.strides[0]
    height, width = (-(-side // stride) for side in images.shape[-2:])
    total = torch.zeros(len(images), model.config.num_classes, height, width)
    weight = torch.zeros(height, width)
    edges = [spans(side, tile, overlap, 32) for side in images.shape[-2:]]
    for row, (top, bottom) in enumerate(edges[0]):
        for column, (left, right) in enumerate(edges[1]):
            logits = model(images[..., top:bottom, left:right])
            own = torch.outer(
                *(
                    tent(tiles, number, count, stride)
                    for tiles, number, count in zip(
                        edges, (row, column), logits.shape[-2:], strict=True
                    )
                )
            )
            place = (
                slice(top // stride, top // stride + logits.shape[-2]),
                slice(left // stride, left // stride + logits.shape[-1]),
            )
            total[..., *place] += own * logits
            weight[place] += own
    full = F.interpolate(total / weight, size, mode="bilinear")
    if full.shape[1] == 1:
        full = torch.cat([torch.zeros_like(full), full], dim=1)
    best = full.topk(2, dim=1)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]


def tent(tiles, number, count, stride):
    """The weight of one tile's tokens, as a distance from the nearer end of it."""
    place = torch.arange(count) + 0.5
    weight = torch.ones(count)
    if number:
        shared = (tiles[number - 1][1] - tiles[number][0]) / stride
        weight = torch.minimum(weight, place / shared) if shared else weight
    if number + 1 < len(tiles):
        shared = (tiles[number][1] - tiles[number + 1][0]) / stride
        weight = torch.minimum(weight, (count - place) / shared) if shared else weight
    return weight


CASES = {  # batch, picture, tile, overlap, size of the labels
    "odd sides": (1, (141, 203), 64, 32, (141, 203)),
    "a batch": (2, (192, 160), 96, 32, (192, 160)),
    "no overlap": (1, (192, 256), 64, 0, (192, 256)),
    "one row": (1, (40, 700), 96, 32, (40, 700)),
    "one column": (1, (701, 33), 96, 32, (701, 33)),
    "three tiles over a pixel": (1, (300, 300), 128, 64, (300, 300)),
    "larger labels": (1, (160, 192), 64, 32, (333, 401)),
    "smaller labels": (1, (160, 192), 64, 32, (50, 61)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("classes", [1, 5])
def test_labels_are_those_of_logits_blended_at_once(case, classes, small_config, randomized):
    count, picture, tile, overlap, size = case
    model = randomized(SegFormer(small_config.replace(num_classes=classes))).eval()
    images = torch.randn(count, 3, *picture)
    found = predict_in_tiles(model, images, tile, overlap, size)
    expected, lead = plainly(model, images, tile, overlap, size)
    assert found.shape == (count, *size) and found.dtype == torch.int64
    clear = lead > 1e-4
    assert torch.equal(found[clear], expected[clear]) and clear.float().mean() > 0.99


@pytest.mark.parametrize("tile", [64, 0])
def test_pictures_stay_where_they_are_and_tiles_go_to_the_model(tile, device, small_model):
    images = torch.randn(1, 3, 128, 160)
    expected = predict_in_tiles(small_model, images, tile)
    model = small_model.to(device)
    for placed in (images, images.to(device)):
        found = predict_in_tiles(model, placed, tile)
        assert found.device == placed.device
        assert (found.cpu() == expected).float().mean() > 0.999


@pytest.mark.parametrize("height", [1024, 2048])
@torch.no_grad()
def test_what_is_held_does_not_grow_with_a_pictures_height(height, small_config, device):
    model = SegFormer(small_config.replace(num_classes=150)).to(device).eval()
    images = torch.randn(1, 3, height, 128, device=device)
    found = largest_tensor(predict_in_tiles, model, images, 64)
    assert found <= 150 * ROWS * 128 <= 150 * (height / 4) * (128 / 4) / 2  # of all logits


@pytest.mark.parametrize(
    ("picture", "tile"), [((29, 47), 64), ((90, 90), 64), ((64, 128), 64), ((140, 140), 0)]
)
def test_a_picture_of_up_to_two_tiles_is_kept_whole(picture, tile, small_model):
    images = torch.randn(2, 3, *picture)
    assert torch.equal(predict_in_tiles(small_model, images, tile), small_model.predict(images))
    larger = torch.randn(1, 3, 64, 129 + 64)
    assert not torch.equal(predict_in_tiles(small_model, larger, 64), small_model.predict(larger))


@pytest.mark.parametrize("tile", [64, 0])
def test_a_model_in_training_is_evaluated_and_gets_its_own_mode_back(tile, small_model):
    images = torch.randn(1, 3, 128, 128)
    expected = predict_in_tiles(small_model, images, tile)
    small_model.train()
    small_model.encoder.eval()
    assert torch.equal(predict_in_tiles(small_model, images, tile), expected)
    assert small_model.decoder.norm.training and not small_model.encoder.training


def test_even_first_patches_have_their_tokens_on_one_grid(small_config, randomized):
    config = small_config.replace(patch_sizes=(4, 3, 3, 3))
    model = randomized(SegFormer(config)).eval()
    images = torch.randn(1, 3, 160, 192)
    found = predict_in_tiles(model, images, 96, 32)
    assert (found == model.predict(images)).float().mean() > 0.5  # by chance, a fifth


def test_seams_show_less_with_overlap():
    """Of nano's scenes, near the edges of tiles, where labels of tiles and of the whole differ."""
    model = SegFormer.from_pretrained("nano")
    pictures = Scenes(6, 256, seed=5)
    differing = {}
    for overlap in (0, 64):
        wrong = []
        for index in range(len(pictures)):
            images = normalize(pictures.picture(index)[0])
            differs = predict_in_tiles(model, images, 128, overlap) != model.predict(images)
            wrong.append(differs[0, 112:144].float().mean() + differs[0, :, 112:144].float().mean())
        differing[overlap] = np.array(wrong)
    assert (differing[64] < differing[0]).all() and differing[64].mean() < 0.7 * differing[0].mean()


WRONG = {
    "not a multiple": ((100, None), "tile = 100: give a multiple of 32 from 64 on, or 0"),
    "below the smallest": ((32, None), "tile = 32"),
    "negative": ((-64, None), "tile = -64"),
    "not a number": (("64", None), "tile = '64'"),
    "overlap of another grid": ((128, 40), "overlap = 40: give a multiple of 32 from 0 to 64"),
    "overlap of more than half": ((128, 96), "overlap = 96"),
    "overlap without tiles": ((0, 32), "overlap = 32: give a multiple of 32 from 0 to 0"),
    "negative overlap": ((128, -32), "overlap = -32"),
}


@pytest.mark.parametrize(("given", "words"), WRONG.values(), ids=WRONG)
def test_tiles_that_make_no_sense_are_refused(given, words, small_model):
    with pytest.raises(ValueError, match=words):
        predict_in_tiles(small_model, torch.randn(1, 3, 64, 64), *given)


def test_the_smallest_tile_leaves_the_last_one_large_enough(small_config):
    tiling(small_config, 64)
    for side in range(129, 400):
        last = spans(side, 64, 32, 32)[-1]
        assert last[1] - last[0] >= small_config.min_image_size
