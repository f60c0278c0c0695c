"""The experiment behind lesson 08 does what its rows say."""

import json

import numpy as np
import pytest
import torch

from experiments import training
from experiments.training import (
    CONFIG,
    HERE,
    LEARNING_RATE,
    PARTS,
    STEPS,
    fresh,
    run,
    save_run,
    sgd,
    text_of,
)
from segformer_edu import SegFormerConfig
from segformer_edu.data.scenes import Scenes
from segformer_edu.training import Settings
from segformer_edu.training.minute import in_memory
from segformer_edu.widgets import training_run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A few small pictures in the place of thousands."""
    for name in ("pictures", "unseen"):
        monkeypatch.setattr(training, name, lambda size: in_memory(Scenes(6, 32), workers=0))
    monkeypatch.setattr(training, "class_weights", lambda kind: None)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_runs_what_its_rows_say(part):
    stored = json.loads((HERE / "training.json").read_text(encoding="utf-8"))[part]["rows"]
    told = ("size", "seed", "batch size", "learning rate", "optimizer")
    rows = list(PARTS[part](quick=True))
    assert [[row[name] for name in told] for row in rows] == [
        [row[name] for name in told] for row in stored
    ]
    for row in [*rows, *stored]:
        if part == "ten":  # whose log was kept where it was validated
            assert row["at"][-1] == row["steps"] and row["mious"][-1] == row["miou"]
        else:
            assert len(row["losses"]) == row["steps"]


def test_ten_minutes_are_enough_for_more():
    (row,) = json.loads((HERE / "training.json").read_text(encoding="utf-8"))["ten"]["rows"]
    settings = Settings.from_yaml(HERE / "ten_minutes.yaml")
    assert row["miou"] > 0.76 and row["steps"] == settings.steps


def test_the_minutes_file_is_the_lessons_recipe():
    settings = Settings.from_yaml(HERE / "minute.yaml")
    assert SegFormerConfig.named(settings.model, **settings.config) == CONFIG
    assert (settings.steps, settings.learning_rate) == (STEPS, LEARNING_RATE)
    assert (settings.size, settings.pictures, settings.batch_size) == (96, 2000, 16)
    assert (settings.warmup_steps, settings.flip, settings.class_weights) == (50, 0.5, True)
    assert (settings.scale, settings.colour) == ((1, 1), 0)


def test_a_row_is_a_function_of_its_seed():
    first, again, other = (run(32, 3, seed)[0] for seed in (0, 0, 1))
    assert first["losses"] == again["losses"] != other["losses"]


def test_a_row_says_at_which_steps_the_gradient_was_cut(monkeypatch):
    clip, lengths = torch.nn.utils.clip_grad_norm_, []

    def observed(parameters, max_norm):
        lengths.append(clip(parameters, max_norm).item())

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", observed)
    cut = run(32, 60)[0]["cut at"]
    assert cut == [step for step, length in enumerate(lengths) if length > 1]
    assert 5 < len(cut) < 55


def test_the_weights_of_classes_are_powers_of_their_frequency(monkeypatch):
    monkeypatch.undo()  # the true ones
    root = torch.tensor([0.5, 1.0, 1.5])
    monkeypatch.setattr(training, "balanced_weights", lambda scenes: root)
    found = {kind: training.class_weights.__wrapped__(kind) for kind in training.WEIGHTS}
    assert found["none"].tolist() == [1, 1, 1]
    assert found["1/√frequency"].tolist() == root.tolist()
    torch.testing.assert_close(found["1/frequency"], torch.tensor([0.25, 1.0, 2.25]) / 3.5 * 3)


def test_predictions_are_kept_where_they_are_asked_for():
    _, found = run(32, 4, at=(0, 2))
    assert sorted(found) == [0, 2, 4]
    assert {tuple(each.shape) for each in found.values()} == {(6, 32, 32)}


def test_the_widget_reads_the_run_that_is_saved(tmp_path, monkeypatch):
    labels = torch.randint(0, 8, (7, 96, 96))
    predicted = {step: torch.randint(0, 8, (7, 96, 96)) for step in training_run.STEPS}
    monkeypatch.setattr(training_run, "RUN", tmp_path / "run.npz")
    save_run(predicted, labels, [0.5] * 1000)
    stored = training_run.saved.__wrapped__()  # not the one that is kept
    assert np.array_equal(stored.predictions[3, 5], predicted[training_run.STEPS[5]][3].numpy())
    assert stored.confusions[4].trace() == (predicted[training_run.STEPS[4]] == labels).sum()
    assert stored.losses.tolist() == [0.5] * 1000


def test_sgd_follows_the_schedule_too():
    model = fresh(0)
    (group,) = sgd(model, 0.3).param_groups
    assert group["lr"] == group["initial_lr"] == 0.3
    assert len(group["params"]) == len(list(model.parameters()))


def test_the_results_are_json_a_line_a_run():
    stored = json.loads((HERE / "training.json").read_text(encoding="utf-8"))
    assert json.loads(text_of(stored)) == stored
    runs = sum(len(part["rows"]) for part in stored.values())
    assert text_of(stored).count("\n") == runs + len(stored)
