"""The experiment measures what it says, its intervals are those of a bootstrap worked by hand, and
its table and the widget's say the same.
"""

import json
import sys

import numpy as np
import pytest

from experiments import branches as experiment
from experiments.branches import MODELS, RATES, RESULTS
from segformer_edu import SegFormer
from segformer_edu.analysis.branches import branches, drawn_branches
from segformer_edu.data.scenes import Scenes
from segformer_edu.training import evaluate
from segformer_edu.training.metrics import mious
from segformer_edu.widgets import branches as widget

TABLE = json.loads(RESULTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def confusions():
    return experiment.Confusions(3)


def test_matrices_are_those_of_each_scene_and_each_model(confusions):
    found = confusions.without([(0, 1, "mix_ffn")])
    assert found.shape == (2, 3, 8, 8) and found is confusions.without([(0, 1, "mix_ffn")])
    for name, whole in zip(MODELS, confusions.without([]), strict=True):
        expected = evaluate(SegFormer.from_pretrained(name), Scenes(3, 128, seed=2026))
        assert np.array_equal(whole.sum(0), expected.numpy())
    assert not np.array_equal(found, confusions.without([]))


def test_losses_differences_and_intervals_worked_by_hand():
    found = np.array([[0.8, 0.7], [0.5, 0.6]])  # whole, without; nano, nano-drop-path
    noise = np.linspace(-0.02, 0.02, 41)
    drawn = np.stack([np.zeros((2, 41)), np.stack([noise, 0 * noise])]) + found[..., None]
    row = experiment.compared(found, drawn)
    assert row["miou"] == {"nano": 0.5, "nano-drop-path": 0.6}
    assert row["lost"] == {"nano": [0.3, 0.281, 0.319], "nano-drop-path": [0.1, 0.1, 0.1]}
    assert row["spared"] == [0.2, 0.181, 0.219] and row["ahead"] == [0.1, 0.081, 0.119]


def test_a_quick_run_has_the_rows_of_a_whole_one_and_writes_nothing(
    monkeypatch, tmp_path, capsys, one_thread
):
    monkeypatch.setattr(experiment, "RESULTS", tmp_path / "table.json")
    monkeypatch.setattr(widget, "TABLE", tmp_path / "table.npz")
    monkeypatch.setattr(sys, "argv", ["branches", "--quick"])
    experiment.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(TABLE["choices"]) + len(TABLE["rates"])
    assert list(tmp_path.iterdir()) == []


def test_the_mean_of_a_rate_is_over_its_draws_and_its_interval_over_both(confusions):
    counts = np.ones((50, 3), int)  # every scene once: only the draws vary
    row = experiment.many_draws(confusions, 1.0, 4, counts, np.random.default_rng(0))
    drawn = [[each["miou"][name] for name in MODELS] for each in row["draws"]]
    assert list(row["miou"].values()) == pytest.approx(np.mean(drawn, axis=0), abs=1e-4)
    for column, (_, low, high) in enumerate(row["lost"].values()):
        lost = mious(confusions.without([]).sum(1))[column] - np.array(drawn)[:, column]
        assert lost.min() - 1e-3 < low < high < lost.max() + 1e-3


class TestTable:
    def test_every_branch_block_and_stage_is_left_out_once(self):
        every = [list(branch) for branch in branches(SegFormer.from_pretrained("nano"))]
        assert len(every) == 16
        expected = [every[start : start + 1] for start in range(16)]
        expected += [every[start : start + 2] for start in range(0, 16, 2)]
        expected += [every[start : start + 4] for start in range(0, 16, 4)]
        assert [row["missing"] for row in TABLE["choices"]] == [[], *expected]

    def test_every_rate_has_its_forty_draws(self):
        model = SegFormer.from_pretrained("nano")
        assert [row["rate"] for row in TABLE["rates"]] == list(RATES)
        for row in TABLE["rates"]:
            drawn = [drawn_branches(model, row["rate"], draw) for draw in range(1, 41)]
            assert [each["missing"] for each in row["draws"]] == [
                [list(branch) for branch in missing] for missing in drawn
            ]
            for name in MODELS:
                found = np.mean([each["miou"][name] for each in row["draws"]])
                assert row["miou"][name] == pytest.approx(found, abs=1e-4)

    def test_lost_spared_and_ahead_are_differences_inside_their_intervals(self):
        whole = TABLE["choices"][0]["miou"]
        for row in [*TABLE["choices"], *TABLE["rates"]]:
            lost = [whole[name] - row["miou"][name] for name in MODELS]
            told = [*row["lost"].values(), row["spared"], row["ahead"]]
            first, second = row["miou"].values()
            for (value, low, high), expected in zip(
                told, [*lost, lost[0] - lost[1], second - first], strict=True
            ):
                assert value == pytest.approx(expected, abs=3e-4) and low <= value <= high

    def test_the_widget_has_the_same_numbers(self):
        for name in MODELS:
            for number, row in enumerate(TABLE["choices"][:17]):
                found = widget.miou(name, number, 0.0, 1)
                assert found == pytest.approx(row["miou"][name], abs=6e-5)
            for row in TABLE["rates"]:
                for draw in widget.DRAWS:
                    found = widget.miou(name, 0, row["rate"], draw)
                    expected = row["draws"][draw - 1]["miou"][name]
                    assert found == pytest.approx(expected, abs=6e-5)

    def test_machine_and_number_of_scenes_are_recorded(self):
        assert all(TABLE["machine"].values()) and TABLE["scenes"] == 100
