"""What a minute of training achieves, with several seeds and settings (lesson 08).

python -m experiments.training                 # all parts; each goes to training.json when done
python -m experiments.training seeds           # or one: seeds, optimizers, weights, grid, ten
python -m experiments.training --quick         # three steps of each; writes nothing

`seeds` also writes what lesson 08's widget shows, segformer_edu/widgets/training_run.npz.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.stochastic_depth import machine
from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.data.scenes import Scenes
from segformer_edu.training import Settings, balanced_weights, make_optimizer, scores, train
from segformer_edu.training.curves import read_log
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.minute import in_memory, predictions, training_steps
from segformer_edu.training.pictures import VALIDATION_SEED
from segformer_edu.widgets import training_run

HERE = Path(__file__).parent
CONFIG = SegFormerConfig.named("nano", depths=(1, 1, 1, 1), drop_path_rate=0.0, decoder_dropout=0.0)
STEPS, LEARNING_RATE = 1000, 8e-3  # the one-minute recipe, at 96 pixels
FEW_STEPS, SMALL = 200, 64  # of the comparisons, and the side of their pictures
WEIGHTS = {"none": 0.0, "1/√frequency": 0.5, "1/frequency": 1.0}  # the powers of 1/frequency
SEEN = 3200  # pictures that each cell of the grid learns from
Row = dict[str, Any]


@cache
def pictures(size: int) -> tuple[Tensor, Tensor]:
    return in_memory(Scenes(2000, size))


@cache
def unseen(size: int) -> tuple[Tensor, Tensor]:
    return in_memory(Scenes(200, size, seed=VALIDATION_SEED))


@cache
def class_weights(kind: str = "1/√frequency") -> Tensor:
    weights = balanced_weights(Scenes(2000, 96)) ** (2 * WEIGHTS[kind])
    return weights / weights.mean()


def fresh(seed: int) -> SegFormer:
    torch.manual_seed(seed)
    return SegFormer(CONFIG)


def sgd(model: SegFormer, learning_rate: float) -> torch.optim.Optimizer:
    """Gradient descent with momentum: one learning rate for all parameters, no weight decay."""
    group = {"params": model.parameters(), "initial_lr": learning_rate}
    return torch.optim.SGD([group], lr=learning_rate, momentum=0.9)


def run(
    size: int,
    steps: int,
    seed: int = 0,
    batch_size: int = 16,
    learning_rate: float = LEARNING_RATE,
    warmup_steps: int = 50,
    optimizer: Callable[..., torch.optim.Optimizer] = make_optimizer,
    weights: str = "1/√frequency",
    at: tuple[int, ...] = (),
) -> tuple[Row, dict[int, Tensor]]:
    """Train one model; its row, and its predictions for the unseen scenes after the steps `at`."""
    model = fresh(seed)
    method = optimizer(model, learning_rate)
    lengths: list[float] = []  # of the gradients as they reach the optimizer: 1 if cut
    method.register_step_pre_hook(lambda *_: lengths.append(gradient_length(model)))
    training = training_steps(
        model,
        method,
        *pictures(size),
        class_weights(weights),
        steps,
        batch_size,
        warmup_steps,
        seed,
    )
    images, labels = unseen(size)
    losses: list[float] = []
    found: dict[int, Tensor] = {}
    seconds = 0.0
    for stop in sorted({*at, steps}):
        start = time.perf_counter()
        losses += islice(training, stop - len(losses))
        seconds += time.perf_counter() - start
        found[stop] = predictions(model, images)
    result = scores(confusion_matrix(found[steps], labels, CONFIG.num_classes))
    row = {
        "size": size,
        "steps": steps,
        "seed": seed,
        "batch size": batch_size,
        "learning rate": learning_rate,
        "warm-up": warmup_steps,
        "optimizer": type(method).__name__,
        "class weights": weights,
        "seconds": round(seconds, 1),
        "miou": round(result.miou, 4),
        "pixel accuracy": round(result.pixel_accuracy, 4),
        "iou": [round(iou, 4) for iou in result.iou],
        "losses": [round(loss, 4) for loss in losses],
        "cut at": [step for step, length in enumerate(lengths) if length > 0.999],
    }
    return row, found


def gradient_length(model: SegFormer) -> float:
    """The length of all gradients together, as one vector."""
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    return torch.nn.utils.get_total_norm(gradients).item()


def seeds(quick: bool) -> Iterator[Row]:
    """The one-minute recipe from three seeds; from the first also what the widget shows."""
    for seed in (0, 1, 2):
        at = training_run.STEPS if seed == 0 and not quick else ()
        row, found = run(96, 3 if quick else STEPS, seed, at=at)
        if at:
            save_run(found, unseen(96)[1], row["losses"])
        yield row


def save_run(predicted: Mapping[int, Tensor], labels: Tensor, losses: Sequence[float]) -> None:
    """Write what the widget shows into the package.

    Args:
        predicted: after each of the widget's steps, the classes of all unseen scenes, `(N, H, W)`.
        labels: the true classes, `(N, H, W)`.
        losses: of every step.
    """
    of_steps = [predicted[step] for step in training_run.STEPS]
    shown = list(training_run.SHOWN)
    run = training_run.Run(
        predictions=np.stack([each[shown].numpy() for each in of_steps], 1).astype(np.uint8),
        confusions=np.stack(
            [confusion_matrix(each, labels, CONFIG.num_classes).numpy() for each in of_steps]
        ),
        losses=np.array(losses, dtype=np.float32),
    )
    np.savez_compressed(training_run.RUN, **run._asdict())


def optimizers(quick: bool) -> Iterator[Row]:
    """AdamW with and without warm-up, six seeds each; SGD with four learning rates."""
    steps = 3 if quick else FEW_STEPS
    for seed in range(6):
        for warmup_steps in (50, 0):
            yield run(SMALL, steps, seed, warmup_steps=warmup_steps)[0]
    for learning_rate in (0.05, 0.2, 0.8, 3.2):
        yield run(SMALL, steps, learning_rate=learning_rate, optimizer=sgd)[0]


def weights(quick: bool) -> Iterator[Row]:
    """How much a pixel of each class counts, three seeds each; and the minute without weights."""
    for kind, seed in product(WEIGHTS, (0, 1, 2)):
        yield run(SMALL, 3 if quick else FEW_STEPS, seed, weights=kind)[0]
    for seed in (0, 1, 2):
        yield run(96, 3 if quick else STEPS, seed, weights="none")[0]


def grid(quick: bool) -> Iterator[Row]:
    """Learning rate × batch size; every model sees as many pictures."""
    for batch_size in (4, 16, 64):
        for learning_rate in (2e-3, 8e-3, 3.2e-2):
            steps = 3 if quick else SEEN // batch_size
            warmup_steps = steps // 6
            yield run(SMALL, steps, 0, batch_size, learning_rate, warmup_steps)[0]


def ten_minutes(quick: bool) -> Iterator[Row]:
    """nano on 96 pixels by the package's own loop, for about ten minutes on two free cores."""
    settings = Settings.from_yaml(HERE / "ten_minutes.yaml").replace(cpu=True)
    if quick:
        settings = settings.replace(steps=3, pictures=20, validation=2)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train(settings, folder, progress=False)
        yield row_of_log(settings, Path(folder), time.perf_counter() - start)


def row_of_log(settings: Settings, folder: Path, seconds: float) -> Row:
    """The row of a run by the package's own loop, whose seconds include drawing and validation."""
    log = read_log(folder / "log.csv")
    validated = ~np.isnan(log["miou"])
    return {
        "size": settings.size,
        "steps": settings.steps,
        "seed": settings.seed,
        "batch size": settings.batch_size,
        "learning rate": settings.learning_rate,
        "optimizer": "AdamW",
        "seconds": round(seconds, 1),
        "miou": round(float(log["miou"][-1]), 4),
        "pixel accuracy": round(float(log["pixel_accuracy"][-1]), 4),
        "at": log["step"][validated].astype(int).tolist(),
        "mious": log["miou"][validated].round(4).tolist(),
    }


PARTS = {
    "seeds": seeds,
    "optimizers": optimizers,
    "weights": weights,
    "grid": grid,
    "ten": ten_minutes,
}
LISTS = ("losses", "iou", "cut at")  # of a row: too long to be printed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.training", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="three steps; writes nothing")
    options = parser.parse_args()
    path = HERE / "training.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in options.parts or PARTS:
        rows = []
        for row in PARTS[part](options.quick):
            rows.append(row)
            told = {name: value for name, value in row.items() if name not in LISTS}
            print(part, told, flush=True)
        results[part] = {"machine": machine(), "rows": rows}
        if not options.quick:
            path.write_text(text_of(results), encoding="utf-8")


def text_of(results: dict[str, Any]) -> str:
    """The results as JSON, a line for each run."""
    parts = []
    for part, found in results.items():
        rows = ",\n".join(map(json.dumps, found["rows"]))
        parts.append(f'"{part}": {{"machine": {json.dumps(found["machine"])}, "rows": [\n{rows}]}}')
    return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
    main()
