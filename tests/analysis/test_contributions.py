"""analysis.contributions: the summands add up, and each is what its stage alone contributes."""

import pytest
import torch
from torch.nn import functional as F

from segformer_edu.analysis.contributions import (
    centred,
    contributions,
    fused_parts,
    leads,
    leads_over_the_next,
    mean_by_class,
    without_a_stage,
)


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


def test_leads_add_up_to_the_lead_of_the_true_class(small_model, images):
    shares = contributions(small_model, images)
    labels = torch.randint(0, 5, shares[:, 0, 0].shape)
    logits = shares.sum(1)
    for image, row, column in ((0, 3, 4), (1, 16, 24)):
        scores = logits[image, :, row, column].tolist()
        true = scores.pop(labels[image, row, column])
        expected = true - (true + sum(scores)) / 5, true - max(scores)
        for lead, value in zip((leads, leads_over_the_next), expected, strict=True):
            found = lead(shares, labels)[image, :, row, column].sum().item()
            assert found == pytest.approx(value, abs=1e-4)


def test_each_summand_leads_by_its_own_logits_over_the_same_rival():
    shares = torch.tensor([[5.0, 1.0, 0.0], [0.0, 2.0, 9.0]]).view(1, 2, 3, 1, 1)
    labels = torch.zeros(1, 1, 1, dtype=torch.long)  # logits 5, 3, 9: the rival is class 2
    assert leads_over_the_next(shares, labels).flatten().tolist() == [5, -9]
    assert leads(shares, labels).flatten().tolist() == pytest.approx([3, -11 / 3])


def test_means_are_of_the_places_where_a_class_is_true():
    values, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 2, (2, 4, 5))
    means = mean_by_class(values, labels, 3)
    for summand in range(3):
        at = [values[i, summand, y, x].item() for i, y, x in (labels == 1).nonzero().tolist()]
        assert means[1, summand].item() == pytest.approx(sum(at) / len(at), abs=1e-5)
    assert means[2].isnan().all()


@torch.no_grad()
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_stage_is_silenced_by_its_mean_map(small_model, stage):
    """At sizes that are powers of two a resize keeps the mean of a map, so that its mean can be put
    in before it.
    """
    images = torch.randn(3, 3, 64, 64)
    maps = small_model.encoder(images)
    maps[stage] = maps[stage].mean((0, 2, 3), keepdim=True).expand_as(maps[stage])
    logits = small_model.decoder(maps)
    expected = F.interpolate(logits, (64, 64), mode="bilinear").argmax(1)
    found = without_a_stage(small_model, images)
    assert found.shape == (4, 3, 64, 64)
    assert (found[stage] == expected).double().mean() > 0.999


def test_to_silence_a_stage_of_a_folded_model_is_refused(small_model, images):
    with pytest.raises(ValueError, match="model is folded: give the model"):
        without_a_stage(small_model.folded(), images)
