"""The weights that ship do what their card says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import segformer_edu
from segformer_edu import SegFormer
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import Settings, evaluate, scores

FOLDER = Path(segformer_edu.__file__).parent / "weights" / "nano"
CARD = (FOLDER / "README.md").read_text(encoding="utf-8")
HELD_OUT, SEED = 100, 2026  # scenes of a seed that training and validation never drew from


@pytest.fixture(scope="module")
def model() -> SegFormer:
    return SegFormer.from_pretrained("nano").eval()


@pytest.mark.parametrize(("size", "least"), [(128, 0.80), (256, 0.84)])
def test_scores_on_held_out_scenes_are_those_of_the_card(model, size, least):
    found = scores(evaluate(model, Scenes(HELD_OUT, size, SEED), batch_size=4).cpu())
    assert found.miou >= least
    row = re.search(rf"^\| {size} × {size} \| ([\d.]+) \| ([\d.]+) \|", CARD, re.MULTILINE)
    assert row is not None
    assert [float(number) for number in row.groups()] == pytest.approx(
        [found.miou, found.pixel_accuracy], abs=2e-3
    )


def test_it_is_a_nano_for_scenes_and_small(model):
    assert model.config.class_names == CLASSES
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 3e6
    assert f"{sum(x.numel() for x in model.parameters()):,} parameters" in CARD


def test_the_settings_of_the_card_make_this_model(model, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text(re.search(r"```yaml\n(.*?)```", CARD, re.DOTALL)[1], encoding="utf-8")
    chosen = Settings.from_yaml(settings)
    trained = segformer_edu.SegFormerConfig.named(
        chosen.model, num_classes=len(CLASSES), class_names=CLASSES, **chosen.config
    )
    assert trained == model.config


def test_it_looks_at_more_than_a_pixel(model):
    """A picture turned upside down has the same pixels, and is another street."""
    images, labels = map(torch.stack, zip(*list(Scenes(8, 128, SEED)), strict=True))
    right = (model.predict(images) == labels).float().mean()
    turned = (model.predict(images.flip(2)).flip(1) == labels).float().mean()
    assert turned < right - 0.2
