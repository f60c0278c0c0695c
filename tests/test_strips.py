"""Maps in strips: every row once, the numbers of the whole map, and no more rows than needed; the
two source pixels of each pixel.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from segformer_edu.strips import add_resized, in_strips, row_weights, source_pairs, strips

SIDE = st.integers(1, 40)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(size=SIDE, resized=SIDE)
def test_two_source_pixels_and_their_weights_give_the_pixels_of_interpolate(size, resized):
    x = torch.randn(size, generator=torch.Generator().manual_seed(0))
    pair, weights = source_pairs(size, resized, x)
    expected = F.interpolate(x[None, None], resized, mode="linear")[0, 0]
    torch.testing.assert_close((x[pair] * weights).sum(1), expected, rtol=1e-4, atol=1e-5)
    assert pair.diff(dim=1).unique().tolist() in ([0], [1], [0, 1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_rows_of_a_large_map_are_weighed_as_exactly_as_its_numbers_are(dtype):
    # Row 900 of 1000 in bfloat16 would be row 896 or 904, and its weights those of another place.
    identity = torch.eye(7, dtype=torch.float64)[None, None]
    exact = F.interpolate(identity, (1000, 7), mode="bilinear")[0, 0]
    rows, weights = row_weights(7, 1000, 890, 910, torch.zeros((), dtype=dtype))
    assert weights.dtype == dtype
    rounding = 2 * max(torch.finfo(dtype).eps, 1e-15 if dtype == torch.float64 else 1e-6)
    assert (weights.double() - exact[890:910, rows]).abs().max() <= rounding


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (500, 300), (3, 5000)], ids=str)
def test_strips_cover_every_row_once(device, size):
    x = torch.zeros(2, 4, 4, 3, device=device)
    rows = [row for top, bottom in strips(size, x) for row in range(top, bottom)]
    assert rows == list(range(size[0]))
    assert list(strips(size, x, whole=True)) == [(0, size[0])]


@pytest.mark.parametrize(
    ("device", "batch", "options", "first"),
    [
        ("cpu", 2, {}, [(0, 20), (20, 40)]),  # 20 rows of 100 pixels in two images, of 4096
        ("cpu", 1, {"pixels": 300}, [(0, 4), (4, 8)]),  # never fewer than four
        ("cpu", 0, {}, [(0, 500)]),
        ("meta", 40, {}, [(0, 32), (32, 64)]),  # of 2¹⁷, where there is no cache to stay in
    ],
)
def test_a_strip_has_as_many_rows_as_pixels_fit(device, batch, options, first):
    x = torch.zeros(batch, 4, 4, 3, device=device)
    assert list(strips((500, 100), x, **options))[:2] == first


def test_an_exported_graph_takes_the_whole_map(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert list(strips((500, 300), torch.zeros(1, 4, 4, 3))) == [(0, 500)]


def neighbours(x):
    """Each token plus those two rows above and below it, zeros outside the map."""
    padded = F.pad(x, (0, 0, 0, 0, 2, 2))
    return padded[:, :-4] + x + padded[:, 4:]


@pytest.mark.parametrize("height", [1, 20, 21, 94])  # strips of 20 rows
@pytest.mark.parametrize("grad", [True, False])
def test_a_function_in_strips_gives_what_it_gives_on_the_whole_map(height, grad):
    heights = []

    def spy(x):
        heights.append(x.shape[1])
        return neighbours(x)

    x = torch.randn(2, height, 100, 3)
    with torch.set_grad_enabled(grad):  # which must not matter
        assert torch.equal(in_strips(spy, x, halo=2), neighbours(x))
    assert heights == [min(top + 22, height) - max(top - 2, 0) for top in range(0, height, 20)]
    heights.clear()
    assert torch.equal(in_strips(spy, x, halo=2, whole=True), neighbours(x))
    assert heights == [height]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(size=st.tuples(SIDE, SIDE), height=SIDE, data=st.data())
def test_rows_are_added_as_interpolate_resizes_them(size, height, data):
    top = data.draw(st.integers(0, height - 1))
    bottom = data.draw(st.integers(top + 1, height))
    x, total = torch.randn(2, *size, 3), torch.randn(2, bottom - top, size[1], 3)
    whole = F.interpolate(x.permute(0, 3, 1, 2), (height, size[1]), mode="bilinear")
    expected = total + whole.permute(0, 2, 3, 1)[:, top:bottom]
    torch.testing.assert_close(add_resized(total, x, height, top), expected, rtol=1e-4, atol=1e-5)


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
