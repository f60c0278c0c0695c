"""The peak of a call is what is alive at one time, not what is allocated in all."""

import pytest
import torch

from segformer_edu.analysis.memory import peak_bytes

X = torch.zeros(2**18)  # 1 MiB


def one_after_another(x):
    for _ in range(3):
        x = x + 1  # the old one goes when the new one is there
    return x


def at_once(x):
    return [x + 1, x + 1, x + 1]


@pytest.mark.parametrize(("function", "alive"), [(one_after_another, 2), (at_once, 3)])
def test_peak_bytes_counts_what_is_alive_at_one_time(function, alive):
    peak = pytest.approx(alive * X.nbytes, abs=200)  # the 1 is a tensor for a moment
    assert [peak_bytes(function, X) for _ in range(2)] == [peak, peak]


def test_a_call_that_allocates_nothing_has_no_peak():
    assert peak_bytes(lambda x: x.view(2, -1), X) == 0
