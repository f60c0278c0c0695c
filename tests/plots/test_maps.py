"""Maps show the numbers that they were given, and mark the tokens that they were told."""

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


def test_kinds_stand_on_their_tokens_and_a_line_wherever_two_meet():
    kinds = np.array([[1, 1, 2], [3, 1, 2]])
    (ax,) = plots.token_kinds([kinds], ["one"]).axes
    written = {each.get_position(): each.get_text() for each in ax.texts}
    assert written == {(c, r): str(kinds[r, c]) for r in range(2) for c in range(3)}
    lines = {tuple(map(tuple, line.get_xydata())) for line in ax.lines}
    above_3, left_of_2 = (
        ((-0.5, 0.5), (0.5, 0.5)),
        [((1.5, r - 0.5), (1.5, r + 0.5)) for r in (0, 1)],
    )
    assert lines == {above_3, ((0.5, 0.5), (0.5, 1.5)), *left_of_2}


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


@pytest.mark.parametrize(("most", "top"), [(None, 3.0), (5.0, 5.0)])
def test_compared_maps_share_one_scale(most, top):
    maps = {"a": np.array([[0.0, 1.0]]), "b": np.array([[3.0, 2.0]])}
    first, second, bar = plots.compared_maps(maps, "errors, %", "Finding", most).axes
    for ax, (name, values) in zip((first, second), maps.items(), strict=True):
        assert ax.get_title(loc="left") == name
        assert np.array_equal(ax.images[0].get_array(), values)
        assert ax.images[0].get_clim() == (0, top)
    assert bar.get_ylabel() == "errors, %"


def test_every_token_stands_where_it_is_believed_to_be():
    places = np.random.default_rng(0).uniform(size=(3, 4, 2))
    (ax,) = plots.probed_places([places], ["stage 1"]).axes
    dots, rings = [line for line in ax.lines if line.get_marker() == "o"]
    expected = places.reshape(-1, 2)[:, ::-1]  # x is the column
    assert np.array_equal(dots.get_xydata(), expected)
    centres = [(column / 4, row / 3) for row in (0.5, 1.5, 2.5) for column in (0.5, 1.5, 2.5, 3.5)]
    assert np.allclose(rings.get_xydata(), centres)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # rows count downward
    joined = [line.get_xydata() for line in ax.lines if line.get_marker() == "None"]
    assert any(np.array_equal(line, places[1, :, ::-1]) for line in joined)  # a row of tokens
    assert any(np.array_equal(line, places[:, 2, ::-1]) for line in joined)  # a column


def test_the_axes_of_believed_places_say_where_the_picture_ends():
    first, second = plots.probed_places([np.ones((2, 2, 2))] * 2, ["", ""]).axes
    for ax in (first, second):
        assert ax.get_xlabel() == "column"
        assert [each.get_text() for each in ax.get_xticklabels()] == ["left", "right"]
        assert list(ax.get_xticks()) == [0, 1]
    assert [each.get_text() for each in first.get_yticklabels()] == ["top", "bottom"]
    assert list(first.get_yticks()) == [0, 1] and not len(second.get_yticks())
    assert [text.get_text() for text in first.texts] == ["outline of the picture"]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.token_maps([], []), "0 captions"),
        (lambda: plots.token_maps(MAPS, ["one"]), "1 captions"),
        (lambda: plots.token_maps([np.ones(3)], [""]), r"\[\(3,\)\]"),
        (lambda: plots.token_maps(MAPS, ["", ""], mark=[(0, 0)]), "1 marks for 2 maps"),
        (lambda: plots.token_kinds(MAPS, ["one"]), "1 captions"),
        (lambda: plots.deviations([np.array([[-1.0, 1.0]])], [""]), "at least 0"),
        (lambda: plots.probed_places([np.ones((2, 2, 3))], [""]), r"give \(H, W, 2\)"),
    ],
)
def test_maps_that_cannot_be_drawn_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
