"""The numbers that lesson 08 states: each function computes one from the package."""

import json
import math

import numpy as np

from experiments import training as minute
from experiments.stochastic_depth import HERE as EXPERIMENTS
from segformer_edu import SegFormer
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import Settings
from segformer_edu.training.pictures import VALIDATION_SEED
from segformer_edu.widgets.training_run import SHOWN, found_at, saved, unseen
from segformer_edu.widgets.training_run import STEPS as RUN_STEPS


def unseen_scenes() -> str:
    return str(Settings().validation)


def tensors() -> str:
    return str(len(list(SegFormer(minute.CONFIG).parameters())))


def few_steps() -> str:
    return str(minute.FEW_STEPS)


def grid_pictures() -> str:
    return f"{minute.SEEN:,}"


def root_miou() -> str:
    return _of_weights("1/√frequency", minute.FEW_STEPS)


def equal_miou() -> str:
    return _of_weights("none", minute.FEW_STEPS)


def inverse_miou() -> str:
    return _of_weights("1/frequency", minute.FEW_STEPS)


def minute_root_miou() -> str:
    return f"{np.mean([row['miou'] for row in _minutes('seeds')]):.3f}"


def minute_equal_miou() -> str:
    return _of_weights("none", minute.STEPS, digits=3)


def minute_root_accuracy() -> str:
    return f"{np.mean([row['pixel accuracy'] for row in _minutes('seeds')]):.3f}"


def minute_equal_accuracy() -> str:
    return _of_weights("none", minute.STEPS, digits=3, measure="pixel accuracy")


def blind_accuracy() -> str:
    return f"{1 - _rare():.0%}"


def rare_share() -> str:
    return f"{math.ceil(100 * _rare())}%"


def sgd_over_adam() -> str:
    rows = [row for row in _minutes("optimizers") if row["optimizer"] == "SGD"]
    return f"{max(rows, key=lambda row: row['miou'])['learning rate'] / minute.LEARNING_RATE:.0f}"


def warmup_gain() -> str:
    warm, cold = (
        np.array([row["miou"] for row in _minutes("optimizers") if _is_adam(row, steps)])
        for steps in (50, 0)
    )
    gains = warm - cold  # of the same seed
    return f"{gains.mean():.3f} ± {gains.std(ddof=1) / math.sqrt(len(gains)):.3f}"


def cut_first() -> str:
    return _cut(0, 50)


def cut_later() -> str:
    return _cut(50, minute.FEW_STEPS)


def minute_spread() -> str:
    return f"{_spread(_minutes('seeds')):.4f}"


def minute_trust() -> str:
    return f"{2 * math.sqrt(2) * _spread(_minutes('seeds')):.3f}"


def short_trust() -> str:
    warm = [row for row in _minutes("optimizers") if _is_adam(row, 50)]
    return f"{2 * math.sqrt(2) * _spread(warm):.3f}"


def softmax_twice() -> str:
    """Cross-entropy of probabilities that are all right: 1 for one class, 0 for seven."""
    return f"{math.log(math.e + 7) - 1:.2f}"


def ten_steps() -> str:
    return f"{_minutes('ten')[0]['steps']:,}"


def ten_miou() -> str:
    return f"{_minutes('ten')[0]['miou']:.2f}"


def ten_minutes() -> str:
    return f"{_minutes('ten')[0]['seconds'] / 60:.0f}"


def three_fifths_step() -> str:
    return str(next(step for step in RUN_STEPS if found_at(step).pixel_accuracy > 0.595))


def hardly_known() -> str:
    iou = found_at(int(three_fifths_step())).iou
    return " and ".join(f"{name}s" for name, each in zip(CLASSES, iou, strict=True) if each < 0.1)


def worst_scene() -> str:
    return str(1 + min(SHOWN, key=_right_at_the_end))


def _right_at_the_end(number: int) -> float:
    return float((saved().predictions[number, -1] == unseen(number)[1]).mean())


def _rare() -> float:
    """The share of persons and poles in the pixels of the unseen scenes."""
    labels = np.stack([Scenes(200, 96, seed=VALIDATION_SEED).picture(i)[1] for i in range(200)])
    return float(np.isin(labels, [CLASSES.index("person"), CLASSES.index("pole")]).mean())


def _of_weights(kind: str, steps: int, digits: int = 2, measure: str = "miou") -> str:
    rows = [
        row for row in _minutes("weights") if (row["class weights"], row["steps"]) == (kind, steps)
    ]
    return f"{np.mean([row[measure] for row in rows]):.{digits}f}"


def _cut(first: int, end: int) -> str:
    """The share of a run's steps whose gradient was shortened, in the runs with a warm-up."""
    runs = [row["cut at"] for row in _minutes("optimizers") if _is_adam(row, 50)]
    return (
        f"{np.mean([sum(first <= step < end for step in run) for run in runs]) / (end - first):.0%}"
    )


def _spread(rows: list[dict]) -> float:
    """The standard deviation of mIoU from seed to seed."""
    return float(np.std([row["miou"] for row in rows], ddof=1))


def _is_adam(row: dict, warmup_steps: int) -> bool:
    return row["optimizer"] == "AdamW" and row["warm-up"] == warmup_steps


def _minutes(part: str) -> list[dict]:
    return json.loads((EXPERIMENTS / "training.json").read_text(encoding="utf-8"))[part]["rows"]
