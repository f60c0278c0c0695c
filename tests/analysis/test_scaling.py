"""A fit finds the law that made the numbers, and its interval shows when no limit can be told."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from segformer_edu.analysis.scaling import PowerLaw, drawn_power_laws, fit_power_law, middle

SIZES = (50, 100, 200, 400, 800, 1600, 3200)


def runs(law, sizes=SIZES, noise=0.004, seeds=5, chance=0):
    drawn = np.random.default_rng(chance)
    return {n: law.at(n) + noise * drawn.standard_normal(seeds) for n in sizes}


@pytest.mark.parametrize("law", [PowerLaw(2.0, 0.5, 0.2), PowerLaw(0.9, 0.1, 0.0)])
def test_a_law_without_noise_is_found(law):
    assert fit_power_law({n: [law.at(n)] for n in SIZES}) == pytest.approx(law, abs=2e-3)


def test_the_fit_is_that_of_scipy_where_a_mean_of_more_runs_counts_more():
    errors = runs(PowerLaw(2.0, 0.5, 0.2), noise=0.01)
    errors[3200] = errors[3200][:2]
    n = [size for size, found in errors.items() for _ in found]
    flat = np.concatenate(list(errors.values()))
    expected, _ = curve_fit(lambda n, a, b, c: a * n**-b + c, n, flat, p0=(1.0, 0.4, 0.1))
    assert fit_power_law(errors) == pytest.approx(tuple(expected), rel=0.01)


def test_most_intervals_hold_the_exponent_and_the_limit_that_made_the_runs():
    law, held = PowerLaw(2.0, 0.5, 0.2), []
    for chance in range(20):
        drawn = drawn_power_laws(runs(law, chance=chance), draws=100)
        for name in ("b", "c"):
            low, high = middle([getattr(each, name) for each in drawn])
            held.append(low <= getattr(law, name) <= high)
    assert np.mean(held) > 0.7  # five seeds show less than the whole spread, so not 0.95


def test_where_the_curve_is_still_falling_the_limit_cannot_be_told():
    law = PowerLaw(0.9, 0.12, 0.0)
    low, high = middle([x.c for x in drawn_power_laws(runs(law, noise=0.01), draws=100)])
    assert high - low > 0.4 * law.at(SIZES[-1])
    known = PowerLaw(2.0, 0.5, 0.2)
    low, high = middle([x.c for x in drawn_power_laws(runs(known, noise=0.01), draws=100)])
    assert high - low < 0.2 * known.at(SIZES[-1])


def test_more_numbers_than_sizes_are_refused():
    with pytest.raises(ValueError, match="3 sizes: a law of three numbers takes four"):
        fit_power_law(runs(PowerLaw(1.0, 0.5, 0.1), SIZES[:3]))
