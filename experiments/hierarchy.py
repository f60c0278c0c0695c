"""A pyramid against columns of the same cost, trained on street scenes (lesson 06).

python -m experiments.hierarchy            # hierarchy.json
python -m experiments.hierarchy --quick    # one seed, 20 steps; writes nothing
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from experiments.stochastic_depth import machine, spread
from segformer_edu import SegFormerConfig
from segformer_edu.analysis import columns, cost
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.data.views import CachedDataset
from segformer_edu.training import Settings, evaluate, scores, train
from segformer_edu.training.pictures import VALIDATION_SEED

RESULTS = Path(__file__).parent / "hierarchy.json"
SIDE = 64  # pixels
SEEDS, STEPS = 3, 300
COMMON = {"num_classes": len(CLASSES), "decoder_dim": 64}

PYRAMID = SegFormerConfig.named("nano", depths=(1, 1, 1, 1))


def column(stride: int, reduction_ratio: int, width: int) -> SegFormerConfig:
    """Four equal blocks in one stage: one map size from the first block to the last."""
    one_stage = columns.column(stride, reduction_ratio, width, depth=4)
    return one_stage.replace(num_heads=(2,), **COMMON)


def widest(stride: int, reduction_ratio: int) -> SegFormerConfig:
    """The widest column that costs no more multiply-adds than the pyramid, decoder included."""
    budget = cost(PYRAMID, (SIDE, SIDE)).multiply_adds
    candidates = (column(stride, reduction_ratio, width) for width in range(200, 0, -2))
    return next(each for each in candidates if cost(each, (SIDE, SIDE)).multiply_adds <= budget)


NETWORKS = {
    "pyramid": PYRAMID,
    "column at 1/4": widest(4, 4),
    "column at 1/8": widest(8, 2),
    "column at 1/16": widest(16, 1),
}

SCENES = CachedDataset(Scenes(1000, SIDE, seed=0), megabytes=50)
UNSEEN = CachedDataset(Scenes(300, SIDE, VALIDATION_SEED), megabytes=50)


def run(name: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one network on the same scenes as the others, and evaluate it on scenes new to all.

    The seed is that of the weights, the order and the augmentation.
    """
    config = NETWORKS[name]
    fields = ("embed_dims", "depths", "num_heads", "reduction_ratios", "mlp_ratios")
    changes = {field: list(getattr(config, field)) for field in (*fields, "patch_sizes", "strides")}
    settings = Settings(
        config={**changes, "drop_path_rate": 0.0, "decoder_dropout": 0.0},
        size=SIDE,
        steps=steps,
        learning_rate=8e-3,
        seed=seed,
        validate_every=0,
        save_every=0,
        cpu=True,
    )
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = train(settings, folder, data=(SCENES, UNSEEN), progress=False)
    seconds = time.process_time() - start
    found = scores(evaluate(model, UNSEEN))
    iou = dict(zip(CLASSES, (round(each, 4) for each in found.iou), strict=True))
    told = {"network": name, "seed": seed, "miou": round(found.miou, 4), "iou": iou}
    return {**told, "seconds": round(seconds, 1)}


def table(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for each network: mean ± standard deviation over its seeds."""
    for name in dict.fromkeys(each["network"] for each in runs):
        bill = cost(NETWORKS[name], (SIDE, SIDE))
        chosen = [each for each in runs if each["network"] == name]
        miou = spread([100 * each["miou"] for each in chosen])
        pole = spread([100 * each["iou"]["pole"] for each in chosen])
        yield (
            f"{name:<15} {bill.multiply_adds / 1e6:.2f} M multiply-adds, {bill.parameters:>7,} "
            f"parameters; seeds {len(chosen)}: mIoU {miou}, pole {pole}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.hierarchy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, 20 steps")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    # Seed by seed, so that a machine that slows down slows all of them.
    turns = [(seed, name) for seed in range(1 if quick else SEEDS) for name in NETWORKS]
    runs: list[dict[str, Any]] = []
    for seed, name in tqdm(turns, unit="network"):
        runs.append(run(name, seed, steps=20 if quick else STEPS))
        if not quick:  # after each, so that nothing is lost
            lines = ",\n".join(map(json.dumps, runs))
            text = f'{{"machine": {json.dumps(machine())},\n"runs": [\n{lines}\n]}}\n'
            RESULTS.write_text(text, encoding="utf-8")
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
