"""Scenes are the same everywhere and at any size; too hard for trees, but not for a model."""

import hashlib
import os
import platform
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import jaccard_score
from torch.utils.data import DataLoader

from segformer_edu.data.balance import class_balance
from segformer_edu.data.dataset import SegmentationDataset, as_tensors
from segformer_edu.data.scenes import CLASSES, Scenes, scene
from segformer_edu.data.street.layout import draw_street_scene
from segformer_edu.data.street.weather import draw_weather

CHECKSUM = "ad0a558cb4858de4"
CORNERS_CHECKSUM = "0cf4b2390c6d9515"
ROOT = Path(__file__).parents[2]
PRINT_CHECKSUM = "from tests.data.test_scenes import checksum; print(checksum())"


def checksum():
    """Of eight scenes in three shapes, pictures and labels."""
    digest = hashlib.sha256()
    for index in range(8):
        for array in scene(2026, (96, (40, 70), 150)[index % 3], index):
            digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def corners_checksum():
    """Of the same scenes before they are painted: corners in thirds of a pixel, colours, order."""
    digest = hashlib.sha256()
    for index in range(8):
        rng = np.random.default_rng([2026, index])
        canvas = draw_street_scene(rng, draw_weather(rng))
        corners = canvas.camera.project(np.concatenate(canvas._points)) * 288
        colors = 255 * np.array(canvas._paints)
        for array in (np.floor(corners), np.rint(colors), np.array(canvas._polygons)):
            digest.update(array.astype("<i4").tobytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="module")
def drawn():
    """Two hundred scenes of 96 pixels: pictures and labels."""
    images, labels = zip(*(scene(7, 96, index) for index in range(200)), strict=True)
    return np.stack(images), np.stack(labels)


def test_scenes_consist_of_what_they_did():
    assert corners_checksum() == CORNERS_CHECKSUM, "weights were trained on other scenes"


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"),
    reason="Pillow finds a polygon's edges in single precision, and other processors may fuse its "
    "multiplication and addition: about two thirds of the scenes then differ in a cell or two",
)
def test_scenes_are_bit_for_bit_what_they_were():
    assert checksum() == CHECKSUM, "weights were trained on other scenes"


def test_another_process_draws_the_same_bits_even_with_an_older_processors_instructions():
    newer = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(newer), "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", PRINT_CHECKSUM]
    answer = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8"
    )
    assert answer.stdout.strip() == checksum(), answer.stderr


def test_drawing_neither_uses_nor_moves_anyone_elses_random_numbers():
    def states():
        legacy = np.random.get_state()[1].tolist()
        return legacy, random.getstate(), torch.get_rng_state().tolist()

    before, first = states(), scene(3, 64, 5)
    assert states() == before
    np.random.seed(1), random.seed(1), torch.manual_seed(1)
    again = scene(3, 64, 5)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_every_seed_and_every_index_is_another_scene():
    pairs = [(seed, index) for seed in range(6) for index in range(6)]
    assert len({scene(seed, 48, index)[0].tobytes() for seed, index in pairs}) == 36
    assert len({scene(seed, 48, index)[1].tobytes() for seed, index in pairs}) == 36


@pytest.mark.parametrize("size", [16, 17, 96, (33, 47), (64, 200), (200, 64)])
def test_a_scene_has_the_size_that_was_asked_for(size):
    image, labels = scene(0, size)
    height, width = (size, size) if isinstance(size, int) else size
    assert image.shape == (height, width, 3) and labels.shape == (height, width)
    assert image.dtype == labels.dtype == np.uint8
    assert labels.max() < len(CLASSES)


def test_a_scene_is_the_same_at_64_and_at_512_pixels():
    for index in range(6):
        (small, few), (large, many) = (scene(1, size, index) for size in (64, 512))
        blocks = many.reshape(64, 8, 64, 8).transpose(0, 2, 1, 3).reshape(64, 64, 64)
        votes = np.stack([(blocks == label).sum(axis=-1) for label in range(len(CLASSES))], axis=-1)
        assert (votes.argmax(axis=-1) == few).mean() > 0.95
        inside = votes.max(axis=-1) == 64  # one class only: not an edge
        assert (votes.argmax(axis=-1) == few)[inside].mean() > 0.997
        means = large.reshape(64, 8, 64, 8, 3).mean(axis=(1, 3))
        assert np.abs(means - small).mean() < 12  # levels of 256; noise takes some of them
        other = scene(1, 64, index + 1)[0]
        assert np.abs(means - other).mean() > 25


def test_a_wider_picture_adds_at_its_sides_and_changes_nothing_between():
    for index in range(4):
        square, wide = scene(4, 64, index)[1], scene(4, (64, 128), index)[1]
        assert np.array_equal(wide[:, 32:96], square)


def test_every_class_is_there_and_none_is_most_of_it():
    balance = class_balance(Scenes(150, 64, seed=11))
    assert np.isclose(balance.of_pixels.sum(), 1)
    assert balance.of_pixels.min() > 0.01 and balance.of_pixels.max() < 0.4
    assert balance.of_pictures.min() > 0.5


def test_a_pixels_colour_and_place_do_not_give_its_class_away(drawn):
    images, labels = drawn
    rng = np.random.default_rng(0)
    row, column = np.indices((96, 96)).reshape(2, -1)

    def samples(scenes):
        at = rng.integers(96 * 96, size=(len(scenes), 400))
        pixels = np.take_along_axis(images[scenes].reshape(-1, 96 * 96, 3), at[..., None], axis=1)
        features = np.concatenate((pixels, row[at, None], column[at, None]), axis=-1)
        classes = np.take_along_axis(labels[scenes].reshape(-1, 96 * 96), at, axis=1)
        return features.reshape(-1, 5), classes.ravel()

    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    trees.fit(*samples(np.arange(140)))
    features, classes = samples(np.arange(140, 200))
    miou = jaccard_score(classes, trees.predict(features), average="macro")
    assert 0.25 < miou < 0.45


def test_a_map_of_a_quarter_of_the_side_can_hold_what_matters(drawn):
    labels = torch.tensor(drawn[1][:100], dtype=torch.int64)
    shares = F.one_hot(labels, len(CLASSES)).permute(0, 3, 1, 2).float()
    pooled = F.adaptive_avg_pool2d(shares, 96 // 4)
    back = F.interpolate(pooled, size=96, mode="bilinear").argmax(dim=1)
    ceiling = jaccard_score(labels.ravel(), back.ravel(), average=None)
    assert ceiling.mean() > 0.87
    assert ceiling.min() > 0.7


def test_thin_things_are_there_at_64_pixels_too():
    few, many = (np.stack([scene(12, size, i)[1] for i in range(60)]) for size in (64, 256))
    for name in ("pole", "person"):
        share_of_few, share_of_many = ((maps == CLASSES.index(name)).mean() for maps in (few, many))
        assert 0.95 < share_of_few / share_of_many < 1.2


def test_scenes_are_a_dataset_that_workers_can_share():
    scenes = Scenes(10, (32, 48), seed=5)
    assert isinstance(scenes, SegmentationDataset) and len(scenes) == 10
    assert scenes.class_names == CLASSES
    loader = DataLoader(scenes, batch_size=4, num_workers=2, multiprocessing_context="spawn")
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    assert images.shape == (10, 3, 32, 48) and labels.shape == (10, 32, 48)
    for index in range(10):
        image, label = as_tensors(*scene(5, (32, 48), index))
        assert torch.equal(images[index], image) and torch.equal(labels[index], label)


def test_iteration_ends_and_the_last_scene_is_minus_one():
    scenes = Scenes(3, 16)
    assert len(list(scenes)) == 3
    assert np.array_equal(scenes.picture(-1)[0], scene(0, 16, 2)[0])
    assert not list(Scenes(0, 16))
    for index in (3, -4):
        with pytest.raises(IndexError, match="3 pictures"):
            scenes[index]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": -1}, "n = -1"),
        ({"n": 2.0}, r"n = 2\.0"),
        ({"n": True}, "n = True"),
        ({"n": "3"}, "n = '3'"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**32}, "0 to 4294967295"),
        ({"seed": None}, "seed = None"),
        ({"size": 0}, "size = 0.*16"),
        ({"size": 15}, "size = 15"),
        ({"size": 96.0}, r"size = 96\.0"),
        ({"size": (64, 8)}, r"\(64, 8\)"),
        ({"size": (64, 64, 3)}, r"\(height, width\)"),
        ({"size": "96"}, "size = '96'"),
        ({"size": None}, "size = None"),
    ],
)
def test_impossible_data_sets_are_refused_in_words(arguments, words):
    with pytest.raises(ValueError, match=words):
        Scenes(**({"n": 1} | arguments))


@pytest.mark.parametrize("index", [1.0, "0", None, slice(2)])
def test_a_scene_has_a_whole_number(index):
    with pytest.raises(ValueError, match="whole number"):
        Scenes(3, 16).picture(index)
    with pytest.raises(ValueError, match="index"):
        scene(0, 16, index)


def test_the_balance_of_a_data_set_is_counted_by_hand():
    class Two(SegmentationDataset):
        class_names = ("a", "b", "c")

        def __len__(self):
            return 2

        def picture(self, index):
            labels = [[[0, 0], [1, 255]], [[0, 0], [0, 255]]][index]
            return np.zeros((2, 2, 3), np.uint8), np.array(labels, np.uint8)

    balance = class_balance(Two())
    assert np.allclose(balance.of_pixels, (5 / 6, 1 / 6, 0))
    assert np.allclose(balance.of_pictures, (1, 1 / 2, 0))
    assert np.allclose(class_balance(Two(), 1).of_pixels, (2 / 3, 1 / 3, 0))
    for n in (0, 3, -1):
        with pytest.raises(ValueError, match=f"n = {n}"):
            class_balance(Two(), n)
