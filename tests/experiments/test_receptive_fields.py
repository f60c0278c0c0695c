"""What the stored fields say, and that a short run makes such rows."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from experiments import receptive_fields
from experiments.receptive_fields import (
    AT,
    FIELDS,
    NETWORKS,
    SEEDS,
    SIDES,
    STEPS,
    TABLE,
    network,
    pooled,
    run,
    shuffled,
)
from segformer_edu.analysis.receptive_field import Mixing3x3
from segformer_edu.data.scenes import Scenes
from segformer_edu.training.minute import in_memory

ROWS = json.loads(TABLE.read_text(encoding="utf-8"))["rows"]


def areas(name, state, side=192, share="area of 90%"):
    chosen = [
        row for row in ROWS if (row["network"], row["state"], row["side"]) == (name, state, side)
    ]
    assert [row["seed"] for row in chosen] == list(SEEDS)
    return np.array([row[share] for row in chosen])


def test_there_is_a_row_for_each_run_state_and_side():
    assert len(ROWS) == len(SEEDS) * len(NETWORKS) * (len(AT) + 1) * len(SIDES)
    assert {row["steps"] for row in ROWS} == set(AT)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", NETWORKS)
def test_training_widens_every_stage_of_both_networks(name, side):
    assert (areas(name, "trained", side) > areas(name, "untrained", side)).all()


def test_of_the_trained_ones_the_segformer_sees_further_in_stages_1_to_3_and_not_in_4():
    ours, twin = areas("SegFormer", "trained"), areas("conv twin", "trained")
    assert (ours[:, 0] > 10 * twin[:, 0]).all() and (ours[:, 1:3] > 1.5 * twin[:, 1:3]).all()
    difference = ours[:, 3] - twin[:, 3]
    assert abs(difference.mean()) < 2 * difference.std(ddof=1) / len(difference) ** 0.5
    ours, twin = (areas(name, "trained", share="area of 50%") for name in NETWORKS)
    assert (np.abs(np.log(ours / twin)) < np.log(1.35)).all()


def test_shuffled_twins_see_as_far_as_trained_ones_and_segformers_less_in_stages_2_and_3():
    kept = areas("conv twin", "shuffled") / areas("conv twin", "trained")
    assert (kept > 0.9).all() and (kept < 1.35).all()
    kept = areas("SegFormer", "shuffled") / areas("SegFormer", "trained")
    assert (kept[:, 1:3] < 0.45).all()
    assert kept[:, 0].min() < 1 < kept[:, 0].max()


def test_the_twin_has_about_as_many_parameters_and_convolutions_for_attention():
    counts = [sum(weight.numel() for weight in network(name, 0).parameters()) for name in NETWORKS]
    assert counts[0] < counts[1] < 1.03 * counts[0]
    mixing = [part for part in network("conv twin", 0).modules() if isinstance(part, Mixing3x3)]
    assert len(mixing) == 4
    assert {(row["network"], row["parameters"]) for row in ROWS} == set(
        zip(NETWORKS, counts, strict=True)
    )


def test_shuffled_weights_are_the_same_numbers_in_another_order():
    model = nn.Linear(7, 9)
    other = shuffled(model, seed=3)
    for weight, moved in zip(model.parameters(), other.parameters(), strict=True):
        assert not torch.equal(weight, moved)
        assert torch.equal(weight.flatten().sort().values, moved.flatten().sort().values)


def test_pooled_fields_keep_their_sum():
    field = torch.rand(8, 12)
    assert pooled(field).shape == (2, 3)
    assert pooled(field)[1, 2] == pytest.approx(field[4:, 8:].mean().item())


def test_the_stored_fields_are_those_of_seed_0():
    stored = np.load(FIELDS)
    states = ("untrained", "trained", "shuffled")
    assert set(stored.files) == {f"{name}, {state}" for name in NETWORKS for state in states}
    for name, state in (key.split(", ") for key in stored.files):
        fields = stored[f"{name}, {state}"]
        assert fields.shape == (4, 48, 48)
        for field, expected in zip(fields, areas(name, state)[0], strict=True):
            # A field in squares of 4×4 pixels is at most a rim wider.
            held = np.sort(field.ravel())[::-1].cumsum() / field.sum()
            area = (1 + (held < 0.9).sum()) / field.size
            assert expected - 0.001 <= area + 1 / field.size
            assert area < 1.5 * expected + 3 / field.size


def test_a_short_run_makes_rows_like_the_stored_ones(monkeypatch):
    few = in_memory(Scenes(8, 96), workers=0)
    for module in ("pictures", "unseen"):
        monkeypatch.setattr(receptive_fields, module, lambda side: few)
    monkeypatch.setattr(receptive_fields, "class_weights", lambda: None)
    monkeypatch.setattr(receptive_fields, "scenes", lambda side: torch.randn(2, 3, side, side))
    rows, fields = run("conv twin", 1, steps=2)
    assert all(row.keys() == ROWS[0].keys() for row in rows)
    assert [row["state"] for row in rows[::2]] == ["untrained", "trained", "shuffled"]
    assert len(fields) == 3
    assert STEPS in AT
