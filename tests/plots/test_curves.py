"""Curves go through the points that they were given, on the axes that they name."""

import numpy as np
import pytest
from scipy import stats

from segformer_edu import plots
from segformer_edu.analysis.scaling import PowerLaw


def test_a_power_law_is_a_straight_line_of_that_slope():
    tokens = [4, 16, 64]
    curves = {"square": (tokens, [n**2 for n in tokens]), "linear": (tokens, tokens)}
    figure = plots.growth({"seconds": curves}, "tokens N", {4: "2²", 64: "8²"}, "finding")
    (ax,) = figure.axes
    for line, power in zip(ax.lines, (2, 1), strict=True):
        points = ax.transData.transform(line.get_xydata())
        steps = np.diff(points, axis=0)
        assert steps[0] == pytest.approx(steps[1])
        unit = ax.transData.transform([[1, 1], [10, 10]])
        scale = np.diff(unit, axis=0)[0]
        assert (steps[0, 1] / scale[1]) / (steps[0, 0] / scale[0]) == pytest.approx(power)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["2²", "8²"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["square", "linear"]


def test_budgets_stand_on_logarithmic_axes_with_their_numbers():
    points = {"column": ([4, 16], [27, 158]), "pyramid": ([4, 8], [32, 64])}
    (ax,) = plots.equal_budgets(points, ("pixels", "channels")).axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    for line, (x, y) in zip(ax.lines, points.values(), strict=True):
        assert (list(line.get_xdata()), list(line.get_ydata())) == (x, y)
    assert [text.get_text() for text in ax.texts] == ["27", "158", "32", "64"]
    assert [text.xy for text in ax.texts] == [(4, 27), (16, 158), (4, 32), (8, 64)]
    above = [text.xyann[1] > 0 for text in ax.texts]  # 27 lies below 32, the others alone
    assert above == [False, True, True, True]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "8", "16"]
    assert len({line.get_marker() for line in ax.lines}) == 2


def test_shift_curves_mark_whole_tokens():
    curves = {"a": [0, 1, 2, 1, 0, 1]}
    figure = plots.shift_curves(range(6), curves, what="change", stride=4, where="edge")
    (ax,) = figure.axes
    assert ax.get_xlabel().startswith("edge in pixels") and ax.get_ylabel() == "change"
    *marks, curve = ax.lines
    assert [mark.get_xdata()[0] for mark in marks] == [0, 4]
    assert curve.get_ydata().tolist() == [0, 1, 2, 1, 0, 1] and curve.get_label() == "a"


def test_shares_are_percent_and_multiples_are_marked():
    ax = plots.shares([31, 32, 33], {"stage 1": [1.0, 1.0, 0.5]}, multiple=32).axes[0]
    *marks, curve = ax.lines
    assert [mark.get_xdata()[0] for mark in marks] == [32] == list(ax.get_xticks())
    assert list(curve.get_xdata()) == [31, 32, 33] and list(curve.get_ydata()) == [100, 100, 50]


def test_drop_and_survival_are_the_same_points_on_two_axes():
    ax, survival = plots.schedules({"linspace": [0.0, 0.1], "paper": [0.05, 0.1]}).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[0, 0.1], [0.05, 0.1]]
    assert list(ax.lines[0].get_xdata()) == [1, 2]
    for drop in (0.0, 0.07):
        height = ax.transData.transform((1, drop))[1]
        assert survival.transData.transform((1, 1 - drop))[1] == pytest.approx(height)


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
    if log:
        assert ax.yaxis.get_major_formatter()(10, 0) == "10"  # no power of ten


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.growth({"s": {"a": ([1, 2], [0, 1])}}, "", {1: "1"}), "a: .* above zero"),
        (lambda: plots.growth({"s": {"a": ([-1, 2], [1, 1])}}, "", {1: "1"}), "a: .* above zero"),
        (lambda: plots.equal_budgets({"a": ([1], [0])}, ("", "")), "above zero"),
        (lambda: plots.shift_curves(range(3), {"a": [0, 1]}, "", 4), "a has 2 values for 3 shifts"),
        (lambda: plots.shares([1, 2], {"stage 1": [1.0]}, 2), "1 values for 2 sides"),
        (lambda: plots.schedules({"a": [0.1], "b": [0.1, 0.2]}), "one depth"),
        (lambda: plots.bands([1, 2], {"a": np.ones((3, 4))}, ("", "")), r"a: give an \(n, 2\)"),
        (lambda: plots.bands([1, 2], {"a": np.ones(2)}, ("", "")), r"a: give an \(n, 2\)"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


def test_removal_curves_have_a_band_from_end_to_end_of_the_interval():
    values = np.array([[1.0, 0.5, 0.0], [0.9, 0.4, 0.0], [1.0, 0.7, 0.1]])
    panels = {"deletion": {"a": values}, "insertion": {"a": values[:, ::-1]}}
    figure = plots.removal_curves([0, 0.5, 1], panels, ("share", "probability"))
    left, right = figure.axes
    assert left.lines[0].get_xydata().tolist() == [[0, 1], [0.5, 0.5], [1, 0]]
    (band,) = left.collections
    edges = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert {(0.5, 0.4), (0.5, 0.7)} <= edges
    assert right.lines[0].get_ydata().tolist() == [0, 0.5, 1]
    with pytest.raises(ValueError, match=r"a: give a \(3, 2\) array"):
        plots.removal_curves([0, 1], panels, ("share", "probability"))


def test_a_reliability_diagram_draws_each_bin_that_has_answers_enough():
    sure, right = np.array([np.nan, 0.4, 0.6, 0.9]), np.array([np.nan, 1.0, 0.5, 0.95])
    counts = np.array([0, 1, 9_999, 90_000])
    curve, amounts = plots.reliability_diagram({"nano": (sure, right, counts)}, "Finding").axes
    diagonal, drawn = curve.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert drawn.get_xydata().tolist() == [[0.6, 0.5], [0.9, 0.95]]
    assert amounts.lines[0].get_xydata() == pytest.approx(np.array([[0.6, 9.999], [0.9, 90]]))


def test_amounts_have_the_interval_of_their_seeds_around_the_mean():
    values = np.array([[1.0, 10.0], [4.0, 12.0], [2.5, 9.0]])
    panels = {"a": ([1, 2], {"runs": values}), "b": ([3, 9], {"runs": 2 * values})}
    figure = plots.over_amounts(panels, ("x", "y"), log=True)
    for ax, (amounts, runs) in zip(figure.axes, panels.values(), strict=True):
        line, _, (bars,) = ax.containers[0]
        assert line.get_xydata().T.tolist() == [amounts, runs["runs"].mean(0).tolist()]
        bars = zip(amounts, runs["runs"].T, bars.get_segments(), strict=True)
        for amount, of_seeds, ((left, low), (right, high)) in bars:
            expected = stats.t.interval(0.95, 2, of_seeds.mean(), stats.sem(of_seeds))
            assert left == right == amount and (low, high) == pytest.approx(expected)
            assert ax.get_ylim()[0] <= low and high <= ax.get_ylim()[1]
        assert [text.get_text() for text in ax.get_xticklabels()] == [f"{x}" for x in amounts]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["runs"]
    for wrong in ({"a": ([1, 2, 3], {"runs": values})}, panels | {"b": ([1, 2], {"x": values})}):
        with pytest.raises(ValueError, match="values for 3 amounts|the same names"):
            plots.over_amounts(wrong, ("x", "y"))


def test_the_intervals_of_several_names_stand_beside_each_other_around_their_amount():
    values = np.array([[1.0, 10.0], [4.0, 12.0], [2.5, 9.0]])
    figure = plots.over_amounts({"a": ([1, 2], dict.fromkeys("pqr", values))}, ("x", "y"))
    figure.draw_without_rendering()
    (ax,) = figure.axes
    places = []  # of each name's first bar, in points
    for _, _, (bars,) in ax.containers:
        ((x, _), _), _ = (bars.get_transform().transform(each) for each in bars.get_segments())
        places.append(x * 72 / figure.dpi)
    middle = ax.transData.transform((1, 0))[0] * 72 / figure.dpi
    assert np.array(places) - middle == pytest.approx([-3, 0, 3])


def test_power_laws_go_on_beyond_the_sizes_that_were_run():
    laws = [PowerLaw(2.0, 0.5, 0.1), PowerLaw(2.0, 0.5, 0.2), PowerLaw(2.0, 0.5, 0.3)]
    figure = plots.power_laws({"scenes": ({100: [0.4, 0.5], 400: [0.3]}, laws)}, "error", beyond=4)
    (ax,) = figure.axes
    middle, *runs, end = ax.lines
    x, y = middle.get_data()
    assert (x[0], x[-1]) == pytest.approx((100, 1600))
    assert y == pytest.approx(2 * x**-0.5 + 0.2)
    assert [line.get_xydata().tolist() for line in runs] == [[[100, 0.4], [100, 0.5]], [[400, 0.3]]]
    assert list(end.get_xdata()) == [400, 400]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.2 + 0.3, abs=0.01)
    assert band[:, 1].min() == pytest.approx(0.05 + 0.1, abs=0.01)
