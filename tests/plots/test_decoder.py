"""Lesson 07's pictures: lines lead where a resize reads, colours are for and against."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segformer_edu import plots
from segformer_edu.plots.decoder import sample_positions, signed_colors

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("small", "large"), [(4, 16), (3, 8), (2, 5), (7, 9)])
def test_the_positions_are_those_of_torch(small, large, aligned):
    ramp = torch.arange(float(small), dtype=torch.float64)[None, None]
    expected = F.interpolate(ramp, large, mode="linear", align_corners=aligned)[0, 0]
    np.testing.assert_allclose(sample_positions(small, large, aligned), expected)


def test_each_line_leads_from_a_new_pixel_to_the_point_it_reads():
    figure = plots.resized_rows([5, 6, 7, 8], 8)
    for ax, aligned in zip(figure.axes, (False, True), strict=True):
        starts, ends = zip(*(line.get_xdata() for line in ax.lines), strict=True)
        assert list(starts) == [i + 0.5 for i in range(8)]
        np.testing.assert_allclose(ends, 2 * (sample_positions(4, 8, aligned) + 0.5))
        written = [text.get_text() for text in ax.texts]
        assert written[:4] == ["5", "6", "7", "8"]
        assert written[4] == "5.0" and written[-1] == "8.0"
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "align_corners=False",
        "align_corners=True",
    ]


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
    assert shown[0].min() == 1e-3  # drawn as dark as can be
    assert [figure.axes[i].get_ylabel() for i in (0, 2)] == ["one", "two"]


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


def test_maps_share_one_scale_with_zero_in_its_middle():
    parts = np.zeros((2, 3, 3))
    parts[0, 0, 0], parts[1, 2, 2] = 2, -5
    figure = plots.contribution_maps(PHOTO, parts, ["stage 1", "stage 2"])
    limits = [ax.images[0].get_clim() for ax in figure.axes[1:3]]
    assert limits == [(-5, 5)] * 2


def test_colours_are_for_and_against():
    white, orange, violet = signed_colors(np.array([[0.0, 2.0, -2.0]]), 2.0)[0].astype(int)
    assert white.min() > 240
    assert orange[0] > orange[2] and violet[2] > violet[1]


def test_bars_stand_side_by_side():
    figure = plots.class_bars(("sky", "road"), {"a": (0.5, 0.25), "b": (1.0, 0.75)})
    (ax,) = figure.axes
    bars = {round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height() for bar in ax.patches}
    assert bars == {-0.2: 0.5, 0.8: 0.25, 0.2: 1.0, 1.2: 0.75}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.resized_rows([1], 4), "enlarge them"),
        (lambda: plots.resized_rows([1, 2, 3], 3), "enlarge them"),
        (lambda: plots.contribution_maps(PHOTO, np.ones((2, 3, 3)), ["a"]), "captions"),
        (lambda: plots.contribution_maps(PHOTO / 255, np.ones((1, 3, 3)), ["a"]), "uint8"),
        (lambda: plots.class_bars(("sky",), {"a": (0.5, 0.5)}), "2 values for 1 classes"),
    ],
)
def test_what_does_not_fit_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
