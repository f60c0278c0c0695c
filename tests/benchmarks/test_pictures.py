"""The benchmark of many pictures trains on what it says, and sees the memory that is held."""

import os
import time

import numpy as np
import pytest

from benchmarks import pictures
from segformer_edu.training import open_data


def test_it_makes_as_many_pictures_as_it_says_and_holds_out_a_tenth(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "DIFFERENT", 4)
    training, validation = open_data(pictures.write(tmp_path / "made", 30))
    assert (len(training), len(validation)) == (27, 3)
    image, labels = training.picture(5)
    assert image.shape == (300, 400, 3) and set(np.unique(labels)) == {0, 1, 2}
    assert pictures.draw(1)[0].tobytes() != pictures.draw(2)[0].tobytes()


def hold(settings):
    """A task that holds a known amount, for longer than the watch needs to see it."""
    held = np.ones(settings * 10**6, dtype=np.uint8)
    time.sleep(1)
    assert held.all()


@pytest.mark.skipif(os.name == "nt", reason="shared memory is counted otherwise there")
def test_memory_is_what_a_task_holds():
    small, large = (pictures.run(hold, megabytes) for megabytes in (10, 310))
    assert large.second - small.second == pytest.approx(300, abs=40)


def test_the_table_has_a_row_for_each_task():
    measured = {"reading": [pictures.Measured(2.4, 300, 310), pictures.Measured(21, 305, 340)]}
    text = pictures.report(measured, (1000, 10_000), "0.1")
    assert "| reading | 2, 300 → 310 | 21, 305 → 340 |" in text
    assert "10,000 pictures: s, MB" in text and "--cache-mb 512" in text
