"""The experiment on heads of lesson 09 writes what it says, and its file is whole."""

import itertools
import json

import numpy as np
import pytest
import torch

from experiments import heads, lamps
from experiments.heads import MODELS, RESULTS, SCENE_SEEDS, lost, on_scenes, on_strips
from segformer_edu import SegFormer
from segformer_edu.training import confusion_matrix, scores

STORED = json.loads(RESULTS.read_text(encoding="utf-8"))


def test_a_short_round_writes_rows_like_the_stored_ones():
    assert all(STORED["machine"].values())
    depths, counts = (2, 2, 2, 2), (1, 2, 4, 8)
    places = [
        (seed, stage, block, head)
        for seed in SCENE_SEEDS
        for stage in range(4)
        for block, head in (
            *itertools.product(range(depths[stage]), range(counts[stage])),
            (None, None),
        )
    ]
    found = [(row["seed"], row["stage"], row["block"], row["head"]) for row in STORED["scenes"]]
    assert found == places
    rows = list(itertools.islice(on_scenes(2026, 2), 3))  # stage 1: two heads, and the stage
    assert [tuple(row) for row in rows] == [tuple(row) for row in STORED["scenes"][:3]]
    assert [(row["model"], row["stage"]) for row in STORED["strips"]] == list(
        itertools.product(MODELS, range(4))
    )
    rows = list(on_strips(0, 3, 2))
    assert [tuple(row) for row in rows] == [tuple(row) for row in STORED["strips"][:4]]


def test_what_is_lost_is_the_difference_of_two_mious_with_an_error_over_scenes():
    chance = torch.Generator().manual_seed(0)
    true = torch.randint(0, 3, (40, 30), generator=chance)
    wrong = torch.where(torch.rand(40, 30, generator=chance) < 0.2, (true + 1) % 3, true)
    before, after = (
        np.stack([confusion_matrix(a, b, 3).numpy() for a, b in zip(said, true, strict=True)])
        for said in (true, wrong)
    )
    middle, error = lost(before, after)
    assert middle == pytest.approx(1 - scores(confusion_matrix(wrong, true, 3)).miou, abs=1e-5)
    single = [lost(before[[scene]], after[[scene]])[0] for scene in range(40)]
    assert error == pytest.approx(np.std(single) / 40**0.5, rel=0.25)
    assert lost(before, before) == [0, 0]


def test_the_model_that_ships_is_not_trained_anew(monkeypatch):
    heads.model_of.cache_clear()
    trained = []
    other = SegFormer(lamps.config(lamps.RATIOS[0]))
    monkeypatch.setattr(lamps, "run", lambda *told: trained.append(told) or ({}, other))
    heads.model_of(0, 3)
    assert not trained
    assert heads.model_of(2, 3) is other and trained == [(lamps.KINDS[0], 2, 3)]
    heads.model_of.cache_clear()
