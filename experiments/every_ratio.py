"""The nano that ships: one model for every reduction ratio, and what it scores at each of them.

python -m experiments.every_ratio RUN                # trains in the folder RUN, or goes on
python -m experiments.every_ratio RUN --drop-path    # the same with stochastic depth
python -m experiments.every_ratio RUN --quick        # three steps, two combinations

The first becomes `SegFormer.from_pretrained("nano")` and its table every_ratio.json: for every
combination of ratios, on scenes that nobody trained or validated with, mIoU at 128 and 256 pixels,
and where it goes: classes, borders, and far from them. mIoU is also kept for lesson 03's widget,
segformer_edu/widgets/spatial_reduction.npz. The second becomes "nano-drop-path", without
the reductions for other ratios. Both are written in half precision; --quick writes neither.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from experiments.stochastic_depth import machine
from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.analysis.map_contents import near_a_border
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import Settings, scores, train
from segformer_edu.training.every_ratio import RATIOS, EveryRatioSegFormer
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.minute import in_memory, predictions
from segformer_edu.widgets import spatial_reduction

HERE = Path(__file__).parent
WEIGHTS = HERE.parent / "segformer_edu" / "weights"
DROP_PATH_RATE = 0.2
SIZES, SCENES, SEED = (128, 256), 100, 2026  # of a seed that neither trained nor validated
Row = dict[str, Any]


def config(settings: Settings) -> SegFormerConfig:
    return SegFormerConfig.named(
        settings.model, num_classes=len(CLASSES), class_names=CLASSES, **settings.config
    )


def measured(folder: Path, ratios: Sequence[Sequence[int]]) -> list[Row]:
    """A row for each combination of ratios and size."""
    rows = []
    own = SegFormer.from_pretrained(folder).config
    for size in SIZES:
        images, labels = in_memory(Scenes(SCENES, size, SEED))
        border = near_a_border(labels)
        for each in tqdm(ratios, unit=" combinations", desc=f"{size} px"):
            asked = own.replace(reduction_ratios=tuple(each))
            model = SegFormer.from_pretrained(folder, config=asked)
            said = predictions(model, images)
            found = scores(confusion_matrix(said, labels, len(CLASSES)))
            right = said == labels
            rows.append(
                {
                    "ratios": list(each),
                    "size": size,
                    "miou": round(found.miou, 4),
                    "pixel accuracy": round(found.pixel_accuracy, 4),
                    "iou": [round(iou, 4) for iou in found.iou],
                    "right at borders": round(right[border].float().mean().item(), 4),
                    "right elsewhere": round(right[~border].float().mean().item(), 4),
                    "multiply-adds": cost(asked, (size, size)).multiply_adds,
                    "parameters": sum(x.numel() for x in model.parameters()),
                }
            )
    return rows


def save_mious(rows: Sequence[Row]) -> None:
    """What the widget shows: for each size, mIoU of all combinations, in the order of `product`."""
    mious = {(row["size"], *row["ratios"]): row["miou"] for row in rows}
    by_size = {
        str(size): np.array([mious[size, *ratios] for ratios in product(*RATIOS)]) for size in SIZES
    }
    np.savez_compressed(spatial_reduction.MIOUS, **by_size)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.every_ratio", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of the training run; --quick: of a try")
    parser.add_argument("--drop-path", action="store_true", help="train with stochastic depth")
    parser.add_argument("--quick", action="store_true", help="three steps; writes no weights")
    options = parser.parse_args()
    settings = Settings.from_yaml(HERE / "every_ratio.yaml")
    if options.drop_path:
        settings = settings.replace(config=settings.config | {"drop_path_rate": DROP_PATH_RATE})
    if options.quick:
        settings = settings.replace(steps=3, pictures=20, validation=2)
    torch.manual_seed(settings.seed)
    trained = train(settings, options.run, resume=True, model=EveryRatioSegFormer(config(settings)))
    if options.quick:
        measured(options.run / "last", list(product(*RATIOS))[:2])
    elif options.drop_path:
        plain = SegFormer.from_pretrained(options.run / "last")
        plain.half().save_pretrained(WEIGHTS / "nano-drop-path")
    else:
        trained.half().save_pretrained(WEIGHTS / "nano")
        rows = measured(WEIGHTS / "nano", list(product(*RATIOS)))
        text = ",\n".join(map(json.dumps, rows))
        told = json.dumps(machine())
        path = HERE / "every_ratio.json"
        path.write_text(f'{{"machine": {told}, "rows": [\n{text}]}}\n', encoding="utf-8")
        save_mious(rows)


if __name__ == "__main__":
    main()
