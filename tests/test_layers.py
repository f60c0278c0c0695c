"""What the parts share: Linear over maps, resizing in strips, initial weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from segformer_edu.layers import Linear, initialize, resize, row_weights, strips

SIDE = st.integers(1, 40)


@pytest.mark.parametrize("shape", [(2, 5, 7, 6), (2, 35, 6), (35, 6), (0, 5, 7, 6)], ids=str)
def test_linear_is_torchs_on_maps_and_on_tokens(device, shape):
    layer = Linear(6, 4).to(device)
    x = torch.randn(shape, device=device)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(size=st.tuples(SIDE, SIDE), resized=st.tuples(SIDE, SIDE), data=st.data())
def test_any_rows_of_a_resized_map_are_those_of_interpolate(size, resized, data):
    top = data.draw(st.integers(0, resized[0] - 1))
    bottom = data.draw(st.integers(top + 1, resized[0]))
    x = torch.randn(2, *size, 3, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(x.permute(0, 3, 1, 2), resized, mode="bilinear").permute(0, 2, 3, 1)
    rows = resize(x, resized, top, bottom)
    torch.testing.assert_close(rows, whole[:, top:bottom], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(resize(x, resized), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_rows_of_a_large_map_are_weighed_as_exactly_as_its_numbers_are(dtype):
    # Row 900 of 1000 in bfloat16 would be row 896 or 904, and its weights those of another place.
    identity = torch.eye(7, dtype=torch.float64)[None, None]
    exact = F.interpolate(identity, (1000, 7), mode="bilinear")[0, 0]
    rows, weights = row_weights(7, 1000, 890, 910, torch.zeros((), dtype=dtype))
    assert weights.dtype == dtype
    rounding = 2 * max(torch.finfo(dtype).eps, 1e-15 if dtype == torch.float64 else 1e-6)
    assert (weights.double() - exact[890:910, rows]).abs().max() <= rounding


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (500, 300), (3, 5000)], ids=str)
def test_strips_cover_every_row_once(device, size):
    x = torch.zeros(2, 4, 4, 3, device=device)
    rows = [row for top, bottom in strips(size, x) for row in range(top, bottom)]
    assert rows == list(range(size[0]))
    assert list(strips(size, x, whole=True)) == [(0, size[0])]


def test_a_recorded_gradient_takes_the_whole_map():
    assert list(strips((500, 300), torch.zeros(1, 4, 4, 3))) == [(0, 500)]


@pytest.mark.parametrize(
    ("layer", "std"),
    [
        (nn.Linear(500, 400), 0.02),
        (nn.Conv2d(16, 64, 3), (2 / (9 * 64)) ** 0.5),
        (nn.Conv2d(512, 512, 3, groups=512), (2 / 9) ** 0.5),
        (nn.Conv2d(200, 300, 1), (2 / 300) ** 0.5),
    ],
    ids=["linear", "conv", "depthwise", "pointwise"],
)
def test_initial_weights_have_the_spread_of_the_reference(layer, std):
    initialize(layer)
    count = layer.weight.numel()
    assert layer.weight.std().item() == pytest.approx(std, rel=5 / (2 * count) ** 0.5)
    assert layer.weight.mean().item() == pytest.approx(0, abs=5 * std / count**0.5)
    assert not layer.bias.any()
