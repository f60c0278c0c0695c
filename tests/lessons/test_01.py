"""Lesson 01: its earlier classes agree with the package's, and what it says of overlap holds."""

from pathlib import Path

import jupytext
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu import OverlapPatchEmbedding
from segformer_edu.analysis.patches import PatchRow
from segformer_edu.data.photos import normalize, sample_photo

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/01_overlapping_patches.py"


@pytest.fixture(scope="module")
def stages():
    """The classes of the cells tagged `stage`."""
    names = {"torch": torch, "nn": nn, "Tensor": torch.Tensor}
    for cell in jupytext.read(SOURCE, fmt="py:percent").cells:
        if "stage" in cell.metadata.get("tags", []):
            exec(cell.source, names)
    return names


@pytest.mark.parametrize("size", [(64, 48), (33, 47)])
def test_overlapping_tokens_are_the_packages_map_flattened(stages, size):
    early, final = stages["OverlappingTokens"](3, 8, 7, 4), OverlapPatchEmbedding(3, 8, 7, 4)
    final.load_state_dict(early.state_dict())
    images = torch.randn(2, 3, *size)
    tokens, (height, width) = early(images)
    torch.testing.assert_close(tokens.unflatten(1, (height, width)), final(images))


def test_touching_patches_are_unfold_and_linear(stages):
    early = stages["PatchEmbedding"](3, 8, 4)
    images = torch.randn(2, 3, 33, 47)
    cut = F.unfold(images, 4, stride=4).mT
    expected = F.linear(cut, early.projection.weight.flatten(1), early.projection.bias)
    torch.testing.assert_close(early(images), expected)


def answers(patch_size, padding, column):
    """The loudest of 256 filters that sum to zero, at an edge, in double precision."""
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


def change(embed, images, shift):
    """As in the lesson: how much tokens change when the content moves, whole tokens apart."""
    before, after = (embed(images[..., 128:384, 128 - by : 384 - by]) for by in (0, shift))
    whole = (shift + 2) // 4
    before, after = before[:, 4:-4, 4 : -4 - whole], after[:, 4:-4, 4 + whole : -4]
    spread = (before - before.mean((0, 1, 2))).square().mean()
    return ((after - before).square().mean() / spread).sqrt().item()


@torch.no_grad()
def test_overlap_steadies_smooth_filters_a_little_and_random_ones_hardly():
    images = normalize(sample_photo())
    random = {}
    for patch_size in (4, 7):
        torch.manual_seed(7)  # other weights than the lesson's
        embeds = [OverlapPatchEmbedding(3, 32, patch_size, 4) for _ in range(4)]
        random[patch_size] = np.mean([change(embed, images, 1) for embed in embeds])
        assert max(change(embed, images, 4) for embed in embeds) < 1e-4
    assert random[7] == pytest.approx(random[4], rel=0.15)

    def averaging(profile, padding):
        profile = torch.tensor(profile) / sum(profile)
        weight = torch.outer(profile, profile).expand(3, 1, -1, -1)
        return lambda x: F.conv2d(x, weight, stride=4, padding=padding, groups=3).movedim(1, -1)

    touching = change(averaging([1.0, 1, 1, 1], 0), images, 1)
    overlapping = change(averaging([1.0, 2, 3, 4, 3, 2, 1], 3), images, 1)
    assert 0.7 * touching < overlapping < 0.95 * touching < 0.5 * random[4]
