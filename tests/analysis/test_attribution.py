"""analysis.attribution: against matrices written out, finite differences and cases made by hand;
against captum in tests/oracle.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from segformer_edu.analysis import attention_maps
from segformer_edu.analysis import attribution as ask

PLACE = (9, 13)


@pytest.fixture
def image():
    return torch.randn(1, 3, 65, 97)


def patch_matrix(size, small, kernel, stride):
    """Row by row what share of each pixel a token is: an even one of those under its patch."""
    rows = []
    for row in range(small[0]):
        for column in range(small[1]):
            under = np.zeros(size)
            top, left = (stride * each - kernel // 2 for each in (row, column))
            under[max(top, 0) : top + kernel, max(left, 0) : left + kernel] = 1
            rows.append(under.ravel() / under.sum())
    return np.stack(rows)


def block_matrix(weights, r):
    """Half the identity, half attention, in which a key is an even share of its r×r tokens."""
    height, width, h, w = weights.shape
    spread = np.zeros((h * w, height, width))
    for key in range(h * w):
        row, column = divmod(key, w)
        spread[key, r * row : r * row + r, r * column : r * column + r] = 1 / r**2
    attended = weights.reshape(height * width, h * w) @ spread.reshape(h * w, -1)
    return (np.eye(height * width) + attended) / 2


@pytest.mark.parametrize("stage", range(4))
def test_rollout_is_the_product_of_all_matrices(small_model, small_config, image, stage):
    maps = attention_maps(small_model, image)
    product, size = np.eye(65 * 97), (65, 97)
    for sizes, blocks in list(zip(small_config.stages, maps, strict=True))[: stage + 1]:
        small = tuple(blocks[0].shape[2:4])
        product = patch_matrix(size, small, sizes.patch_size, sizes.stride) @ product
        for weights in blocks:
            mean = weights[0].double().mean(0).numpy()
            product = block_matrix(mean, sizes.reduction_ratio) @ product
        size = small
    assert np.allclose(product.sum(1), 1)
    token = PLACE[0] // 2**stage * size[1] + PLACE[1] // 2**stage
    found = ask.rollout(small_model, image, PLACE, stage).double()
    assert np.allclose(found.flatten(), product[token], atol=1e-6)


def test_rollout_sums_to_one_where_the_reduction_leaves_tokens_out(small_model):
    shares = ask.rollout(small_model, torch.randn(1, 3, 71, 39), (2, 3), 3)
    assert shares.shape == (71, 39) and shares.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("stage, block", [(0, -1), (1, 0), (1, 1), (3, -1)])
def test_attention_is_that_of_the_token_over_the_place(small_model, image, stage, block):
    weights = attention_maps(small_model, image)[stage][block][0].mean(0)
    row, column = (each // 2**stage for each in PLACE)
    found = ask.attention(small_model, image, PLACE, stage, block)
    back = torch.nn.functional.interpolate(weights[row, column][None, None], (65, 97))[0, 0]
    assert torch.corrcoef(torch.stack([found.flatten(), back.flatten()]))[0, 1] > 0.5
    expected = torch.nn.functional.interpolate(
        weights[row, column][None, None], (65, 97), mode="bilinear"
    )
    torch.testing.assert_close(found, expected[0, 0])


def test_gradient_times_input_is_the_slope_along_each_pixel(small_model, image):
    model, image = small_model.double(), image.double()
    score = ask.logit(PLACE, 2, rival=4)
    found = ask.gradient_times_input(model, image, score)
    step = 1e-6
    for row, column in ((36, 52), (30, 60), (2, 3)):
        moved = image.clone()
        moved[:, :, row, column] *= 1 + step
        with torch.no_grad():
            slope = (score(model(moved)) - score(model(image))).item() / step
        assert found[row, column].item() == pytest.approx(slope, rel=1e-3, abs=1e-7)


def test_grad_cam_gathers_every_way_from_a_stage_to_the_score(small_model, image):
    """The channels' weights, by moving a whole channel a little: through later stages as well."""
    model, image = small_model.double(), image.double()
    score, stage, step = ask.logit(PLACE, 1), 2, 1e-6

    def rest(x):
        maps = model.encoder(image)[:stage]
        maps.append(x)
        for later in model.encoder.stages[stage + 1 :]:
            maps.append(later(maps[-1]))
        return score(model.decoder(maps)).item()

    with torch.no_grad():
        x = model.encoder(image)[stage]
        channels = torch.eye(x.shape[1], dtype=torch.double)[:, None, :, None, None]
        weights = [(rest(x + step * each) - rest(x)) / step for each in channels]
        positions = x[0, 0].numel()
        small = sum(w * plane / positions for w, plane in zip(weights, x[0], strict=True)).relu()
        expected = torch.nn.functional.interpolate(small[None, None], (65, 97), mode="bilinear")
    found = ask.grad_cam(model, image, score, stage)
    assert found.max() > 0
    torch.testing.assert_close(found, expected[0, 0], rtol=1e-4, atol=1e-8)


def test_asking_changes_neither_model_nor_picture(small_model, image):
    small_model.train()
    before, state = image.clone(), {n: x.clone() for n, x in small_model.state_dict().items()}
    score = ask.logit(PLACE, 0)
    ask.gradient_times_input(small_model, image, score)
    ask.grad_cam(small_model, image, score, 1)
    ask.occlusion(small_model, image, score, torch.zeros_like(image), 32)
    assert small_model.training and torch.equal(image, before)
    assert all(x.grad is None for x in small_model.parameters())
    for name, x in small_model.state_dict().items():
        assert torch.equal(x, state[name])


def test_scores_are_a_logit_a_lead_and_a_probability():
    logits = torch.randn(2, 5, 17, 25)
    here = logits[:, :, 9, 13]
    assert torch.equal(ask.logit(PLACE, 3)(logits), here[:, 3])
    assert torch.equal(ask.logit(PLACE, 3, rival=0)(logits), here[:, 3] - here[:, 0])
    odds = here[:, 3].exp() / here.exp().sum(1)
    torch.testing.assert_close(ask.probability(PLACE, 3)(logits), odds)


def test_occlusion_is_how_much_lower_the_score_is_without_the_patch(small_model, image):
    score, filled = ask.logit(PLACE, 1), torch.zeros_like(image)
    found = ask.occlusion(small_model, image, score, filled, 32)
    for row, column in ((0, 0), (1, 1), (2, 3)):  # patches, those at the rim cut off
        without = image.clone()
        patch = slice(32 * row, 32 * row + 32), slice(32 * column, 32 * column + 32)
        without[:, :, *patch] = 0
        with torch.no_grad():
            fall = score(small_model.eval()(image)) - score(small_model(without))
        expected = fall.expand(found[patch].shape)
        torch.testing.assert_close(found[patch], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch, size", [(1, (8, 8)), (4, (8, 12)), (8, (20, 17))])
def test_the_most_important_patches_go_first(patch, size):
    generator = torch.Generator().manual_seed(0)
    importance = torch.randn(size, generator=generator)
    shares = (0, 0.25, 0.5, 1)
    masks = ask.removal_masks(importance, shares, patch, generator)
    assert masks.shape == (4, 1, *size) and not masks[0].any() and masks[-1].all()
    corners = [(r, c) for r in range(0, size[0], patch) for c in range(0, size[1], patch)]
    means = {(r, c): importance[r : r + patch, c : c + patch].mean() for r, c in corners}
    order = sorted(corners, key=means.get, reverse=True)
    for share, mask in zip(shares, masks, strict=True):
        expected = torch.zeros(size, dtype=torch.bool)
        for r, c in order[: math.ceil(share * len(order))]:
            expected[r : r + patch, c : c + patch] = True
        assert torch.equal(mask[0], expected)


def test_patches_of_equal_importance_go_in_another_order_each_time():
    generator = torch.Generator().manual_seed(0)
    first, second = (ask.removal_masks(torch.zeros(32, 32), (0.5,), 8, generator) for _ in range(2))
    assert first.sum() == second.sum() == 512 and not torch.equal(first, second)


def test_the_removal_curve_watches_the_score_of_the_mixed_pictures(small_model, image):
    score, other = ask.logit(PLACE, 1), torch.zeros_like(image)
    masks = ask.removal_masks(torch.rand(65, 97), (0, 0.4, 1), 8, torch.Generator().manual_seed(0))
    curve = ask.removal_curve(small_model, image, score, other, masks)
    with torch.no_grad():
        mixed = [x * ~mask + other * mask for x, mask in zip([image] * 3, masks, strict=True)]
        expected = torch.stack([score(small_model(x))[0] for x in mixed])
    torch.testing.assert_close(curve, expected, rtol=1e-4, atol=1e-4)


def test_nearness_falls_with_the_distance_to_the_middle_of_the_place():
    near = ask.nearness(torch.zeros(1, 3, 64, 96), (4, 7))
    assert near[18, 30].item() == pytest.approx(-math.hypot(0.5, 0.5))
    assert near[0, 0].item() == pytest.approx(-math.hypot(17.5, 29.5))


def test_a_coarse_picture_keeps_means_and_loses_detail():
    image = torch.randn(1, 3, 64, 64)
    found = ask.coarse(image, 32)
    assert found.shape == image.shape
    torch.testing.assert_close(found[..., 0, 0], image[..., :32, :32].mean((2, 3)))
    assert found.std() < 0.2 * image.std()


def test_agreement_is_spearmans_and_ranked_above_is_the_area_under_the_roc_curve():
    generator = torch.Generator().manual_seed(0)
    one, two = torch.rand(2, 24, 32, generator=generator)
    means = [x.view(3, 8, 4, 8).mean((1, 3)).flatten() for x in (one, one + two)]
    expected = spearmanr(*means).statistic
    assert ask.rank_correlation(one, one + two) == pytest.approx(expected)
    rounded = (4 * one).round()  # with ties
    inside = two > 0.7
    area = roc_auc_score(inside.flatten(), rounded.flatten())
    assert ask.ranked_above(rounded, inside, ~inside) == pytest.approx(area)


def test_every_way_is_asked_alike(small_model, image):
    score, filled = ask.logit(PLACE, 1), torch.zeros_like(image)
    found = ask.every_way(small_model, image, PLACE, score, filled, torch.Generator())
    assert all(each.shape == (65, 97) for each in found.values())
    assert torch.equal(found["rollout 2"], ask.rollout(small_model, image, PLACE, 1))
    assert torch.equal(found["Grad-CAM 3"], ask.grad_cam(small_model, image, score, 2))
    assert torch.equal(found["occlusion 16"], ask.occlusion(small_model, image, score, filled, 16))
    assert torch.equal(found["|gradient × input|"], found["gradient × input"].abs())
