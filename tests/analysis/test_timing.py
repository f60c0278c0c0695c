"""Timing with a clock that is wound by hand, and powers that are known."""

import pytest

from segformer_edu.analysis.timing import fitted_exponent, processor_seconds


def test_the_best_of_three_calls_is_reported(monkeypatch):
    clock, calls = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0]), []
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    assert processor_seconds(lambda *given: calls.append(given), 7, 8) == 2
    assert calls == [(7, 8)] * 3


@pytest.mark.parametrize("power", [1, 2, 2.5])
def test_a_power_law_is_fitted_exactly(power):
    sizes = [1024, 2304, 4096]
    assert fitted_exponent(sizes, [3e-9 * n**power for n in sizes]) == pytest.approx(power)
