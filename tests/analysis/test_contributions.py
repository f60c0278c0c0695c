"""analysis.contributions: the summands add up, and each is what its stage alone contributes."""

import pytest
import torch
from torch.nn import functional as F

from segformer_edu.analysis.contributions import centred, contributions, fused_parts


@pytest.fixture
def images():
    return torch.randn(2, 3, 65, 97)


@pytest.fixture
def before_relu(small_model, images):
    """The map that reaches the ReLU, and the one that leaves it, as the model computes them."""
    seen = []
    handle = small_model.decoder.classifier.register_forward_pre_hook(
        lambda part, inputs: seen.append(inputs[0])
    )
    with torch.enable_grad():  # one strip
        small_model(images)
    handle.remove()
    return seen[0].detach()


def test_they_add_up_to_the_logits(small_model, images):
    shares = contributions(small_model, images)
    assert shares.shape == (2, 5, 5, 17, 25)
    with torch.no_grad():
        logits = small_model(images)
    torch.testing.assert_close(shares.sum(1), logits, rtol=1e-4, atol=1e-5)


def test_the_fused_parts_add_up_to_what_the_relu_passes(small_model, images, before_relu):
    with torch.no_grad():
        parts = fused_parts(small_model.decoder, small_model.encoder(images))
    torch.testing.assert_close(parts.sum(1).relu(), before_relu, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_stage_that_is_silent_adds_nothing_and_leaves_the_others_alone(
    small_model, images, stage
):
    maps = small_model.encoder(images)
    silent = [0 * x if i == stage else x for i, x in enumerate(maps)]
    whole, without = (fused_parts(small_model.decoder, each) for each in (maps, silent))
    assert not without[:, stage].any()
    others = [i for i in range(5) if i != stage]
    torch.testing.assert_close(without[:, others], whole[:, others])


@torch.no_grad()
def test_with_the_decisions_fixed_a_share_is_the_gradient_times_its_summand(small_model, images):
    """Independent of the masks in the code: torch differentiates the ReLU itself."""
    shares = contributions(small_model, images)
    parts = centred(fused_parts(small_model.decoder, small_model.encoder(images)))
    with torch.enable_grad():
        fused = parts.sum(1).requires_grad_()
        logits = small_model.decoder.classifier(F.relu(fused))
        for label in range(5):
            (slope,) = torch.autograd.grad(logits[:, label].sum(), fused, retain_graph=True)
            expected = (parts[:, :4] * slope[:, None]).sum(2)
            torch.testing.assert_close(shares[:, :4, label], expected, rtol=1e-4, atol=1e-5)


def test_it_does_not_matter_where_a_constant_was_put():
    parts, moved = torch.randn(2, 5, 6, 7, 9), torch.randn(4, 6, 1, 1)
    elsewhere = parts.clone()
    elsewhere[:, :4] += moved
    elsewhere[:, 4] -= moved.sum(0)
    torch.testing.assert_close(elsewhere.sum(1), parts.sum(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(centred(elsewhere), centred(parts), rtol=1e-4, atol=1e-5)


def test_a_stage_that_says_the_same_everywhere_adds_nothing_and_the_sum_stays():
    parts = torch.randn(2, 5, 6, 7, 9)
    parts[:, 1] = torch.randn(6, 1, 1)
    found = centred(parts)
    torch.testing.assert_close(found[:, 1], torch.zeros(2, 6, 7, 9), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.sum(1), parts.sum(1), rtol=1e-4, atol=1e-5)
    taken = parts - found
    assert taken.flatten(3).std(dim=3).max() < 1e-6  # one number for all pixels of an image,
    torch.testing.assert_close(taken[0], taken[1], rtol=0, atol=1e-6)  # and for all images


def test_a_model_in_training_is_looked_at_in_evaluation_and_stays_in_training(small_model, images):
    expected = contributions(small_model, images)
    small_model.train()
    torch.testing.assert_close(contributions(small_model, images), expected)
    assert small_model.decoder.norm.training


def test_a_folded_model_is_refused(small_model, images):
    with pytest.raises(ValueError, match="model is folded: give the model"):
        contributions(small_model.folded(), images)


def test_a_decoder_in_training_is_refused(small_model, images):
    maps = small_model.encoder(images)
    with pytest.raises(ValueError, match="training mode"):
        fused_parts(small_model.decoder.train(), maps)
