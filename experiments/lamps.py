"""The task in which attention decides: trained with and without it, at several ratios, and with
lamps that are ignored, or called night; five seeds each.

python -m experiments.lamps            # all runs that lamps.json does not hold yet
python -m experiments.lamps --quick    # three steps of each; writes nothing

Seed 0 at nano's own ratios becomes the weights that ship, `SegFormer.from_pretrained("lamps")`, in
half precision.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.stochastic_depth import machine
from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.data.lamps import Lamps
from segformer_edu.training import make_optimizer, scores
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.minute import in_memory, predictions, training_steps

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "segformer_edu" / "weights" / "lamps"
RATIOS = ((4, 2, 1, 1), (1, 1, 1, 1), (2, 2, 2, 1), (8, 4, 2, 1), (8, 8, 4, 2))
SEEDS = range(5)
STEPS, EVERY, WARMUP_STEPS, LEARNING_RATE = 1500, 100, 50, 4e-3
CLASS_WEIGHTS = (0.05, 1.0, 1.0)  # most pixels are night
OTHERWISE = {"ignored": 255, "night": 0}  # what else the pixels of a lamp may be labelled
Row = dict[str, Any]
Kind = tuple[tuple[int, ...], bool, str]  # ratios; whether there is attention; the lamp's class
KINDS: tuple[Kind, ...] = (
    (RATIOS[0], True, "its colour"),
    (RATIOS[0], False, "its colour"),
    *((ratios, True, "its colour") for ratios in RATIOS[1:]),
    (RATIOS[0], True, "ignored"),
    (RATIOS[0], True, "night"),
)


SEEN, UNSEEN = Lamps(3000), Lamps(200, seed=1)


@cache
def pictures(strips: Lamps) -> tuple[Tensor, Tensor]:
    return in_memory(strips)


@cache
def lamps(strips: Lamps) -> Tensor:
    """Which pixels a lamp covers, if only in part: `(N, H, W)`."""
    covers = [strips.discs(index)[0].raster()[0] > 0 for index in range(len(strips))]
    return torch.from_numpy(np.stack(covers))


def config(ratios: tuple[int, ...]) -> SegFormerConfig:
    return SegFormerConfig.named(
        "nano",
        depths=(1, 1, 1, 1),
        reduction_ratios=ratios,
        num_classes=len(Lamps.class_names),
        class_names=Lamps.class_names,
        drop_path_rate=0.0,
        decoder_dropout=0.0,
    )


def run(kind: Kind, seed: int, steps: int) -> tuple[Row, SegFormer]:
    """Train one model, and score it on unseen strips after every hundred steps."""
    ratios, attention, lamp = kind
    torch.manual_seed(seed)
    model = SegFormer(config(ratios))
    if not attention:
        model = without_branches(model, branches(model, "attention"))
    images, labels = pictures(SEEN)
    unseen, true = pictures(UNSEEN)
    balls = true.bool() & ~lamps(UNSEEN)
    if lamp in OTHERWISE:
        labels = labels.masked_fill(lamps(SEEN), OTHERWISE[lamp])
    training = training_steps(
        model,
        make_optimizer(model, LEARNING_RATE),
        images,
        labels,
        torch.tensor(CLASS_WEIGHTS),
        steps,
        warmup_steps=WARMUP_STEPS,
        seed=seed,
    )
    losses: list[float] = []
    right: list[float] = []
    seconds = 0.0
    while len(losses) < steps:
        start = time.perf_counter()
        losses += islice(training, min(EVERY, steps))
        seconds += time.perf_counter() - start
        said = predictions(model, unseen)
        right.append(round((said == true)[balls].float().mean().item(), 4))
    found = scores(confusion_matrix(said, true, len(Lamps.class_names)))
    row = {
        "ratios": ratios,
        "attention": attention,
        "lamp": lamp,
        "seed": seed,
        "steps": steps,
        "seconds": round(seconds),
        "right": right,  # of the pixels of balls, the share, after every hundred steps
        "iou": [round(iou, 4) for iou in found.iou],
        "losses": [round(float(np.mean(ten)), 4) for ten in in_tens(losses)],  # of ten steps each
    }
    return row, model


def in_tens(losses: list[float]) -> list[list[float]]:
    return [losses[start : start + 10] for start in range(0, len(losses), 10)]


def kind_of(row: Row) -> Kind:
    return tuple(row["ratios"]), row["attention"], row["lamp"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.lamps", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three steps; writes nothing")
    options = parser.parse_args()
    path = HERE / "lamps.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    done = [(row["seed"], kind_of(row)) for row in rows]
    for seed, kind in product(SEEDS, KINDS):
        if (seed, kind) in done:
            continue
        row, model = run(kind, seed, 3 if options.quick else STEPS)
        rows.append(row)
        print({name: value for name, value in row.items() if name != "losses"}, flush=True)
        if not options.quick:
            rows.sort(key=lambda row: (row["seed"], KINDS.index(kind_of(row))))
            text = ",\n".join(map(json.dumps, rows))
            told = json.dumps(machine())
            path.write_text(f'{{"machine": {told}, "rows": [\n{text}]}}\n', encoding="utf-8")
            if (kind, seed) == (KINDS[0], 0):
                model.half().save_pretrained(WEIGHTS)


if __name__ == "__main__":
    main()
