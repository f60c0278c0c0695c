"""analysis.attribution, side by side with captum."""

import pytest
import torch
from captum.attr import InputXGradient, LayerGradCam, Occlusion

from segformer_edu.analysis import attribution as ask

PLACE = (9, 13)


@pytest.fixture
def image():
    return torch.randn(1, 3, 64, 96)


@pytest.mark.parametrize("rival", [None, 3])
def test_gradient_times_input(small_model, image, rival):
    score = ask.logit(PLACE, 1, rival)
    expected = InputXGradient(lambda x: score(small_model(x))).attribute(image).sum(1)[0]
    torch.testing.assert_close(ask.gradient_times_input(small_model, image, score), expected)


@pytest.mark.parametrize("stage", range(4))
def test_grad_cam(small_model, image, stage):
    score = ask.logit(PLACE, 1)
    layer = small_model.encoder.stages[stage]
    theirs = LayerGradCam(lambda x: score(small_model(x)), layer)
    small = theirs.attribute(image, relu_attributions=True)
    expected = LayerGradCam.interpolate(small, (64, 96), "bilinear")[0, 0]
    assert expected.max() > 0
    torch.testing.assert_close(ask.grad_cam(small_model, image, score, stage), expected)


def test_occlusion(small_model, image):
    score, filled = ask.logit(PLACE, 1), 0.3 * torch.ones_like(image)
    theirs = Occlusion(lambda x: score(small_model(x)))
    window = {"sliding_window_shapes": (3, 8, 8), "strides": (3, 8, 8)}
    with torch.no_grad():
        expected = theirs.attribute(image, baselines=filled, **window)[0, 0]
    found = ask.occlusion(small_model, image, score, filled, 8)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
