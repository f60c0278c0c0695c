"""Panels of quantities whose growth is known."""

import pytest
import torch

from segformer_edu.analysis.growth import attention_costs, measured


def test_every_measure_has_a_panel_and_every_series_a_curve():
    lists = {"short": {1: [4], 2: [4, 6]}, "long": {3: [1, 2, 6]}}
    assert measured({"sum": sum, "count": len}, lists) == {
        "sum": {"short": ([1, 2], [4, 10]), "long": ([3], [9])},
        "count": {"short": ([1, 2], [1, 2]), "long": ([3], [3])},
    }


@pytest.fixture
def two_threads(threads_stay):
    torch.set_num_threads(2)


def test_costs_of_a_form_are_measured_on_one_thread_at_every_size(two_threads, monkeypatch):
    seen = []

    def seconds(form, q, k, v):
        assert q is k is v
        seen.append((form, torch.get_num_threads()))
        return 1e-9 * q.shape[0] ** 3

    monkeypatch.setattr("segformer_edu.analysis.growth.processor_seconds", seconds)

    def matrix(q, k, v):
        return q @ k.T

    def short(q, k, v):
        return q + k

    inputs = {n: torch.ones(n, 4) for n in (256, 512, 1024)}
    forms = {"short": short, "matrix": matrix}
    panels, powers = attention_costs(forms.items(), inputs, {"matrix": 512})
    assert powers == {
        "short": {"time": pytest.approx(3), "memory": pytest.approx(1)},
        "matrix": {"time": pytest.approx(3), "memory": pytest.approx(2)},
    }
    took = [1e-9 * n**3 for n in inputs]
    kib = 2**-10  # four numbers of four bytes for each token, or N of them
    assert panels == {
        "seconds on one core": {
            "short: N to the 3.0": ([256, 512, 1024], took),
            "matrix: N to the 3.0": ([256, 512], took[:2]),
        },
        "peak memory, MiB": {
            "short: N to the 1.0": ([256, 512, 1024], [4 * kib, 8 * kib, 16 * kib]),
            "matrix: N to the 2.0": ([256, 512], [256 * kib, 1024 * kib]),
        },
    }
    assert seen == [(short, 1)] * 3 + [(matrix, 1)] * 2
    assert torch.get_num_threads() == 2


def test_threads_are_given_back_when_a_form_raises(two_threads):
    with pytest.raises(ZeroDivisionError):
        attention_costs([("broken", lambda q, k, v: 1 / 0)], {4: torch.ones(4, 1)}, {})
    assert torch.get_num_threads() == 2
