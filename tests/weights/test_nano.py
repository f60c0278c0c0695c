"""The weights for street scenes do what their cards say."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch

import segformer_edu
from experiments.every_ratio import DROP_PATH_RATE, HERE, config
from segformer_edu import SegFormer
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import Scores, Settings, evaluate, scores
from segformer_edu.training.every_ratio import RATIOS

NAMES, SIZES = ("nano", "nano-drop-path"), (128, 256)
FOLDERS = {name: Path(segformer_edu.__file__).parent / "weights" / name for name in NAMES}
CARDS = {name: (FOLDERS[name] / "README.md").read_text(encoding="utf-8") for name in NAMES}
ROWS = json.loads((HERE / "every_ratio.json").read_text(encoding="utf-8"))["rows"]
SETTINGS = Settings.from_yaml(HERE / "every_ratio.yaml")
HELD_OUT, SEED = 100, 2026  # scenes of a seed that training and validation never drew from
COMBINATIONS = list(product(*RATIOS))


@cache
def model(name: str = "nano", ratios: tuple[int, ...] = (4, 2, 1, 1)) -> SegFormer:
    own = SegFormer.from_pretrained(name).config
    return SegFormer.from_pretrained(name, config=own.replace(reduction_ratios=ratios))


@cache
def found(name: str, size: int, ratios: tuple[int, ...] = (4, 2, 1, 1)) -> Scores:
    return scores(evaluate(model(name, ratios), Scenes(HELD_OUT, size, SEED), batch_size=4).cpu())


@pytest.mark.parametrize(("size", "least"), [(128, 0.80), (256, 0.84)])
@pytest.mark.parametrize("name", NAMES)
def test_scores_on_held_out_scenes_are_those_of_the_card(name, size, least):
    here = found(name, size)
    assert here.miou >= least
    row = re.search(rf"^\| {size} × {size} \| (.*) \|$", CARDS[name], re.MULTILINE)
    assert row is not None
    assert [float(number) for number in row[1].split(" | ")] == pytest.approx(
        [here.miou, here.pixel_accuracy, *here.iou], abs=2e-3
    )


@pytest.mark.parametrize("size", SIZES)
def test_it_is_at_most_a_hundredth_behind_the_one_trained_for_its_ratios_alone(size):
    told = re.search(
        r"reached ([\d.]+) at 128 pixels and ([\d.]+) at 256. This one is ([\d.]+) and ([\d.]+) "
        r"behind",
        CARDS["nano"],
    )
    assert told is not None
    alone, behind = (float(told[SIZES.index(size) + group]) for group in (1, 3))
    assert alone - found("nano", size).miou < 0.01
    assert behind == pytest.approx(alone - found("nano", size).miou, abs=2e-3)


@pytest.mark.parametrize(
    ("ratios", "size"),
    [
        ((4, 2, 1, 1), 128),
        ((1, 1, 1, 1), 128),
        ((8, 8, 4, 2), 128),
        ((4, 2, 1, 1), 256),
        ((8, 2, 1, 2), 256),
    ],
)
def test_the_weights_score_what_the_table_of_all_ratios_says(ratios, size):
    (row,) = (row for row in ROWS if (tuple(row["ratios"]), row["size"]) == (ratios, size))
    here = found("nano", size, ratios)
    assert [here.miou, here.pixel_accuracy, *here.iou] == pytest.approx(
        [row["miou"], row["pixel accuracy"], *row["iou"]], abs=2e-3
    )
    assert row["parameters"] == sum(x.numel() for x in model("nano", ratios).parameters())


def test_the_card_shows_that_table():
    """All of it, some rows in front, and between which scores they lie."""
    assert [(tuple(row["ratios"]), row["size"]) for row in ROWS] == [
        (ratios, size) for size in SIZES for ratios in COMBINATIONS
    ]
    cells = re.findall(r"([\d.]+) \(([\d.]+)\)", CARDS["nano"])
    told = [(f"{row['miou']:.4f}", f"{row['multiply-adds'] / 1e6:.1f}") for row in ROWS]
    assert cells == told
    pairs = zip(COMBINATIONS, told[:96], told[96:], strict=True)
    lines = {f"| {', '.join(map(str, r))} | {' | '.join((*a, *b))} |" for r, a, b in pairs}
    few = re.findall(r"^\| \d, \d, \d, \d \|.*$", CARDS["nano"], re.MULTILINE)
    assert len(few) == 6 and lines.issuperset(few)
    for size in SIZES:
        some = [row for row in ROWS if row["size"] == size]
        mious = [f"{row['miou']:.4f}" for row in some]
        assert f"between {min(mious)} and {max(mious)} at {size}" in CARDS["nano"]
        best = max(some, key=lambda row: (row["miou"], -row["multiply-adds"]))
        assert f"{tuple(best['ratios'])} at {size}" in CARDS["nano"]


def test_any_combination_of_ratios_loads_and_shares_all_but_its_reductions():
    shared = {name: x for name, x in model().state_dict().items() if ".reduce." not in name}
    for ratios in COMBINATIONS:
        state = SegFormer.from_pretrained(
            "nano", config=model().config.replace(reduction_ratios=ratios)
        ).state_dict()
        assert all(torch.equal(state[name], x) for name, x in shared.items())
        for stage, ratio in enumerate(ratios):
            reduction = f"encoder.stages.{stage}.blocks.1.attention.reduce.projection.weight"
            assert state[reduction].shape[-1] == ratio if ratio > 1 else reduction not in state


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_nano_for_scenes_in_single_precision(name):
    assert model(name).config.class_names == CLASSES
    assert {x.dtype for x in model(name).parameters()} == {torch.float32}
    assert f"{sum(x.numel() for x in model(name).parameters()):,} parameters" in CARDS[name]


def test_both_are_small_and_one_has_a_single_set_of_ratios():
    files = [file for folder in FOLDERS.values() for file in folder.iterdir()]
    assert sum(file.stat().st_size for file in files) < 4e6
    with pytest.raises(ValueError, match="does not fit the config"):
        model("nano-drop-path", (8, 4, 2, 1))


@pytest.mark.parametrize(("name", "rate"), [("nano", 0.0), ("nano-drop-path", DROP_PATH_RATE)])
def test_the_settings_that_the_card_names_make_this_model(name, rate):
    chosen = SETTINGS.replace(config=SETTINGS.config | {"drop_path_rate": rate})
    assert config(chosen) == model(name).config
    assert "`experiments/every_ratio.yaml`" in CARDS[name]
    steps = f"{chosen.steps:,} steps of {chosen.batch_size} scenes of {chosen.size} × {chosen.size}"
    assert f"{steps} pixels, seed {chosen.seed}" in CARDS["nano"]
    assert f"`drop_path_rate` of {DROP_PATH_RATE}" in CARDS["nano-drop-path"]


def test_it_looks_at_more_than_a_pixel():
    """A picture turned upside down has the same pixels, and is another street."""
    images, labels = map(torch.stack, zip(*list(Scenes(8, 128, SEED)), strict=True))
    right = (model().predict(images) == labels).float().mean()
    turned = (model().predict(images.flip(2)).flip(1) == labels).float().mean()
    assert turned < right - 0.2
