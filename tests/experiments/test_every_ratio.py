"""The command trains one nano for every ratio, goes on where it stopped, and measures any ratio."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

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


@pytest.mark.parametrize(
    ("name", "option", "rate"), [("nano", [], 0.0), ("nano-drop-path", ["--drop-path"], 0.2)]
)
def test_what_it_trained_becomes_weights_in_half_precision(
    name, option, rate, tmp_path, monkeypatch
):
    """nano has its other reductions and the table; with stochastic depth there is neither."""
    settings = (every_ratio.HERE / "every_ratio.yaml").read_text(encoding="utf-8")
    few = {
        "steps: 8000": "steps: 2",
        "pictures: 8000": "pictures: 20",
        "validation: 200": "validation: 2",
    }
    for usual, short in few.items():
        assert usual in settings
        settings = settings.replace(usual, short)
    (tmp_path / "every_ratio.yaml").write_text(settings, encoding="utf-8")
    monkeypatch.setattr(every_ratio, "HERE", tmp_path)
    monkeypatch.setattr(every_ratio, "WEIGHTS", tmp_path)
    monkeypatch.setattr(every_ratio.spatial_reduction, "MIOUS", tmp_path / "mious.npz")
    monkeypatch.setattr(every_ratio, "RATIOS", ((4, 8), (2,), (1,), (1,)))
    monkeypatch.setattr(every_ratio, "SIZES", (64,))
    monkeypatch.setattr(every_ratio, "SCENES", 2)
    monkeypatch.setattr(sys, "argv", ["every_ratio", str(tmp_path / "run"), *option])
    every_ratio.main()
    assert {path.name for path in tmp_path.glob("nano*")} == {name}
    stored = load_file(tmp_path / name / "model.safetensors")
    exact = load_file(tmp_path / "run" / "last" / "model.safetensors")
    assert stored.keys() == exact.keys()
    for key, x in stored.items():
        assert torch.equal(x, exact[key].half() if exact[key].is_floating_point() else exact[key])
    assert SegFormer.from_pretrained(tmp_path / name).config.drop_path_rate == rate
    only_nano = [tmp_path / name / "reductions.safetensors"]
    only_nano += [tmp_path / "every_ratio.json", tmp_path / "mious.npz"]
    assert {path.exists() for path in only_nano} == {name == "nano"}
    if name == "nano":
        table = json.loads(only_nano[1].read_text(encoding="utf-8"))
        assert [row["ratios"] for row in table["rows"]] == [[4, 2, 1, 1], [8, 2, 1, 1]]
        assert all(table["machine"].values())
