"""The course map names what it was given, and the lines of a resize lead where it reads."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segformer_edu import SegFormerConfig, plots
from segformer_edu.plots.diagrams import sample_positions

PHOTO = np.zeros((64, 64, 3), dtype=np.uint8)
LABELS = np.zeros((64, 64), dtype=int)
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def pyramid(config, side=64):
    sizes = side // np.cumprod(config.strides)
    return [np.random.rand(c, n, n) for c, n in zip(config.embed_dims, sizes, strict=True)]


@pytest.mark.parametrize("variant", ["b0", "b1"])
def test_the_course_map_states_the_shapes_it_was_given_and_names_every_lesson(variant):
    config = SegFormerConfig.named(variant)
    figure = plots.course_map(PHOTO, pyramid(config), LABELS)
    found = [text.get_text() for text in figure.axes[0].texts]
    for stage, (stride, channels) in enumerate(
        zip((4, 8, 16, 32), config.embed_dims, strict=True), start=1
    ):
        assert f"stage {stage}\nH/{stride} × W/{stride}\n{channels} channels" in found
    lessons = [text for text in found if re.fullmatch(r"\d\d", text)]
    assert sorted(lessons) == [f"{number:02}" for number in range(12)]


def test_every_lesson_of_the_course_map_is_written():
    texts = plots.course_map(PHOTO, pyramid(SegFormerConfig()), LABELS).axes[0].texts
    shown = {text.get_text() for text in texts if re.fullmatch(r"\d\d", text.get_text())}
    assert shown == {path.name[:2] for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}


def test_the_course_map_has_four_stages():
    maps = pyramid(SegFormerConfig())[:3]
    with pytest.raises(ValueError, match="4 stages; got 3"):
        plots.course_map(PHOTO, maps, LABELS)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("small", "large"), [(4, 16), (3, 8), (2, 5), (7, 9)])
def test_the_positions_are_those_of_torch(small, large, aligned):
    ramp = torch.arange(float(small), dtype=torch.float64)[None, None]
    expected = F.interpolate(ramp, large, mode="linear", align_corners=aligned)[0, 0]
    np.testing.assert_allclose(sample_positions(small, large, aligned), expected)


def test_each_line_leads_from_a_new_pixel_to_the_point_it_reads():
    figure = plots.resized_rows([0, 6, 7, 8], 8)
    for ax, aligned in zip(figure.axes, (False, True), strict=True):
        starts, ends = zip(*(line.get_xdata() for line in ax.lines), strict=True)
        assert list(starts) == [i + 0.5 for i in range(8)]
        np.testing.assert_allclose(ends, 2 * (sample_positions(4, 8, aligned) + 0.5))
        written = [text.get_text() for text in ax.texts]
        assert written[:4] == ["0", "6", "7", "8"]
        assert written[4] == "0.0" and written[-1] == "8.0"
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "align_corners=False",
        "align_corners=True",
    ]


@pytest.mark.parametrize(("values", "large"), [([1], 4), ([1, 2, 3], 3)])
def test_a_row_that_does_not_grow_is_refused(values, large):
    with pytest.raises(ValueError, match="enlarge them"):
        plots.resized_rows(values, large)
