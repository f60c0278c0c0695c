"""A picture in a notebook: described, small, and the same file every time."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from segformer_edu.data.photos import sample_labels, sample_photo
from segformer_edu.plots import png, segmentation, show
from segformer_edu.plots.style import DPI, class_colors, new_figure


def picture():
    figure = new_figure(2, width=3)
    figure.subplots().imshow(np.random.default_rng(0).random((40, 40, 3)))
    return figure


@pytest.fixture
def displayed(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, **options: calls.append((data, options))
    )
    return calls


def test_a_picture_is_shown_with_its_words_as_metadata_and_as_text(displayed):
    show(picture(), alt="Coloured noise.")
    ((data, options),) = displayed
    assert data["text/plain"] == "Coloured noise."
    assert options["metadata"] == {"image/png": {"alt": "Coloured noise."}} and options["raw"]
    assert base64.b64decode(data["image/png"]) == png(picture())


@pytest.mark.parametrize("alt", ["", "   ", "\n", None])
def test_a_picture_without_words_is_not_shown(alt, displayed):
    with pytest.raises(ValueError, match="cannot see the picture"):
        show(picture(), alt)
    assert not displayed


def test_alt_is_not_optional():
    with pytest.raises(TypeError):
        show(picture())


def test_the_same_figure_is_the_same_file_without_date_or_program():
    assert png(picture()) == png(picture())
    file = Image.open(io.BytesIO(png(picture())))
    assert not file.text and file.size == (3 * DPI, 2 * DPI)
    assert Image.open(io.BytesIO(png(picture(), dpi=50))).size == (150, 100)


def test_256_colours_weigh_less_and_keep_the_legend_in_its_own_colours():
    figure = segmentation(sample_photo(), *sample_labels())
    few = np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB")).astype(float)
    figure.savefig(full := io.BytesIO(), dpi=DPI)
    original = np.asarray(Image.open(full).convert("RGB")).astype(float)
    assert np.abs(original - few).mean() < 2
    assert len(png(figure)) < len(full.getvalue()) / 2
    for color in class_colors(6):
        exact = (original == color).all(axis=-1)  # the photograph is tinted: only the legend is
        assert exact.any() and np.abs(few[exact] - color).max() <= 4
