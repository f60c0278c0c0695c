"""The law of the number of surviving blocks, against networks counted one by one."""

import itertools
import math

import numpy as np
import pytest

from segformer_edu import drop_rates
from segformer_edu.analysis.depth import surviving_blocks


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
