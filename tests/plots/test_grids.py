"""Each cell of a grid shows its own entry."""

import numpy as np
import pytest

from segformer_edu import plots

WEIGHTS = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.05, 0.05, 0.9]])
MASK = np.array([[[True, False, True], [True, True, True]], [[False] * 3, [True] * 3]])


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


def test_a_grid_writes_each_number_into_its_cell():
    values = np.array([[0.1, 0.25, np.nan], [0.5, 0.75, 1.0]])
    (ax,) = plots.number_grid(values, ["a", "b"], ["x", "y", "z"], "Best", "row", "column").axes
    written = {tuple(map(int, text.get_position())): text.get_text() for text in ax.texts}
    assert written == {
        (0, 0): "0.10", (1, 0): "0.25", (0, 1): "0.50", (1, 1): "0.75", (2, 1): "1.00",
    }  # fmt: skip
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y", "z"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")


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
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["one", "all"]


def test_gates_are_crossed_where_closed_and_counted_beside_each_row():
    kept = np.array([[True, False, True, True], [False, False, True, False]])
    (ax,) = plots.gates({"a gate each": kept}).axes
    assert crosses(ax) == [(0, 1), (1, 0), (1, 1), (1, 3)]
    assert [text.get_text() for text in ax.texts] == ["kept", "3", "1"]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.attention_matrix(WEIGHTS, ["a", "b"]), r"\(3, 3\): 2 names"),
        (lambda: plots.attention_matrix(WEIGHTS, ["a", "b", "c", "d"]), r"\(3, 3\): 4 names"),
        (lambda: plots.number_grid(np.eye(2), ["a"], ["b", "c"]), "1 names of rows and 2"),
        (lambda: plots.dropped_together({"one": MASK[0]}), r"one: give a \(B, C, N\)"),
        (lambda: plots.dropped_together({"one": MASK.astype(int)}), "of int64"),
        (lambda: plots.gates({"one": MASK}), r"\(B, L\) array of bool; got shape \(2, 2, 3\)"),
    ],
)
def test_grids_that_do_not_fit_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


def test_grids_of_numbers_share_their_names_and_frame_the_largest_of_each_row():
    panels = {"one": np.array([[1.0, -2.0], [0.0, 30.0]]), "two": np.array([[0.5, 0.6], [9, 8]])}
    figure = plots.number_grids(panels, ["a", "b"], ["x", "y"], "Two ways")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["one", "two"]
    for ax, values in zip(figure.axes, panels.values(), strict=True):
        written = {tuple(map(int, text.get_position())): text.get_text() for text in ax.texts}
        assert written == {
            (c, r): f"{value:.1f}".replace("-", "−") for (r, c), value in np.ndenumerate(values)
        }
        framed = {(box.get_y() + 0.5, box.get_x() + 0.5) for box in ax.patches}
        assert framed == {(row, values[row].argmax()) for row in range(2)}
    (ax,) = plots.number_grids({"tied": np.array([[1.32, 1.34, 1.2]])}, ["a"], list("xyz")).axes
    assert {box.get_x() for box in ax.patches} == {-0.5, 0.5}  # both are written 1.3
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "b"]


def test_grids_of_numbers_need_a_name_for_each_row_and_column():
    with pytest.raises(ValueError, match="two: values are"):
        plots.number_grids({"one": np.ones((2, 2)), "two": np.ones((2, 3))}, ["a", "b"], ["x", "y"])
