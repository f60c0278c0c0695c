"""What the pictures say is what the arrays hold; and drawing leaves no trace."""

import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from segformer_edu import SegFormerConfig, plots
from segformer_edu.plots.feature_maps import liveliest
from segformer_edu.plots.segmentation import innermost, overlay
from segformer_edu.plots.style import class_colors

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
LABELS = np.zeros((40, 60), dtype=np.int64)
LABELS[:, 30:] = 2  # 20 of 60 columns
LABELS[:, 50:] = 7  # 10 of 60
NAMES = ("road", "sky", "tree", "car", "bus", "pole", "wall", "person")


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda x: hasattr(x, "get_text")) if text]


def legend(figure):
    (found,) = [ax.get_legend() for ax in figure.axes if ax.get_legend()]
    return [text.get_text() for text in found.get_texts()]


def test_the_legend_lists_the_classes_that_occur_the_largest_first():
    figure = plots.segmentation(PHOTO, LABELS, NAMES, finding="Half of it is road")
    assert legend(figure) == ["1  road, 50%", "2  tree, 33%", "3  person, 17%"]
    assert "Half of it is road" in texts(figure)
    assert legend(plots.segmentation(PHOTO, LABELS))[1] == "2  class 2, 33%"


def test_every_region_carries_its_number_within_it():
    figure = plots.segmentation(PHOTO, LABELS, NAMES)
    badges = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert list(badges) == ["1", "2", "3"]
    for number, label in (("1", 0), ("2", 2), ("3", 7)):
        column, row = badges[number]
        assert LABELS[int(row), int(column)] == label


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


def test_feature_maps_draws_the_channels_that_vary_most():
    stage_map = np.random.default_rng(0).random((6, 8, 12))
    stage_map[[1, 4]] *= 10
    stage_map[2] += 100  # bright is not lively
    assert liveliest(stage_map, 2).tolist() == [1, 4]
    figure = plots.feature_maps([stage_map, stage_map[:3, ::2, ::2]], channels=2)
    drawn = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(drawn) == 4
    assert np.array_equal(drawn[0], stage_map[1]) and np.array_equal(drawn[1], stage_map[4])
    assert "stage 2\n4 × 6 tokens\n3 channels" in texts(figure)


@pytest.mark.parametrize("maps", [[], [np.zeros((4, 4))], [np.zeros((1, 3, 4, 4))]])
def test_maps_of_another_rank_are_refused(maps):
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        plots.feature_maps(maps)


def pyramid(config, side=64):
    sizes = side // np.cumprod(config.strides)
    return [np.random.rand(c, n, n) for c, n in zip(config.embed_dims, sizes, strict=True)]


@pytest.mark.parametrize("variant", ["b0", "b1"])
def test_the_course_map_states_the_shapes_it_was_given_and_names_every_lesson(variant):
    config = SegFormerConfig.named(variant)
    photo, labels = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), int)
    found = texts(plots.course_map(photo, pyramid(config), labels))
    for stage, (stride, channels) in enumerate(
        zip((4, 8, 16, 32), config.embed_dims, strict=True), start=1
    ):
        assert f"stage {stage}\nH/{stride} × W/{stride}\n{channels} channels" in found
    lessons = [text for text in found if re.fullmatch(r"\d\d", text)]
    assert sorted(lessons) == [f"{number:02}" for number in range(12)]


def test_the_course_map_has_four_stages():
    maps = pyramid(SegFormerConfig())[:3]
    with pytest.raises(ValueError, match="4 stages; got 3"):
        plots.course_map(PHOTO, maps, LABELS)


def test_drawing_changes_no_array_and_opens_no_pyplot_figure():
    photo, labels = PHOTO.copy(), LABELS.copy()
    assert isinstance(plots.segmentation(photo, labels), Figure)
    assert np.array_equal(photo, PHOTO) and np.array_equal(labels, LABELS)
    code = (
        "import sys, segformer_edu.plots; "
        "sys.exit('matplotlib.pyplot' in sys.modules or 'IPython' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_photograph_is_drawn_pixel_for_pixel_and_refused_when_normalised():
    figure = plots.photograph(PHOTO, finding="Noise")
    assert np.array_equal(figure.axes[0].images[0].get_array(), PHOTO)
    assert "Noise" in texts(figure)
    with pytest.raises(ValueError, match="uint8"):
        plots.photograph(PHOTO / 255.0)
