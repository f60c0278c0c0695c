"""How much of nano's mIoU a head fitted to its maps reaches, with a ReLU and without (lesson 07).

python -m experiments.decoder_heads            # decoder_heads.json
python -m experiments.decoder_heads --quick    # one draw, 2 and 4 iterations; writes nothing
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from experiments.stochastic_depth import machine, spread
from segformer_edu import SegFormer
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import confusion_matrix, scores

RESULTS = Path(__file__).parent / "decoder_heads.json"
SIDE, FITTED_TO, JUDGED_BY = 128, 32, 24  # pixels; scenes
DRAWS = (709, 710, 711)  # seeds of the scenes that heads are fitted to
UNSEEN = 707  # the seed of the scenes that they are evaluated on, as in the lesson
ITERATIONS = (40, 300)
STARTS = 2  # of the head with a ReLU; the linear one has a single minimum, and starts at zero


def side_by_side(maps: Sequence[Tensor]) -> Tensor:
    """The four maps at the size of the first, all channels stacked: `(B, ΣC_i, H/4, W/4)`."""
    size = maps[0].shape[2:]
    return torch.cat([F.interpolate(x, size, mode="bilinear") for x in maps], dim=1)


def fit(head: nn.Module, inputs: Tensor, targets: Tensor, iterations: int = 40) -> None:
    """Fit a head to maps and the classes of their tokens, by L-BFGS, with a little weight decay."""
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=iterations, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        penalty = sum(weight.square().sum() for weight in head.parameters() if weight.ndim > 1)
        loss = F.cross_entropy(head(inputs), targets) + 1e-5 * penalty
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)


def linear(channels: int) -> nn.Module:
    head = nn.Conv2d(channels, len(CLASSES), 1)
    nn.init.zeros_(head.weight)
    return head


def with_relu(channels: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(channels, 64, 1), nn.ReLU(), nn.Conv2d(64, len(CLASSES), 1))


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    images, labels = zip(*Scenes(count, SIDE, seed), strict=True)
    return torch.stack(images), torch.stack(labels)


@torch.no_grad()
def runs(quick: bool) -> Iterator[dict[str, Any]]:
    """A row for each draw, length of the fit, and head."""
    nano = SegFormer.from_pretrained("nano")
    images, labels = scenes(JUDGED_BY, UNSEEN)
    maps = side_by_side(nano.encoder(images))

    def miou(logits: Tensor) -> float:
        large = F.interpolate(logits, (SIDE, SIDE), mode="bilinear")
        return scores(confusion_matrix(large.argmax(1), labels, len(CLASSES))).miou

    whole = miou(nano(images))
    for draw in DRAWS[: 1 if quick else None]:
        others, truth = scenes(FITTED_TO, draw)
        inputs, targets = side_by_side(nano.encoder(others)), truth[:, 2::4, 2::4].long()
        for iterations in (2, 4) if quick else ITERATIONS:
            for start in range(-1, STARTS):
                channels = inputs.shape[1]
                head = linear(channels) if start < 0 else with_relu(channels, start)
                fit(head, inputs, targets, iterations)
                yield {
                    "head": "linear" if start < 0 else "with a ReLU",
                    "iterations": iterations,
                    "draw": draw,
                    "share": round(miou(head(maps)) / whole, 4),
                }


def shares(rows: Sequence[dict[str, Any]], head: str, iterations: int) -> list[float]:
    """The percentage of nano's mIoU that a head reached, in each draw and from each start."""
    chosen = (row for row in rows if (row["head"], row["iterations"]) == (head, iterations))
    return [100 * row["share"] for row in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.decoder_heads", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="one draw, 2 and 4 iterations")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    total = (1 if quick else len(DRAWS)) * 2 * (1 + STARTS)
    rows = list(tqdm(runs(quick), total=total, unit="fit"))
    if not quick:
        lines = ",\n".join(map(json.dumps, rows))
        text = f'{{"machine": {json.dumps(machine())},\n"runs": [\n{lines}\n]}}\n'
        RESULTS.write_text(text, encoding="utf-8")
    for iterations in sorted({row["iterations"] for row in rows}):
        for head in ("linear", "with a ReLU"):
            print(f"{iterations:>3} iterations, {head}: {spread(shares(rows, head, iterations))} %")


if __name__ == "__main__":
    main()
