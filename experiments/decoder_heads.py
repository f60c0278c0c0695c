"""How much of nano's mIoU a head fitted to its maps reaches, with a ReLU and without (lesson 07).

python -m experiments.decoder_heads            # decoder_heads.json
python -m experiments.decoder_heads --quick    # one draw, few scenes, 2 and 4 iterations; no file
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from experiments.stochastic_depth import machine, spread
from segformer_edu import SegFormer
from segformer_edu.analysis.heads import fit, linear_head, side_by_side
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import confusion_matrix, scores

RESULTS = Path(__file__).parent / "decoder_heads.json"
SIDE, JUDGED_BY = 128, 24  # pixels; scenes
FITTED_TO = (32, 128)  # scenes
DRAWS = (709, 710, 711)  # seeds of the scenes that heads are fitted to
UNSEEN = 707  # the seed of the scenes that they are evaluated on, as in the lesson
ITERATIONS = (40, 300)
STARTS = 2  # of the head with a ReLU; the linear one has a single minimum, and starts at zero


def head_of(channels: int, start: int) -> nn.Module:
    """The head with a ReLU from a start of its own or, below zero, the linear one."""
    if start < 0:
        return linear_head(channels, len(CLASSES))
    torch.manual_seed(start)
    return nn.Sequential(nn.Conv2d(channels, 64, 1), nn.ReLU(), nn.Conv2d(64, len(CLASSES), 1))


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    images, labels = zip(*Scenes(count, SIDE, seed), strict=True)
    return torch.stack(images), torch.stack(labels)


@torch.no_grad()
def runs(quick: bool) -> Iterator[dict[str, Any]]:
    """A row for each number of scenes, draw, length of the fit, and head."""
    nano = SegFormer.from_pretrained("nano")
    images, labels = scenes(JUDGED_BY, UNSEEN)
    maps = side_by_side(nano.encoder(images))

    def miou(logits: Tensor) -> float:
        large = F.interpolate(logits, (SIDE, SIDE), mode="bilinear")
        return scores(confusion_matrix(large.argmax(1), labels, len(CLASSES))).miou

    whole = miou(nano(images))
    choice = 1 if quick else None
    for count, draw in product(FITTED_TO[:choice], DRAWS[:choice]):
        others, truth = scenes(count, draw)
        inputs = side_by_side(nano.encoder(others))
        targets = truth[:, 2::4, 2::4].long()  # one pixel a token, for it takes a third of the time
        for iterations in (2, 4) if quick else ITERATIONS:
            for start in range(-1, STARTS):
                head = head_of(inputs.shape[1], start)
                fit(head, inputs, targets, iterations)
                yield {
                    "scenes": count,
                    "head": "linear" if start < 0 else "with a ReLU",
                    "iterations": iterations,
                    "draw": draw,
                    "share": round(miou(head(maps)) / whole, 4),
                }


def shares(rows: Sequence[dict[str, Any]], count: int, head: str, iterations: int) -> list[float]:
    """The percentage of nano's mIoU that a head reached, in each draw and from each start.

    Args:
        rows: as `runs` gives them.
        count: of the scenes that it was fitted to.
        head, iterations: which one, and for how long.
    """
    wanted = (count, head, iterations)
    chosen = (row for row in rows if (row["scenes"], row["head"], row["iterations"]) == wanted)
    return [100 * row["share"] for row in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.decoder_heads", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="one draw, few scenes, little time")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    total = (1 if quick else len(FITTED_TO) * len(DRAWS)) * 2 * (1 + STARTS)
    rows = list(tqdm(runs(quick), total=total, unit="fit"))
    if not quick:
        lines = ",\n".join(map(json.dumps, rows))
        text = f'{{"machine": {json.dumps(machine())},\n"runs": [\n{lines}\n]}}\n'
        RESULTS.write_text(text, encoding="utf-8")
    for count, iterations in sorted({(row["scenes"], row["iterations"]) for row in rows}):
        for head in ("linear", "with a ReLU"):
            share = spread(shares(rows, count, head, iterations))
            print(f"{count:>3} scenes, {iterations:>3} iterations, {head}: {share} %")


if __name__ == "__main__":
    main()
