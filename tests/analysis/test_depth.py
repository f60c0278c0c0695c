"""The law of the number of surviving blocks, against networks counted one by one, and gradients
against those by hand.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from segformer_edu import drop_rates
from segformer_edu.analysis.depth import first_gradients, gradient_at, surviving_blocks


@pytest.mark.parametrize("survival", [[0.5], [0.9, 0.5, 0.2], [1.0, 0.3, 0.0, 0.7, 0.7], []])
def test_it_is_the_sum_over_all_networks(survival):
    expected = np.zeros(len(survival) + 1)
    for gates in itertools.product((0, 1), repeat=len(survival)):
        chances = [p if gate else 1 - p for p, gate in zip(survival, gates, strict=True)]
        expected[sum(gates)] += math.prod(chances)
    assert np.allclose(surviving_blocks(survival), expected)


@pytest.mark.parametrize("rule", ["linspace", "paper"])
def test_mean_and_variance_are_those_of_independent_coins(rule):
    survival = 1 - np.array(drop_rates(0.5, 52, rule))
    law, blocks = surviving_blocks(survival), np.arange(53)
    assert law.sum() == pytest.approx(1)
    assert law @ blocks == pytest.approx(survival.sum())
    variance = law @ blocks**2 - (law @ blocks) ** 2
    assert variance == pytest.approx((survival * (1 - survival)).sum())


def test_equal_coins_have_the_binomial_law():
    expected = [math.comb(10, k) * 0.3**k * 0.7 ** (10 - k) for k in range(11)]
    assert np.allclose(surviving_blocks([0.3] * 10), expected)


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_a_value_that_is_not_a_probability_is_refused(p):
    with pytest.raises(ValueError, match="survival holds .* from 0 to 1"):
        surviving_blocks([0.5, p])


class Line(nn.Module):
    """Two blocks x ↦ w x behind gates, so that the gradients can be had by hand."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(2))
        for block in self.blocks:
            nn.init.constant_(block.weight, 0.5)

    def forward(self, x, gates):
        for gate, block in zip(gates, self.blocks, strict=True):
            x = x + gate * block(x) if gate else x
        return torch.cat([x, torch.zeros_like(x)], dim=1)


def test_the_gradients_are_those_by_hand_and_zero_behind_a_closed_gate():
    images, labels = torch.ones(1, 1), torch.zeros(1, dtype=torch.long)
    one_open = first_gradients(Line(), images, labels, torch.tensor([0.0, 1.0]))
    assert one_open.tolist() == pytest.approx([0, 1 / (1 + math.exp(1.5))])
    both = first_gradients(Line(), images, labels, torch.ones(2))
    assert both.tolist() == pytest.approx(2 * [1.5 / (1 + math.exp(2.25))])


def test_a_power_law_is_read_where_it_is_and_far_epochs_do_not_count():
    losses = np.array([100.0, 0.4, 0.2, 0.05, 0.0001])
    gradients = 3 * losses**0.7
    gradients[[0, -1]] = 1e6
    assert gradient_at(0.1, losses, gradients) == pytest.approx(3 * 0.1**0.7)
