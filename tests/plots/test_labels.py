"""Labels have the colours of their classes, and a legend that names them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segformer_edu import plots
from segformer_edu.plots.labels import color_labels, innermost, overlay
from segformer_edu.plots.style import class_colors

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
LABELS = np.zeros((40, 60), dtype=np.int64)
LABELS[:, 30:] = 2  # 20 of 60 columns
LABELS[:, 50:] = 7  # 10 of 60
NAMES = ("road", "sky", "tree", "car", "bus", "pole", "wall", "person")
IMAGES = list(RNG.integers(0, 256, (5, 6, 9, 3), dtype=np.uint8))
EACH = [np.full((6, 9), index % 3, dtype=np.uint8) for index in range(5)]  # 0 1 2 0 1


def legend(figure):
    (found,) = [ax.get_legend() for ax in figure.axes if ax.get_legend()] or figure.legends
    return [text.get_text() for text in found.get_texts()]


def test_the_legend_lists_the_classes_that_occur_the_largest_first():
    figure = plots.segmentation(PHOTO, LABELS, NAMES, finding="Half of it is road")
    assert legend(figure) == ["0  road, 50%", "2  tree, 33%", "7  person, 17%"]
    assert figure.get_suptitle() == "Half of it is road"
    assert legend(plots.segmentation(PHOTO, LABELS))[1] == "class 2, 33%"


def test_every_region_carries_the_number_of_its_class_within_it():
    figure = plots.segmentation(PHOTO, LABELS, NAMES)
    badges = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert list(badges) == ["0", "2", "7"]
    for label, (column, row) in badges.items():
        assert LABELS[int(row), int(column)] == int(label)


SIDES = st.sampled_from([1, 3, 90])
PARTS = st.tuples(st.integers(1, 8), st.floats(0, 1), st.floats(0, 1), SIDES, SIDES)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 600), st.integers(1, 40), st.lists(PARTS, max_size=5))
def test_whatever_the_labels_each_number_lies_in_a_region_of_its_class(width, height, parts):
    """Among them specks of one pixel, and pictures of one."""
    labels = np.zeros((height, width), dtype=np.int64)
    for label, across, down, wide, tall in parts:
        left, top = int(across * (width - 1)), int(down * (height - 1))
        labels[top : top + tall, left : left + wide] = label
    photo = np.zeros((height, width, 3), dtype=np.uint8)
    figure = plots.segmentation(photo, labels)
    found = {int(entry.split(",")[0].removeprefix("class ")) for entry in legend(figure)}
    assert found == set(labels.flat)
    for text in figure.axes[0].texts:
        column, row = text.get_position()
        assert labels[int(row), int(column)] == int(text.get_text())


def test_a_long_legend_sums_up_what_it_leaves_out():
    labels = np.arange(2400).reshape(40, 60) // 24  # a hundred classes of one percent
    entries = legend(plots.segmentation(PHOTO, labels, max_classes=4))
    assert len(entries) == 5 and entries[-1] == "96 more classes, 96%"


def test_labels_that_mean_ignore_are_left_bare_and_not_counted():
    labels = LABELS.copy()
    labels[:20, :30], labels[20:, :30] = 255, -1
    figure = plots.segmentation(PHOTO, labels, NAMES)
    assert [entry[3:7] for entry in legend(figure)] == ["tree", "pers"]
    assert np.array_equal(overlay(PHOTO, labels)[1:19, :29], PHOTO[1:19, :29])


def test_an_overlay_shows_the_class_colour_and_a_white_border():
    opaque = overlay(PHOTO, LABELS, strength=1)
    assert (opaque[:, :29] == class_colors(1)[0]).all()
    assert (opaque[:, 30] == 255).all() and (opaque[:, 50] == 255).all()
    assert (opaque[:, 31:50] == class_colors(3)[2]).all()


def test_the_innermost_pixel_is_the_one_furthest_from_the_edge():
    disc = np.hypot(*np.mgrid[-20:21, -30:31]) < 12
    row, column, radius = innermost(disc)
    assert abs(row - 20) <= 2 and abs(column - 30) <= 2 and radius >= 8
    line = np.zeros((9, 9), bool)
    line[4] = True
    assert innermost(line)[::2] == (4, 0)


@pytest.mark.parametrize(
    ("photo", "labels", "names", "words"),
    [
        (PHOTO / 255, LABELS, (), "uint8"),
        (PHOTO[..., 0], LABELS, (), r"\(H, W, 3\)"),
        (PHOTO, LABELS.astype(float), (), "integers"),
        (PHOTO, LABELS.tolist(), (), "integers"),
        (PHOTO, LABELS[None], (), "agree"),
        (PHOTO, LABELS[:10], (), r"\(10, 60\).*\(40, 60\)"),
        (PHOTO, LABELS, NAMES[:7], "7 names"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(photo, labels, names, words):
    with pytest.raises(ValueError, match=words):
        plots.segmentation(photo, labels, names)


def test_every_picture_stands_over_its_own_labels():
    figure = plots.labelled_pictures(IMAGES, EACH, NAMES, columns=3)
    grid = np.reshape(figure.axes, (4, 3))
    for index in range(5):
        row, column = divmod(index, 3)
        picture, labels = (grid[2 * row + below, column].images[0] for below in (0, 1))
        assert np.array_equal(picture.get_array(), IMAGES[index])
        assert np.array_equal(labels.get_array(), color_labels(EACH[index]))
    assert not grid[2, 2].images and not grid[3, 2].images


def test_the_legend_names_all_classes_and_their_share_of_what_is_shown():
    labels = [*EACH[:4], np.array(EACH[4])]
    labels[4][:] = 255
    figure = plots.labelled_pictures(IMAGES, labels, NAMES[:4])
    assert legend(figure) == ["road, 50%", "sky, 25%", "tree, 25%", "car, under 1%"]
    colors = [patch.get_facecolor()[:3] for patch in figure.legends[0].get_patches()]
    assert np.allclose(colors, class_colors(4) / 255)


def test_labels_have_their_classes_colours_and_what_is_ignored_stays_white():
    labels = np.array([[0, 3, 255, 7]], dtype=np.uint8)
    assert np.array_equal(color_labels(labels)[0, [0, 1, 3]], class_colors(8)[[0, 3, 7]])
    assert (color_labels(labels)[0, 2] == 255).all()
    assert (color_labels(np.array([[-1]]))[0, 0] == 255).all()


@pytest.mark.parametrize(
    ("images", "labels", "names", "columns", "words"),
    [
        ([], [], NAMES, 3, "0 pictures"),
        (IMAGES, EACH[:4], NAMES, 3, "5 pictures, 4 label maps"),
        (IMAGES, EACH, NAMES, 0, "0 columns"),
        (IMAGES, EACH, NAMES[:2], 3, "2 names"),
        ([IMAGES[0], IMAGES[1][:3]], [EACH[0], EACH[1][:3]], NAMES, 3, "one size"),
        ([IMAGES[0] / 255], EACH[:1], NAMES, 3, "uint8"),
        (IMAGES[:1], [EACH[0][:2]], NAMES, 3, "agree"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(images, labels, names, columns, words):
    with pytest.raises(ValueError, match=words):
        plots.labelled_pictures(images, labels, names, columns)


def test_label_maps_are_in_the_colours_of_their_classes():
    figure = plots.label_maps(PHOTO, {"true": LABELS, "coarse": 0 * LABELS}, NAMES, "Found")
    photo, *panels = figure.axes
    assert np.array_equal(photo.images[0].get_array(), PHOTO)
    for ax, labels, caption in zip(panels, (LABELS, 0 * LABELS), ("true", "coarse"), strict=True):
        assert np.array_equal(ax.images[0].get_array(), class_colors(8)[labels])
        assert ax.get_title(loc="left") == caption
    assert legend(figure) == list(NAMES)


def test_label_maps_stand_beside_their_picture_in_the_colours_of_the_classes():
    other = np.where(LABELS == 2, 255, LABELS).astype(np.uint8)
    figure = plots.label_rows(
        [PHOTO, PHOTO], {"is": [LABELS, other], "was": [other, LABELS]}, NAMES
    )
    grid = np.array(figure.axes).reshape(2, 3)
    assert np.array_equal(grid[1, 0].images[0].get_array(), PHOTO)
    assert np.array_equal(grid[0, 1].images[0].get_array(), class_colors(8)[LABELS])
    white = grid[0, 2].images[0].get_array()
    assert (white[LABELS == 2] == 255).all()
    assert np.array_equal(white[LABELS != 2], class_colors(8)[LABELS[LABELS != 2]])
    captions = [ax.get_title() or ax.get_title(loc="left") for ax in grid[0]]
    assert captions == ["the picture", "is", "was"]
    assert legend(figure) == list(NAMES)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.label_maps(PHOTO, {"": LABELS[:3]}, NAMES), r"\(3, 60\)"),
        (lambda: plots.label_maps(PHOTO, {"": LABELS}, NAMES[:7]), "name 8"),
        (lambda: plots.label_maps(PHOTO / 255, {"": LABELS}, NAMES), "uint8"),
        (lambda: plots.label_rows([], {"a": []}, NAMES), "0 pictures, 1 columns"),
        (lambda: plots.label_rows([PHOTO], {"a": []}, NAMES), "'a' has 0 label maps for 1"),
        (lambda: plots.label_rows([PHOTO], {"a": [LABELS]}, NAMES[:7]), "7 names"),
    ],
)
def test_label_maps_that_do_not_fit_are_refused(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


def test_a_gallery_shows_each_error_beside_the_truth():
    rng = np.random.default_rng(0)

    def error():
        labels, marked = rng.integers(0, 3, (2, 8, 8)), np.zeros((8, 8), dtype=bool)
        marked[2:5, 3:6] = True
        return rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), *labels, marked

    rows = {"a kind": [error(), error()], "another kind": [error(), error()]}
    figure = plots.error_gallery(rows, ["x", "y", "z"], "Finding")
    assert len(figure.axes) == 12
    for axes, (kind, errors) in zip((figure.axes[:6], figure.axes[6:]), rows.items(), strict=True):
        assert axes[0].get_ylabel().replace("\n", " ") == kind
        shown = [ax.images[0].get_array() for ax in axes]
        for (picture, truth, answer, marked), number in zip(errors, (0, 3), strict=True):
            before, true, given = shown[number : number + 3]
            assert np.array_equal(before, picture) and np.array_equal(true, color_labels(truth))
            full = color_labels(answer)
            assert np.array_equal(given[marked], full[marked])
            assert (given[~marked] > full[~marked]).any(-1).all() and given[~marked].min() > 190


def test_kinds_with_different_numbers_of_errors_are_refused():
    with pytest.raises(ValueError, match="as many errors"):
        plots.error_gallery({"a": [], "b": [()]}, ["x"])
