"""Lesson 02's pictures show the numbers they were handed, where the axes say."""

import numpy as np
import pytest

from segformer_edu import plots
from segformer_edu.data.photos import sample_photo
from segformer_edu.plots.attention_cost import growth

PHOTO = np.zeros((30, 40, 3), dtype=np.uint8)
WEIGHTS = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.05, 0.05, 0.9]])


def test_the_matrix_shows_every_weight_and_the_sums_beside_and_below():
    (ax,) = plots.attention_matrix(WEIGHTS, ["a", "b", "c"], "finding").axes
    words = {
        (round(x, 1), round(y, 1)): text.get_text()
        for text in ax.texts
        for x, y in [text.get_position()]
    }
    for (row, column), weight in np.ndenumerate(WEIGHTS):
        assert words[column, row] == f"{weight:.2f}"
    assert [words[2.6, row] for row in range(3)] == ["= 1.00"] * 3
    assert [words[column, 2.6] for column in range(3)] == ["1.05", "0.55", "1.40"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"]])
def test_a_matrix_and_names_that_do_not_fit_are_refused(names):
    with pytest.raises(ValueError, match=rf"\(3, 3\): {len(names)} names"):
        plots.attention_matrix(WEIGHTS, names)


def test_each_row_is_drawn_as_its_map_with_a_frame_around_its_query():
    maps = np.random.default_rng(0).random((2, 6, 8))
    queries = [(1, 2), (4, 7)]
    photo_ax, *axes = plots.attention_rows(PHOTO, maps, queries, ["sky", "sea"]).axes
    assert len(photo_ax.patches) == 4 and [note.get_text() for note in photo_ax.texts] == [
        "sky",
        "sea",
    ]
    for ax, each, (row, column), name in zip(axes, maps, queries, ["sky", "sea"], strict=True):
        assert np.array_equal(ax.images[0].get_array(), each)
        assert ax.get_title(loc="left") == name
        for frame in ax.patches:  # the token (row, column) fills the unit square from there
            assert frame.get_center() == pytest.approx((column + 0.5, row + 0.5))


def test_one_query_in_several_maps_is_named_once():
    maps = np.ones((3, 6, 8))
    figure = plots.attention_rows(PHOTO, maps, [(1, 2)] * 3, ["head 1", "head 2", "head 3"])
    assert [note.get_text() for note in figure.axes[0].texts] == ["query"]


@pytest.mark.parametrize(
    ("photo", "maps", "queries"),
    [
        (PHOTO, np.ones((6, 8)), [(0, 0)]),
        (PHOTO, np.ones((2, 6, 8)), [(0, 0)]),
        (PHOTO / 255, np.ones((1, 6, 8)), [(0, 0)]),
    ],
)
def test_rows_that_do_not_fit_are_refused(photo, maps, queries):
    with pytest.raises(ValueError, match=r"maps of shape|uint8"):
        plots.attention_rows(photo, maps, queries, ["query"])


def test_a_power_law_is_a_straight_line_of_that_slope():
    tokens = [4, 16, 64]
    curves = {"square": (tokens, [n**2 for n in tokens]), "linear": (tokens, tokens)}
    figure = growth({"seconds": curves}, "tokens N", {4: "2²", 64: "8²"}, "finding")
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


@pytest.mark.parametrize("bad", [([1, 2], [0, 1]), ([-1, 2], [1, 1])])
def test_what_has_no_logarithm_is_refused(bad):
    with pytest.raises(ValueError, match="above zero"):
        growth({"seconds": {"curve": bad}}, "tokens", {1: "1"})


def test_the_photograph_is_as_tall_as_it_is():
    wide = plots.attention_rows(PHOTO, np.ones((1, 6, 8)), [(0, 0)], ["a"])
    square = plots.attention_rows(sample_photo(), np.ones((1, 8, 8)), [(0, 0)], ["a"])
    assert wide.get_figheight() < square.get_figheight()
