"""The table of the experiment, read: signs and pairs."""

import json

import pytest

from segformer_edu.analysis.attribution_trial import Trial


@pytest.fixture
def trial(tmp_path):
    areas = {
        "good": {"deletion, probability": [0.1, 0.2], "insertion, probability": [0.9, 0.8]},
        "nearness": {"deletion, probability": [0.3, 0.3], "insertion, probability": [0.5, 0.7]},
    }
    curve = {"mean": [1, 0], "low": [0.9, 0], "high": [1, 0.2]}
    told = {
        "machine": {"date": "today"},
        "main": {"areas": areas, "curves": {"good": {"deletion": curve}}},
        "lights": ["red", "green", "red"],
        "strips": {"and not the other": {"good": {"on the lamp": [0.2, 0.9, 0.4]}}},
        "strips, reversed": {"the other": {"good": {"on the lamp": [0.5, 0.6, 0.1]}}},
        "strips, night": {"elsewhere": {"good": {"on the lamp": [0.7, 0.3, 0.8]}}},
        "sanity": {"good": {"fresh weights": [0.5, 0.7]}},
    }
    path = tmp_path / "table.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return Trial(path)


def test_a_gain_is_positive_where_less_is_left_or_more_comes_back(trial):
    assert trial.gain("good", "deletion").mean == pytest.approx(0.15)
    assert trial.gain("good", "insertion").mean == pytest.approx(0.25)
    assert trial.gain("nearness", "insertion", rival="good").mean == pytest.approx(-0.25)


def test_it_finds_curves_lamps_and_agreement(trial):
    assert trial.curve("good", "deletion").tolist() == [[1, 0], [0.9, 0], [1, 0.2]]
    assert trial.lamp("good", "on the lamp", "red").mean == pytest.approx(0.3)
    assert trial.lamp("good", "on the lamp", "green", "the other").mean == pytest.approx(0.6)
    assert trial.lamp("good", "on the lamp", "green", "elsewhere").mean == pytest.approx(0.3)
    assert trial.agreement("good", "fresh weights").mean == pytest.approx(0.6)
    assert trial.machine == {"date": "today"}
