"""Photographs keep their pixels, and patches and keys lie where the model cuts them."""

import numpy as np
import pytest
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle

from segformer_edu import plots

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SEEN = np.zeros((7, 10), dtype=bool)
SEEN[:6, :9] = True  # r = 3


def test_a_photograph_is_drawn_pixel_for_pixel_and_refused_when_normalised():
    figure = plots.photograph(PHOTO, finding="Noise")
    assert np.array_equal(figure.axes[0].images[0].get_array(), PHOTO)
    assert figure.get_suptitle() == "Noise"
    with pytest.raises(ValueError, match="uint8"):
        plots.photograph(PHOTO / 255.0)


def test_pictures_stand_in_a_row_each_with_its_caption():
    figure = plots.pictures([PHOTO, PHOTO[:20, :20]], ["one", "two"], finding="Two of them")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["one", "two"]
    assert np.array_equal(figure.axes[1].images[0].get_array(), PHOTO[:20, :20])


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
    figure = plots.patches(photo, [(15, 8, 7), (63, 32, 31)])
    figure.canvas.draw()
    for ax, stride in zip(figure.axes, (8, 32), strict=True):
        (drawn,) = [each for each in ax.collections if isinstance(each, PatchCollection)]
        corners = ax.transData.transform([(0, 0), (stride, 0)])
        gap = (corners[1, 0] - corners[0, 0]) * 72 / figure.dpi  # points from patch to patch
        assert 0 < drawn.get_linewidth()[0] < gap / 10


def test_lines_too_close_to_be_told_apart_are_left_out_and_the_framed_patches_stay():
    photo = np.zeros((128, 128, 3), dtype=np.uint8)
    first, second, *_ = plots.patches(photo, [(7, 4, 3), (15, 8, 7), (31, 16, 15), (7, 4, 3)]).axes
    assert not any(isinstance(each, PatchCollection) for each in first.collections)
    assert len(outlines(second)) == 16 * 16
    assert {each.get_width() for each in framed(first)} == {7}


def hatched(ax):
    shapes = [each for each in ax.patches if isinstance(each, Rectangle) and each.get_hatch()]
    return sorted((each.get_width(), each.get_height()) for each in shapes)


def test_what_neighbours_share_is_hatched():
    touching, overlapping = plots.patches(PHOTO, [(4, 4, 0), (7, 4, 3)]).axes
    assert hatched(touching) == []
    assert hatched(overlapping) == [(3, 7), (7, 3)]


def framed(ax):
    return [each for each in ax.patches if not each.get_fill() and not each.get_hatch()]


def test_neighbours_are_framed_where_they_overlap_and_thinly_where_they_are_small():
    touching, overlapping = plots.patches(PHOTO, [(4, 4, 0), (7, 4, 3)]).axes
    assert framed(touching) == []
    corners = {each.get_xy() for each in framed(overlapping)}
    first = min(corners)
    assert corners == {first, (first[0] + 4, first[1]), (first[0], first[1] + 4)}
    large = np.zeros((128, 128, 3), dtype=np.uint8)
    small, *_, wide = plots.patches(large, [(7, 4, 3), (15, 8, 7), (63, 32, 31), (63, 32, 31)]).axes
    thin, thick = (max(each.get_linewidth() for each in framed(ax)) for ax in (small, wide))
    assert thin < thick / 1.5


def test_captions_stand_above_the_number_of_tokens():
    figure = plots.patches(PHOTO, [(15, 8, 7), (7, 4, 3)], ["stage 2", "stage 1"])
    found = [ax.get_title(loc="left") for ax in figure.axes]
    assert found == ["stage 2\n5×8 tokens", "stage 1\n10×15 tokens"]
    (alone,) = plots.patches(PHOTO, [(16, 16, 0)]).axes
    assert alone.get_title(loc="left").startswith("16×16, stride 16, padding 0\n")


def test_what_no_patch_sees_is_grey():
    (ax,) = plots.patches(PHOTO, [(16, 16, 0)]).axes
    veil = ax.images[1].get_array()[..., 3]
    assert (veil[:32, :48] == 0).all() and (veil[32:] > 0).all() and (veil[:, 48:] > 0).all()


def test_one_patch_alone_has_no_neighbours_to_mark():
    (ax,) = plots.patches(PHOTO[:16, :16], [(16, 16, 0)]).axes
    assert hatched(ax) == []


def grid_lines(ax):
    """Where the lines of the grid stand: rows, columns."""
    ends = [line.get_xydata() for line in ax.lines]
    rows = sorted(y for (x, y), (x_end, y_end) in ends if y == y_end)
    columns = sorted(x for (x, y), (x_end, y_end) in ends if x == x_end)
    return rows, columns


def rectangles(ax):
    return [each for each in ax.patches if isinstance(each, Rectangle)]


def test_windows_begin_at_the_top_left_and_are_whole():
    first, second = plots.key_grids(PHOTO, [SEEN, SEEN], [3, 2], ["three", "two"]).axes
    assert grid_lines(first) == ([0, 3, 6], [0, 3, 6, 9])
    assert grid_lines(second) == ([0, 2, 4, 6], [0, 2, 4, 6, 8, 10])
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["three", "two"]


def test_what_no_key_sees_is_grey_and_hatched():
    (ax,) = plots.key_grids(PHOTO, [SEEN], [3], [""]).axes
    veil = ax.images[1].get_array()[..., 3]
    assert np.array_equal(veil == 0, SEEN)
    margins = sorted(each.get_bbox().bounds for each in rectangles(ax) if each.get_hatch())
    assert margins == [(0, 6, 10, 1), (9, 0, 1, 6)]


def test_nothing_is_hatched_where_windows_fill_the_map():
    (ax,) = plots.key_grids(PHOTO, [np.ones((6, 9), dtype=bool)], [3], [""]).axes
    assert rectangles(ax) == []


def test_the_query_is_framed_in_the_size_of_its_token():
    (ax,) = plots.key_grids(PHOTO, [SEEN], [3], [""], query=(0.5, 0.25)).axes
    frames = [each for each in rectangles(ax) if not each.get_hatch()]
    assert {each.get_bbox().bounds for each in frames} == {(2, 3, 1, 1)}
    (ax,) = plots.key_grids(PHOTO, [np.ones((80, 80), dtype=bool)], [8], [""], (0.5, 0.5)).axes
    assert {each.get_bbox().bounds for each in rectangles(ax)} == {(39.5, 39.5, 2, 2)}
    for line in rectangles(ax):  # drawn inside the frame alone
        drawn = line.get_clip_box().transformed(ax.transData.inverted())
        assert np.allclose([drawn.min, drawn.max], [[39.5] * 2, [41.5] * 2])


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.pictures([], []), "give one for each"),
        (lambda: plots.pictures([PHOTO], ["one", "two"]), "give one for each"),
        (lambda: plots.patches(PHOTO / 255, [(4, 4, 0)]), "uint8"),
        (lambda: plots.patches(PHOTO, [(64, 4, 0)]), "does not fit into 40"),
        (lambda: plots.patches(PHOTO, [(4, 4, 0)], ["a", "b"]), "1 grids and 2 captions"),
        (lambda: plots.key_grids(PHOTO / 255, [SEEN], [3], [""]), "uint8"),
        (lambda: plots.key_grids(PHOTO, [], [], []), "0 maps"),
        (lambda: plots.key_grids(PHOTO, [SEEN], [3, 2], [""]), "2 ratios"),
        (lambda: plots.key_grids(PHOTO, [SEEN.astype(int)], [3], [""]), "of int64"),
    ],
)
def test_photographs_that_cannot_be_drawn_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
