"""Order and augmentation depend on the seed and on a sample's number, and on nothing else."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from segformer_edu.data.augment import Augment
from segformer_edu.data.views import CachedDataset, Selection
from segformer_edu.training import Samples, balanced_weights
from segformer_edu.training.samples import shares, validation_batches
from tests.training.rectangles import Rectangles

AUGMENT = Augment(24)


def samples(first=0, count=25, seed=0, pictures=7):
    return Samples(Rectangles(pictures), AUGMENT, seed, first, count)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_epoch_shows_every_picture_once_each_in_another_order():
    every = samples()
    order = [every.picture_of(number) for number in range(21)]
    epochs = [order[0:7], order[7:14], order[14:21]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert [samples(seed=1).picture_of(number) for number in range(21)] != order


def test_a_later_beginning_gives_the_same_samples():
    every, late = samples(), samples(first=12, count=13)
    assert len(late) == 13
    for index in (12, 0, 5):  # in any order of asking
        assert equal(late[index], every[12 + index])


def test_the_same_picture_is_augmented_anew_each_time():
    every = samples()
    first, second = (
        next(n for n in range(7 * e, 7 * e + 7) if every.picture_of(n) == 3) for e in (0, 1)
    )
    assert not torch.equal(every[first][0], every[second][0])


def test_another_seed_augments_the_same_picture_otherwise():
    one, other = (samples(seed=seed, pictures=1)[0] for seed in (0, 1))
    assert not torch.equal(one[0], other[0])


def test_workers_change_nothing():
    alone, together = (
        DataLoader(samples(count=9), batch_size=4, num_workers=workers) for workers in (0, 2)
    )
    assert all(equal(a, b) for a, b in zip(alone, together, strict=True))


def test_processes_share_whole_batches_and_no_picture_twice():
    def batches(processes):
        return [
            [
                labels
                for _, labels in validation_batches(
                    Rectangles(10), shares(10, 3, rank, processes), workers=0
                )
            ]
            for rank in range(processes)
        ]

    (alone,) = batches(1)
    assert [len(labels) for labels in alone] == [3, 3, 3, 1]
    for processes in (2, 3, 5):
        found = batches(processes)
        whole = [found[k % processes][k // processes] for k in range(4)]
        assert sum(map(len, found)) == 4
        assert all(torch.equal(a, b) for a, b in zip(whole, alone, strict=True))


def test_pictures_are_batched_only_with_others_of_their_size():
    class Mixed(Rectangles):
        def picture(self, index):
            image, labels = super().picture(index)
            return (image, labels) if index % 3 else (image[:20], labels[:20])

    batches = validation_batches(Mixed(7), shares(7, 7), workers=0)
    assert [tuple(images.shape) for images, _ in batches] == [(3, 3, 20, 32), (4, 3, 32, 32)]


@pytest.mark.parametrize("workers", [0, 2])
def test_large_pictures_are_alone_and_read_one_after_the_other(workers, monkeypatch):
    monkeypatch.setattr("segformer_edu.training.samples.LARGE", 1000)
    read = []

    class Mixed(Rectangles):
        def picture(self, index):
            read.append(index)
            image, labels = super().picture(index)
            return (image, labels) if index % 3 else (image[:20], labels[:20])

    given = []
    for images, _ in validation_batches(Mixed(7), shares(7, 7), workers):
        given.append(tuple(images.shape))
        assert workers or len(read) <= len(given) + 2  # the small ones wait to be batched
    assert given == [(1, 3, 32, 32)] * 4 + [(3, 3, 20, 32)]


def test_a_cached_picture_is_made_once_and_the_memory_limit_is_kept():
    class Counting(Rectangles):
        made = 0

        def picture(self, index):
            self.made += 1
            return super().picture(index)

    source = Counting(5, size=500)  # one megabyte each
    pictures = CachedDataset(source, megabytes=3)
    for _ in range(2):
        for index in range(5):
            assert np.array_equal(pictures.picture(index)[0], Rectangles(5, 500).picture(index)[0])
    assert source.made == 3 + 2 + 2 and len(pictures) == 5


def test_a_selection_has_its_own_order():
    some = Selection(Rectangles(9), [4, 1])
    assert len(some) == 2 and some.class_names == Rectangles.class_names
    assert np.array_equal(some.picture(1)[0], Rectangles(9).picture(1)[0])


def test_weights_go_with_one_over_the_root_of_the_frequency():
    class Thirds(Rectangles):
        class_names = ("a", "b", "c", "never")

        def picture(self, index):
            labels = np.full((10, 10), 255, dtype=np.uint8)
            labels[:4], labels[4:5, :9], labels[5:, :2] = 0, 1, 2  # 40, 9 and 10 pixels
            return np.zeros((10, 10, 3), dtype=np.uint8), labels

    weights = balanced_weights(Thirds(3))
    expected = np.array([40, 9, 10, 9]) ** -0.5
    assert weights.numpy() == pytest.approx(expected / expected.mean())
    assert balanced_weights(Thirds(3), pictures=1).numpy() == pytest.approx(weights.numpy())


def test_pictures_without_a_label_have_no_weights():
    class Blank(Rectangles):
        def picture(self, index):
            image, labels = super().picture(index)
            return image, np.full_like(labels, 255)

    with pytest.raises(ValueError, match="look at the masks"):
        balanced_weights(Blank(2))
