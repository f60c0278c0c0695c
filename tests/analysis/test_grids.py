"""What comes back through a coarse grid, by hand and on scenes that no lesson shows."""

import pytest
import torch

from segformer_edu.analysis.grids import (
    class_shares,
    fitted_through_a_grid,
    iou_through,
    through_a_grid,
)
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import confusion_matrix, scores


def test_shares_are_counted_in_each_square():
    labels = torch.zeros(4, 8, dtype=torch.uint8)
    labels[:2, :2] = 7  # a quarter of the first square
    shares = class_shares(labels, 4)
    assert shares.shape == (1, len(CLASSES), 1, 2)
    assert shares[0, :, 0, 0].tolist() == [0.75, 0, 0, 0, 0, 0, 0, 0.25]
    assert shares[0, :, 0, 1].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


def test_a_grid_gives_back_what_is_larger_than_its_tokens():
    """By hand: two halves come back from any grid; a line of one pixel from none."""
    halves, line = torch.zeros(2, 32, 32, dtype=torch.long)
    halves[:, 16:] = 3
    line[:, 5] = 7
    for stride in (4, 8, 16):
        assert torch.equal(through_a_grid(halves, stride), halves)
        assert not through_a_grid(line, stride).any()


def test_the_iou_through_a_grid_is_counted_over_all_pictures():
    """By hand: a line of 32 pixels is lost to class 0, and two halves come back."""
    pictures = torch.zeros(2, 32, 32, dtype=torch.uint8)
    pictures[0, 16:] = 3
    pictures[1, :, 5] = 7
    iou = iou_through(through_a_grid, pictures, 8)
    ground = (512 + 992) / (512 + 1024)
    assert (iou[CLASSES[0]], iou[CLASSES[3]], iou[CLASSES[7]]) == (ground, 1, 0)
    assert iou["mean"] == pytest.approx((ground + 1) / 3)


def test_fitted_scores_bring_back_more_than_shares_and_still_lose_poles_first():
    """So shares are no bound on what a map of that size can say."""
    scenes = Scenes(6, 128, seed=1)  # other scenes than the lesson's
    labels = torch.stack([torch.as_tensor(scenes.picture(i)[1]).long() for i in range(6)])
    road, pole = CLASSES.index("road"), CLASSES.index("pole")
    fitted = []
    for stride in (4, 8, 16, 32):
        ways = through_a_grid, fitted_through_a_grid
        back = [torch.stack([way(each, stride) for each in labels]) for way in ways]
        shares, fit = (scores(confusion_matrix(each, labels, 8)) for each in back)
        assert fit.miou > shares.miou + 0.02 and fit.iou[pole] > shares.iou[pole] + 0.05
        fitted.append(fit)
    assert [x.miou for x in fitted] == sorted((x.miou for x in fitted), reverse=True)
    lost = [[1 - x.iou[kind] for x in fitted] for kind in (road, pole)]
    assert all(of_poles > 2 * of_road for of_road, of_poles in zip(*lost, strict=True))
    assert lost[1][0] < 0.05
