"""Every result is a dot, at its own height."""

import numpy as np
import pytest
from scipy import stats

from segformer_edu import plots


def test_seeds_are_dots_with_their_mean_and_deviation():
    (ax,) = plots.seeds({"error, %": {"before": [1.0, 3.0], "after": [2.0, 2.5]}}).axes
    joined = [line.get_ydata().tolist() for line in ax.lines if line.get_linestyle() == "-"]
    assert [1.0, 2.0] in joined and [3.0, 2.5] in joined
    dots = [line.get_ydata() for line in ax.lines if line.get_marker() in "os"]
    assert [list(values) for values in dots] == [[1.0, 3.0], [2.0, 2.5]]
    middle = ax.containers[0].lines[0].get_ydata()[0]
    ((_, low), (_, high)) = ax.containers[0].lines[2][0].get_segments()[0]
    assert (low, middle, high) == pytest.approx((2 - 2**0.5, 2, 2 + 2**0.5))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["before", "after"]


def test_equal_results_of_seeds_lie_side_by_side_and_stay_joined():
    (ax,) = plots.seeds({"error, %": {"before": [2.0, 2.0, 2.0], "after": [1.0, 3.0, 1.0]}}).axes
    dots = [line.get_xydata() for line in ax.lines if line.get_marker() in "os"]
    assert len(np.unique(np.concatenate(dots), axis=0)) == 6
    joined = np.array([line.get_xydata() for line in ax.lines if line.get_linestyle() == "-"])
    assert np.array_equal(joined, np.stack(dots, axis=1))


def test_each_score_is_a_dot_and_groups_stand_apart():
    scores = {"a": {"x": [0.1, 0.3], "y": [0.5]}, "b": {"x": [0.2], "y": [0.9, 0.7]}}
    figure = plots.score_ranges(scores, "R²", chance=0.25)
    (ax,) = figure.axes
    dots = [line for line in ax.lines if line.get_marker() != "None"]
    heights = [line.get_ydata() for line in dots]
    assert [list(each) for each in heights] == [[0.1, 0.3], [0.2], [0.5], [0.9, 0.7]]
    centres = [line.get_xdata()[0] for line in dots]
    assert centres[0] < 0 < centres[2] and centres[1] < 1 < centres[3]
    assert ax.lines[0].get_ydata() == [0.25, 0.25]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]


def test_clouds_share_their_axes():
    figure = plots.clouds({"left": {"a": ([1, 2], [3, 4])}, "right": {"b": ([9], [9])}}, ("x", "y"))
    left, right = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[1, 3], [2, 4]]
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["left", "right"]


def test_a_trade_off_marks_choices_and_joins_the_front():
    points = {"a": (1, 0.5), "b": (2, 0.4), "c": (4, 0.9)}
    whole, enlarged = plots.trade_off(points, {"ours": "b"}, ("cost", "score")).axes
    assert whole.get_ylim() == (0, 1) and whole.get_xscale() == "log"
    assert whole.get_ylabel() == "score"
    for ax in (whole, enlarged):
        assert ax.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.4], [4, 0.9]]
        assert ax.lines[1].get_xydata().tolist() == [[2, 0.4]]
    assert enlarged.lines[2].get_xydata().tolist() == [[1, 0.5], [4, 0.9]]
    (legend,) = whole.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["each combination", "ours"]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.trade_off({"a": (0, 1)}, {}, ("", "")), "costs above zero"),
        (lambda: plots.seeds({"error": {"a": [1.0], "b": [1.0, 2.0]}}), "error: give every name"),
        (lambda: plots.score_ranges({}, ""), "the same names"),
        (lambda: plots.differences({"a": {"x": [1]}, "b": {"y": [1]}}, ""), "the same names"),
        (lambda: plots.score_ranges({"a": {"x": [1]}, "b": {"y": [1]}}, ""), "the same names"),
    ],
)
def test_results_that_do_not_fit_together_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


def test_an_interval_is_grey_where_it_holds_the_reference():
    rows = {"a": (0.5, 0.2, 0.9), "b": (0.1, -0.1, 0.2)}
    figure = plots.intervals({"left": rows, "right": rows}, ["x", "y"], reference=0.0)
    left, right = figure.axes
    dots = [container.lines[0] for container in left.containers]
    assert [line.get_xydata().tolist() for line in dots] == [[[0.5, 0]], [[0.1, 1]]]
    (bar,) = left.containers[0].lines[2]
    assert bar.get_segments()[0][:, 0].tolist() == pytest.approx([0.2, 0.9])
    assert dots[0].get_color() != dots[1].get_color()
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b"]
    assert left.get_ylim() == (1.5, -0.5) and right.get_xlabel() == "y"
    far = {"left": {"a": (1.0, 0.9, 1.1)}, "right": {"a": (9.0, 8.0, 9.5)}}
    for labels, shared in ((["x", "x"], True), (["x", "y"], False)):
        left, right = plots.intervals(far, labels).axes
        assert (left.get_xlim() == right.get_xlim()) is shared
    with pytest.raises(ValueError, match="1 labels for 2 panels"):
        plots.intervals({"left": rows, "right": rows}, ["x"])


def test_heads_of_a_block_stand_together_each_with_its_bar():
    blocks = [[(0.5, 0.4, 0.6)], [(0.2, 0.2, 0.2), (0.8, 0.5, 0.9)]]
    figure = plots.by_block({"spread": blocks, "lost": blocks}, ["1.1", "1.2"])
    for ax in figure.axes:
        lines = [container.lines for container in ax.containers]
        assert [each[0].get_ydata().tolist() for each in lines] == [[0.5], [0.2, 0.8]]
        bars = [segment[:, 1] for segment in lines[1][2][0].get_segments()]
        np.testing.assert_allclose(bars, [[0.2, 0.2], [0.5, 0.9]])
        for place, (middle, *_) in enumerate(lines):  # from left to right around the block's tick
            xs = middle.get_xdata()
            assert xs.mean() == pytest.approx(place) and np.abs(xs - place).max() < 0.1
            assert (np.diff(xs) > 0).all()
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["1.1", "1.2"]
    with pytest.raises(ValueError, match="spread: 2 blocks, but 1 names"):
        plots.by_block({"spread": blocks}, ["1.1"])


def test_a_difference_has_a_dot_for_each_seed_and_the_interval_of_their_mean():
    panels = {"left": {"a": [0.1, 0.2, 0.15], "b": [-1.0, 1.0, 0.5]}}
    (ax,) = plots.differences(panels, "mIoU").axes
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == list(panels["left"].values())
    for bar, values in zip(ax.containers, panels["left"].values(), strict=True):
        ((low, _), (high, _)) = bar.lines[2][0].get_segments()[0]
        expected = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert (low, high) == pytest.approx(expected)
    assert dots[0].get_color() != dots[1].get_color()  # only the first one's holds no zero
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]


def test_trade_offs_have_the_interval_of_each_gain_and_one_marker_for_a_name():
    panels = {
        "left": {"a": [(0.8, -0.1, -0.3, 0.2), (0.9, 0.0, -0.1, 0.1)], "b": [(1.0, 0, 0, 0)]},
        "right": {"b": [(0.5, -0.2, -0.3, -0.1)]},
    }
    figure = plots.trade_offs(panels, ("cost", "gain"))
    left, right = figure.axes
    (a, _, (bars,)), (b, *_), (same, *_) = *left.containers, *right.containers
    assert a.get_xydata().tolist() == [[0.8, -0.1], [0.9, 0.0]]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert np.allclose(ends, [[-0.3, 0.2], [-0.1, 0.1]])
    assert b.get_marker() == same.get_marker() != a.get_marker()
    assert b.get_color() == same.get_color() != a.get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_sizes_of_pictures_are_dots_as_large_as_they_are_frequent():
    sides = np.array([[640, 480]] * 3 + [[480, 640]])
    (ax,) = plots.size_scatter(sides, "Sizes").axes
    (dots,) = ax.collections
    assert dots.get_offsets().tolist() == [[480, 640], [640, 480]]
    small, large = dots.get_sizes() - 20
    assert large == pytest.approx(3 * small)


@pytest.mark.parametrize("sides", [np.empty((0, 2)), np.ones((3, 3)), np.ones(4)])
def test_sizes_that_are_none_are_refused(sides):
    with pytest.raises(ValueError, match="sides has the shape"):
        plots.size_scatter(sides)
