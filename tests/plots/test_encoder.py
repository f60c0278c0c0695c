"""Lesson 06's pictures show what they were given, in the colours and at the places it belongs."""

import numpy as np
import pytest

from segformer_edu import plots
from segformer_edu.plots.style import class_colors

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, (6, 8))
NAMES = ("sky", "road", "pole")


def test_label_maps_are_in_the_colours_of_their_classes():
    figure = plots.label_maps(PHOTO, {"true": LABELS, "coarse": 0 * LABELS}, NAMES, "Found")
    photo, *panels = figure.axes
    assert np.array_equal(photo.images[0].get_array(), PHOTO)
    for ax, labels, caption in zip(panels, (LABELS, 0 * LABELS), ("true", "coarse"), strict=True):
        assert np.array_equal(ax.images[0].get_array(), class_colors(3)[labels])
        assert ax.get_title(loc="left") == caption
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(NAMES)


def test_budgets_stand_on_logarithmic_axes_with_their_numbers():
    points = {"column": ([4, 16], [27, 158]), "pyramid": ([4, 8], [32, 64])}
    (ax,) = plots.equal_budgets(points, ("pixels", "channels")).axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    for line, (x, y) in zip(ax.lines, points.values(), strict=True):
        assert (list(line.get_xdata()), list(line.get_ydata())) == (x, y)
    assert [text.get_text() for text in ax.texts] == ["27", "158", "32", "64"]
    assert [text.xy for text in ax.texts] == [(4, 27), (16, 158), (4, 32), (8, 64)]
    above = [text.xyann[1] > 0 for text in ax.texts]  # 27 lies below 32, the others alone
    assert above == [False, True, True, True]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "8", "16"]
    assert len({line.get_marker() for line in ax.lines}) == 2


def test_grouped_bars_stand_side_by_side_with_their_numbers():
    groups = {"stage 1": {"far": 60.2, "near": 40.0}, "stage 4": {"far": 90.0, "near": 30.6}}
    (ax,) = plots.grouped_bars(groups, "right, %").axes
    heights = {round(bar.get_x() + bar.get_width() / 2, 3): bar.get_height() for bar in ax.patches}
    assert heights == {-0.2: 60.2, 0.8: 90.0, 0.2: 40.0, 1.2: 30.6}
    assert [text.get_text() for text in ax.texts] == ["60", "90", "40", "31"]
    assert [label.get_text() for label in ax.get_xticklabels()] == list(groups)
    assert len({bar.get_hatch() for bar in ax.patches}) == 2


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.label_maps(PHOTO, {"": LABELS[:3]}, NAMES), r"\(3, 8\)"),
        (lambda: plots.label_maps(PHOTO, {"": LABELS}, NAMES[:2]), "name 3"),
        (lambda: plots.label_maps(PHOTO / 255, {"": LABELS}, NAMES), "uint8"),
        (lambda: plots.equal_budgets({"a": ([1], [0])}, ("", "")), "above zero"),
        (lambda: plots.grouped_bars({}, ""), "same bars"),
        (lambda: plots.grouped_bars({"a": {"x": 1}, "b": {"y": 1}}, ""), "same bars"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
