"""What a stage holds is drawn in its own place, under its own name."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from segformer_edu import plots
from segformer_edu.plots.stages import liveliest

PHOTO = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
KEY = "in its channel"


def test_fields_keep_their_places_and_captions():
    field = np.full((6, 6), 1e-9)
    field[2, 3] = 1
    figure = plots.receptive_fields(
        {"one": [field, field.T], "two": [field.T, field]},
        {"one": ["a", "b"], "two": ["c", "d"]},
        "finding",
    )
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c", "d"]
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert [np.unravel_index(each.argmax(), each.shape) for each in shown] == [
        (2, 3),
        (3, 2),
        (3, 2),
        (2, 3),
    ]
    assert shown[0].min() == 1e-4  # drawn as dark as can be
    assert [figure.axes[i].get_ylabel() for i in (0, 2)] == ["one", "two"]


def test_the_middle_of_the_first_columns_is_drawn_once_more():
    field = np.ones((8, 8))
    field[4, 4] = 2
    figure = plots.receptive_fields({"one": [field] * 2}, {"one": ["a", "b"]}, zoom=(4,))
    first, second = figure.axes
    (inset,) = first.child_axes[:1]
    assert inset.get_xlim() == (1.5, 5.5) and inset.get_ylim() == (5.5, 1.5)  # pixels 2 to 5
    assert np.array_equal(inset.images[0].get_array(), field)
    assert not second.child_axes


def test_feature_maps_draws_the_channels_that_vary_most():
    stage_map = np.random.default_rng(0).random((6, 8, 12))
    stage_map[[1, 4]] *= 10
    stage_map[2] += 100  # bright is not lively
    assert liveliest(stage_map, 2).tolist() == [1, 4]
    figure = plots.feature_maps([stage_map, stage_map[:3, ::2, ::2]], channels=2)
    drawn = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(drawn) == 4
    assert np.array_equal(drawn[0], stage_map[1]) and np.array_equal(drawn[1], stage_map[4])
    beside = figure.axes[3].texts  # of the second row
    assert [text.get_text() for text in beside] == ["stage 2\n4 × 6 tokens\n3 channels"]


def test_maps_stand_beside_their_photograph_a_row_for_each_stage():
    fine = np.random.default_rng(0).random((6, 8, 12))
    fine[[1, 4]] *= 10
    figure = plots.maps_beside(PHOTO, [fine, fine[:3, ::2, ::2]], "Found", channels=2)
    titled = {ax.get_title(loc="left"): ax for ax in figure.axes}
    assert np.array_equal(titled["picture"].images[0].get_array(), PHOTO)
    rows = [ax for ax in figure.axes if ax.get_ylabel()]
    assert [ax.get_ylabel() for ax in rows] == ["stage 1: 8 × 12", "stage 2: 4 × 6"]
    assert np.array_equal(rows[0].images[0].get_array(), fine[1])
    assert np.array_equal(titled["channel 4"].images[0].get_array(), fine[4])
    (bar,) = [ax for ax in figure.axes[0].figure.findobj(Axes) if ax.get_title(loc="left") == KEY]
    assert [label.get_text() for label in bar.get_xticklabels()] == ["least", "greatest"]
    figure.draw_without_rendering()
    ends = bar.get_window_extent()
    for label in bar.get_xticklabels():
        words = label.get_window_extent()
        assert ends.x0 - 1 < words.x0 and words.x1 < ends.x1 + 1


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.feature_maps([]), r"\(C, H, W\)"),
        (lambda: plots.feature_maps([np.ones((4, 4))]), r"\(C, H, W\)"),
        (lambda: plots.feature_maps([np.ones((1, 3, 4, 4))]), r"\(C, H, W\)"),
        (lambda: plots.maps_beside(PHOTO, []), r"\(C, H, W\)"),
    ],
)
def test_stages_that_cannot_be_drawn_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


@pytest.mark.parametrize(
    ("rows", "captions"),
    [
        ({"a": [np.ones((2, 2))] * 2, "b": [np.ones((2, 2))]}, {"a": ["", ""], "b": [""]}),
        ({"a": [np.ones((2, 2))]}, {"a": []}),
        ({"a": [np.ones((2, 2))]}, {"b": [""]}),
    ],
)
def test_fields_that_do_not_fit_are_refused(rows, captions):
    with pytest.raises(ValueError, match="caption for each"):
        plots.receptive_fields(rows, captions, "")
