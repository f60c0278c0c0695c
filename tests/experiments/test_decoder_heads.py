"""The experiment behind lesson 07 fits what it says, and its file is whole."""

import json

import torch
from torch import nn
from torch.nn import functional as F

from experiments import decoder_heads
from experiments.decoder_heads import DRAWS, ITERATIONS, RESULTS, STARTS, fit, runs, shares


def test_a_fit_finds_a_rule_that_is_linear_in_the_channels():
    inputs = torch.randn(4, 3, 8, 8)
    targets = (inputs[:, 0] > inputs[:, 1]).long()
    head = nn.Conv2d(3, 2, 1)
    before = F.cross_entropy(head(inputs), targets)
    fit(head, inputs, targets)
    assert (head(inputs).argmax(1) == targets).double().mean() > 0.98
    assert F.cross_entropy(head(inputs), targets) < 0.2 * before


def test_a_short_round_writes_rows_like_the_stored_ones(monkeypatch):
    monkeypatch.setattr(decoder_heads, "FITTED_TO", 2)
    monkeypatch.setattr(decoder_heads, "JUDGED_BY", 2)
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = list(runs(quick=True))
    assert {tuple(row) for row in rows + stored["runs"]} == {tuple(stored["runs"][0])}
    assert [row["head"] for row in rows] == 2 * ["linear", *STARTS * ["with a ReLU"]]
    assert all(0 < row["share"] < 1 for row in rows)
    assert all(stored["machine"].values())
    for iterations in ITERATIONS:
        assert len(shares(stored["runs"], "linear", iterations)) == len(DRAWS)
        assert len(shares(stored["runs"], "with a ReLU", iterations)) == len(DRAWS) * STARTS
