"""Overlapping patches: the same as cutting, flattening and a Linear."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segformer_edu import OverlapPatchEmbedding


@pytest.mark.parametrize(("patch_size", "stride"), [(7, 4), (3, 2), (4, 4), (2, 3), (1, 1)])
def test_equals_unfold_and_linear_with_the_same_weights(device, randomized, patch_size, stride):
    embedding = randomized(OverlapPatchEmbedding(3, 10, patch_size, stride)).to(device)
    images = torch.randn(2, 3, 33, 47, device=device)
    patches = F.unfold(images, patch_size, padding=patch_size // 2, stride=stride).mT  # (B, N, 3K²)
    projection, norm = embedding.projection, embedding.norm
    tokens = F.linear(patches, projection.weight.flatten(1), projection.bias)
    tokens = (tokens - tokens.mean(-1, keepdim=True)) / (
        tokens.var(-1, keepdim=True, correction=0) + 1e-5
    ).sqrt()
    expected = tokens * norm.weight + norm.bias
    torch.testing.assert_close(embedding(images).flatten(1, 2), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(*[st.integers(1, 40)] * 2, *[st.integers(1, 9)] * 2)
def test_output_size_is_the_formula_of_the_docstring(height, width, patch_size, stride):
    embedding = OverlapPatchEmbedding(1, 2, patch_size, stride)

    def tokens(size):
        return (size + 2 * (patch_size // 2) - patch_size) // stride + 1

    shape = embedding(torch.zeros(2, 1, height, width)).shape
    assert shape == (2, tokens(height), tokens(width), 2)


def test_neighbouring_patches_of_7_by_stride_4_share_3_pixels():
    embedding = OverlapPatchEmbedding(1, 4, patch_size=7, stride=4)
    image = torch.zeros(1, 1, 64, 64)
    before = embedding(image)
    reached = []
    for column in range(32, 40):
        changed = image.clone()
        changed[..., 32, column] = 1
        reached.append(int((embedding(changed) != before).any(-1).sum()))
    # Windows reach from 4i − 3 to 4i + 3: only every fourth column belongs to one token alone.
    assert reached == [1, 2, 2, 2, 1, 2, 2, 2]
