"""Patches by arithmetic, against torch's own convolution, unfold and fold."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segformer_edu.analysis.patches import PatchRow


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 9), st.integers(0, 8))
def test_torch_cuts_the_same_patches(length, patch_size, stride, padding):
    assume(padding < patch_size <= length + 2 * padding)
    row = PatchRow(length, patch_size, stride, padding)
    settings = {"kernel_size": (1, patch_size), "stride": (1, stride), "padding": (0, padding)}
    pixels = torch.arange(1.0, length + 1).view(1, 1, 1, length)  # 0 is padding
    cut = F.unfold(pixels, **settings)[0]  # (patch_size, count)
    assert cut.shape[1] == row.count == len(row.starts)
    wanted = torch.as_tensor(row.starts) + torch.arange(patch_size)[:, None] + 1
    inside = (wanted >= 1) & (wanted <= length)
    assert torch.equal(cut, torch.where(inside, wanted, 0).float())
    assert torch.equal(
        F.fold(torch.ones_like(cut)[None], (1, length), **settings).flatten(),
        torch.as_tensor(row.coverage).float(),
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9))
def test_neighbours_share_what_their_pixels_have_in_common(patch_size, stride):
    row = PatchRow(40, patch_size, stride, 0)
    first, second = (set(range(start, start + patch_size)) for start in row.starts[:2])
    assert row.shared == len(first & second)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(2, 30), st.integers(1, 9), st.integers(1, 9), st.integers(0, 8))
def test_a_pair_is_seen_where_a_patch_holds_both_pixels(length, patch_size, stride, padding):
    assume(padding < patch_size <= length + 2 * padding)
    row = PatchRow(length, patch_size, stride, padding)
    patches = [set(range(start, start + patch_size)) for start in row.starts]
    seen = [any({left, left + 1} <= patch for patch in patches) for left in range(length - 1)]
    assert row.pairs_seen == pytest.approx(sum(seen) / len(seen))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((0, 7, 4, 3), "length = 0"),
        ((32, 0, 4, 0), "patch_size = 0"),
        ((32, 7, 0, 3), "stride = 0"),
        ((32, 7, 4, -1), "padding = -1"),
        ((32, 7, 4, 1.5), "padding = 1.5"),
        ((32, 3, 4, 3), "The padding, 3, is as wide as a patch, 3"),
        ((12, 16, 4, 1), "does not fit into 12"),
    ],
)
def test_impossible_patches_are_refused(sizes, words):
    with pytest.raises(ValueError, match=words):
        PatchRow(*sizes)
