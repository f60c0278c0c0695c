"""Timing with a clock that is wound by hand, and powers that are known."""

import pytest
import torch

from segformer_edu.analysis.timing import (
    fitted_exponent,
    parts_of,
    processor_seconds,
    seconds_a_call,
    seconds_in_turns,
    seconds_of_parts,
)


def test_the_best_of_three_calls_is_reported(monkeypatch):
    clock, calls = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0]), []
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    assert processor_seconds(lambda *given: calls.append(given), 7, 8) == 2
    assert calls == [(7, 8)] * 3


@pytest.mark.parametrize("power", [1, 2, 2.5])
def test_a_power_law_is_fitted_exactly(power):
    sizes = [1024, 2304, 4096]
    assert fitted_exponent(sizes, [3e-9 * n**power for n in sizes]) == pytest.approx(power)


def test_short_calls_are_counted_together(monkeypatch):
    """A call takes 10 ms by this clock: four of them are longer than a round, two are not."""
    now, calls = 0.0, []

    def call(*given):
        nonlocal now
        now += 0.01
        calls.append(given)

    monkeypatch.setattr("time.process_time", lambda: now)
    assert seconds_a_call(call, 7) == pytest.approx(0.01)
    assert calls == [(7,)] * (1 + 1 + 2 + 3 * 4)


def test_the_best_round_is_reported_a_call_at_a_time(monkeypatch):
    took = iter([9.0, 5.0, 2.0, 3.0])  # the first does not count
    now = 0.0

    def call():
        nonlocal now
        now += next(took)

    monkeypatch.setattr("time.process_time", lambda: now)
    assert seconds_a_call(call) == 2


def test_in_every_turn_each_function_has_its_calls_and_their_mean_is_told(monkeypatch):
    """By a clock that every call winds on by the next of its function's own seconds."""
    now, called = 0.0, []
    took = {"a": iter([100.0, 1.0, 3.0, 2.0, 8.0]), "b": iter([200.0, 4.0, 6.0, 0.0, 1.0])}

    def winding(name):
        def call():
            nonlocal now
            now += next(took[name])
            called.append(name)

        return call

    monkeypatch.setattr("time.process_time", lambda: now)
    functions = {name: winding(name) for name in "ab"}
    found = seconds_in_turns(functions, turns=iter("12"), calls=2)
    assert {name: times.tolist() for name, times in found.items()} == {"a": [2, 5], "b": [5, 0.5]}
    assert "".join(called) == "ab" + "aabb" * 2


def test_parts_are_timed_one_by_one_and_left_alone(monkeypatch, small_model):
    """By a clock that every part winds on by its own number of seconds, less in each pass."""
    now = 0.0
    order = ["stage 1", "stage 2", "stage 3", "stage 4", "decoder"]

    def winding(part, seconds):
        forward = part.forward

        def wound(x):
            nonlocal now
            now += next(seconds)
            return forward(x)

        return wound

    parts = parts_of(small_model)
    assert list(parts) == order
    for number, part in enumerate(parts.values(), start=1):
        monkeypatch.setattr(part, "forward", winding(part, iter([0.5, number + 1, number])))
    monkeypatch.setattr("time.process_time", lambda: now)
    images = torch.zeros(1, 3, 64, 64)
    found = seconds_of_parts(small_model.eval(), images, passes=2)
    assert found == {name: number for number, name in enumerate(order, start=1)}
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in parts.values())
