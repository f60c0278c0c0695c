"""What a nano loses with its branches, trained with stochastic depth and without (lessons 05, 09).

python -m experiments.branches            # branches.json, and what lesson 05's widget shows
python -m experiments.branches --quick    # two scenes, two draws; writes nothing

The two models that ship, on scenes that neither has seen: mIoU without each branch, each block, and
all blocks of each stage; and without the branches that DropPath leaves out in 40 draws at each of
several rates, the same draws for both. One training of each kind, one seed: the intervals are over
scenes, and over draws where there are any, and not over trainings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from experiments.stochastic_depth import machine
from segformer_edu import SegFormer
from segformer_edu.analysis.branches import Branch, branches, drawn_branches, without_branches
from segformer_edu.analysis.seeds import redrawn
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training.metrics import confusion_matrices, mious, redrawn_mious
from segformer_edu.training.minute import in_memory, predictions
from segformer_edu.widgets import branches as widget
from segformer_edu.widgets.branches import MODELS

RESULTS = Path(__file__).with_suffix(".json")
SIZE, SCENES, SEED = 128, 100, 2026  # of a seed that neither trained nor validated
RATES, DRAWS = widget.RATES[1:], 40
RESAMPLES, INTERVAL = 2000, (0.025, 0.975)
Row = dict[str, Any]


class Confusions:
    """Both models without any branches, on the same scenes; each choice is computed once."""

    def __init__(self, scenes: int) -> None:
        self.models = [SegFormer.from_pretrained(name) for name in MODELS]
        self.images, self.labels = in_memory(Scenes(scenes, SIZE, SEED))
        self.known: dict[frozenset[Branch], np.ndarray] = {}

    def without(self, missing: Iterable[Branch]) -> np.ndarray:
        """Confusion matrices, a row for each true class: `(models, scenes, K, K)`."""
        key = frozenset(missing)
        if key not in self.known:
            self.known[key] = np.stack([self._of(model, key) for model in self.models])
        return self.known[key]

    def _of(self, model: SegFormer, missing: Iterable[Branch]) -> np.ndarray:
        said = predictions(without_branches(model, missing), self.images)
        return confusion_matrices(said, self.labels, len(CLASSES))


def estimate(value: float, values: np.ndarray) -> list[float]:
    """A value, and the ends of the middle 95 % of what its resamples give; never −0."""
    return [round(float(each), 4) + 0.0 for each in (value, *np.quantile(values, INTERVAL))]


def by_model(values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in zip(MODELS, values, strict=True)}


def compared(found: np.ndarray, drawn: np.ndarray) -> Row:
    """What the two models lose, and how much less the second loses; each value with its interval.

    Args:
        found, drawn: mIoU of the whole models, and without branches: `(2, 2)`, `(2, 2, resamples)`;
            the models along the second axis.
    """
    lost, lost_drawn = found[0] - found[1], drawn[0] - drawn[1]
    return {
        "miou": by_model(found[1]),
        "lost": {
            name: estimate(*each) for name, *each in zip(MODELS, lost, lost_drawn, strict=True)
        },
        "spared": estimate(lost[0] - lost[1], lost_drawn[0] - lost_drawn[1]),
        "ahead": estimate(found[1, 1] - found[1, 0], drawn[1, 1] - drawn[1, 0]),
    }


def one_choice(confusions: Confusions, missing: Sequence[Branch], counts: np.ndarray) -> Row:
    """The row of some branches that are left out, with intervals over scenes."""
    pair = np.stack([confusions.without(each) for each in ((), missing)])
    return {"missing": missing, **compared(mious(pair.sum(2)), redrawn_mious(pair, counts))}


def many_draws(
    confusions: Confusions, rate: float, draws: int, counts: np.ndarray, chance: np.random.Generator
) -> Row:
    """The row of a rate: means over draws, with intervals over scenes and draws, both resampled."""
    missing = [drawn_branches(confusions.models[0], rate, draw) for draw in range(1, draws + 1)]
    each = np.stack([confusions.without(branches) for branches in tqdm(missing, desc=f"{rate}")])
    found = mious(each.sum(2))  # (draws, models)
    weights = redrawn(draws, len(counts), chance) / draws
    of_draws = np.einsum("dmr,rd->mr", redrawn_mious(each, counts), weights)
    whole = confusions.without(())
    means = np.stack([mious(whole.sum(1)), found.mean(0)])
    rows = [
        {"missing": left_out, "miou": by_model(pair)}
        for left_out, pair in zip(missing, found, strict=True)
    ]
    told = compared(means, np.stack([redrawn_mious(whole, counts), of_draws]))
    return {"rate": rate, "missing": round(np.mean([*map(len, missing)]), 2), **told, "draws": rows}


def save_for_widget(confusions: Confusions) -> None:
    """mIoU in each state of the widget, `(models, branches, rates, draws)`."""
    sliders = widget.BRANCHES, widget.RATES, widget.DRAWS
    states = list(product(*sliders))
    found = [mious(confusions.without(widget.missing(*each)).sum(1)) for each in tqdm(states)]
    shape = [len(MODELS), *map(len, sliders)]
    np.savez_compressed(widget.TABLE, miou=np.array(found, np.float32).T.reshape(shape))


def a_line_each(results: Row) -> str:
    """JSON with a line for each row."""
    parts = []
    for name, value in results.items():
        rows = isinstance(value, list)
        text = "[\n" + ",\n".join(map(json.dumps, value)) + "]" if rows else json.dumps(value)
        parts.append(f"{json.dumps(name)}: {text}")
    return "{" + ",\n".join(parts) + "}\n"


def choices(every: Sequence[Branch]) -> list[Sequence[Branch]]:
    """Nothing, each branch by itself, both of each block, and all of each stage."""
    blocks = [every[start : start + 2] for start in range(0, len(every), 2)]
    stages = [[each for each in every if each.stage == stage] for stage in range(4)]
    return [[], *([each] for each in every), *blocks, *stages]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.branches", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two scenes, two draws")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    scenes, draws, resamples = (2, 2, 20) if quick else (SCENES, DRAWS, RESAMPLES)
    confusions, chance = Confusions(scenes), np.random.default_rng(0)
    counts = redrawn(scenes, resamples, chance)
    every = branches(confusions.models[0])
    results = {
        "machine": machine(),
        "scenes": scenes,
        "choices": [one_choice(confusions, each, counts) for each in tqdm(choices(every))],
        "rates": [many_draws(confusions, rate, draws, counts, chance) for rate in RATES],
    }
    for row in [*results["choices"], *results["rates"]]:
        print(row.get("rate", row["missing"]), row["lost"], "spared:", row["spared"])
    if not quick:
        RESULTS.write_text(a_line_each(results), encoding="utf-8")
        save_for_widget(confusions)


if __name__ == "__main__":
    main()
