"""The weights for the lamps do what their card says, by attention."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import segformer_edu
from segformer_edu import SegFormer
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.analysis.interventions import transplanted, with_even_attention
from segformer_edu.analysis.lamps import all_lamps_and_balls, all_relit, rightly_labelled_balls
from segformer_edu.data.lamps import CLASSES, Lamps

FOLDER = Path(segformer_edu.__file__).parent / "weights" / "lamps"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
STRIPS = Lamps(100, seed=2026)  # a seed that training never drew from


@pytest.fixture(scope="module")
def model() -> SegFormer:
    return SegFormer.from_pretrained("lamps")


def test_balls_get_the_class_of_the_lamp_and_by_attention_alone(model):
    found = rightly_labelled_balls(model, STRIPS)
    (told,) = re.findall(r"([\d.]+) % of the pixels of balls", CARD)
    assert found > 0.99 and 100 * found == pytest.approx(float(told), abs=0.15)
    without = without_branches(model, branches(model, "attention"))
    assert rightly_labelled_balls(without, STRIPS) < 0.75


@pytest.mark.parametrize(("stage", "carries"), [(0, False), (1, True), (2, False), (3, False)])
def test_balls_follow_what_stage_2_gathered_with_another_lamp_and_no_other_stage(
    model, stage, carries
):
    few = Lamps(20, seed=2026)
    red, green = (all_relit(few, light) for light in CLASSES[1:])
    _, balls = all_lamps_and_balls(few)
    for pictures, donors, other in ((red, green, 2), (green, red, 1)):
        follow = (transplanted(model, pictures, donors, stage)[balls] == other).float().mean()
        assert follow > 0.99 if carries else follow == 0


def test_stage_4_need_not_choose_and_stage_2_must(model):
    right = [rightly_labelled_balls(with_even_attention(model, stage), STRIPS) for stage in (1, 3)]
    assert right[0] < 0.75 and right[1] > 0.99


def test_it_is_small_and_knows_three_classes(model):
    assert model.config.class_names == CLASSES
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 1e6
    assert f"{sum(x.numel() for x in model.parameters()):,} parameters" in CARD
    assert next(model.parameters()).dtype == torch.float32
