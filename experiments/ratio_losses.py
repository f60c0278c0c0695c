"""What larger reduction ratios lose: the nano that ships, on more scenes than every_ratio.py has.

python -m experiments.ratio_losses            # ratio_losses.json
python -m experiments.ratio_losses --quick    # three scenes; writes nothing

Each row is a difference between two combinations of ratios on the same scenes, with the interval
that holds 95 % of the differences when the scenes are drawn again with replacement.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.stochastic_depth import machine
from segformer_edu import SegFormer
from segformer_edu.analysis.map_contents import near_a_border
from segformer_edu.analysis.seeds import redrawn
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training.metrics import confusion_matrices, ious
from segformer_edu.training.minute import in_memory, predictions

HERE = Path(__file__).parent
SCENES, SEED = {128: 1000, 256: 400}, 777  # of a seed that nothing else uses
FULL, OWN, CHEAP, CHEAPEST = (1, 1, 1, 1), (4, 2, 1, 1), (8, 2, 1, 2), (8, 8, 4, 2)
PAIRS = ((CHEAPEST, FULL), (CHEAPEST, OWN), (CHEAP, OWN), (OWN, FULL))
DRAWS, LEVELS = 2000, (0.025, 0.975)  # of the scenes, and of the intervals
QUANTITIES = ("miou", *CLASSES, "right at borders", "right elsewhere")
Row = dict[str, Any]


def counts(said: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each scene its confusion matrix, and pixels at borders and elsewhere: right, and all.

    Shape: → `(N, K, K)`, `(N, 2, 2)`.
    """
    border = near_a_border(labels)
    places = [[((said == labels) & of).sum((1, 2)), of.sum((1, 2))] for of in (border, ~border)]
    parts = [torch.stack(each, dim=1) for each in places]
    confusions = confusion_matrices(said, labels, len(CLASSES))
    return confusions, torch.stack(parts, dim=1).numpy()


def quantities(confusions: np.ndarray, places: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`QUANTITIES` for several draws of the scenes, given how often each scene was drawn.

    Shape: `(N, K, K)`, `(N, 2, 2)`, `(draws, N)` → `(draws, K + 3)`.
    """
    iou = ious(np.einsum("dn,nij->dij", times, confusions))
    right, of = np.einsum("dn,npq->qdp", times, places)
    return np.concatenate([iou.mean(1, keepdims=True), iou, right / of], axis=1)


def differences(size: int, scenes: int, pairs: Sequence[Any] = PAIRS) -> list[Row]:
    """A row for each pair, on so many scenes of this size."""
    images, labels = in_memory(Scenes(scenes, size, SEED), workers=1)
    config = SegFormer.from_pretrained("nano").config
    said, counted = {}, {}
    for ratios in dict.fromkeys(sum(pairs, ())):
        asked = config.replace(reduction_ratios=ratios)
        said[ratios] = predictions(SegFormer.from_pretrained("nano", config=asked), images)
        counted[ratios] = counts(said[ratios], labels)
    drawn = redrawn(scenes, DRAWS, np.random.default_rng(0))
    times = np.concatenate([np.ones((1, scenes)), drawn])  # first as they are
    rows = []
    for one, other in pairs:
        found = quantities(*counted[one], times) - quantities(*counted[other], times)
        low, high = np.quantile(found[1:], LEVELS, axis=0)
        rows.append(
            {
                "ratios": one,
                "less": other,
                "size": size,
                "scenes": scenes,
                "changed": round((said[one] != said[other]).float().mean().item(), 5),
                **{
                    name: [round(float(x), 5) for x in each]
                    for name, *each in zip(QUANTITIES, found[0], low, high, strict=True)
                },
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.ratio_losses", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three scenes; writes nothing")
    options = parser.parse_args()
    rows = [
        row
        for size, scenes in SCENES.items()
        for row in differences(size, 3 if options.quick else scenes)
    ]
    if not options.quick:
        text = ",\n".join(map(json.dumps, rows))
        told = json.dumps(machine())
        path = HERE / "ratio_losses.json"
        path.write_text(f'{{"machine": {told}, "rows": [\n{text}]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
