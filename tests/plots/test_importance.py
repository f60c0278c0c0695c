"""What counts for an answer has another colour than what counts against it, with zero between."""

import numpy as np
import pytest

from segformer_edu import plots
from segformer_edu.plots.importance import signed_colors

PHOTO = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def test_importance_maps_mark_the_place_and_tell_for_from_against():
    photo = np.zeros((64, 128, 3), np.uint8)
    maps = {"one": np.eye(4), "two": np.eye(4) - 0.5}
    figure = plots.importance_maps(photo, maps, (0.25, 0.75), "finding", columns=2)
    picture, one, two, empty = figure.axes
    assert [ax.get_title(loc="left") for ax in (picture, one, two)] == ["picture", "one", "two"]
    assert one.images[0].get_cmap().name == "magma" and two.images[0].get_cmap().name == "PuOr_r"
    assert two.images[0].get_clim() == (-0.5, 0.5) and not empty.images
    for ax in (picture, one, two):
        assert ax.lines[-1].get_xydata().tolist() == [[0.75, 0.25]]
    with pytest.raises(ValueError, match="caption for each"):
        plots.importance_maps(photo, {"one": np.zeros(3)}, (0, 0))


def test_maps_share_one_scale_with_zero_in_its_middle():
    parts = np.zeros((2, 3, 3))
    parts[0, 0, 0], parts[1, 2, 2] = 2, -5
    figure = plots.contribution_maps(PHOTO, parts, ["stage 1", "stage 2"])
    scene, *panels = figure.axes
    limits = [ax.images[0].get_clim() for ax in panels[:2]]
    assert limits == [(-5, 5)] * 2
    assert [ax.get_title(loc="left") for ax in panels[:2]] == ["stage 1", "stage 2"]
    assert np.array_equal(scene.images[0].get_array(), PHOTO)


def test_six_panels_stand_in_two_rows():
    figure = plots.contribution_maps(PHOTO, np.ones((5, 3, 3)), list("abcde"))
    places = [ax.get_subplotspec() for ax in figure.axes[:6]]
    assert [(at.rowspan.start, at.colspan.start) for at in places] == [
        (row, column) for row in range(2) for column in range(3)
    ]


def test_colours_are_for_and_against():
    white, orange, violet = signed_colors(np.array([[0.0, 2.0, -2.0]]), 2.0)[0].astype(int)
    assert white.min() > 240
    assert orange[0] > orange[2] and violet[2] > violet[1]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.contribution_maps(PHOTO, np.ones((2, 3, 3)), ["a"]), "captions"),
        (lambda: plots.contribution_maps(PHOTO / 255, np.ones((1, 3, 3)), ["a"]), "uint8"),
    ],
)
def test_parts_that_cannot_be_drawn_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
