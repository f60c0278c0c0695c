"""Lesson 08's widget shows a run that was saved, of the scenes that the package draws."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.plots.style import class_colors
from segformer_edu.training.pictures import VALIDATION_SEED
from segformer_edu.widgets import TrainingRun
from segformer_edu.widgets.picture import Lines, Raster

module = sys.modules[TrainingRun.__module__]
State = module.State


def test_the_run_is_whole_and_small() -> None:
    run = module.saved()
    assert run.predictions.shape == (len(module.SHOWN), len(module.STEPS), 96, 96)
    assert run.confusions.shape == (len(module.STEPS), 8, 8)
    assert len(run.losses) == module.STEPS[-1]
    assert {int(each.sum()) for each in run.confusions} == {200 * 96 * 96}
    assert module.RUN.stat().st_size < 150_000


def test_its_predictions_are_of_the_scenes_that_it_shows() -> None:
    """They would not fit if the scenes were drawn in another way since."""
    for number, stored in zip(module.SHOWN, module.saved().predictions, strict=True):
        image, labels = module.unseen(number)
        again = Scenes(200, 96, seed=VALIDATION_SEED).picture(number)
        assert np.array_equal(image, again[0]) and np.array_equal(labels, again[1])
        assert (stored[-1] == labels).mean() > 0.7
        assert (stored[-1] == np.roll(labels, 24, axis=0)).mean() < 0.6


def test_it_learns() -> None:
    found = [module.found_at(step) for step in module.STEPS]
    assert found[0].miou < 0.1 and found[-1].miou > 0.67
    assert np.mean(module.saved().losses[-50:]) < 0.3 * np.mean(module.saved().losses[:50])


@pytest.mark.parametrize("step", [0, 100, 1000])
def test_the_table_holds_the_ious_of_the_confusion_matrix(step: int) -> None:
    matrix = module.saved().confusions[module.STEPS.index(step)].astype(float)
    both = matrix.diagonal()
    iou = both / (matrix.sum(0) + matrix.sum(1) - both)
    table = dict(TrainingRun.picture_of(State(step=step)).table)
    assert [table[name] for name in CLASSES] == [f"{each:.2f}" for each in iou]
    assert table["mean"] == f"{iou.mean():.2f}"
    assert table["pixel accuracy"] == f"{both.sum() / matrix.sum():.2f}"


def test_the_panels_hold_labels_prediction_and_what_was_missed() -> None:
    state = State(step=400, scene=2)
    maps = [s for s in TrainingRun.picture_of(state).shapes if isinstance(s, Raster) and s.map_]
    colors = class_colors(8)
    _, labels = module.unseen(2)
    said = module.saved().predictions[2, module.STEPS.index(400)]
    shown = [np.array(Image.open(io.BytesIO(each.file)).convert("RGB")) for each in maps]
    assert np.array_equal(shown[0], colors[labels])
    assert np.array_equal(shown[1], colors[said])
    assert (shown[2][said == labels] == 255).all()
    assert np.array_equal(shown[2][said != labels], colors[labels[said != labels]])


def test_the_marker_stands_at_the_step() -> None:
    def places(step: int) -> set[float]:
        shapes = TrainingRun.picture_of(State(step=step)).shapes
        upright = [s.segments[0] for s in shapes if isinstance(s, Lines) and len(s.segments) == 1]
        return {a for a, b, c, d in upright if a == c}

    assert places(0) == {module.CHART}
    assert places(1000) == {module.CHART + module.CHART_WIDTH}


def test_the_task_has_the_answer_that_the_lesson_gives() -> None:
    accuracy = [module.found_at(step).pixel_accuracy for step in module.STEPS]
    first = next(i for i, share in enumerate(accuracy) if module.percent(share) >= "60 %")
    assert module.STEPS[first] == 100
    iou = dict(zip(CLASSES, module.found_at(100).iou, strict=True))
    assert iou.pop("pole") < 0.05 and all(each > 0.1 for each in iou.values())
    right = [
        module.percent((module.saved().predictions[k, -1] == module.unseen(k)[1]).mean())
        for k in module.SHOWN
    ]
    assert right.count(min(right)) == 1 and right[0] == max(right)  # the lesson names both
    said, true = module.saved().predictions[2, -1], module.unseen(2)[1]  # the worst
    for name in ("pole", "vehicle"):
        assert (said == true)[true == CLASSES.index(name)].mean() < 0.1  # missed as a whole
