"""Lesson 01's pictures: patches lie where torch cuts them, and curves show what they were given."""

import numpy as np
import pytest
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from segformer_edu import plots

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def outlines(ax):
    (drawn,) = [each for each in ax.collections if isinstance(each, PatchCollection)]
    return {tuple(path.get_extents().bounds) for path in drawn.get_paths()}


def test_every_patch_is_drawn_where_it_is_cut():
    figure = plots.patches(PHOTO, [(16, 16, 0), (7, 4, 3)])
    touching, overlapping = figure.axes
    assert outlines(touching) == {(x, y, 16, 16) for x in (0, 16, 32) for y in (0, 16)}
    found = outlines(overlapping)
    assert len(found) == 10 * 15 and (-3, -3, 7, 7) in found and (53, 33, 7, 7) in found
    assert "2×3 tokens" in touching.get_title(loc="left")
    assert "10×15 tokens" in overlapping.get_title(loc="left")


def test_dense_lines_are_thin_and_leave_the_photograph_to_be_seen():
    photo = np.zeros((128, 128, 3), dtype=np.uint8)
    figure = plots.patches(photo, [(7, 4, 3), (63, 32, 31)])
    figure.canvas.draw()
    for ax, stride in zip(figure.axes, (4, 32), strict=True):
        (drawn,) = [each for each in ax.collections if isinstance(each, PatchCollection)]
        corners = ax.transData.transform([(0, 0), (stride, 0)])
        gap = (corners[1, 0] - corners[0, 0]) * 72 / figure.dpi  # points from patch to patch
        assert 0 < drawn.get_linewidth()[0] < gap / 10


def hatched(ax):
    shapes = [each for each in ax.patches if isinstance(each, Rectangle) and each.get_hatch()]
    return sorted((each.get_width(), each.get_height()) for each in shapes)


def test_what_neighbours_share_is_hatched():
    touching, overlapping = plots.patches(PHOTO, [(4, 4, 0), (7, 4, 3)]).axes
    assert hatched(touching) == []
    assert hatched(overlapping) == [(3, 7), (7, 3)]


def test_what_no_patch_sees_is_grey():
    (ax,) = plots.patches(PHOTO, [(16, 16, 0)]).axes
    veil = ax.images[1].get_array()[..., 3]
    assert (veil[:32, :48] == 0).all() and (veil[32:] > 0).all() and (veil[:, 48:] > 0).all()


def test_one_patch_alone_has_no_neighbours_to_mark():
    (ax,) = plots.patches(PHOTO[:16, :16], [(16, 16, 0)]).axes
    assert hatched(ax) == []


@pytest.mark.parametrize(
    ("photo", "grid", "words"),
    [(PHOTO / 255, (4, 4, 0), "uint8"), (PHOTO, (64, 4, 0), "does not fit into 40")],
)
def test_patches_that_cannot_be_drawn_are_refused(photo, grid, words):
    with pytest.raises(ValueError, match=words):
        plots.patches(photo, [grid])


def test_pictures_stand_in_a_row_each_with_its_caption():
    figure = plots.pictures([PHOTO, PHOTO[:20, :20]], ["one", "two"], finding="Two of them")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["one", "two"]
    assert np.array_equal(figure.axes[1].images[0].get_array(), PHOTO[:20, :20])


@pytest.mark.parametrize(("shown", "captions"), [([], []), ([PHOTO], ["one", "two"])])
def test_pictures_without_a_caption_each_are_refused(shown, captions):
    with pytest.raises(ValueError, match="give one for each"):
        plots.pictures(shown, captions)


def test_shift_curves_mark_whole_tokens():
    figure = plots.shift_curves(range(6), {"a": [0, 1, 2, 1, 0, 1]}, what="change", stride=4)
    (ax,) = figure.axes
    *marks, curve = ax.lines
    assert [mark.get_xdata()[0] for mark in marks] == [0, 4]
    assert curve.get_ydata().tolist() == [0, 1, 2, 1, 0, 1] and curve.get_label() == "a"


def test_a_curve_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a has 2 values for 3 shifts"):
        plots.shift_curves(range(3), {"a": [0, 1]}, what="change", stride=4)
