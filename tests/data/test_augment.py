"""Augmentation: labels stay with what they name, no class is invented, a generator decides all."""

import math

import numpy as np
import pytest
from PIL import Image

from segformer_edu.data.augment import IGNORE, Augment, fit, recolour, resize_and_crop
from segformer_edu.data.dataset import as_tensors

SEEDS = range(40)
GEOMETRY = {"plain": {"flip": 0.0}, "flipped": {"flip": 1.0}}
SIZES = {"square": 96, "wide": (40, 130), "tall": (151, 33), "a pixel": (1, 1)}


def coordinates(height=100, width=120):
    """A picture whose red is twice its column and green twice its row, and labels by column."""
    rows, columns = np.indices((height, width))
    image = np.stack((2 * columns, 2 * rows, np.full_like(rows, 9)), axis=-1)
    return image.astype(np.uint8), columns.astype(np.uint8)


def squares(height=90, width=120):
    """Classes 0 and 200 in squares of 15 pixels; the picture is black and white in the same way."""
    rows, columns = np.indices((height, width)) // 15
    labels = np.where((rows + columns) % 2, 200, 0).astype(np.uint8)
    return np.repeat(np.where(labels, 255, 0).astype(np.uint8)[..., None], 3, axis=2), labels


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_no_class_is_ever_invented(size):
    image, labels = squares()
    augment = Augment(size, scale=(0.3, 3.0))
    for seed in SEEDS:
        new_image, new_labels = augment(image, labels, np.random.default_rng(seed))
        expected = (size, size) if isinstance(size, int) else size
        assert new_image.shape == (*expected, 3) and new_labels.shape == expected
        assert new_image.dtype == new_labels.dtype == np.uint8
        assert set(new_labels.flat) <= {0, 200, IGNORE}


@pytest.mark.parametrize("geometry", GEOMETRY.values(), ids=GEOMETRY)
def test_labels_stay_on_the_colours_that_they_name(geometry):
    image, labels = squares()
    augment = Augment(96, scale=(0.4, 2.5), colour=0, **geometry)
    compared = 0
    for seed in SEEDS:
        new_image, new_labels = augment(image, labels, np.random.default_rng(seed))
        blocks = np.lib.stride_tricks.sliding_window_view(new_labels, (3, 3))
        inner = new_labels[1:-1, 1:-1]
        away_from_edges = (blocks == inner[..., None, None]).all(axis=(2, 3)) & (inner != IGNORE)
        white = new_image[1:-1, 1:-1, 0] > 127
        assert (white == (inner == 200))[away_from_edges].all()
        compared += away_from_edges.sum()
    assert compared > len(SEEDS) * 96 * 96 / 4


@pytest.mark.parametrize("geometry", GEOMETRY.values(), ids=GEOMETRY)
def test_labels_are_picked_within_half_a_pixel_of_where_the_picture_was_read(geometry):
    image, labels = coordinates()
    augment = Augment((80, 90), scale=(0.5, 2.0), colour=0, **geometry)
    for seed in SEEDS:
        new_image, new_labels = augment(image, labels, np.random.default_rng(seed))
        there = (new_labels != IGNORE) & (new_labels > 2) & (new_labels < 117)  # averaged all round
        off = new_image[..., 0][there] / 2 - new_labels[there]
        assert np.abs(off).max() <= 0.5 + 0.25  # red is rounded to half a column
        assert abs(off.mean()) < 0.3  # both would be moved by a whole half pixel otherwise


def test_a_crop_is_the_same_as_resizing_everything_first():
    image, labels = coordinates()
    for scaled, corner, size in (
        ((100, 120), (10, 20), (50, 60)),
        ((237, 61), (100, 3), (64, 48)),
        ((51, 203), (-7, 90), (80, 110)),
        ((60, 50), (-20, -10), (90, 80)),
    ):
        ours = resize_and_crop(image, labels, scaled, corner, size)
        for array, cut, fill, filter_ in (
            (image, ours[0], (124, 116, 104), Image.Resampling.BILINEAR),
            (labels, ours[1], 255, Image.Resampling.NEAREST),
        ):
            whole = Image.fromarray(array).resize(scaled[::-1], filter_)
            theirs = Image.new(whole.mode, size[::-1], fill)
            theirs.paste(whole, (-corner[1], -corner[0]))
            np.testing.assert_allclose(cut.astype(int), np.array(theirs).astype(int), atol=1)
            if array is labels:
                np.testing.assert_array_equal(cut, theirs)


def test_a_picture_smaller_than_the_crop_is_framed_in_what_is_ignored():
    image, labels = squares(30, 45)
    for seed in SEEDS:
        new_image, new_labels = Augment(64, scale=(1, 1), colour=0)(
            image, labels, np.random.default_rng(seed)
        )
        shown = new_labels != IGNORE
        assert shown.sum() == 30 * 45 and shown.any(axis=1).sum() == 30
        assert (new_image[~shown] == (124, 116, 104)).all()  # ImageNet's mean colour
        np.testing.assert_array_equal(new_image[shown][:, 0] > 0, new_labels[shown] == 200)


def test_every_scale_place_and_side_comes_up():
    image, labels = coordinates()
    plain = Augment(10, scale=(1, 1), flip=0.5, colour=0)
    drawn = [plain(image, labels, np.random.default_rng(seed))[0] for seed in range(300)]
    flipped = [red[0, 0] > red[0, -1] for red in (picture[..., 0] for picture in drawn)]
    assert 100 < sum(flipped) < 200
    left = {int(picture[..., 0].min()) // 2 for picture in drawn}
    top = {int(picture[..., 1].min()) // 2 for picture in drawn}
    assert min(left) == 0 and max(left) == 110 and len(left) > 80
    assert min(top) == 0 and max(top) == 90 and len(top) > 70
    zoomed = Augment(10, scale=(0.5, 2), flip=0, colour=0)
    steps = []  # columns of the old picture for each of the new
    for seed in range(300):
        red = zoomed(image, labels, np.random.default_rng(seed))[0][..., 0]
        steps.append((int(red[0, -2]) - int(red[0, 1])) / 2 / 7)
    assert 0.45 < min(steps) < 0.55 and 1.8 < max(steps) < 2.15


def test_a_crop_with_nothing_to_learn_from_is_drawn_again():
    image, labels = coordinates()
    labels = np.full_like(labels, IGNORE)
    labels[:50] = 1  # 35 of the 85 rows where a crop may begin show nothing of it
    augment = Augment(16, scale=(1, 1))
    seen = [augment(image, labels, np.random.default_rng(seed))[1] for seed in range(100)]
    assert all((labels == 1).any() for labels in seen)
    ignored = np.full_like(labels, IGNORE)
    assert (augment(image, ignored, np.random.default_rng(0))[1] == IGNORE).all()


def test_the_same_generator_gives_the_same_result_and_the_originals_stay():
    image, labels = coordinates()
    before = image.copy(), labels.copy()
    augment = Augment(64)
    first, again, other = (
        augment(image, labels, np.random.default_rng([3, seed])) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any()
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_what_comes_out_becomes_tensors():
    image, labels = squares()
    for seed in range(4):  # flipped and not
        images, targets = as_tensors(*Augment(32)(image, labels, np.random.default_rng(seed)))
        assert images.shape == (3, 32, 32) and targets.shape == (32, 32)


def test_nothing_changes_when_nothing_may():
    image, labels = coordinates(96, 96)
    same = Augment(96, scale=(1, 1), flip=0, colour=0)(image, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(same[0], image)
    np.testing.assert_array_equal(same[1], labels)


def noise():
    return np.random.default_rng(0).integers(60, 190, (20, 30, 3)).astype(np.uint8)


def test_brightness_scales_every_value_and_stops_at_white():
    picture = noise()
    expected = np.minimum(np.rint(picture * 1.5), 255)
    np.testing.assert_allclose(recolour(picture, 1.5, 1, 1, 0), expected, atol=1)
    assert recolour(picture, 3, 1, 1, 0).max() == 255


def test_contrast_keeps_the_mean_and_scales_the_spread():
    picture = noise()
    flat = recolour(picture, 1, 0.5, 1, 0)
    assert flat.mean() == pytest.approx(picture.mean(), abs=0.3)
    assert flat.std() == pytest.approx(picture.std() / 2, rel=0.01)


def test_without_saturation_each_pixel_is_the_mean_of_its_colours():
    picture = noise()
    grey = recolour(picture, 1, 1, 0, 0)
    np.testing.assert_allclose(grey, picture.mean(axis=2, keepdims=True).repeat(3, axis=2), atol=1)


def test_a_third_of_the_hue_circle_turns_red_to_green_to_blue():
    picture = noise()
    turned = recolour(picture, 1, 1, 1, 2 * math.pi / 3)
    np.testing.assert_allclose(turned.astype(int), np.roll(picture, 1, axis=2).astype(int), atol=1)


def test_no_hue_and_no_saturation_colours_what_is_grey():
    grey = np.repeat(noise()[..., :1], 3, axis=2)
    np.testing.assert_array_equal(recolour(grey, 1, 1, 1.4, 0.5), grey)


def test_colour_changes_the_picture_alone_and_as_much_as_it_is_told():
    image, labels = noise(), np.zeros((20, 30), np.uint8)
    spread = []
    for colour in (0.1, 0.4, 0.8):
        augment = Augment((20, 30), scale=(1, 1), flip=0, colour=colour)
        results = [augment(image, labels, np.random.default_rng(seed)) for seed in range(60)]
        assert all((new_labels == labels).all() for _, new_labels in results)
        brightness = [new_image.mean() / image.mean() for new_image, _ in results]
        assert 1 - colour - 0.02 < min(brightness) < max(brightness) < 1 + colour + 0.02
        spread.append(np.std(brightness))
    assert spread[0] < spread[1] < spread[2]
    assert spread[0] == pytest.approx(0.1 / math.sqrt(3), rel=0.3)  # of a uniform factor


def test_hues_turn_by_up_to_the_share_of_45_degrees_that_they_are_told():
    image, labels = np.full((4, 4, 3), (150, 90, 90), np.uint8), np.zeros((4, 4), np.uint8)
    wheel = np.exp(2j * np.pi / 3 * np.arange(3))  # where red, green and blue sit
    augment = Augment(4, scale=(1, 1), flip=0, colour=0.4)
    seeds = map(np.random.default_rng, range(80))
    angles = [np.angle(augment(image, labels, rng)[0][0, 0] @ wheel, deg=True) for rng in seeds]
    assert -20 < min(angles) < -14 and 14 < max(angles) < 20  # ±18°, and the rounding of colours


def test_the_smallest_of_pictures_is_still_seen():
    image, labels = np.full((2, 3, 3), 7, np.uint8), np.ones((2, 3), np.uint8)
    tiny = Augment(4, scale=(0.1, 0.1), colour=0)(image, labels, np.random.default_rng(0))
    assert (tiny[1] == 1).sum() == 1 and (tiny[0] == 7).all(axis=2).sum() == 1
    thin = np.ones((1, 500), np.uint8)
    assert (fit(np.stack((thin,) * 3, axis=-1), thin, (4, 4))[1] == 1).sum() == 4


def test_fit_shows_all_of_a_picture_undistorted_in_the_middle():
    image, labels = squares(90, 120)
    new_image, new_labels = fit(image, labels, (60, 60))
    shown = new_labels != IGNORE
    assert shown.any(axis=1).nonzero()[0].tolist() == list(range(8, 53))  # 45 rows, 60 columns
    assert shown.any(axis=0).all()
    assert (new_image[~shown] == (124, 116, 104)).all()
    np.testing.assert_array_equal(new_labels[8:53], labels[1::2, 1::2])  # half as large
    assert fit(image, labels, (1, 500))[1].shape == (1, 500)
    same = fit(image, labels, (90, 120))
    np.testing.assert_array_equal(same[0], image)
    np.testing.assert_array_equal(same[1], labels)


FIELDS = {
    "no size": ({"size": 0}, "size = 0", "at least 1"),
    "half a pixel": ({"size": 95.5}, "size = 95.5", "whole number"),
    "a size of three": ({"size": (3, 96, 96)}, "(3, 96, 96)", "(height, width)"),
    "a size in words": ({"size": "96"}, "'96'", "whole number"),
    "a size of truth": ({"size": True}, "size = True", "whole number"),
    "one scale": ({"scale": 2.0}, "scale = 2.0", "two numbers"),
    "a scale of nothing": ({"scale": (0, 1)}, "scale = (0, 1)", "above 0"),
    "scales in the wrong order": ({"scale": (2, 0.5)}, "(2, 0.5)", "smaller factor first"),
    "a scale without end": ({"scale": (1, math.inf)}, "inf", "above 0"),
    "a scale that is no number": ({"scale": (math.nan, 1)}, "nan", "smaller"),
    "scales in words": ({"scale": ("0.5", "2")}, "'0.5'", "two numbers"),
    "flip in percent": ({"flip": 50}, "flip = 50", "0 to 1"),
    "flip of truth": ({"flip": True}, "flip = True", "0 to 1"),
    "negative colour": ({"colour": -0.1}, "colour = -0.1", "0 to 1"),
    "colour that is no number": ({"colour": math.nan}, "colour = nan", "0 to 1"),
    "no colour": ({"colour": None}, "colour = None", "0 to 1"),
}
IMAGE, LABELS = np.zeros((8, 9, 3), np.uint8), np.zeros((8, 9), np.uint8)
CALLS = {
    "a picture of fractions": ((IMAGE / 255, LABELS), "image", "uint8", "float64"),
    "labels of 64 bits": ((IMAGE, LABELS.astype(int)), "labels", "uint8", "int64"),
    "a picture in words": (("cat.png", LABELS), "image", "str"),
    "channels first": ((IMAGE.transpose(2, 0, 1), LABELS), "(3, 8, 9)", "(8, 9)"),
    "grey": ((IMAGE[..., 0], LABELS), "(H, W, 3)", "(8, 9)"),
    "labels with an axis more": ((IMAGE, LABELS[..., None]), "(8, 9, 1)"),
    "labels of another size": ((IMAGE, LABELS[1:]), "(8, 9, 3)", "(7, 9)"),
    "no pixels": ((IMAGE[:0], LABELS[:0]), "(0, 9)", "neither 0"),
}


@pytest.mark.parametrize("case", FIELDS.values(), ids=FIELDS)
def test_impossible_fields_are_refused(case):
    fields, *words = case
    with pytest.raises(ValueError) as refusal:
        Augment(**{"size": 96, **fields})
    assert [word for word in words if word not in str(refusal.value)] == [], refusal.value


@pytest.mark.parametrize("case", CALLS.values(), ids=CALLS)
def test_impossible_pictures_are_refused(case):
    arguments, *words = case
    with pytest.raises(ValueError) as refusal:
        Augment(4)(*arguments, np.random.default_rng(0))
    assert [word for word in words if word not in str(refusal.value)] == [], refusal.value


@pytest.mark.parametrize("rng", [None, 0, np.random, np.random.RandomState(0)])
def test_chance_comes_from_a_generator_only(rng):
    with pytest.raises(ValueError, match=r"rng = .*default_rng"):
        Augment(4)(IMAGE, LABELS, rng)
