"""The command trains one nano for every ratio, goes on where it stopped, and measures any ratio."""

import sys

import pytest

from experiments import every_ratio
from segformer_edu import SegFormer
from segformer_edu.analysis import cost


def test_a_try_trains_and_measures_each_combination_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(every_ratio, "SIZES", (64,))
    monkeypatch.setattr(every_ratio, "SCENES", 2)
    monkeypatch.setattr(sys, "argv", ["every_ratio", str(tmp_path), "--quick"])
    every_ratio.main()
    weights = (tmp_path / "last" / "model.safetensors").read_bytes()
    every_ratio.main()  # there is nothing left to do
    assert (tmp_path / "last" / "model.safetensors").read_bytes() == weights

    asked = [(4, 2, 1, 1), (8, 8, 4, 2)]
    published, fewest_keys = every_ratio.measured(tmp_path / "last", asked)
    own = SegFormer.from_pretrained(tmp_path / "last").config
    for row, ratios in zip((published, fewest_keys), asked, strict=True):
        assert tuple(row["ratios"]) == ratios and row["size"] == 64
        config = own.replace(reduction_ratios=ratios)
        assert row["multiply-adds"] == cost(config, (64, 64)).multiply_adds
        assert row["parameters"] == cost(config, (64, 64)).parameters
        shares = row["right at borders"], row["right elsewhere"]
        assert min(shares) <= row["pixel accuracy"] <= max(shares)
    with pytest.raises(ValueError, match="trained for 1, 2, 4, 8 in stage 1, not for 16"):
        every_ratio.measured(tmp_path / "last", [(16, 2, 1, 1)])
