"""What heads look at against what they do: on street scenes, and on lamps (lesson 09).

python -m experiments.heads            # all that heads.json does not hold yet
python -m experiments.heads --quick    # four pictures, three steps; writes nothing

On scenes, for each head of nano: how spread its attention is, and the mIoU lost when it is silenced
or made to look everywhere alike; the same for whole stages. On strips, for each stage of models
that learned lamps, the one that ships (seed 0) and four others: attention of the balls on the lamp,
red, green and unlit; the balls that are right when the stage is silenced or looks everywhere alike;
and those that follow another lamp when the stage gets what it gathered under that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments import lamps
from experiments.stochastic_depth import machine
from experiments.token_merging import drawn_changes
from segformer_edu import SegFormer
from segformer_edu.analysis import attention_maps
from segformer_edu.analysis.attention_heads import attention_on, cells, entropy, even_share
from segformer_edu.analysis.interventions import silenced, transplanted, with_even_attention
from segformer_edu.analysis.lamps import all_lamps_and_balls, all_relit
from segformer_edu.data.lamps import CLASSES, Lamps
from segformer_edu.data.scenes import Scenes
from segformer_edu.training.metrics import confusion_matrices, mious

RESULTS = Path(__file__).with_suffix(".json")
SCENES, SCENE_SEEDS = 100, (2026, 2027)  # unseen in training
STRIPS, STRIP_SEED = 100, 2026
MODELS, STEPS = range(5), 600  # seeds of the models of lamps: 0 ships, the others get 600 steps
DRAWS = 1000  # of the scenes, for a standard error
LEAST = 0.25  # of a token's area: then it is a ball's
Row = dict[str, Any]


@torch.no_grad()
def confusions(model: SegFormer, images: Tensor, labels: Tensor) -> np.ndarray:
    """A confusion matrix for each picture: `(N, K, K)`."""
    said = torch.cat([model.predict(part) for part in images.split(10)])
    return confusion_matrices(said, labels, model.config.num_classes)


def miou(confusions: np.ndarray) -> float:
    """Of all pictures together."""
    return float(mious(confusions.sum(0)))


def lost(before: np.ndarray, after: np.ndarray) -> list[float]:
    """The mIoU lost and its standard error, drawing the same scenes anew for both."""
    error = float(drawn_changes(before, after, DRAWS).std())
    return [round(miou(before) - miou(after), 5), round(error, 5)]


def on_scenes(seed: int, count: int) -> Iterator[Row]:
    """A row for each head of nano, and one for each stage as a whole."""
    nano = SegFormer.from_pretrained("nano")
    images, labels = map(torch.stack, zip(*Scenes(count, 128, seed=seed), strict=True))
    before = confusions(nano, images, labels)
    parts = [attention_maps(nano, part) for part in images.split(10)]
    config = nano.config
    for stage, depth in enumerate(config.depths):
        places = [
            (block, [head]) for block in range(depth) for head in range(config.num_heads[stage])
        ]
        for block, heads in [*places, (None, None)]:
            row: Row = {"seed": seed, "stage": stage, "block": block, "head": heads and heads[0]}
            for name, change in (("silenced", silenced), ("even", with_even_attention)):
                changed = nano
                for each in range(depth) if block is None else [block]:
                    changed = change(changed, stage, each, heads)
                row[name] = lost(before, confusions(changed, images, labels))
            if block is not None and heads:
                maps = torch.cat([part[stage][block][:, heads[0]] for part in parts])
                nats = entropy(maps).mean((1, 2))  # of each scene
                row["nats"] = [round(nats.mean().item(), 4), round(nats.std().item(), 4)]
                row["keys"] = maps[0, 0, 0].numel()
            yield row


@cache
def model_of(seed: int, steps: int) -> SegFormer:
    """The model of lamps that ships, or another, trained like it, but shorter."""
    if seed == 0:
        return SegFormer.from_pretrained("lamps")
    return lamps.run(lamps.KINDS[0], seed, steps)[1].eval()


@torch.no_grad()
def on_strips(seed: int, steps: int, count: int) -> Iterator[Row]:
    """A row for each stage of a model of lamps."""
    model, strips = model_of(seed, steps), Lamps(count, STRIP_SEED)
    lamp, balls = all_lamps_and_balls(strips)
    labels = torch.stack([labels for _, labels in strips])
    own = labels.amax((1, 2))  # 1 or 2
    lit = {light: all_relit(strips, light) for light in CLASSES}
    red = own[:, None, None, None] == 1
    images = torch.where(red, lit["red"], lit["green"])
    others = torch.where(red, lit["green"], lit["red"])
    maps = {light: attention_maps(model, each) for light, each in lit.items()}

    def share(said: Tensor, wanted: Tensor) -> float:
        """Of the pixels of balls, those that are called by the wanted colour."""
        return round((said == wanted[:, None, None])[balls].float().mean().item(), 4)

    for stage in range(4):
        tall, wide, *keys = maps["red"][stage][0].shape[2:]
        on, asking = cells(lamp, tuple(keys)), cells(balls, (tall, wide), LEAST)
        yield {
            "model": seed,
            "stage": stage,
            "on_lamp": {
                light: [
                    round(each, 4) for each in attention_on(found[stage][0], on, asking).tolist()
                ]
                for light, found in maps.items()
            },
            "evenly": round(even_share(on, asking), 4),
            "intact": share(model.predict(images), own),
            "silenced": share(silenced(model, stage).predict(images), own),
            "even": share(with_even_attention(model, stage).predict(images), own),
            "followed": share(transplanted(model, images, others, stage), 3 - own),
            "heads_followed": [
                share(transplanted(model, images, others, stage, 0, [head]), 3 - own)
                for head in range(model.config.num_heads[stage])
            ],
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.heads", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything; writes nothing")
    quick = parser.parse_args().quick
    stored: dict[str, Any] = {"scenes": [], "strips": []}
    if RESULTS.exists() and not quick:
        stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    for seed in SCENE_SEEDS:
        if all(row["seed"] != seed for row in stored["scenes"]):
            stored["scenes"] += on_scenes(seed, 4 if quick else SCENES)
            save(stored, quick)
    for seed in MODELS:
        if all(row["model"] != seed for row in stored["strips"]):
            stored["strips"] += on_strips(seed, *((3, 4) if quick else (STEPS, STRIPS)))
            save(stored, quick)


def save(stored: dict[str, Any], quick: bool) -> None:
    """Write all rows so far, a line each; or print the last one."""
    if quick:
        print((stored["strips"] or stored["scenes"])[-1], flush=True)
        return
    lists = [
        f'"{name}": [\n' + ",\n".join(map(json.dumps, stored[name])) + "]"
        for name in ("scenes", "strips")
    ]
    text = ",\n".join([f'"machine": {json.dumps(machine())}', *lists])
    RESULTS.write_text(f"{{{text}}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
