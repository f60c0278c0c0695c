"""The weights for the lamps do what their card says, by attention."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import segformer_edu
from segformer_edu import SegFormer
from segformer_edu.analysis.branches import branches, without_branches
from segformer_edu.data.lamps import CLASSES, Lamps

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


def test_it_is_small_and_knows_three_classes(model):
    assert model.config.class_names == CLASSES
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 1e6
    assert f"{sum(x.numel() for x in model.parameters()):,} parameters" in CARD
    assert next(model.parameters()).dtype == torch.float32
