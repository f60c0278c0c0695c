"""The weights for the lamps do what their card says, by attention."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import segformer_edu
from segformer_edu import SegFormer
from segformer_edu.analysis.attention_maps import attentions_of
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.data.lamps import CLASSES, LIGHTS, Lamps
from segformer_edu.data.photos import normalize

FOLDER = Path(segformer_edu.__file__).parent / "weights" / "lamps"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
STRIPS = Lamps(100, seed=2026)  # a seed that training never drew from


@pytest.fixture(scope="module")
def model() -> SegFormer:
    return SegFormer.from_pretrained("lamps")


def balls_right(model: SegFormer) -> float:
    """The share of the pixels of balls that get the lamp's class."""
    images, labels = map(torch.stack, zip(*list(STRIPS), strict=True))
    lamps = [STRIPS.discs(index)[0].raster()[0] > 0 for index in range(len(STRIPS))]
    balls = labels.bool() & ~torch.from_numpy(np.stack(lamps))
    said = torch.cat([model.predict(part) for part in images.split(25)])
    return (said == labels)[balls].float().mean().item()


def test_balls_get_the_class_of_the_lamp_and_by_attention_alone(model):
    found = balls_right(model)
    (told,) = re.findall(r"([\d.]+) % of the pixels of balls", CARD)
    assert found > 0.99 and 100 * found == pytest.approx(float(told), abs=0.15)
    assert balls_right(without_branches(model, branches(model, "attention"))) < 0.75


@pytest.mark.parametrize(("stage", "carries"), [(0, False), (1, True), (2, False), (3, False)])
def test_balls_follow_what_stage_2_gathered_with_another_lamp_and_no_other_stage(
    model, stage, carries
):
    (attention,) = attentions_of(model.encoder.stages[stage])
    with attention.register_forward_hook(lambda module, given, added: added.flip(0)):
        follow = [follows_the_other_lamp(model, index) for index in range(20)]
    assert np.mean(follow) > 0.99 if carries else np.mean(follow) == 0


def follows_the_other_lamp(model: SegFormer, index: int) -> float:
    """A strip with a red lamp and with a green one: the share of balls' pixels of the other's."""
    image, labels = STRIPS.draw(index)
    lamp = STRIPS.discs(index)[0].raster()[0] > 0
    both = [np.where(lamp[..., None], LIGHTS[name], image) for name in CLASSES[1:]]
    said = model.predict(torch.cat([normalize(each.astype(np.uint8)) for each in both]))
    balls = said[:, (labels > 0) & ~lamp]
    return (balls == torch.tensor([[2], [1]])).float().mean().item()


def test_stage_4_need_not_choose_and_stage_2_must(model):
    right = []
    for stage in (1, 3):
        even = copy.deepcopy(model)
        (attention,) = attentions_of(even.encoder.stages[stage])
        torch.nn.init.zeros_(attention.query.weight)
        torch.nn.init.zeros_(attention.query.bias)
        right.append(balls_right(even))
    assert right[0] < 0.75 and right[1] > 0.99


def test_it_is_small_and_knows_three_classes(model):
    assert model.config.class_names == CLASSES
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 1e6
    assert f"{sum(x.numel() for x in model.parameters()):,} parameters" in CARD
    assert next(model.parameters()).dtype == torch.float32
