"""Columns are one stage of equal blocks, and the widest one is the last that a budget pays for."""

import json

import pytest

from experiments.hierarchy import NETWORKS
from segformer_edu import SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.analysis.columns import (
    FINE_COLUMN,
    PYRAMID,
    column,
    encoder_work,
    read_trial,
    widest_column,
)

BUDGET = cost(SegFormerConfig.named("b0"), (512, 512)).encoder_multiply_adds


@pytest.mark.parametrize(
    ("stride", "r", "width"), [(4, 8, 27), (8, 4, 71), (16, 2, 158), (32, 1, 323)]
)
def test_a_budget_pays_for_the_widest_column_and_for_no_wider_one(stride, r, width):
    assert widest_column(BUDGET, stride, r) == width
    assert encoder_work(column(stride, r, width), 512) <= BUDGET
    assert encoder_work(column(stride, r, width + 1), 512) > BUDGET


@pytest.mark.parametrize(("stride", "r"), [(4, 8), (8, 4), (16, 2), (32, 1)])
def test_a_column_has_one_map_with_the_tokens_of_its_stride(stride, r):
    (stage,) = cost(column(stride, r, width=12), (512, 512)).stages
    assert (stage.tokens, stage.keys) == ((512 // stride) ** 2, 256)


def test_no_channel_is_paid_for_by_full_attention_at_a_quarter():
    assert widest_column(BUDGET, stride=4, reduction_ratio=1) == 0
    assert encoder_work(column(4, 1, width=1), 512) > BUDGET


def test_the_two_networks_of_the_trial_are_those_that_were_trained():
    assert (NETWORKS["pyramid"], NETWORKS["column at 1/4"]) == (PYRAMID, FINE_COLUMN)


def test_a_trial_is_read_seed_by_seed_and_the_best_named_first(tmp_path):
    scores = [("pyramid", 0.25, 0.5), ("column at 1/4", 0.5, 0.125), ("column at 1/4", 0.75, 0.25)]
    runs = [{"network": name, "miou": x, "iou": {"pole": y}} for name, x, y in scores]
    written = {"machine": {"processor": "abacus", "date": "1202-01-01"}, "runs": runs}
    (tmp_path / "trial.json").write_text(json.dumps(written), encoding="utf-8")
    trial = read_trial(tmp_path / "trial.json")
    assert trial.mean_iou == {"pyramid": [25], "1/4": [50, 75]}
    assert trial.poles == {"pyramid": [50], "1/4": [12.5, 25]}
    assert trial.best_first() == ["1/4", "pyramid"]
    assert trial.machine == "abacus · 1202-01-01"
