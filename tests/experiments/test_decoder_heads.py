"""The experiment behind lesson 07 fits what it says, and its file is whole."""

import json
from itertools import product

from experiments import decoder_heads
from experiments.decoder_heads import (
    DRAWS,
    ITERATIONS,
    RESULTS,
    STARTS,
    runs,
    shares,
)


def test_a_short_round_writes_rows_like_the_stored_ones(monkeypatch):
    monkeypatch.setattr(decoder_heads, "FITTED_TO", (2,))
    monkeypatch.setattr(decoder_heads, "JUDGED_BY", 2)
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = list(runs(quick=True))
    assert {tuple(row) for row in rows + stored["runs"]} == {tuple(stored["runs"][0])}
    assert [row["head"] for row in rows] == 2 * ["linear", *STARTS * ["with a ReLU"]]
    assert all(0 < row["share"] < 1 for row in rows)
    assert all(stored["machine"].values())
    for count, iterations in product((32, 128), ITERATIONS):
        assert len(shares(stored["runs"], count, "linear", iterations)) == len(DRAWS)
        assert len(shares(stored["runs"], count, "with a ReLU", iterations)) == len(DRAWS) * STARTS
