"""The table of token merging is whole, its intervals are right, and its rows can be made anew."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap

from experiments.token_merging import (
    FEWER_KEYS,
    NOBODY,
    PARTS,
    RESULTS,
    Name,
    Part,
    change,
    nano,
    pairs,
    rows,
    ways,
)
from segformer_edu.analysis.token_merging import multiply_adds
from segformer_edu.training.metrics import confusion_matrix, mious

STORED = json.loads(RESULTS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", PARTS)
def test_every_way_is_in_the_table_with_what_it_costs(part):
    size, ratios, scenes, seed = PARTS[part]
    found = STORED[part]["rows"]
    names = [Name(row["what"], row["matching"], row["share"]) for row in found]
    against_nothing = [row["against"] == "nothing" for row in found]
    wanted = [NOBODY, *(Name("trained reduction", None, share) for share in FEWER_KEYS[ratios])]
    wanted += [Name("no attention", None, None), *(way.name for way in ways())]
    assert [name for name, first in zip(names, against_nothing, strict=True) if first] == wanted
    compared = [(a, " ".join(map(str, filter(None, b)))) for a, b in pairs(wanted)]
    assert [
        (name, row["against"])
        for name, row, first in zip(names, found, against_nothing, strict=True)
        if not first
    ] == compared
    config = nano(ratios).config
    costs = {way.name: (way.queries, way.keys) for way in ways()}
    for name, row in zip(names, found, strict=True):
        assert (row["scenes"], row["seed"]) == (scenes, seed)
        assert row["low"] <= row["change"] <= row["high"]
        if name in costs:
            assert row["multiply-adds"] == multiply_adds(config, (size, size), *costs[name])
        assert row["cost"] == round(row["multiply-adds"] / found[0]["multiply-adds"], 4)


def test_a_short_round_makes_rows_like_the_stored_ones():
    made = list(rows(Part(64), quick=True))
    assert {tuple(row) for row in made} == {tuple(STORED["128"]["rows"][0])}
    assert made[0]["change"] == made[0]["low"] == made[0]["high"] == 0
    assert len({row["miou"] for row in made}) > 4


@pytest.fixture(scope="module")
def matrices():
    """Confusion matrices of twelve small scenes by two models, `(2, 12, 8, 8)`."""
    chance = np.random.default_rng(0)
    true = chance.integers(8, size=(12, 200))
    models = []
    for wrong in (0.3, 0.4):
        said = np.where(
            chance.random(true.shape) < wrong, chance.integers(8, size=true.shape), true
        )
        pairs = zip(torch.from_numpy(said), torch.from_numpy(true), strict=True)
        models.append([confusion_matrix(*pair, 8) for pair in pairs])
    return np.stack([np.stack([each.numpy() for each in model]) for model in models])


def test_the_interval_is_scipys_bootstrap_of_whole_scenes(matrices):
    usual, found = matrices

    def difference(scenes):
        return mious(found[scenes].sum(0)) - mious(usual[scenes].sum(0))

    middle, low, high = change(found, usual)
    assert middle == pytest.approx(difference(np.arange(12)))
    expected = bootstrap(
        (np.arange(12),), difference, n_resamples=4000, vectorized=False, method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx(tuple(expected), abs=0.1 * (high - low))
    assert low < middle < high < 0
    assert change(usual, usual) == (0, 0, 0)
