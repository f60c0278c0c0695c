"""Lesson 03's pictures: windows lie where the reduction cuts them, and bars and curves show what
they were given.
"""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from segformer_edu import plots

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SEEN = np.zeros((7, 10), dtype=bool)
SEEN[:6, :9] = True  # r = 3


def grid_lines(ax):
    """Where the lines of the grid stand: rows, columns."""
    ends = [line.get_xydata() for line in ax.lines]
    rows = sorted(y for (x, y), (x_end, y_end) in ends if y == y_end)
    columns = sorted(x for (x, y), (x_end, y_end) in ends if x == x_end)
    return rows, columns


def rectangles(ax):
    return [each for each in ax.patches if isinstance(each, Rectangle)]


def test_windows_begin_at_the_top_left_and_are_whole():
    first, second = plots.key_grids(PHOTO, [SEEN, SEEN], [3, 2], ["three", "two"]).axes
    assert grid_lines(first) == ([0, 3, 6], [0, 3, 6, 9])
    assert grid_lines(second) == ([0, 2, 4, 6], [0, 2, 4, 6, 8, 10])
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["three", "two"]


def test_what_no_key_sees_is_grey_and_hatched():
    (ax,) = plots.key_grids(PHOTO, [SEEN], [3], [""]).axes
    veil = ax.images[1].get_array()[..., 3]
    assert np.array_equal(veil == 0, SEEN)
    margins = sorted(each.get_bbox().bounds for each in rectangles(ax) if each.get_hatch())
    assert margins == [(0, 6, 10, 1), (9, 0, 1, 6)]


def test_nothing_is_hatched_where_windows_fill_the_map():
    (ax,) = plots.key_grids(PHOTO, [np.ones((6, 9), dtype=bool)], [3], [""]).axes
    assert rectangles(ax) == []


def test_the_query_is_framed_in_the_size_of_its_token():
    (ax,) = plots.key_grids(PHOTO, [SEEN], [3], [""], query=(0.5, 0.25)).axes
    frames = [each for each in rectangles(ax) if not each.get_hatch()]
    assert {each.get_bbox().bounds for each in frames} == {(2, 3, 1, 1)}
    (ax,) = plots.key_grids(PHOTO, [np.ones((80, 80), dtype=bool)], [8], [""], (0.5, 0.5)).axes
    assert {each.get_bbox().bounds for each in rectangles(ax)} == {(39.5, 39.5, 2, 2)}


def test_attention_over_keys_draws_each_map_and_marks_the_query_in_all():
    maps = [np.eye(4), np.eye(2)]
    figure = plots.attention_over_keys(PHOTO, maps, (0.25, 0.75), ["16 keys", "4 keys"], "Found")
    photo, *panels = figure.axes
    assert np.array_equal(photo.images[0].get_array(), PHOTO)
    for ax, weights, caption in zip(panels, maps, ["16 keys", "4 keys"], strict=True):
        assert np.array_equal(ax.images[0].get_array(), weights)
        assert ax.get_title(loc="left") == caption
    for ax in figure.axes:
        assert {tuple(line.get_xydata()[0]) for line in ax.lines} == {(0.75, 0.25)}


def test_stacked_bars_lie_end_to_end_and_add_up():
    bars = {"r = 4": {"products": 2.0, "rest": 0.5}, "r = 8": {"products": 0.5, "rest": 0.5}}
    ax = plots.stacked_bars(bars, "multiply-adds, G").axes[0]
    spans = [(each.get_x(), each.get_width()) for each in ax.patches]
    assert spans == [(0, 2.0), (0, 0.5), (2.0, 0.5), (0.5, 0.5)]
    assert [text.get_text() for text in ax.texts] == [" 2.50", " 1.00"]
    assert len({each.get_hatch() for each in ax.patches}) == 2


def test_shares_are_percent_and_multiples_are_marked():
    ax = plots.shares([31, 32, 33], {"stage 1": [1.0, 1.0, 0.5]}, multiple=32).axes[0]
    *marks, curve = ax.lines
    assert [mark.get_xdata()[0] for mark in marks] == [32] == list(ax.get_xticks())
    assert list(curve.get_xdata()) == [31, 32, 33] and list(curve.get_ydata()) == [100, 100, 50]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.key_grids(PHOTO / 255, [SEEN], [3], [""]), "uint8"),
        (lambda: plots.key_grids(PHOTO, [], [], []), "0 maps"),
        (lambda: plots.key_grids(PHOTO, [SEEN], [3, 2], [""]), "2 ratios"),
        (lambda: plots.key_grids(PHOTO, [SEEN.astype(int)], [3], [""]), "of int64"),
        (lambda: plots.attention_over_keys(PHOTO, [np.eye(2)], (0, 0), []), "0 captions"),
        (lambda: plots.attention_over_keys(PHOTO, [np.ones(4)], (0, 0), [""]), r"\(4,\)"),
        (lambda: plots.stacked_bars({}, ""), "same parts"),
        (lambda: plots.stacked_bars({"a": {"x": 1}, "b": {"y": 1}}, ""), "same parts"),
        (lambda: plots.shares([1, 2], {"stage 1": [1.0]}, 2), "1 values for 2 sides"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
