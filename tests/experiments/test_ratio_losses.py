"""What is counted scene by scene adds up, and a difference between two models is that of their
scores.
"""

import sys

import numpy as np
import pytest
import torch

from experiments import ratio_losses
from experiments.ratio_losses import counts, differences, quantities
from segformer_edu.data.scenes import CLASSES
from segformer_edu.training import scores
from segformer_edu.training.metrics import confusion_matrix


def test_scenes_that_are_drawn_twice_count_twice():
    chance = torch.Generator().manual_seed(0)
    said, labels = (
        torch.randint(0, 8, (2, 3, 4, 4), generator=chance)
        .repeat_interleave(10, dim=2)
        .repeat_interleave(10, dim=3)
    )
    (found,) = quantities(*counts(said, labels), np.array([[1, 0, 2]]))
    drawn = [0, 2, 2]
    expected = scores(confusion_matrix(said[drawn], labels[drawn], len(CLASSES)))
    assert found[0] == pytest.approx(expected.miou)
    assert found[1:9].tolist() == pytest.approx(list(expected.iou))
    border, elsewhere = found[9:]
    assert min(border, elsewhere) <= expected.pixel_accuracy <= max(border, elsewhere)


def test_a_row_is_the_difference_of_two_models_on_the_same_scenes():
    there, back, same = differences(
        64, 4, [((8, 8, 4, 2), (1, 1, 1, 1)), ((1, 1, 1, 1), (8, 8, 4, 2)), ((4, 2, 1, 1),) * 2]
    )
    for name in ("road", "right at borders", "right elsewhere"):  # which no scene is without
        middle, low, high = there[name]
        assert low < high
        assert back[name] == pytest.approx([-middle, -high, -low], abs=1e-5)
        assert same[name] == [0, 0, 0]
    assert there["changed"] == back["changed"] > 0 == same["changed"]


def test_a_try_measures_every_pair_and_writes_nothing(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(ratio_losses, "differences", lambda *given: asked.append(given) or [])
    monkeypatch.setattr(ratio_losses, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["ratio_losses", "--quick"])
    ratio_losses.main()
    assert asked == [(128, 3), (256, 3)] and not list(tmp_path.iterdir())
