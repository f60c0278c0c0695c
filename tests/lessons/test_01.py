"""Lesson 01: its first patch embedding is unfold and Linear, and what it says of overlap holds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis.patches import PatchRow
from segformer_edu.analysis.shift import change_under_shift
from segformer_edu.data.photos import normalize, sample_photo
from tests.lessons.written import written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/01_overlapping_patches.py"


@pytest.fixture(scope="module")
def lesson():
    return written_out(SOURCE, imports=True)


def test_touching_patches_are_unfold_and_linear(lesson):
    early = lesson["PatchEmbedding"](3, 8, 4)
    images = torch.randn(2, 3, 33, 47)
    cut = F.unfold(images, 4, stride=4).mT
    expected = F.linear(cut, early.projection.weight.flatten(1), early.projection.bias)
    torch.testing.assert_close(early(images), expected)


def answers(patch_size, padding, column):
    """The strongest response of 256 filters that sum to zero, at an edge, in double precision."""
    image = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    image[..., column:] = 1
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(256, 1, patch_size, patch_size, generator=generator).double()
    weight = weight - weight.mean((2, 3), keepdim=True)
    found = F.conv2d(image, weight, stride=4, padding=padding)
    return found[..., 2:-2, 2:-2].abs().max().item()


def test_an_edge_between_touching_patches_is_seen_by_none_and_by_overlapping_ones_always():
    for column in range(28, 37):
        assert (answers(4, 0, column) < 1e-12) == (column % 4 == 0)
        assert answers(7, 3, column) > 1


def test_3_and_7_are_the_smallest_odd_kernels_that_lose_no_pixel_at_any_size():
    for stride in range(1, 9):
        for patch_size in range(1, 20, 2):
            complete = all(
                PatchRow(length, patch_size, stride, patch_size // 2).coverage.min() > 0
                for length in range(1, 65)
            )
            assert complete == (patch_size >= 2 * stride - 1)


@torch.no_grad()
def test_overlap_steadies_averages_by_its_width_and_random_filters_not(lesson):
    averaging, images, random = lesson["averaging"], normalize(sample_photo()), {}

    def change(embed, shift):
        return change_under_shift(embed, images, shift)

    for patch_size, padding in ((4, 0), (7, 3)):
        torch.manual_seed(7)  # other weights than the lesson's
        convs = [nn.Conv2d(3, 32, patch_size, 4, padding) for _ in range(8)]
        random[patch_size] = [np.mean([change(conv, by) for conv in convs]) for by in range(9)]
        assert max(change(conv, by) for conv in convs for by in (4, 8)) < 1e-4
    assert random[7][1] == pytest.approx(random[4][1], rel=0.15)
    for shift in (1, 2, 3):
        touching, wide, tent = (
            change(averaging(profile, padding), shift)
            for profile, padding in (([1] * 4, 0), ([1] * 7, 3), ([1, 2, 3, 4, 3, 2, 1], 3))
        )
        assert wide < 0.95 * tent < 0.95 * 0.95 * touching < 0.6 * random[4][shift]


@torch.no_grad()
def test_on_noise_the_tent_is_steadier_than_the_wide_average_at_one_pixel(lesson):
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    wide, tent = (
        change_under_shift(lesson["averaging"](profile, 3), noise, 1)
        for profile in ([1] * 7, [1, 2, 3, 4, 3, 2, 1])
    )
    # averages with weights w change, squared and against their variance, by Σ (wᵢ₊₁ − wᵢ)² / Σ wᵢ²
    assert wide == pytest.approx((2 / 7) ** 0.5, rel=0.1)
    assert tent == pytest.approx((8 / 44) ** 0.5, rel=0.1)


def test_a_texture_that_a_smaller_photograph_averages_away_has_more_contrast_in_a_larger_one():
    noise = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    contrasts = [
        F.unfold(F.interpolate(noise, (side, side), mode="area"), 4, stride=4).std(1).mean()
        for side in (32, 64, 128)
    ]
    assert contrasts == sorted(contrasts) and contrasts[2] > 3 * contrasts[0]


@pytest.mark.parametrize("token", [(1, 2, 3), (10, 20, 30), (101, 102, 103)])
def test_layer_norm_keeps_a_pattern_and_drops_its_level_and_scale(token):
    expected = torch.tensor([-1.5, 0, 1.5]) * (2 / 3) ** 0.5
    found = nn.LayerNorm(3)(torch.tensor(token, dtype=torch.float32))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_reshape_reads_in_the_order_of_the_axes_wherever_the_numbers_lie():
    turned = torch.arange(6).view(2, 3).T  # its numbers lie in memory as 0 1 2 3 4 5
    assert turned.reshape(6).tolist() == [0, 3, 1, 4, 2, 5]
    assert turned.data_ptr() == turned.T.data_ptr()  # a permute moves nothing, too


def test_only_the_first_kernel_depends_on_the_number_of_colours_and_zeros_ignore_a_new_one():
    three, four = (SegFormer(SegFormerConfig.named("b0", in_channels=n)).eval() for n in (3, 4))
    weights, kernel = three.state_dict(), "encoder.stages.0.patch_embedding.projection.weight"
    differ = [
        name for name, value in four.state_dict().items() if value.shape != weights[name].shape
    ]
    assert differ == [kernel]
    weights[kernel] = F.pad(weights[kernel], (0, 0, 0, 0, 0, 1))
    four.load_state_dict(weights)
    images = torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(four(images), three(images[:, :3]))
