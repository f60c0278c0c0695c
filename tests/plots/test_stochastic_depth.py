"""Lesson 05's pictures show the masks, probabilities and runs that they were handed."""

import numpy as np
import pytest

from segformer_edu import plots

MASK = np.array([[[True, False, True], [True, True, True]], [[False] * 3, [True] * 3]])


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes]


def crosses(ax):
    """Row and column of each cross, in squares."""
    found = []
    for line in ax.lines:
        found += [(round(y - 0.5), round(x - 0.5)) for x, y in line.get_xydata()]
    return sorted(found)


def test_each_sample_of_a_batch_lies_below_the_one_before():
    figure = plots.dropped_together({"one": MASK, "all": MASK | True}, "finding")
    first, second = figure.axes
    assert crosses(first) == [(0, 1), (3, 0), (3, 1), (3, 2)]  # a gap between the samples
    assert crosses(second) == []
    for mesh, sample in zip(first.collections, MASK, strict=True):
        assert np.array_equal(mesh.get_array().reshape(sample.shape), sample)
    assert titles(figure) == ["one", "all"]


def test_gates_are_crossed_where_closed_and_counted_beside_each_row():
    kept = np.array([[True, False, True, True], [False, False, True, False]])
    (ax,) = plots.gates({"a gate each": kept}).axes
    assert crosses(ax) == [(0, 1), (1, 0), (1, 1), (1, 3)]
    assert [text.get_text() for text in ax.texts] == ["3", "1"]


def test_drop_and_survival_are_the_same_points_on_two_axes():
    ax, survival = plots.schedules({"linspace": [0.0, 0.1], "paper": [0.05, 0.1]}).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[0, 0.1], [0.05, 0.1]]
    assert list(ax.lines[0].get_xdata()) == [1, 2]
    for drop in (0.0, 0.07):
        height = ax.transData.transform((1, drop))[1]
        assert survival.transData.transform((1, 1 - drop))[1] == pytest.approx(height)


def test_the_law_stands_over_what_was_drawn():
    law = np.array([0.0, 0.25, 0.5, 0.25])
    (ax,) = plots.survivors(law, np.array([1, 2, 2, 3, 3])).axes
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in ax.patches}
    assert heights == pytest.approx({1: 0.2, 2: 0.4, 3: 0.4})
    dots, expected = ax.lines
    assert dots.get_xydata().tolist() == [[1, 0.25], [2, 0.5], [3, 0.25]]
    assert expected.get_xdata()[0] == pytest.approx(2.0)


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


@pytest.mark.parametrize("log", [False, True])
def test_a_band_is_one_deviation_around_the_mean(log):
    values = np.array([[1.0, 10.0], [4.0, 10.0]])
    figure = plots.bands([0, 1], {"runs": values, "one": values[:1]}, ("x", "y"), log=log)
    (ax,) = figure.axes
    first, second = ax.lines
    if log:
        middle, deviation = 2.0, np.exp(np.std(np.log([1, 4]), ddof=1))
        edges = middle / deviation, middle * deviation
    else:
        middle, deviation = 2.5, np.std([1, 4], ddof=1)
        edges = middle - deviation, middle + deviation
    assert first.get_ydata() == pytest.approx([middle, 10])
    assert second.get_ydata() == pytest.approx([1, 10])
    (band,) = ax.collections  # a single run has none
    points = band.get_paths()[0].vertices
    at_zero = points[points[:, 0] == 0, 1]
    assert (at_zero.min(), at_zero.max()) == pytest.approx(edges)
    assert ax.get_yscale() == ("log" if log else "linear")


def test_clouds_share_their_axes():
    figure = plots.clouds({"left": {"a": ([1, 2], [3, 4])}, "right": {"b": ([9], [9])}}, ("x", "y"))
    left, right = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[1, 3], [2, 4]]
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    assert titles(figure) == ["left", "right"]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.dropped_together({"one": MASK[0]}), r"one: give a \(B, C, N\)"),
        (lambda: plots.dropped_together({"one": MASK.astype(int)}), "of int64"),
        (lambda: plots.gates({"one": MASK}), r"\(B, L\) array of bool; got shape \(2, 2, 3\)"),
        (lambda: plots.schedules({"a": [0.1], "b": [0.1, 0.2]}), "one depth"),
        (lambda: plots.seeds({"error": {"a": [1.0], "b": [1.0, 2.0]}}), "error: every name"),
        (lambda: plots.bands([1, 2], {"a": np.ones((3, 4))}, ("", "")), r"a: give an \(n, 2\)"),
        (lambda: plots.bands([1, 2], {"a": np.ones(2)}, ("", "")), r"a: give an \(n, 2\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
