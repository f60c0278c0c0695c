"""Attention against torch's own, against eq. 2 as written, and what its keys never see."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu.attention import SpatialReduction, SpatialReductionAttention


@pytest.mark.parametrize("r", [1, 2, 3])
def test_the_weights_of_every_query_sum_to_one(device, randomized, r):
    attention = randomized(SpatialReductionAttention(12, 3, r)).to(device)
    weights = attention.weights(torch.randn(2, 7, 9, 12, device=device))
    assert weights.shape == (2, 3, 7, 9, 7 // r, 9 // r)
    torch.testing.assert_close(weights.sum((-2, -1)), torch.ones(2, 3, 7, 9, device=device))
    assert weights.min() >= 0


@pytest.mark.parametrize("r", [1, 2, 3])
def test_output_is_the_values_weighed_by_the_weights(device, randomized, r):
    attention = randomized(SpatialReductionAttention(12, 3, r)).to(device)
    x = torch.randn(2, 7, 9, 12, device=device)
    reduced = attention.reduce(x)
    values = F.linear(reduced, attention.value.weight, attention.value.bias)
    values = values.unflatten(-1, (3, 4))  # (B, h, w, heads, d)
    mixed = torch.einsum("bnHWhw,bhwnd->bHWnd", attention.weights(x), values).flatten(-2)
    expected = F.linear(mixed, attention.output.weight, attention.output.bias)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_without_reduction_it_is_torchs_multi_head_attention(device, randomized):
    attention = randomized(SpatialReductionAttention(20, 5, 1)).to(device)
    reference = nn.MultiheadAttention(20, 5, batch_first=True, device=device)
    parts = attention.query, attention.key, attention.value
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        reference.out_proj.load_state_dict(attention.output.state_dict())
    x = torch.randn(2, 5, 6, 20, device=device)
    tokens = x.flatten(1, 2)
    output, weights = reference(tokens, tokens, tokens, average_attn_weights=False)
    torch.testing.assert_close(attention(x).flatten(1, 2), output, rtol=1e-4, atol=1e-5)
    flat = attention.weights(x).flatten(4).flatten(2, 3)
    torch.testing.assert_close(flat, weights, rtol=1e-4, atol=1e-6)


def test_reduction_is_reshape_and_linear_of_eq_2(device, randomized):
    r, dim = 4, 6
    reduction = randomized(SpatialReduction(dim, r)).to(device)
    x = torch.randn(2, 8, 12, dim, device=device)
    # Reshape: each r×r window of tokens becomes one vector of r²·C numbers. Linear: r²·C → C.
    windows = x.view(2, 8 // r, r, 12 // r, r, dim).transpose(2, 3).flatten(3)
    weight = reduction.projection.weight.permute(0, 2, 3, 1).flatten(1)  # (C, r²·C)
    expected = reduction.norm(F.linear(windows, weight, reduction.projection.bias))
    torch.testing.assert_close(reduction(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("side", "percent"), [(31, 59.9), (25, 92.2), (17, 88.6), (16, 100.0)])
def test_tokens_past_the_last_whole_window_are_never_seen(randomized, side, percent):
    attention = randomized(SpatialReductionAttention(2, 1, 8))
    x = torch.randn(1, side, side, 2, requires_grad=True)
    attention.key(attention.reduce(x)).square().sum().backward()
    seen = (x.grad[0] != 0).any(-1)
    whole = side // 8 * 8
    assert seen[:whole, :whole].all()
    assert round(100 * seen.float().mean().item(), 1) == percent


@pytest.mark.parametrize("stage", range(4))
def test_every_stage_at_512_pixels_sees_16_by_16_keys(stage):
    tokens, r = 512 // (4, 8, 16, 32)[stage], (8, 4, 2, 1)[stage]
    attention = SpatialReductionAttention(4, 1, r)
    assert attention.reduce(torch.zeros(1, tokens, tokens, 4)).shape == (1, 16, 16, 4)


def test_a_map_that_is_a_view_gives_the_same_as_its_copy(randomized):
    attention = randomized(SpatialReductionAttention(8, 2, 2))
    x = torch.randn(2, 8, 10, 6).permute(0, 2, 3, 1)  # (B, H, W, C), channels not last in memory
    assert not x.is_contiguous()
    torch.testing.assert_close(attention(x), attention(x.contiguous()))


def test_weights_of_large_scores_in_half_precision_are_numbers(device):
    attention = SpatialReductionAttention(64, 1, 1).to(device, torch.float16)
    with torch.no_grad():
        for linear in (attention.query, attention.key):
            linear.weight.copy_(torch.eye(64))
            linear.bias.zero_()
    x = torch.full((1, 2, 2, 64), 40.0, device=device, dtype=torch.float16)  # q kᵀ = 102,400
    torch.testing.assert_close(attention.weights(x), torch.full_like(attention.weights(x), 0.25))
