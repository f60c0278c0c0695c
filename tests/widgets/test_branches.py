"""Lesson 05's second widget: its labels, changes and scores are those of a network whose branches
answer zero.
"""

import itertools
import sys
from contextlib import ExitStack

import numpy as np
import pytest
import torch

from segformer_edu import SegFormer
from segformer_edu.analysis.branches import branches
from segformer_edu.data.scenes import Scenes
from segformer_edu.plots.style import class_colors
from segformer_edu.training import evaluate, scores
from segformer_edu.widgets import Branches
from segformer_edu.widgets.picture import Lines, Raster, Rectangle, Text

module = sys.modules[Branches.__module__]
State = module.State


def silenced(model, left_out):
    """Hooks under which some branches answer zero, and nothing else is changed."""
    hooks = ExitStack()
    for stage, block, kind in left_out:
        branch = getattr(model.encoder.stages[stage].blocks[block], kind)
        hooks.enter_context(branch.register_forward_hook(lambda *_: torch.zeros_like(_[-1])))
    return hooks


@pytest.fixture(scope="module", params=module.MODELS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return SegFormer.from_pretrained(name).eval()


@pytest.mark.parametrize("state", [State(), State(branch=2, rate=0.0, scene=3)])
def test_labels_and_changes_are_those_of_a_network_whose_branches_answer_zero(model, name, state):
    images, labels = map(torch.stack, zip(*Scenes(4, 128, seed=2026), strict=True))
    left_out = module.missing(state.branch, state.rate, state.draw)
    before = model.predict(images)
    with silenced(model, left_out):
        now = model.predict(images)
    assert not torch.equal(now, before)
    assert np.array_equal(module.labels_of(name, left_out), now.numpy())
    labels, before, now = (each[state.scene] for each in (labels, before, now))
    answer = module.answer(name, left_out, state.scene)
    assert answer.right == pytest.approx((now == labels).double().mean().item())
    assert answer.changed == pytest.approx((now != before).double().mean().item())
    assert answer.labels == module.label_map(now.numpy().astype(np.uint8))
    changes = np.where(now == before, 255, now).astype(np.uint8)
    assert answer.changes == module.label_map(changes)


@pytest.mark.parametrize("choice", [(0, 0.0, 1), (4, 0.0, 1), (0, 1.0, 3), (2, 0.6, 2)])
def test_the_scores_are_those_on_a_hundred_unseen_scenes(model, name, choice):
    with silenced(model, module.missing(*choice)):
        found = scores(evaluate(model, Scenes(100, 128, seed=2026))).miou
    assert module.miou(name, *choice) == pytest.approx(found, abs=2e-3)


def test_the_first_slider_names_a_branch_by_stage_block_and_the_letter_of_its_box():
    (slider, *_) = Branches().sliders.values()
    names = [name for name, _ in slider.options]
    assert names[:6] == ["none", "1.1 A", "1.1 M", "1.2 A", "1.2 M", "2.1 A"]
    assert len(set(names)) == 17 and max(map(len, names)) == 5  # what a readout has room for


def test_missing_are_the_chosen_one_and_those_drawn():
    every = branches(SegFormer.from_pretrained("nano"))
    for number, rate, draw in itertools.product((0, 1, 7, 16), (0.0, 0.6, 1.0), (1, 5)):
        drawn = set(module.missing(0, rate, draw))
        assert set(module.missing(number, rate, draw)) == drawn | set(every[number - 1 :][:1]) or (
            number == 0
        )
        assert not drawn & set(every[:2]) and bool(drawn) == (rate > 0)
        assert len(set(module.missing(number, rate, draw))) == len(
            module.missing(number, rate, draw)
        )


def test_of_branches_that_are_missing_anyway_the_table_says_the_same_twice():
    every = branches(SegFormer.from_pretrained("nano"))
    for name, rate, draw in itertools.product(module.MODELS, module.RATES, module.DRAWS):
        for branch in module.missing(0, rate, draw):
            number = every.index(branch) + 1
            found = module.miou(name, number, rate, draw)
            assert found == module.miou(name, 0, rate, draw)


def test_what_is_missing_is_crossed_out_and_nothing_else():
    every = branches(SegFormer.from_pretrained("nano"))
    shapes = module.strip([every[3], every[14]])
    boxes = [shape for shape in shapes if isinstance(shape, Rectangle)]
    letters = [shape.text for shape in shapes if isinstance(shape, Text) and shape.bold]
    (crosses,) = (shape.segments for shape in shapes if isinstance(shape, Lines))
    assert letters == ["A", "M"] * 8 and len(boxes) == 16
    for index, box in enumerate(boxes):
        inside = [segment for segment in crosses if box.x <= segment[0] <= box.x + 1]
        assert len(inside) == (2 if index in (3, 14) else 0)
        assert all(segment[2] == box.x + box.width for segment in inside)


def test_bars_end_at_the_score_and_marks_stand_at_that_of_the_whole():
    state = State(branch=6, rate=0.8, draw=4)
    answers = {name: module.Answer(b"", b"", 0.5, 0.25) for name in module.MODELS}
    shapes = module.scores(state, answers)
    bars = [each for each in shapes if isinstance(each, Rectangle) and each.fill != module.PALE]
    marks = [each.segments[0][0] for each in shapes if isinstance(each, Lines)]
    for name, bar, mark in zip(module.MODELS, bars, marks, strict=True):
        assert bar.width / module.BAR == pytest.approx(module.miou(name, 6, 0.8, 4))
        assert (mark - module.RIGHT) / module.BAR == pytest.approx(module.miou(name, 0, 0.0, 1))


def test_the_table_has_the_numbers_of_the_picture_for_both_networks():
    state = State(branch=3, rate=0.0)
    picture = Branches.picture_of(state)
    assert picture.table[0] == ("quantity", "nothing dropped", "DropPath")
    for column, name in enumerate(module.MODELS, start=1):
        assert picture.table[1][column] == f"{module.miou(name, 0, 0.0, 1):.3f}"
        assert picture.table[2][column] == f"{module.miou(name, 3, 0.0, 1):.3f}"
    assert "Missing, by stage and block: 1.2 attention." in picture.description
    assert picture.title.startswith("Without 1 of 16 branches: mIoU ")
    assert Branches.picture_of(State(rate=0.0)).title.startswith("With all 16 branches: mIoU ")


def test_white_is_what_did_not_change():
    assert not (class_colors(8) == 255).all(axis=1).any()
    files = [each.file for each in module.draw(State()).shapes if isinstance(each, Raster)]
    assert len(files) == 6 and len(set(files)) == 6
