"""Corruptions do what they say, more of it the stronger they are, and leave the picture alone."""

import io

import numpy as np
import pytest
from PIL import Image

from segformer_edu.analysis.robustness import CORRUPTIONS, SIGMAS, STRENGTHS, corrupted
from segformer_edu.data.scenes import scene

PICTURE = scene(seed=4, size=64)[0]


def worse(picture, corruption, strength, seed=0):
    return corrupted(picture, corruption, strength, np.random.default_rng(seed))


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_stronger_is_further_from_the_picture(corruption):
    before = PICTURE.copy()
    far = []
    for strength in STRENGTHS:
        changed = worse(PICTURE, corruption, strength)
        assert changed.dtype == np.uint8 and changed.shape == PICTURE.shape
        assert np.array_equal(changed, worse(PICTURE, corruption, strength))  # the same generator
        far.append(np.abs(changed.astype(float) - PICTURE).mean())
    assert np.array_equal(PICTURE, before)
    assert far == sorted(far) and far[0] > 0.5 and far[-1] > 1.5 * far[0]


def test_noise_has_the_spread_it_says():
    grey = np.full((200, 200, 3), 128, dtype=np.uint8)
    for strength in (1, 2, 3):  # few values of these are cut off
        spread = worse(grey, "noise", strength).std() / 255
        assert spread == pytest.approx(SIGMAS[strength - 1], rel=0.02)
    assert not np.array_equal(worse(grey, "noise", 1, 0), worse(grey, "noise", 1, 1))


def test_blur_spreads_a_point_and_keeps_its_light():
    point = np.zeros((41, 41, 3), dtype=np.uint8)
    point[18:23, 18:23] = 200
    blurred = worse(point, "blur", 5)
    assert blurred[20, 15, 0] > 0 and blurred[20, 20, 0] < 200
    assert blurred.sum() == pytest.approx(point.sum(), rel=0.05)


def test_fog_moves_every_colour_towards_one_grey():
    black, white = (np.full((64, 64, 3), value, dtype=np.uint8) for value in (0, 255))
    thick = [worse(picture, "fog", 4).astype(float) for picture in (black, white)]
    share = 1 - (thick[1] - thick[0]).mean() / 255
    assert share == pytest.approx(0.65, abs=0.07)
    assert np.ptp(thick[0], axis=2).max() == 0 and np.ptp(thick[0]) > 20  # grey, and uneven
    assert thick[0].max() <= 0.8 * 255 + 1 and thick[1].min() >= 0.8 * 255 - 1


def test_brightness_keeps_hue_and_saturation():
    colour = np.full((2, 2, 3), (120, 60, 30), dtype=np.uint8)
    assert worse(colour, "brightness", 2)[0, 0].tolist() == [171, 86, 43]  # 120 + 51, in proportion
    assert worse(colour, "brightness", 5)[0, 0].tolist() == [248, 124, 62]  # 120 + 127.5
    bright = np.full((2, 2, 3), (250, 125, 50), dtype=np.uint8)
    assert worse(bright, "brightness", 5)[0, 0].tolist() == [255, 128, 51]  # 255 is the brightest
    assert worse(np.zeros((2, 2, 3), dtype=np.uint8), "brightness", 2)[0, 0].tolist() == [51] * 3


def test_jpeg_is_what_pillow_writes():
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "jpeg", quality=40)
    assert np.array_equal(worse(PICTURE, "JPEG", 3), np.asarray(Image.open(file)))


@pytest.mark.parametrize(("corruption", "strength"), [("snow", 1), ("noise", 0), ("noise", 6)])
def test_what_does_not_exist_is_refused(corruption, strength):
    with pytest.raises(ValueError, match="corruption|strength"):
        worse(PICTURE, corruption, strength)
