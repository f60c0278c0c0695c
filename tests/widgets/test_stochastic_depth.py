"""Lesson 05's widget: its numbers are those of the law, its paths those that DropPath draws."""

import itertools
import sys

import numpy as np
import pytest
import torch

from segformer_edu import DropPath, drop_rates
from segformer_edu.widgets import StochasticDepth
from segformer_edu.widgets.picture import Lines

module = sys.modules[StochasticDepth.__module__]
State = module.State


def numbers(state) -> dict[str, str]:
    picture = StochasticDepth.picture_of(state)
    shown = dict(picture.table[1:])
    assert len(shown) == len(picture.table) - 1  # no two rows of one name
    return shown


@pytest.mark.parametrize(("depth", "rate", "rule"), [(8, 0.1, "linspace"), (24, 0.5, "paper")])
def test_depth_and_savings_are_sums_of_the_rates(depth, rate, rule) -> None:
    shown = numbers(State(depth=depth, rate=rate, rule=rule))
    rates = drop_rates(rate, depth, rule)
    assert shown["expected depth"] == f"{depth - sum(rates):.2f} of {depth}"
    time = float(shown["expected time"].removesuffix(" % at best"))
    assert time == pytest.approx(100 - 100 * sum(rates) / depth, abs=0.05)
    complete = 100 * np.prod([1 - each for each in rates])
    if complete > 0.05:
        assert float(shown["all blocks survive"].rstrip(" %")) == pytest.approx(complete, abs=0.05)
    else:
        assert shown["all blocks survive"] == "under 0.1 %"


def test_the_papers_own_numbers() -> None:
    assert numbers(State(depth=52, rate=0.5, rule="paper"))["expected depth"] == "38.75 of 52"
    assert State() == State(8, 0.5, "linspace", "sample", 8, 1)


@pytest.mark.parametrize("mode", ["sample", "batch"])
def test_the_paths_are_those_of_drop_path_from_the_same_seed(mode) -> None:
    state = State(depth=12, rate=0.6, rule="paper", mode=mode, batch=4, draw=3)
    torch.manual_seed(3)
    kept = [
        DropPath(rate, mode).train()(torch.ones(4, 1))[:, 0] > 0
        for rate in drop_rates(0.6, 12, "paper")
    ]
    assert np.array_equal(module.gates(state), torch.stack(kept, dim=1).numpy())
    shown = numbers(state)
    for sample, through in enumerate(torch.stack(kept, dim=1), start=1):
        blocks = [str(block) for block, runs in enumerate(through.tolist(), start=1) if runs]
        assert shown[f"sample {sample} goes through"] == ", ".join(blocks)


def test_one_gate_for_the_batch_trains_one_network() -> None:
    for depth, draw in itertools.product((4, 24), range(1, 9)):
        one = numbers(State(depth=depth, mode="batch", draw=draw))
        assert one["different networks"] == "1 in this batch"
    each = numbers(State(depth=24, draw=1))["different networks"]
    assert int(each.split()[0]) > 4


def test_a_line_goes_past_every_dropped_block_and_through_every_other() -> None:
    state = State(depth=4, rate=0.8, rule="paper", batch=4, draw=2)
    kept = module.gates(state)
    assert 0 < kept.sum() < kept.size
    shapes = module.ways(state, kept)
    lines = [shape for shape in shapes if isinstance(shape, Lines)]
    assert len(lines) == 3 * len(kept)
    for sample, through in enumerate(kept):
        runs, dropped, way = lines[3 * sample : 3 * sample + 3]
        assert (runs.stroke, dropped.stroke) == (module.BLUE, module.PALE)
        boxes = [(box[0], True) for box in runs.segments]
        boxes += [(box[0], False) for box in dropped.segments]
        assert [kind for _, kind in sorted(boxes)] == through.tolist()
        raised = [1 for x1, y1, x2, y2 in way.segments if y1 == y2 < way.segments[0][1]]
        assert len(raised) == (~through).sum()
        changes = np.diff([True, *through, True]).sum()  # between skipped blocks it stays raised
        assert sum(x1 == x2 for x1, _, x2, _ in way.segments) == changes


def test_drawing_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    module.gates.cache_clear()
    module.gates(State())
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))


def test_shares_are_never_rounded_to_0_or_100_percent() -> None:
    assert [module.percent(share) for share in (0, 0.25, 1)] == ["0 %", "25 %", "100 %"]
    assert module.percent(1e-6) == "under 0.1 %"
    assert module.percent(1 - 1e-6) == "over 99.9 %"


def test_the_task_has_the_answers_that_the_lesson_gives() -> None:
    def time(rate: float, rule: str) -> float:
        shown = numbers(State(depth=4, rate=rate, rule=rule))["expected time"]
        return float(shown.removesuffix(" % at best"))

    def least(rule: str) -> float:
        return min(rate for rate in module.RATES if time(rate, rule) <= 75)

    assert (least("paper"), least("linspace")) == (0.4, 0.5)
    assert drop_rates(0.4, 4, "paper")[0] > 0 == drop_rates(0.5, 4)[0]
