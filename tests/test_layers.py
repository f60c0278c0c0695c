"""What the parts share: Linear over maps, resizing in strips, initial weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from segformer_edu import (
    AllMLPDecoder,
    EncoderBlock,
    MixFFN,
    MixTransformer,
    OverlapPatchEmbedding,
    SegFormerConfig,
    SpatialReductionAttention,
)
from segformer_edu.attention import SpatialReduction
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


@torch.no_grad()
@pytest.mark.parametrize(
    ("device", "batch", "options", "first"),
    [
        ("cpu", 2, {}, [(0, 10), (10, 20)]),  # 10 rows of 100 pixels in two images, of 2048
        ("cpu", 1, {"pixels": 300}, [(0, 4), (4, 8)]),  # never fewer than four
        ("cpu", 0, {}, [(0, 500)]),
        ("meta", 40, {}, [(0, 32), (32, 64)]),  # of 2¹⁷, where there is no cache to stay in
    ],
)
def test_a_strip_has_as_many_rows_as_pixels_fit(device, batch, options, first):
    x = torch.zeros(batch, 4, 4, 3, device=device)
    assert list(strips((500, 100), x, **options))[:2] == first


@pytest.mark.parametrize("reason", ["a gradient", "an export"])
def test_a_recorded_gradient_or_graph_takes_the_whole_map(monkeypatch, reason):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: reason == "an export")
    with torch.set_grad_enabled(reason == "a gradient"):
        assert list(strips((500, 300), torch.zeros(1, 4, 4, 3))) == [(0, 500)]


@pytest.mark.parametrize(
    ("size", "resized", "top", "bottom", "rows"),
    [
        (40, 80, 10, 20, slice(4, 11)),  # row 10 lies at 10.5 / 2 − ½ = 4.75, row 19 at 9.25
        (64, 16, 3, 5, slice(13, 19)),  # row 3 at 3.5 · 4 − ½ = 13.5, row 4 at 17.5
        (10, 80, 1, 3, slice(0, 1)),  # both above the middle of the first source row
        (10, 80, 77, 79, slice(9, 10)),  # both below that of the last
        (64, 16, 0, 16, slice(0, 64)),  # all of it, without arithmetic
    ],
)
def test_a_strip_reads_no_more_source_rows_than_it_mixes(size, resized, top, bottom, rows):
    like = torch.zeros((), device="meta")
    found, weights = row_weights(size, resized, top, bottom, like)
    assert found == rows
    assert weights.shape == (bottom - top, rows.stop - rows.start)
    assert weights.device == like.device


TOO_SMALL = [
    ("OverlapPatchEmbedding", lambda x: OverlapPatchEmbedding(8, 8, 3, 2)(x), (1, 8, 0, 3)),
    ("SpatialReduction", lambda x: SpatialReduction(8, 4)(x), (1, 3, 9, 8)),
    ("SpatialReductionAttention", lambda x: SpatialReductionAttention(8, 2, 4)(x), (1, 9, 3, 8)),
    (
        "SpatialReductionAttention",
        lambda x: SpatialReductionAttention(8, 2, 4).weights(x),
        (1, 9, 3, 8),
    ),
    ("MixFFN", lambda x: MixFFN(8, 8)(x), (1, 0, 3, 8)),
    ("EncoderBlock", lambda x: EncoderBlock(8, 2, 4)(x), (1, 3, 9, 8)),
    ("The model", lambda x: MixTransformer(SegFormerConfig(in_channels=8))(x), (1, 8, 28, 29)),
    ("The decoder's map 1", lambda x: AllMLPDecoder([8], 8, 2)([x]), (1, 8, 0, 3)),
]


@pytest.mark.parametrize(("owner", "call", "shape"), TOO_SMALL)
def test_a_map_too_small_is_refused_in_the_name_of_the_part_that_was_called(owner, call, shape):
    with pytest.raises(ValueError, match=rf"^{owner} needs at least \d+×\d+ here"):
        call(torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("embed_dim", lambda: OverlapPatchEmbedding(3, 0, 3, 2)),
        ("dim", lambda: SpatialReduction(0, 2)),
        ("dim", lambda: SpatialReductionAttention(0, 1, 1)),
        ("dim", lambda: MixFFN(0, 4)),
    ],
)
def test_a_part_of_no_width_is_refused(name, make):
    with pytest.raises(ValueError, match=f"^{name} = 0:"):
        make()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            OverlapPatchEmbedding(8, 8, 3, 2),
            r"OverlapPatchEmbedding takes a tensor \(B, C, H, W\);",
        ),
        (MixFFN(8, 8), r"MixFFN takes a tensor \(B, H, W, C\);"),
    ],
)
def test_what_is_no_tensor_is_refused_with_the_axes_that_it_should_have(part, words):
    with pytest.raises(ValueError, match=f"^{words} got list"):
        part([1.0])


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
