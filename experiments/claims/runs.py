"""Runs that are trained and tested once: what comes of them is kept in a file under their name.

KEY.safetensors holds the weights of a run and what its training took, KEY.json what it scored under
each condition. So a condition that is added later needs no training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn

from experiments.claims.models import build, laid_anew, optimizer_for
from experiments.claims.pictures import class_weights, test_pictures, training_pictures
from experiments.claims.settings import LAID_ANEW, Condition, Run
from experiments.stochastic_depth import machine
from segformer_edu.data.scenes import CLASSES
from segformer_edu.files import write_atomically
from segformer_edu.training import scores
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.minute import predictions, training_steps

Scored = dict[str, Any]


class Cache:
    """A folder of runs.

    Args:
        folder: created if it does not exist.
        device: where models are trained and tested.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.folder, self.device = folder, torch.device(device)
        folder.mkdir(parents=True, exist_ok=True)

    def weights(self, run: Run) -> Path:
        return self.folder / f"{run.key}.safetensors"

    def trained(self, run: Run, watch: Callable[[Iterable], Iterable] = iter) -> nn.Module:
        """The run's model, in evaluation mode; trained if it is not here yet.

        Args:
            watch: wraps the steps, as a progress bar does.
        """
        if not self.weights(run).exists():
            self.train(run, watch)
        model = build(run.model)
        model.load_state_dict(load_file(self.weights(run)))
        return model.eval().to(self.device)

    def train(self, run: Run, watch: Callable[[Iterable], Iterable] = iter) -> None:
        """Train a run, and keep it."""
        start = self.trained(run.start, watch).state_dict() if run.start else {}
        torch.manual_seed(run.seed)
        model = build(run.model)
        model.load_state_dict(start or model.state_dict())
        model.to(self.device)
        images, labels = training_pictures(run.style, run.scenes)
        weights_of_classes = class_weights().to(self.device)
        began = time.perf_counter()
        steps = training_steps(
            model,
            optimizer_for(model, run.learning_rate),
            images.to(self.device),
            labels.to(self.device).long(),
            weights_of_classes,
            run.steps,
            run.batch_size,
            run.warmup_steps,
            run.seed,
        )
        losses = list(watch(steps))
        took = {
            "run": asdict(run),
            "seconds": round(time.perf_counter() - began, 1),
            "loss": round(float(np.mean(losses[-100:])), 4),  # of the last hundred steps
            "machine": machine(),
        }
        weights = {name: x.cpu().contiguous() for name, x in model.state_dict().items()}
        write_atomically(self.weights(run), save(weights, {"took": json.dumps(took)}))

    def took(self, run: Run) -> dict[str, Any] | None:
        """What a training took, if it has been."""
        if not self.weights(run).exists():
            return None
        with safe_open(self.weights(run), "pt") as file:
            return json.loads(file.metadata()["took"])

    def scored(self, run: Run) -> dict[str, Scored]:
        """What a run scored, under the keys of the conditions."""
        path = self.folder / f"{run.key}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def untested(self, run: Run, conditions: Iterable[Condition]) -> list[Condition]:
        done = self.scored(run)
        return [each for each in conditions if each.key not in done]

    def test(self, run: Run, conditions: Iterable[Condition]) -> None:
        """Score a run, trained before if need be, under the conditions that are still missing."""
        missing = self.untested(run, conditions)
        if not missing:
            return
        model = self.trained(run)
        found = self.scored(run) | {each.key: self.score(model, each, run) for each in missing}
        data = json.dumps(found, indent=1).encode()
        write_atomically(self.folder / f"{run.key}.json", data)

    def score(self, model: nn.Module, condition: Condition, run: Run) -> Scored:
        images, labels = test_pictures(condition, run)
        if condition.pictures == LAID_ANEW:
            model = laid_anew(model, round(condition.amount))
        said = predictions(model, images.to(self.device)).cpu()
        result = scores(confusion_matrix(said, labels, len(CLASSES)))
        return {
            "miou": round(result.miou, 4),
            "pixel accuracy": round(result.pixel_accuracy, 4),
            **{f"iou {name}": round(iou, 4) for name, iou in zip(CLASSES, result.iou, strict=True)},
        }
