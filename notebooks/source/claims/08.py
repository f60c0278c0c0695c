"""The numbers that lesson 08 states: each function computes one from the package."""

import json

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


def minute_steps() -> str:
    return f"{minute.STEPS:,}"


def few_steps() -> str:
    return str(minute.FEW_STEPS)


def grid_pictures() -> str:
    return f"{minute.SEEN:,}"


def seed_spread() -> str:
    found = [row["miou"] for row in _minutes("seeds")]
    return f"{max(found) - min(found):.3f}"


def blind_accuracy() -> str:
    labels = np.stack([Scenes(200, 96, seed=VALIDATION_SEED).picture(i)[1] for i in range(200)])
    blind = np.isin(labels, [CLASSES.index("person"), CLASSES.index("pole")])
    return f"{1 - blind.mean():.0%}"


def sgd_over_adam() -> str:
    rows = [row for row in _minutes("optimizers") if row["optimizer"] == "SGD"]
    return f"{max(rows, key=lambda row: row['miou'])['learning rate'] / minute.LEARNING_RATE:.0f}"


def warmup_gains() -> str:
    rows = [row for row in _minutes("optimizers") if row["optimizer"] == "AdamW"]
    found = {(row["seed"], row["warm-up"] > 0): row["miou"] for row in rows}
    seeds = sorted({seed for seed, _ in found})
    return " and ".join(f"{found[seed, True] - found[seed, False]:.3f}" for seed in seeds)


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


def _minutes(part: str) -> list[dict]:
    return json.loads((EXPERIMENTS / "training.json").read_text(encoding="utf-8"))[part]["rows"]
