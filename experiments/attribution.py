"""Ways of asking which pixels decided a pixel's class, held to one measure (lesson 09).

python -m experiments.attribution            # attribution.json: the parts that it lacks
python -m experiments.attribution --quick    # two scenes, two strips; writes nothing

It takes about twenty minutes on one quiet core. Stated before it ran:

- Scenes: the shipped nano, unseen scenes of 128×128 pixels, one place in each (so that places are
  independent), of the class whose turn it is if the model sees it there, else of any class. What is
  asked about is the logit of the class that the model gives to that place.
- Measure: patches of 8×8 pixels are replaced by those of another picture, the most important ones
  first (deletion), or are put back into that picture (insertion), and the softmax probability of
  the class is taken each time. The area is that under probability over share. The other picture is
  the same one without detail (`coarse`). Varied: a grey picture, one with its pixels shuffled;
  single pixels instead of patches; the lead of the logit over the mean of all; 50 other scenes.
- Sanity: the rank correlation of a map with those for fresh weights (Adebayo and others 2018,
  arXiv:1810.03292), for another place of the same class, and for the class that came second.
- Strips: the shipped "lamps", one ball in each of 50 unseen strips, where the answer is known: the
  lamp. Asked is the logit of the ball's class, and its lead over the other colour's. Added after
  the first reading: the lead of the other colour ("why red?" where the lamp is green). Added after
  the second: the same strips, asked at a place of the empty night, as far from all discs as there
  is one, which is night under every lamp.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from experiments.stochastic_depth import machine
from segformer_edu import SegFormer
from segformer_edu.analysis import attribution as ask
from segformer_edu.analysis.seeds import Interval, bootstrap
from segformer_edu.data.lamps import Lamps
from segformer_edu.data.scenes import CLASSES, Scenes

RESULTS = Path(__file__).parent / "attribution.json"
PLACES, SANE = 50, 24  # scenes in each draw; scenes of the sanity checks
SCENES, STRIPS = Scenes(2 * PLACES, 128, seed=2026), Lamps(PLACES, seed=2026)
SHARES = [each / 64 for each in (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64)]
FILLS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "coarse": lambda image, _: ask.coarse(image),
    "grey": lambda image, _: grey(image),
    "shuffled": lambda image, generator: shuffled(image, generator),
}
SETTINGS = {  # draw of scenes, what fills in, side of a patch
    "main": (0, "coarse", 8),
    "grey": (0, "grey", 8),
    "other scenes": (1, "coarse", 8),
    "shuffled": (0, "shuffled", 8),
    "pixels": (0, "coarse", 1),
}
KINDS, WATCHED = ("deletion", "insertion"), ("probability", "lead")
Question = Callable[[int], tuple[int, int | None]]  # the ball's class → asked, and its rival
QUESTIONS: dict[str, Question] = {
    "its class": lambda own: (own, None),
    "and not the other": lambda own: (own, 3 - own),
}
REVERSED: dict[str, Question] = {
    "the other, and not its own": lambda own: (3 - own, own),
}
AT_NIGHT: dict[str, Question] = {
    "night, and not the lamp's": lambda own: (0, own),
}


def grey(image: Tensor) -> Tensor:
    return image.mean((2, 3), keepdim=True).expand_as(image)


def shuffled(image: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(image[0, 0].numel(), generator=generator)
    return image.flatten(2)[:, :, order].view_as(image)


def chosen_place(labels: Tensor, turn: int, generator: torch.Generator) -> ask.Place:
    """A place of the class whose turn it is, or any if there is none."""
    places = (labels == turn % len(CLASSES)).nonzero()
    if not len(places):
        places = torch.ones_like(labels).nonzero()
    row, column = places[torch.randint(len(places), (), generator=generator)].tolist()
    return row, column


def curves(
    model: SegFormer,
    image: Tensor,
    watched: ask.Score,
    fill: Tensor,
    importance: Tensor,
    patch: int,
    generator: torch.Generator,
) -> Tensor:
    """Deletion and insertion: `(2, shares, …)`, the last axes are those of what is watched."""
    masks = ask.removal_masks(importance, SHARES, patch, generator)
    deletion = ask.removal_curve(model, image, watched, fill, masks)
    return torch.stack([deletion, ask.removal_curve(model, fill, watched, image, masks)])


def area(curve: Tensor) -> Tensor:
    """Under the curves of the last axis."""
    return torch.trapezoid(curve, torch.tensor(SHARES))


def ask_scenes(model: SegFormer, setting: str, count: int) -> dict[str, Any]:
    """The places of a setting, and for each way of asking its areas and mean curves."""
    draw, fill_name, patch = SETTINGS[setting]
    where, generator = (torch.Generator().manual_seed(seed) for seed in (draw, 4))
    found: dict[str, list[Tensor]] = defaultdict(list)
    places = []
    for turn in tqdm(range(count), unit="scene", desc=setting):
        number = draw * PLACES + turn
        image = SCENES[number][0][None]
        with torch.no_grad():
            labels = model(image)[0].argmax(0)
        place = chosen_place(labels, turn, where)
        label = int(labels[place])
        places.append([number, *place, CLASSES[label]])
        fill = FILLS[fill_name](image, generator)
        # Occlusion is always grey, so that it is no copy of the measure everywhere.
        maps = ask.every_way(model, image, place, ask.logit(place, label), grey(image), generator)

        def watched(logits: Tensor, place: ask.Place = place, label: int = label) -> Tensor:
            here = logits[:, :, *place]
            return torch.stack([here.softmax(1)[:, label], here[:, label] - here.mean(1)], 1)

        for name, importance in maps.items():
            both = curves(model, image, watched, fill, importance, patch, generator)
            found[name].append(both)
    return {
        "places": places,
        "areas": {name: areas_of(torch.stack(each)) for name, each in found.items()},
        "curves": {name: bands_of(torch.stack(each)) for name, each in found.items()},
    }


def areas_of(found: Tensor) -> dict[str, list[float]]:
    """`(places, kinds, shares, watched)` → the area of each place."""
    under = area(found.transpose(2, 3))  # (places, kinds, watched)
    return {
        f"{kind}, {what}": rounded(under[:, k, w])
        for k, kind in enumerate(KINDS)
        for w, what in enumerate(WATCHED)
    }


def bands_of(found: Tensor) -> dict[str, dict[str, list[float]]]:
    """The mean probability over places, and a 95 % interval of it by bootstrap over them."""
    told = {}
    for k, kind in enumerate(KINDS):
        each = [bootstrap(values, draws=2000) for values in found[:, k, :, 0].T.numpy()]
        ends = zip(Interval._fields, zip(*each, strict=True), strict=True)
        told[kind] = {name: rounded(values) for name, values in ends}
    return told


def rounded(values: Tensor | np.ndarray) -> list[float]:
    return [round(float(each), 4) for each in values]


def check_sanity(model: SegFormer, count: int) -> dict[str, dict[str, list[float]]]:
    """For each way of asking the correlation of its map with three that ask otherwise."""
    told: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    generator = torch.Generator().manual_seed(2)
    for turn in tqdm(range(count), unit="scene", desc="sanity"):
        torch.manual_seed(turn)
        fresh = SegFormer(model.config).eval()
        image = SCENES[turn][0][None]
        with torch.no_grad():
            logits = model(image)[0]
        place = chosen_place(logits.argmax(0), turn, generator)
        label, second = logits[:, *place].topk(2).indices.tolist()
        same = (logits.argmax(0) == label).nonzero()
        row, column = same[(same - torch.tensor(place)).double().norm(dim=1).argmax()].tolist()
        asked = {
            "": (model, place, label),
            "fresh weights": (fresh, place, label),
            "another place": (model, (row, column), label),
            "another class": (model, place, second),
        }
        maps = {
            name: ask.every_way(who, image, at, ask.logit(at, what), grey(image), generator)
            for name, (who, at, what) in asked.items()
        }
        for name, importance in maps.pop("").items():
            for other, those in maps.items():
                found = ask.rank_correlation(importance, those[name])
                told[name][other].append(round(found, 3))
    return told


def on_a_ball(index: int) -> ask.Place:
    _, ball, *_ = STRIPS.discs(index)
    return int(ball.y // 4), int(ball.x // 4)


def in_the_night(index: int) -> ask.Place:
    """A place as far from all discs as there is one."""
    discs = np.array(STRIPS.discs(index))
    rows, columns = 4 * np.mgrid[:16, :64] + 2
    edges = [np.hypot(rows - y, columns - x) - radius for x, y, radius in discs]
    row, column = np.unravel_index(np.min(edges, axis=0).argmax(), rows.shape)
    return int(row), int(column)


def ask_strips(
    model: SegFormer,
    count: int,
    questions: dict[str, Question],
    where: Callable[[int], ask.Place] = on_a_ball,
) -> dict[str, Any]:
    """For each question and way of asking: what falls on the lamp, and the areas."""
    told: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    generator = torch.Generator().manual_seed(3)
    for index in tqdm(range(count), unit="strip", desc="lamps"):
        image = STRIPS[index][0][None]
        covers = [torch.from_numpy(each.raster()[0] > 0) for each in STRIPS.discs(index)]
        lamp, ball, night = covers[0], covers[1], ~torch.stack(covers).any(0)
        place = where(index)
        with torch.no_grad():
            own = int(model(image)[0, 1:, *on_a_ball(index)].argmax()) + 1
        fill = image.median(3, keepdim=True).values.expand_as(image)  # night without discs
        for question, about in questions.items():
            label, rival = about(own)
            score = ask.logit(place, label, rival)
            for name, importance in ask.every_way(
                model, image, place, score, fill, generator
            ).items():
                row = told[question][name]
                support = importance.relu()
                total = support.sum().item() or 1
                row["on the lamp"].append(support[lamp].sum().item() / total)
                row["on the ball"].append(support[ball].sum().item() / total)
                row["lamp above night"].append(ask.ranked_above(importance, lamp, night))
                watched = ask.probability(place, label)
                both = curves(model, image, watched, fill, importance, 8, generator)
                for kind, under in zip(KINDS, area(both).tolist(), strict=True):
                    row[kind].append(under)
    return {
        question: {
            name: {what: rounded(values) for what, values in row.items()}
            for name, row in rows.items()
        }
        for question, rows in told.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.attribution", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two of each; writes nothing")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    nano, lamps = (SegFormer.from_pretrained(name).folded() for name in ("nano", "lamps"))
    count, sane = (2, 2) if quick else (PLACES, SANE)
    parts: dict[str, Callable[[], Any]] = {
        "main": lambda: ask_scenes(nano, "main", count),
        "lights": lambda: [Lamps.class_names[STRIPS.draw(n)[1].max()] for n in range(count)],
        "strips": lambda: ask_strips(lamps, count, QUESTIONS),
        "strips, reversed": lambda: ask_strips(lamps, count, REVERSED),
        "strips, night": lambda: ask_strips(lamps, count, AT_NIGHT, in_the_night),
        "sanity": lambda: check_sanity(nano, sane),
        **{name: partial(ask_scenes, nano, name, count) for name in list(SETTINGS)[1:]},
    }
    stored = RESULTS.exists() and not quick
    told = json.loads(RESULTS.read_text(encoding="utf-8")) if stored else {}
    for name in [each for each in parts if each not in told]:
        told = {"machine": machine()} | told | {name: parts[name]()}
        if not quick:
            text = json.dumps(told, ensure_ascii=False)
            RESULTS.write_text(text.replace("}, ", "},\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
