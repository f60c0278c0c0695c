"""analysis.calibration: as scikit-learn and as drawn probabilities have it."""

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from torch.nn import functional as F

from segformer_edu.analysis.calibration import (
    at_full_size,
    confidence,
    equal_mass,
    equal_width,
    fit_temperature,
    gaps,
    reliability,
)


@pytest.fixture
def drawn():
    """Probabilities of 4 classes, in 30 pictures, and labels drawn from them; then logits that are
    twice as sure of themselves.
    """
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(30, 4, 24, 32, generator=generator)
    rows = logits.softmax(1).movedim(1, -1).reshape(-1, 4)
    labels = torch.multinomial(rows, 1, generator=generator).view(30, 24, 32)
    return logits, labels


def confident(logits, labels):
    return confidence(logits), logits.argmax(1) == labels


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_the_diagram_is_that_of_scikit_learn(drawn, strategy):
    sure, right = confident(2 * drawn[0], drawn[1])
    edges = equal_width(10) if strategy == "uniform" else equal_mass(sure, 10)
    mean, share = reliability(sure, right, edges).means()
    expected = calibration_curve(right.flatten(), sure.flatten(), n_bins=10, strategy=strategy)
    filled = ~np.isnan(mean)
    np.testing.assert_allclose(share[filled], expected[0], atol=1e-4)
    np.testing.assert_allclose(mean[filled], expected[1], atol=1e-4)


def test_the_error_is_the_gap_of_each_bin_times_its_share_of_the_pixels():
    sure = torch.tensor([0.55, 0.65, 0.9, 0.95]).view(2, 1, 2)
    right = torch.tensor([True, True, True, False]).view(2, 1, 2)  # not sure enough, then too sure
    found = reliability(sure, right, np.array([0, 0.8, 1]))
    assert found.pixels.tolist() == [[2, 0], [0, 2]]
    assert found.error() == pytest.approx((1 - 0.6) / 2 + (0.925 - 0.5) / 2)


def test_an_edge_belongs_to_the_bin_below():
    sure = torch.tensor([0.5, 1.0]).view(1, 1, 2)
    found = reliability(sure, sure > 0, np.array([0, 0.5, 1]))
    assert found.pixels.tolist() == [[1, 1]]


def test_bins_of_equal_mass_hold_equally_many(drawn):
    sure, right = confident(*drawn)
    pixels = reliability(sure, right, equal_mass(sure, 7)).pixels.sum(0)
    assert pixels.max() - pixels.min() <= 2


def test_logits_that_the_labels_were_drawn_from_are_calibrated_and_sharper_ones_are_not(drawn):
    logits, labels = drawn
    fair, sharp = (
        reliability(*confident(factor * logits, labels), equal_width(15)) for factor in (1, 2)
    )
    assert fair.error() < np.quantile(fair.errors(calibrated=True), 0.99) < 0.02
    assert sharp.error() > 0.08 > np.quantile(sharp.errors(calibrated=True), 0.99)


def test_the_interval_knows_that_the_pixels_of_a_picture_go_together():
    """Each picture is all right or all wrong, so 40 pictures are 40 draws, however many pixels."""
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(40, 1, 1, generator=generator) < 0.7).expand(40, 30, 30)
    found = reliability(torch.full((40, 30, 30), 0.7), right, np.array([0, 1]))
    spread = np.abs(np.random.default_rng(1).binomial(40, right.float().mean(), 10**5) / 40 - 0.7)
    drawn = found.errors(4000)
    assert drawn.mean() == pytest.approx(spread.mean(), rel=0.1)
    null = found.errors(4000, calibrated=True)
    share = right.float().mean().item()
    expected = np.abs(np.random.default_rng(2).normal(0, (share * (1 - share) / 40) ** 0.5, 10**5))
    assert null.mean() == pytest.approx(expected.mean(), rel=0.1)


def test_the_temperature_undoes_a_factor_and_has_the_least_loss(drawn):
    logits, labels = drawn
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
    found = fit_temperature(logits, labels)
    losses = [F.cross_entropy(logits / (found * by), labels) for by in (0.95, 1, 1.05)]
    assert losses[1] == min(losses)


def test_a_temperature_commutes_with_the_resize():
    logits, labels = torch.randn(2, 5, 8, 8), torch.zeros(2, 32, 32)
    torch.testing.assert_close(at_full_size(logits / 3, labels), at_full_size(logits, labels) / 3)
    whole = F.interpolate(logits, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(at_full_size(logits, labels), whole)


def test_gaps_are_means_over_groups():
    sure, right = torch.rand(2, 3, 4), torch.rand(2, 3, 4) < 0.5
    group = torch.randint(0, 2, (2, 3, 4))
    found = gaps(sure, right, group, 3)
    for number in (0, 1):
        here = group == number
        expected = 100 * (sure[here].mean() - right[here].float().mean()).item()
        assert found[number] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(found[2])


def test_edges_that_cannot_be_used_are_refused():
    sure = torch.tensor([0.3, 0.9]).view(1, 1, 2)
    with pytest.raises(ValueError, match="do not increase"):
        reliability(sure, sure > 0, np.array([0, 0.5, 0.5, 1]))
    with pytest.raises(ValueError, match="lie outside"):
        reliability(sure, sure > 0, np.array([0.5, 1]))
