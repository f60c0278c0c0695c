"""The palette is stable and readable with every kind of colour vision; drawing leaves no trace."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from skimage.color import deltaE_ciede2000, rgb2lab

from segformer_edu import plots
from segformer_edu.plots import style
from segformer_edu.plots.style import class_colors

# Colour blindness on linear RGB: Viénot, Brettel and Mollon 1999, another model than the palette's.
VIENOT = {
    "normal": np.eye(3),
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def closest_pair(colors, eyes):
    """CIEDE2000 between the two most similar colours, as seen with that vision."""
    linear = (colors / 255.0) ** 2.2
    seen = np.clip(linear @ np.array(VIENOT[eyes]).T, 0, 1) ** (1 / 2.2)
    lab = rgb2lab(seen[None])[0]
    first, second = np.triu_indices(len(colors), k=1)
    return deltaE_ciede2000(lab[first], lab[second]).min()


@pytest.mark.parametrize("eyes", VIENOT)
@pytest.mark.parametrize(("count", "least"), [(8, 10), (19, 4), (150, 0.5)])
def test_classes_stay_apart_for_eyes_with_and_without_colour(count, least, eyes):
    assert closest_pair(class_colors(count), eyes) > least


def test_random_colours_do_not_stay_so_far_apart():
    colors = np.random.default_rng(0).integers(0, 256, (19, 3))
    assert closest_pair(colors, "deutan") < 4


def test_a_class_keeps_its_colour_when_others_follow():
    assert np.array_equal(class_colors(256)[:21], class_colors(21))
    assert len({tuple(color) for color in class_colors(256)}) == 256


def test_a_caller_cannot_change_the_palette():
    class_colors(3)[:] = 0
    assert class_colors(3).any()


@pytest.mark.parametrize("count", [0, -1, 257])
def test_impossible_numbers_of_classes_are_refused(count):
    with pytest.raises(ValueError, match="1 to 256"):
        class_colors(count)


def test_the_colour_map_of_attention_gets_lighter_step_by_step():
    ramp = matplotlib.colormaps[style.SEQUENTIAL](np.linspace(0, 1, 64))[:, :3]
    steps = np.diff(rgb2lab(ramp[None])[0, :, 0])
    assert steps.min() > 0 and steps.max() < 2 * steps.mean()


def test_curves_differ_in_more_than_colour():
    lines = [str(curve["linestyle"]) for curve in style.CURVES]
    assert len(set(lines)) == len(lines) == 6


def test_the_readers_own_settings_have_no_effect_and_are_not_changed():
    @style.styled
    def draw():
        figure = style.new_figure(1)
        figure.subplots().set_title("finding")
        return figure

    with matplotlib.rc_context({"axes.titlesize": 40, "axes.facecolor": "black"}):
        (ax,) = draw().axes
        assert matplotlib.rcParams["axes.titlesize"] == 40
    assert ax.title.get_size() == style.SETTINGS["axes.titlesize"]
    assert ax.get_facecolor() == (1, 1, 1, 1)


def test_drawing_changes_no_array_and_opens_no_pyplot_figure():
    photo, labels = np.full((40, 60, 3), 7, dtype=np.uint8), np.eye(40, 60, dtype=int)
    assert isinstance(plots.segmentation(photo, labels), Figure)
    assert (photo == 7).all() and np.array_equal(labels, np.eye(40, 60))
    code = (
        "import sys, segformer_edu.plots; "
        "sys.exit('matplotlib.pyplot' in sys.modules or 'IPython' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("number", "words"),
    [(0.01234, "0.0123"), (8, "8.00"), (78.94, "78.9"), (99.96, "100"), (1234.5, "1,230")],
)
def test_a_measured_number_has_three_digits(number, words):
    assert style.digits(number) == words
