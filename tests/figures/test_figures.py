"""The pictures in figures/ are what the package draws today."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import figures
from segformer_edu.plots.show import drawn

FOLDER = Path(figures.__file__).parent
BLOCK, TOLERANCE = 16, 20  # pixels; levels of 256: few colours move 8, a changed word 40


def furthest_block(first, second):
    """The largest mean difference within any block: one changed word is enough to raise it."""
    difference = np.abs(first.astype(float) - second).mean(axis=-1)
    rows, columns = (size // BLOCK * BLOCK for size in difference.shape)
    blocks = difference[:rows, :columns].reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
    return blocks.mean(axis=(1, 3)).max()


def stored(name):
    return np.asarray(Image.open(FOLDER / f"{name}.png").convert("RGB"))


@pytest.mark.parametrize("name", figures.PICTURES)
def test_a_stored_picture_is_the_one_that_would_be_drawn_now(name):
    """In full colour: to choose 256 of them, as the file has, takes most of the time."""
    now = np.asarray(drawn(figures.PICTURES[name](), figures.DPI))
    assert stored(name).shape == now.shape
    assert furthest_block(stored(name), now) < TOLERANCE, "run python -m figures, and look at it"


def test_one_changed_word_would_be_noticed():
    figure = figures.course_map()
    (badge,) = [t for ax in figure.axes for t in ax.texts if t.get_text() == "07"]
    badge.set_text("08")
    changed = np.asarray(drawn(figure, figures.DPI))
    assert furthest_block(stored("course_map"), changed) > TOLERANCE


def test_every_stored_picture_is_one_that_the_package_draws():
    assert {path.stem for path in FOLDER.glob("*.png")} == set(figures.PICTURES)
