"""In a strip the lamp decides the class of the balls, and is too far away for convolutions."""

import numpy as np
import pytest
import torch

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.data.lamps import CLASSES, DISTANCE, FARTHEST, Lamps


def lamp_and_balls(strips, index):
    """The pixels of the lamp and those of the balls, told apart by where they stand."""
    _, labels = strips.picture(index)
    lamp = strips.discs(index)[0]
    rows, columns = np.mgrid[:64, :256] + 0.5
    near = np.hypot(columns - lamp.x, rows - lamp.y) < lamp.radius + 1
    return (labels > 0) & near, (labels > 0) & ~near


@pytest.mark.parametrize("distance", [0, DISTANCE, FARTHEST])
def test_one_lamp_in_colour_and_balls_in_grey_at_that_distance(distance):
    nearest = []
    strips = Lamps(60, seed=3, distance=distance)
    for index in range(60):
        image, labels = strips.picture(index)
        assert image.shape == (64, 256, 3) and image.dtype == labels.dtype == np.uint8
        (colour,) = set(labels[labels > 0])
        lamp, balls = lamp_and_balls(strips, index)
        mean = image[lamp].mean(axis=0)
        assert CLASSES[colour] == ("red" if mean[0] > mean[1] + 50 else "green")
        assert 40 < lamp.sum() < 130 and balls.sum() > 100
        grey = image[balls].mean(axis=0)
        assert grey.max() - grey.min() < 10 and grey.mean() > 60
        if distance:
            columns = [np.nonzero(each.any(axis=0))[0] for each in (lamp, balls)]
            gaps = columns[1].min() - columns[0].max(), columns[0].min() - columns[1].max()
            nearest.append(max(gaps))
    assert all(gap >= distance for gap in nearest) and (not nearest or min(nearest) < distance + 8)


def test_red_and_green_and_both_ends_are_equally_frequent():
    strips = Lamps(400)
    red = np.mean([strips.picture(index)[1].max() == 1 for index in range(400)])
    left = np.mean([strips.discs(index)[0].x < 128 for index in range(400)])
    assert abs(red - 0.5) < 0.1 and abs(left - 0.5) < 0.1  # four standard deviations


def test_a_strip_is_the_same_every_time_and_another_seed_gives_others():
    first, again, other = Lamps(5), Lamps(9), Lamps(5, seed=1)
    assert all(map(np.array_equal, first.picture(-1), again.picture(4)))
    assert not np.array_equal(first.picture(0)[0], other.picture(0)[0])
    image, labels = first[2]
    assert image.shape == (3, 64, 256) and labels.shape == (64, 256)


@pytest.mark.parametrize("bad", [{"n": -1}, {"seed": 0.5}, {"distance": -1}, {"distance": 151}])
def test_a_number_that_makes_no_strips_is_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} = .*: give"):
        Lamps(**{"n": 3, **bad})


def test_convolutions_alone_cannot_see_the_lamp():
    """The gradient of a ball's logits at the lamp is 0 without attention, in any weights."""
    torch.manual_seed(0)
    config = SegFormerConfig.named("nano", depths=(1, 1, 1, 1), num_classes=3)
    model = SegFormer(config).double().eval()
    strips = Lamps(6, seed=1)
    for number in range(6):
        image, _ = strips[number]
        lamp, balls = map(torch.from_numpy, lamp_and_balls(strips, number))
        seen = []
        for each in (model, without_branches(model, branches(model, "attention"))):
            x = image[None].double().requires_grad_()
            logits = torch.nn.functional.interpolate(each(x), size=(64, 256), mode="bilinear")[0]
            logits[:, balls].square().sum().backward()
            seen.append(x.grad[0, :, lamp].abs().max().item())
        assert seen[0] > 0 and seen[1] == 0


def test_another_light_changes_the_lamp_alone_and_its_own_nothing():
    strips = Lamps(20, seed=5)
    for index in range(20):
        image, labels = strips.picture(index)
        lamp, balls = strips.lamp_and_balls(index)
        near, far = lamp_and_balls(strips, index)
        assert not (lamp & balls).any() and np.array_equal(balls, far) and lamp[near].all()
        assert np.array_equal(strips.relit(index, CLASSES[labels.max()]), image)
        for light in CLASSES:
            relit = strips.relit(index, light)
            assert np.array_equal(relit[~lamp], image[~lamp])
            red, green, blue = relit[near].mean(axis=0)
            assert light == (
                "red" if red > green + 50 else "green" if green > red + 50 else "night"
            )


def test_a_light_that_no_lamp_has_is_refused():
    with pytest.raises(ValueError, match="choose one of"):
        Lamps(1).relit(0, "blue")
