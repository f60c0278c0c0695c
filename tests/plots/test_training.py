"""Curves over the steps of training are where the runs were, and smooth where it is said."""

import numpy as np
import pytest

from segformer_edu import plots
from segformer_edu.plots.training import rolling_mean


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


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.step_curves({}), "give a panel"),
        (lambda: plots.step_curves({"a": {"b": ([1], [1, 2])}}), "b has 1 steps and 2 values"),
    ],
)
def test_steps_that_cannot_be_drawn_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
