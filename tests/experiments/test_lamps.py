"""Attention decides about the balls: with it every run learned, without it none."""

import json

import numpy as np
import pytest
import torch

from experiments import lamps
from experiments.lamps import KINDS, SEEDS, STEPS, kind_of

STORED = json.loads((lamps.HERE / "lamps.json").read_text(encoding="utf-8"))


def rows_of(kind):
    found = [row for row in STORED["rows"] if kind_of(row) == kind]
    assert [row["seed"] for row in found] == list(SEEDS)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_with_attention_every_run_learns_and_without_it_none(kind):
    for row in rows_of(kind):
        assert row["steps"] == STEPS == 10 * len(row["losses"])
        assert len(row["right"]) == STEPS // lamps.EVERY
        if row["attention"]:
            assert row["right"][-1] > 0.99
        else:
            assert max(row["right"]) < 0.56  # 200 strips: chance is 0.5 ± 0.035


def test_a_short_run_makes_a_row_like_the_stored_ones(monkeypatch):
    monkeypatch.setattr(lamps, "SEEN", lamps.Lamps(32))
    monkeypatch.setattr(lamps, "UNSEEN", lamps.Lamps(4, seed=1))
    losses = set()
    for kind in (KINDS[0], KINDS[1], *KINDS[-2:]):
        row, model = lamps.run(kind, seed=0, steps=2)
        assert row.keys() == STORED["rows"][0].keys()
        assert all(0 <= share <= 1 for share in row["right"])
        outputs = [block.attention.output for s in model.encoder.stages for block in s.blocks]
        moved = any(x.weight.abs().sum() > 0 for x in outputs)
        assert moved == row["attention"]
        losses.add(tuple(row["losses"]))
    assert len(losses) == 4  # from the same weights and batches, so labels and attention differ


def test_pixels_of_lamps_are_found(monkeypatch):
    strips = lamps.Lamps(20)
    covered = lamps.lamps(strips).numpy()
    for index in range(20):
        _, labels = strips.picture(index)
        image = torch.from_numpy(strips.picture(index)[0]).int()
        coloured = (image.amax(-1) - image.amin(-1) > 120).numpy()
        assert covered[index][coloured].all() and (covered[index] & (labels > 0)).sum() < 130
        assert np.count_nonzero(covered[index]) > 40
