"""Lesson 03's widget shows the numbers of analysis.cost and of experiments/every_ratio.json, and
the attention and labels of the model that ships.
"""

import json
import random
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.every_ratio import save_mious
from segformer_edu import SegFormer
from segformer_edu.analysis import attention_maps, cost
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import Scenes
from segformer_edu.plots.style import BLUE
from segformer_edu.training.every_ratio import RATIOS
from segformer_edu.widgets import SpatialReduction
from segformer_edu.widgets.picture import Lines, Raster, Rectangle, Text

module = sys.modules[SpatialReduction.__module__]
State, CONFIG = module.State, module.CONFIG
TABLE = Path(__file__).resolve().parents[2] / "experiments" / "every_ratio.json"
MEASURED = json.loads(TABLE.read_text(encoding="utf-8"))["rows"]


def some_states(count: int) -> list:
    chance = random.Random(1)
    return [
        State(
            *(chance.choice(each) for each in RATIOS),
            chance.choice(module.HEADS),
            *(chance.choice(module.PERCENTS) for _ in range(2)),
            chance.choice(module.SCENES),
            chance.choice(module.SIZES),
        )
        for _ in range(count)
    ]


def plain(ratios) -> SegFormer:
    return SegFormer.from_pretrained("nano", config=CONFIG.replace(reduction_ratios=ratios)).eval()


def numbers(state) -> dict[str, tuple[str, str]]:
    picture = SpatialReduction.picture_of(state)
    shown = {what: (now, full) for what, now, full in picture.table[1:]}
    assert len(shown) == len(picture.table) - 1  # no two rows of one name
    return shown


def test_the_table_holds_the_numbers_of_analysis_cost() -> None:
    for state in some_states(60):
        now = cost(CONFIG.replace(reduction_ratios=state.ratios), state.size)
        full = cost(CONFIG.replace(reduction_ratios=(1, 1, 1, 1)), state.size)
        pairs = {
            "multiply-adds": [each.multiply_adds for each in (now, full)],
            "attention weights, if stored": [
                sum(4 * stage.attention_entries for stage in each.stages) for each in (now, full)
            ],
        }
        for number, both in enumerate(zip(now.stages, full.stages, strict=True), start=1):
            pairs[f"queries of stage {number}"] = [stage.tokens for stage in both]
            pairs[f"keys of stage {number}"] = [stage.keys for stage in both]
        shown = numbers(state)
        for what, pair in pairs.items():
            assert [int(text.split()[0].replace(",", "")) for text in shown[what]] == pair


def test_an_awkward_size_leaves_tokens_in_no_key() -> None:
    shown = numbers(State(8, 8, 4, 2, size=(124, 100)))
    seen = [shown[f"tokens of stage {stage} that a key sees"] for stage in (1, 2, 3, 4)]
    shares = (24 * 24 / (31 * 25), 16 * 8 / (16 * 13), 8 * 4 / (8 * 7))
    assert seen == [*((f"{100 * share:.1f} %", "100 %") for share in shares), ("100 %", "100 %")]


@pytest.mark.parametrize("size", [128, 256])
def test_the_scores_are_those_of_the_experiment(size: int) -> None:
    rows = {tuple(row["ratios"]): row for row in MEASURED if row["size"] == size}
    assert sorted(rows) == sorted(product(*RATIOS))
    found = module.scores((size, size))
    assert {each: row["miou"] for each, row in rows.items()} == found
    for ratios in (module.OWN, (8, 8, 4, 2)):
        assert rows[ratios]["multiply-adds"] == module.work((size, size), ratios)
    shown = numbers(State(8, 8, 4, 2, size=(size, size)))
    mious = shown[f"mIoU on 100 unseen scenes, {size} × {size}"]
    assert mious == tuple(f"{rows[each]['miou']:.4f}" for each in ((8, 8, 4, 2), (1, 1, 1, 1)))


def test_the_experiment_writes_what_the_widget_reads(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MIOUS", tmp_path / "again.npz")
    save_mious(MEASURED)
    assert module.scores.__wrapped__((256, 256)) == module.scores((256, 256))
    assert module.scores.__wrapped__((128, 128)) == module.scores((128, 128))


def test_for_another_size_the_scores_are_those_of_the_smaller_and_it_says_so() -> None:
    state = State(size=(124, 100))
    assert module.scores(state.size) == module.scores((128, 128))
    assert "on unseen scenes of 128 × 128" in SpatialReduction.picture_of(state).title


@pytest.mark.parametrize("size", [(128, 128), (256, 256)])
def test_no_combination_is_cheaper_and_better_than_one_of_the_front(size: tuple[int, int]) -> None:
    good = {each: (module.work(size, each), -miou) for each, miou in module.scores(size).items()}
    beaten = {
        each
        for each, other in product(good, repeat=2)
        if good[other] != good[each] and all(np.less_equal(good[other], good[each]))
    }
    assert set(module.front(size)) == set(good) - beaten


def test_the_chart_has_a_dot_for_each_combination_and_a_square_where_the_ratios_are() -> None:
    state = State(2, 1, 4, 2)
    x, y = module.points(state.size)[state.ratios]
    works = [module.work(state.size, each) for each in ((1, 1, 1, 1), (8, 8, 4, 2), state.ratios)]
    most, least, work = np.log(works)
    low, high = module.axis(state.size)
    assert x == pytest.approx((work - least) / (most - least))
    assert y == pytest.approx((high - module.scores(state.size)[state.ratios]) / (high - low))
    assert all(0 <= place <= 1 for point in module.points(state.size).values() for place in point)
    shapes = list(module.chart(state))
    dots = next(shape for shape in shapes if isinstance(shape, Lines) and shape.thickness == 3)
    assert len(dots.segments) == 96
    chosen = next(s for s in shapes if isinstance(s, Rectangle) and s.fill == BLUE)
    assert chosen.x + 4 == pytest.approx(module.CHART + 6 + (module.WIDE - 12) * x)
    assert chosen.y + 4 == pytest.approx(module.CHART_TOP + module.HIGH * y)


@pytest.mark.parametrize("state", some_states(6))
def test_it_shows_the_attention_and_the_labels_of_the_model_that_ships(state) -> None:
    image, true = Scenes(3, state.size, 2026).picture(state.scene)
    model = plain(state.ratios)
    stage, head = state.attention
    maps = attention_maps(model, normalize(image))[stage - 1][-1][0]  # of the last block
    row, column = module.token_at(maps.shape[1:3], state.down, state.across)
    weights = maps[:, row, column]
    expected = weights[head - 1] if head else weights.mean(0)
    np.testing.assert_allclose(module.weights_of(state), expected, atol=1e-6)
    with torch.no_grad():
        labels, own = (
            each.predict(normalize(image))[0].numpy() for each in (model, plain(module.OWN))
        )
    assert np.array_equal(module.run(state.scene, state.size, state.ratios).labels, labels)

    marks, found = module.changes(state)
    assert found.right == pytest.approx((labels == true).mean())
    assert found.all == pytest.approx((labels != own).mean())
    assert found.now_right - found.now_wrong == pytest.approx(
        (labels == true).mean() - (own == true).mean()
    )
    assert np.array_equal(marks == module.NOW_WRONG, (labels != own) & (own == true))
    assert np.array_equal(marks[labels == own], true[labels == own])


def test_the_models_of_other_ratios_are_not_those_asked_for_before() -> None:
    first = module.run.__wrapped__(0, (128, 128), (1, 1, 1, 1)).labels
    module.run.__wrapped__(0, (128, 128), (8, 8, 4, 2))
    again = module.run.__wrapped__(0, (128, 128), (1, 1, 1, 1))
    assert np.array_equal(first, again.labels)
    assert [keys.shape[1] for keys in again.keys] == [1024, 256, 64, 16]


def test_nothing_changes_at_nanos_own_ratios() -> None:
    _, found = module.changes(State(*module.OWN))
    assert found[:3] == (0, 0, 0)


def test_the_unseen_margin_is_hatched_where_there_is_one() -> None:
    def hatchings(state) -> int:
        shapes = module.unseen(0, state, module.bill(state.size, state.ratios).stages[0])
        return sum(isinstance(shape, Lines) for shape in shapes)

    assert hatchings(State()) == 0
    assert hatchings(State(size=(124, 100))) == 2


@pytest.mark.parametrize("size", module.SIZES)
@pytest.mark.parametrize("attention", [(1, 1), (2, 0), (3, 0), (4, 0)])
def test_the_query_is_framed_in_the_size_of_its_token_or_is_a_dot(size, attention) -> None:
    state = State(attention=attention, size=size)
    stage = module.bill(size, state.ratios).stages[attention[0] - 1]
    height, width = module.token_scale(state, stage)
    *_, mark = module.marker(0, (height, width), (2, 1))
    assert mark.x + mark.width / 2 == pytest.approx(1.5 * width)
    assert mark.y + mark.height / 2 - module.TOP == pytest.approx(2.5 * height)
    if mark.fill == "none":
        assert (mark.height, mark.width) == pytest.approx((height + 2, width + 2))
    else:
        assert max(mark.height, mark.width) < stage.reduction_ratio * min(height, width)


def test_the_attention_panel_covers_what_is_seen() -> None:
    state = State(size=(124, 100))
    shapes = SpatialReduction.picture_of(state).shapes
    heat = [shape for shape in shapes if isinstance(shape, Raster) and shape.map_][0]
    assert heat.height / module.SIDE == pytest.approx(24 / 31)
    assert heat.width / module.SIDE == pytest.approx(24 / 31)  # 24 of 25 tokens, of 100 of 124


def test_every_head_of_every_stage_can_be_chosen() -> None:
    for stage, heads in enumerate(CONFIG.num_heads, start=1):
        chosen = [head for number, head in module.HEADS if number == stage]
        assert chosen == ([1] if heads == 1 else list(range(heads + 1)))
    shown = [
        text.text
        for text in SpatialReduction.picture_of(replace(State(), attention=(3, 2))).shapes
        if isinstance(text, Text)
    ]
    assert "stage 3, head 2 of 4" in shown
