"""Token merging on the nano that ships, without new training: what it saves and what it loses.

python -m experiments.token_merging                # all parts, into token_merging.json
python -m experiments.token_merging 128            # or some: 128, 256, …
python -m experiments.token_merging --quick        # two scenes, the first rows; writes nothing

Every way of merging is tried on the same scenes, which nobody trained or validated with; so are the
trained reductions of the same nano that leave as many keys (but stage 4 has none beyond 2, so it
keeps more where 15 of 16 go). Each row has the difference in mIoU to the model that it stands
against, with an interval that holds 95 % of 2,000 draws of as many scenes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import cache
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from experiments.stochastic_depth import machine
from experiments.training import text_of
from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.analysis.token_merging import MATCHINGS, NOTHING, Merging, merged, multiply_adds
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training.metrics import confusion_matrices, mious, redrawn_mious
from segformer_edu.training.minute import in_memory, predictions

RESULTS = Path(__file__).parent / "token_merging.json"
DRAWS = 2000
PUBLISHED = (4, 2, 1, 1)
# Of the same nano, with as many keys as are left where 3 of 4 are merged, and 15 of 16.
FEWER_KEYS = {
    PUBLISHED: {0.75: (8, 4, 2, 2)},
    (1, 1, 1, 1): {0.75: (2, 2, 2, 2), 0.9375: (4, 4, 4, 2)},
}
SHARES = {0.5: 2, 0.75: 2, 0.9375: 4}  # of the tokens → the side of a cell
Row = dict[str, Any]


class Name(NamedTuple):
    """What tells a row from others: what is merged, how it is matched, and which share of it."""

    what: str
    matching: str | None
    share: float | None


class Way(NamedTuple):
    """One way to merge: for each stage which queries and which keys; are merged keys counted?"""

    name: Name
    queries: tuple[Merging, ...]
    keys: tuple[Merging, ...]
    proportional: bool = False


def ways() -> Iterator[Way]:
    """Every way that is tried: SegFormer++'s own setting, then keys or queries of all stages."""
    none = (NOTHING,) * 4
    for how in MATCHINGS:
        yield segformer_plus_plus(how)
    for (share, cell), how in product(SHARES.items(), MATCHINGS):
        some = (Merging(share, cell, how),) * 4
        yield Way(Name("keys", how, share), none, some)
        yield Way(Name("queries", how, share), some, none)
    for share, cell in SHARES.items():
        some = (Merging(share, cell),) * 4
        yield Way(Name("keys, counted", "similar", share), none, some, proportional=True)


def segformer_plus_plus(matching: str = "similar") -> Way:
    """What its authors call HQ: six of ten keys in stages 1 and 2, eight of ten queries in 3 and 4.

    So says docs/run/token_merging.md of huggingface.co/KieDani/SegformerPlusPlus.
    """
    keys = (Merging(0.6, 2, matching),) * 2 + (NOTHING,) * 2
    queries = (NOTHING,) * 2 + (Merging(0.8, 4, matching),) * 2
    return Way(Name("SegFormer++ HQ", matching, None), queries, keys)


NOBODY = Name("nothing", None, None)


class Part(NamedTuple):
    """On which pictures, and at which reduction ratios, everything is tried."""

    size: int
    ratios: tuple[int, ...] = PUBLISHED
    scenes: int = 100
    seed: int = 2026


PARTS = {
    "128": Part(128),
    "256": Part(256),
    "128 without reduction": Part(128, ratios=(1, 1, 1, 1)),
    "128 again": Part(128, scenes=300, seed=2027),  # does what the first part found come back?
}


@cache
def pictures(size: int, scenes: int, seed: int) -> tuple[Tensor, Tensor]:
    return in_memory(Scenes(scenes, size, seed))


def nano(ratios: tuple[int, ...]) -> SegFormer:
    own = SegFormer.from_pretrained("nano").config
    return SegFormer.from_pretrained("nano", config=own.replace(reduction_ratios=ratios))


def change(found: np.ndarray, usual: np.ndarray) -> tuple[float, float, float]:
    """The difference in mIoU, and where 95 % of it lie when the scenes are drawn again."""
    low, high = np.quantile(drawn_changes(found, usual, DRAWS), [0.025, 0.975])
    return float(mious(found.sum(0)) - mious(usual.sum(0))), float(low), float(high)


def drawn_changes(found: np.ndarray, usual: np.ndarray, draws: int) -> np.ndarray:
    """The difference in mIoU on as many scenes, drawn again and again, the same ones for both.

    Shape: `(N, K, K)`, `(N, K, K)` → `(draws,)`.
    """
    chosen = np.random.default_rng(0).integers(len(found), size=(draws, len(found)))
    times = np.stack([np.bincount(row, minlength=len(found)) for row in chosen])  # (draws, N)
    return redrawn_mious(found, times) - redrawn_mious(usual, times)


def rows(part: Part, quick: bool = False) -> Iterator[Row]:
    """The rows of a part: each model against the one that merges nothing; then pairs of them."""
    size, ratios, scenes, seed = part._replace(scenes=2) if quick else part
    images, labels = pictures(size, scenes, seed)
    found: dict[Name, np.ndarray] = {}
    adds: dict[Name, int] = {}

    def row(name: Name, against: Name) -> Row:
        difference, low, high = change(found[name], found[against])
        return {
            "size": size,
            "ratios": list(ratios),
            "scenes": scenes,
            "seed": seed,
            **name._asdict(),
            "against": " ".join(map(str, filter(None, against))),
            "multiply-adds": adds[name],
            "cost": round(adds[name] / adds[NOBODY], 4),
            "miou": round(float(mious(found[name].sum(0))), 4),
            "change": round(difference, 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }

    for name, model, cost_of in models(size, ratios, quick):
        said = predictions(model, images)
        found[name], adds[name] = confusion_matrices(said, labels, len(CLASSES)), cost_of
        yield row(name, NOBODY)
    yield from (row(*pair) for pair in pairs(list(found)))


def models(
    size: int, ratios: tuple[int, ...], quick: bool
) -> Iterator[tuple[Name, SegFormer, int]]:
    """What is compared, and its multiply-adds; the first merges nothing."""
    model, shape = nano(ratios), (size, size)
    yield NOBODY, model, cost(model.config, shape).multiply_adds
    for share, fewer in FEWER_KEYS[ratios].items():
        other = nano(fewer)
        yield Name("trained reduction", None, share), other, cost(other.config, shape).multiply_adds
    silent = without_branches(model, branches(model, "attention"))
    yield Name("no attention", None, None), silent, without_its_cost(model.config, shape)
    for way in islice(ways(), 4 if quick else None):
        adds = multiply_adds(model.config, shape, way.queries, way.keys)
        yield way.name, merged(model, way.queries, way.keys, way.proportional), adds


def pairs(names: list[Name]) -> Iterator[tuple[Name, Name]]:
    """What is also compared directly: other matchings, counted keys and trained reductions, each
    with the similar tokens, as many of them merged.
    """
    for name in names:
        what = "keys" if name.what in ("keys, counted", "trained reduction") else name.what
        similar = Name(what, "similar", name.share)
        if similar in names and name != similar:
            yield name, similar
        counted = Name("keys, counted", "similar", name.share)
        if name.what == "trained reduction" and counted in names:
            yield name, counted


def without_its_cost(config: SegFormerConfig, size: tuple[int, int]) -> int:
    """Multiply-adds of a model in which nobody attends."""
    bill = cost(config, size)
    spent = [stage.multiply_adds_of for stage in bill.stages]
    attending = sum(x.projections + x.reduction + x.attention_matmuls for x in spent)
    return bill.multiply_adds - attending


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.token_merging")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="two scenes; writes nothing")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for part in options.parts or PARTS:
        found = []
        for row in rows(PARTS[part], options.quick):
            found.append(row)
            print(row, flush=True)
        results[part] = {"machine": machine(), "rows": found}
        if not options.quick:
            RESULTS.write_text(text_of(results), encoding="utf-8")


if __name__ == "__main__":
    main()
