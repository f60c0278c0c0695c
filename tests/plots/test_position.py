"""Lesson 04's pictures: maps, marks, places and scores are drawn where they belong."""

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from segformer_edu import plots

MAPS = [np.arange(12.0).reshape(3, 4), np.eye(3)]


def test_token_maps_draw_each_map_and_frame_the_marked_token():
    figure = plots.token_maps(MAPS, ["one", "two"], "Found", mark=[(2, 1), None])
    first, second = figure.axes
    for ax, values, caption in zip(figure.axes, MAPS, ["one", "two"], strict=True):
        assert np.array_equal(ax.images[0].get_array(), values)
        assert ax.get_title(loc="left") == caption
    frames = [each for each in first.patches if isinstance(each, Rectangle)]
    assert {each.get_bbox().bounds for each in frames} == {(0.5, 1.5, 1, 1)}
    assert not [each for each in second.patches if isinstance(each, Rectangle)]


def test_numbered_tokens_carry_their_number_where_they_stand():
    (ax,) = plots.token_maps([MAPS[0]], ["one"], numbered=True).axes
    written = {each.get_position(): each.get_text() for each in ax.texts}
    assert written == {(c, r): str(4 * r + c) for r in range(3) for c in range(4)}
    assert not plots.token_maps([MAPS[0]], ["one"]).axes[0].texts


def test_deviations_share_a_scale_and_cross_out_what_is_zero():
    maps = [np.array([[1e-2, 0.0], [1e-20, 1.0]]), np.array([[2.0, 1e-4], [1e-4, 0.0]])]
    figure = plots.deviations(maps, ["one", "two"], least=1e-8)
    first, second = figure.axes[:2]
    assert first.images[0].norm is second.images[0].norm
    assert (first.images[0].norm.vmin, first.images[0].norm.vmax) == (1e-8, 2.0)
    shown = first.images[0].get_array()
    assert shown.mask.tolist() == [[False, True], [False, False]]
    assert shown[1, 0] == 1e-8
    assert [tuple(point) for point in first.lines[0].get_xydata()] == [(1, 0)]
    assert [tuple(point) for point in second.lines[0].get_xydata()] == [(1, 1)]


def test_every_token_stands_where_it_is_believed_to_be():
    places = np.random.default_rng(0).uniform(size=(3, 4, 2))
    (ax,) = plots.probed_places([places], ["stage 1"]).axes
    (dots,) = [line for line in ax.lines if line.get_marker() == "o"]
    expected = places.reshape(-1, 2)[:, ::-1]  # x is the column
    assert np.array_equal(dots.get_xydata(), expected)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # rows count downward
    joined = [line.get_xydata() for line in ax.lines if line.get_marker() == "None"]
    assert any(np.array_equal(line, places[1, :, ::-1]) for line in joined)  # a row of tokens
    assert any(np.array_equal(line, places[:, 2, ::-1]) for line in joined)  # a column


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


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.token_maps([], []), "0 captions"),
        (lambda: plots.token_maps(MAPS, ["one"]), "1 captions"),
        (lambda: plots.token_maps([np.ones(3)], [""]), r"\[\(3,\)\]"),
        (lambda: plots.token_maps(MAPS, ["", ""], mark=[(0, 0)]), "1 marks for 2 maps"),
        (lambda: plots.deviations([np.array([[-1.0, 1.0]])], [""]), "at least 0"),
        (lambda: plots.probed_places([np.ones((2, 2, 3))], [""]), r"give \(H, W, 2\)"),
        (lambda: plots.score_ranges({}, ""), "the same names"),
        (lambda: plots.score_ranges({"a": {"x": [1]}, "b": {"y": [1]}}, ""), "the same names"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
