"""Bars stand where they belong, and are as long as their numbers."""

import numpy as np
import pytest

from segformer_edu import plots


def test_bars_stand_side_by_side():
    figure = plots.class_bars(("sky", "road"), {"a": (0.5, 0.25), "b": (1.0, 0.75)})
    (ax,) = figure.axes
    bars = {round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height() for bar in ax.patches}
    assert bars == {-0.2: 0.5, 0.8: 0.25, 0.2: 1.0, 1.2: 0.75}


def test_grouped_bars_stand_side_by_side_with_their_numbers():
    groups = {"stage 1": {"far": 60.2, "near": 40.0}, "stage 4": {"far": 90.0, "near": 30.6}}
    (ax,) = plots.grouped_bars(groups, "right, %").axes
    heights = {round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height() for bar in ax.patches}
    assert heights == {-0.2: 60.2, 0.8: 90.0, 0.2: 40.0, 1.2: 30.6}
    assert [text.get_text() for text in ax.texts] == ["60", "90", "40", "31"]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(groups)
    assert len({bar.get_hatch() for bar in ax.patches}) == 2


def test_stacked_bars_lie_end_to_end_and_add_up():
    bars = {"r = 4": {"products": 2.0, "rest": 0.5}, "r = 8": {"products": 0.5, "rest": 0.5}}
    ax = plots.stacked_bars(bars, "multiply-adds, G").axes[0]
    spans = [(each.get_x(), each.get_width()) for each in ax.patches]
    assert spans == [(0, 2.0), (0, 0.5), (2.0, 0.5), (0.5, 0.5)]
    assert [text.get_text() for text in ax.texts] == [" 2.50", " 1.00"]
    assert len({each.get_hatch() for each in ax.patches}) == 2


def test_bars_tell_three_digits_and_no_more():
    bars = {name: {"ms": value} for name, value in (("a", 257.77), ("b", 79.98), ("c", 1984.5))}
    ax = plots.stacked_bars(bars, "ms").axes[0]
    assert [text.get_text() for text in ax.texts] == [" 258", " 80.0", " 1,980"]


def test_bars_of_a_single_part_need_no_legend():
    assert plots.stacked_bars({"a": {"x": 1, "y": 2}}, "").legends
    assert not plots.stacked_bars({"a": {"x": 1}}, "").legends


def test_stacked_shares_are_equally_long_and_tell_their_totals():
    bars = {"B0": {"products": 3.0, "rest": 1.0}, "B5": {"products": 5.0, "rest": 15.0}}
    ax = plots.stacked_shares(bars, "multiply-adds", "G").axes[0]
    spans = [(each.get_x(), each.get_width()) for each in ax.patches]
    assert spans == [(0, 75.0), (0, 25.0), (75.0, 25.0), (25.0, 75.0)]
    assert [text.get_text() for text in ax.texts] == [" 4.0 G", " 20.0 G"]
    assert ax.get_xlabel() == "share of the multiply-adds, %"


def test_the_law_stands_over_what_was_drawn():
    law = np.array([0.0, 0.25, 0.5, 0.25])
    (ax,) = plots.survivors(law, np.array([1, 2, 2, 3, 3])).axes
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in ax.patches}
    assert heights == pytest.approx({1: 0.2, 2: 0.4, 3: 0.4})
    dots, expected = ax.lines
    assert dots.get_xydata().tolist() == [[1, 0.25], [2, 0.5], [3, 0.25]]
    assert expected.get_xdata()[0] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.class_bars(("sky",), {"a": (0.5, 0.5)}), "2 values for 1 classes"),
        (lambda: plots.grouped_bars({}, ""), "same names"),
        (lambda: plots.grouped_bars({"a": {"x": 1}, "b": {"y": 1}}, ""), "same names"),
        (lambda: plots.stacked_bars({}, ""), "same names"),
        (lambda: plots.stacked_bars({"a": {"x": 1}, "b": {"y": 1}}, ""), "same names"),
        (lambda: plots.stacked_shares({"a": {"x": 1}, "b": {"y": 1}}, "", ""), "same names"),
    ],
)
def test_bars_that_do_not_fit_together_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


def test_parts_of_each_are_shares_of_unlike_quantities():
    bars = {"parameters, 4": {"a": 3.0, "b": 1.0}, "seconds, 20": {"a": 5.0, "b": 15.0}}
    ax = plots.parts_of_each(bars).axes[0]
    spans = [(each.get_x(), each.get_width()) for each in ax.patches]
    assert spans == [(0, 75.0), (0, 25.0), (75.0, 25.0), (25.0, 75.0)]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(bars)
    assert not "".join(text.get_text() for text in ax.texts).strip()
