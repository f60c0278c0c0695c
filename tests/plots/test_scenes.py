"""The grid shows each picture over its own labels, and counts what it shows."""

import numpy as np
import pytest

from segformer_edu import plots
from segformer_edu.plots.scenes import color_labels, labelled_pictures
from segformer_edu.plots.style import class_colors

RNG = np.random.default_rng(0)
IMAGES = list(RNG.integers(0, 256, (5, 6, 9, 3), dtype=np.uint8))
LABELS = [np.full((6, 9), index % 3, dtype=np.uint8) for index in range(5)]  # 0 1 2 0 1
NAMES = ("road", "sky", "tree", "car")


def legend(figure):
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def test_every_picture_stands_over_its_own_labels():
    figure = labelled_pictures(IMAGES, LABELS, NAMES, columns=3)
    grid = np.reshape(figure.axes, (4, 3))
    for index in range(5):
        row, column = divmod(index, 3)
        picture, labels = (grid[2 * row + below, column].images[0] for below in (0, 1))
        assert np.array_equal(picture.get_array(), IMAGES[index])
        assert np.array_equal(labels.get_array(), color_labels(LABELS[index]))
    assert not grid[2, 2].images and not grid[3, 2].images


def test_the_legend_names_all_classes_and_their_share_of_what_is_shown():
    labels = [*LABELS[:4], np.array(LABELS[4])]
    labels[4][:] = 255
    entries = legend(labelled_pictures(IMAGES, labels, NAMES, finding="Found"))
    assert entries == ["road, 50%", "sky, 25%", "tree, 25%", "car, under 1%"]
    colors = [patch.get_facecolor()[:3] for patch in plots.labelled_pictures(
        IMAGES, labels, NAMES).legends[0].get_patches()]  # fmt: skip
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
        (IMAGES, LABELS[:4], NAMES, 3, "5 pictures, 4 label maps"),
        (IMAGES, LABELS, NAMES, 0, "0 columns"),
        (IMAGES, LABELS, NAMES[:2], 3, "2 names"),
        ([IMAGES[0], IMAGES[1][:3]], [LABELS[0], LABELS[1][:3]], NAMES, 3, "one size"),
        ([IMAGES[0] / 255], LABELS[:1], NAMES, 3, "uint8"),
        (IMAGES[:1], [LABELS[0][:2]], NAMES, 3, "agree"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(images, labels, names, columns, words):
    with pytest.raises(ValueError, match=words):
        labelled_pictures(images, labels, names, columns)
