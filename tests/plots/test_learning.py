"""Lesson 08's pictures show the numbers and labels that they were given."""

import numpy as np
import pytest

from segformer_edu import plots
from segformer_edu.plots.learning import rolling_mean
from segformer_edu.plots.style import class_colors

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 4, (12, 16)).astype(np.uint8)
NAMES = ("sky", "road", "pole", "person")


def test_a_rolling_mean_is_the_mean_of_its_window():
    values = np.random.default_rng(2).random(30)
    assert np.allclose(rolling_mean(values, 7), [values[i : i + 7].mean() for i in range(24)])


def test_curves_have_their_own_panels_and_only_the_first_is_smoothed():
    steps = list(range(1, 31))
    values = [step**2 for step in steps]
    figure = plots.step_curves(
        {"loss": {"a": (steps, values)}, "score": {"b": (steps, values), "c": ([0, 30], [1, 2])}},
        levels={"ceiling": 500.0},
        finding="Down",
        smooth=5,
    )
    losses, score = figure.axes
    x, y = losses.lines[0].get_data()
    assert x[0] == 5 and y[0] == np.mean(values[:5]) and len(x) == 26
    assert np.array_equal(score.lines[0].get_ydata(), values)
    assert [line.get_ydata()[0] for line in score.lines[2:]] == [500.0]
    assert [each.get_text() for each in score.texts] == [" ceiling"]
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss", "score"]
    assert figure.get_suptitle() == "Down"


def test_label_maps_stand_beside_their_picture_in_the_colours_of_the_classes():
    other = np.where(LABELS == 2, 255, LABELS).astype(np.uint8)
    figure = plots.label_rows(
        [PHOTO, PHOTO], {"is": [LABELS, other], "was": [other, LABELS]}, NAMES
    )
    grid = np.array(figure.axes).reshape(2, 3)
    assert np.array_equal(grid[1, 0].images[0].get_array(), PHOTO)
    assert np.array_equal(grid[0, 1].images[0].get_array(), class_colors(4)[LABELS])
    white = grid[0, 2].images[0].get_array()
    assert (white[LABELS == 2] == 255).all()
    assert np.array_equal(white[LABELS != 2], class_colors(4)[LABELS[LABELS != 2]])
    captions = [ax.get_title() or ax.get_title(loc="left") for ax in grid[0]]
    assert captions == ["the picture", "is", "was"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(NAMES)


def test_a_grid_writes_each_number_into_its_cell():
    values = np.array([[0.1, 0.25, np.nan], [0.5, 0.75, 1.0]])
    (ax,) = plots.number_grid(values, ["a", "b"], ["x", "y", "z"], "Best", "row", "column").axes
    written = {tuple(map(int, text.get_position())): text.get_text() for text in ax.texts}
    assert written == {
        (0, 0): "0.10", (1, 0): "0.25", (0, 1): "0.50", (1, 1): "0.75", (2, 1): "1.00",
    }  # fmt: skip
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y", "z"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.step_curves({}), "give a panel"),
        (lambda: plots.step_curves({"a": {"b": ([1], [1, 2])}}), "b has 1 steps and 2 values"),
        (lambda: plots.label_rows([], {"a": []}, NAMES), "0 pictures, 1 columns"),
        (lambda: plots.label_rows([PHOTO], {"a": []}, NAMES), "'a' has 0 label maps for 1"),
        (lambda: plots.label_rows([PHOTO], {"a": [LABELS]}, NAMES[:2]), "2 names"),
        (lambda: plots.number_grid(np.eye(2), ["a"], ["b", "c"]), "1 names of rows and 2"),
    ],
)
def test_what_does_not_fit_together_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
