"""How wide the receptive fields are before and after training, with attention and without: a
SegFormer and its conv twin, trained for a minute from three seeds each (lesson 09).

python -m experiments.receptive_fields            # what receptive_fields.json does not hold yet
python -m experiments.receptive_fields --quick    # three steps of each; writes nothing

The fields of seed 0 go to receptive_fields.npz, for the picture.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.stochastic_depth import machine
from experiments.training import CONFIG, LEARNING_RATE, STEPS, class_weights, pictures, unseen
from segformer_edu import SegFormer
from segformer_edu.analysis.receptive_field import area, conv_twin, stage_fields
from segformer_edu.data.scenes import Scenes
from segformer_edu.training import make_optimizer, scores
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.minute import in_memory, predictions, training_steps

HERE = Path(__file__).parent
TABLE, FIELDS = HERE / "receptive_fields.json", HERE / "receptive_fields.npz"
SEEDS = range(3)
AT = (0, 100, 300, STEPS)  # steps after which the fields are measured
SIDES = (96, 192)  # of the scenes that they are measured on; the models train at 96
SHARES = (0.9, 0.5)  # of a field, which the areas hold
DRAWN, POOLED = 192, 4  # the side of the fields that are kept, and pixels a side to one number
NETWORKS = ("SegFormer", "conv twin")
Row = dict[str, Any]
Fields = dict[str, list[Tensor]]  # by state: one of each stage


def network(name: str, seed: int) -> SegFormer:
    """A new model; the twin's Mix-FFNs are half as wide, for about as many parameters."""
    torch.manual_seed(seed)
    if name == "SegFormer":
        return SegFormer(CONFIG)
    config = CONFIG.replace(mlp_ratios=(2, 2, 2, 2))
    model = SegFormer(config)
    model.encoder = conv_twin(config)
    return model


@torch.no_grad()
def shuffled(model: SegFormer, seed: int) -> SegFormer:
    """A copy in which the numbers of each tensor of parameters are in another order.

    It has the sizes of weights that training made, and nothing of what they say.
    """
    generator = torch.Generator().manual_seed(seed)
    model = copy.deepcopy(model)
    for weight in model.parameters():
        order = torch.randperm(weight.numel(), generator=generator)
        weight.copy_(weight.flatten()[order].view_as(weight))
    return model


@cache
def scenes(side: int) -> Tensor:
    """The scenes that the fields are averaged over, new to all models."""
    return in_memory(Scenes(32, side, seed=2026))[0]


def fields_of(model: nn.Module, side: int) -> list[Tensor]:
    encoder = model.encoder.eval()
    return stage_fields({"": encoder}, scenes(side), torch.Generator().manual_seed(0))[""]


def run(name: str, seed: int, steps: int = STEPS) -> tuple[list[Row], Fields]:
    """Train one network; a row for each state and side, and the fields that are drawn."""
    model = network(name, seed)
    training = training_steps(
        model,
        make_optimizer(model, LEARNING_RATE),
        *pictures(96),
        class_weights(),
        steps,
        seed=seed,
    )
    rows: list[Row] = []
    kept: Fields = {}
    parameters = sum(weight.numel() for weight in model.parameters())
    about = {"network": name, "seed": seed, "parameters": parameters}
    done, seconds = 0, 0.0

    def measure(state: str, measured: SegFormer) -> None:
        images, labels = unseen(96)
        found = confusion_matrix(predictions(measured, images), labels, CONFIG.num_classes)
        told = {"state": state, "steps": done, "seconds": round(seconds)}
        told["miou"] = round(scores(found).miou, 4)
        for side in SIDES:
            fields = fields_of(measured, side)
            areas = {
                f"area of {share:.0%}": [round(area(x, share), 4) for x in fields]
                for share in SHARES
            }
            reached = [round((x > 0).double().mean().item(), 4) for x in fields]
            rows.append({**about, **told, "side": side, **areas, "reached": reached})
            if side == DRAWN:
                kept[f"{name}, {state}"] = fields

    for stop in sorted({min(at, steps) for at in AT}):
        start = time.perf_counter()
        done += len(list(islice(training, stop - done)))
        seconds += time.perf_counter() - start
        state = {0: "untrained", steps: "trained"}.get(done, "in training")
        measure(state, model)
    measure("shuffled", shuffled(model, seed))
    return rows, kept


def pooled(field: Tensor) -> np.ndarray:
    """A field in fewer pixels, for a picture: each number is the mean of a square."""
    return F.avg_pool2d(field[None, None], POOLED)[0, 0].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.receptive_fields", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="three steps; writes nothing")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["rows"] if TABLE.exists() else []
    done = {(row["seed"], row["network"]) for row in rows}
    for seed, name in product(SEEDS, NETWORKS):
        if (seed, name) in done and not quick:
            continue
        found, fields = run(name, seed, 3 if quick else STEPS)
        for row in found:
            print(row, flush=True)
        if quick:
            continue
        rows += found
        lines = ",\n".join(map(json.dumps, rows))
        text = f'{{"machine": {json.dumps(machine())}, "rows": [\n{lines}]}}\n'
        TABLE.write_text(text, encoding="utf-8")
        if seed == 0:
            before = dict(np.load(FIELDS)) if FIELDS.exists() else {}
            drawn = {
                key: np.stack([pooled(x) for x in stages])
                for key, stages in fields.items()
                if "in training" not in key
            }
            np.savez_compressed(FIELDS, **before, **drawn)


if __name__ == "__main__":
    main()
