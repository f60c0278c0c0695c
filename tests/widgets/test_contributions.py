"""Lesson 07's widget: the bars are the leads of the model's own logits, taken apart."""

import sys

import numpy as np
import pytest
import torch

from segformer_edu.analysis.contributions import contributions
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.widgets import Contributions
from segformer_edu.widgets.picture import Rectangle, Text, _font

module = sys.modules[Contributions.__module__]
State = module.State


@pytest.mark.parametrize("scene", module.SCENES)
def test_the_table_adds_up_to_how_far_the_models_logits_are_ahead_of_their_mean(
    scene: int,
) -> None:
    state = State(scene=scene, down=40, across=88)
    with torch.no_grad():
        logits = module.model()(normalize(module.photograph(scene)))[0]
    leads = logits - logits.mean(0)
    row, column = 40 * 32 // 100, 88 * 32 // 100
    names, *rows = Contributions.picture_of(state).table
    assert names == ("class", *module.PARTS, "lead")
    assert tuple(row[0] for row in rows) == CLASSES
    for label, (_, *parts, total) in enumerate(rows):
        assert float(total) == pytest.approx(leads[label, row, column].item(), abs=0.006)
        assert sum(map(float, parts)) == pytest.approx(float(total), abs=0.031)


def test_the_title_names_the_largest_contribution_and_the_winner() -> None:
    here = np.zeros((5, 8))
    here[2, 7], here[4, 7], here[1, 3] = -3, 9, 8  # the constants are no stage
    assert module.finding(State(label=7), here[:, 7], 3) == (
        "Stage 3 contributes most, against “pole”; road wins here."
    )
    here[2, 7] = 3
    assert module.finding(State(label=7), here[:, 7], 7) == (
        "Stage 3 contributes most, for “pole”; pole wins here."
    )


def test_bars_go_right_for_the_class_and_left_against_it() -> None:
    shapes = module.bars(np.array([2.0, -1.0, 0.5, 0.0, -0.5]))
    bars = [shape for shape in shapes if isinstance(shape, Rectangle)]
    lengths = [
        bar.width * (1 if bar.x >= module.ZERO else -1) / module.REACH for bar in bars if bar.width
    ]
    assert lengths == pytest.approx([1, -0.5, 0.25, -0.25, 0.5])
    written = [shape.text for shape in shapes if isinstance(shape, Text)]
    assert written[1::2] == ["+2.00", "−1.00", "+0.50", "+0.00", "−0.50", "+1.00"]


def test_the_parts_are_those_of_the_lesson() -> None:
    """Equal to what lesson 07 computes: one mean for all 24 scenes, not one for each."""
    images = torch.stack([image for image, _ in Scenes(24, 128, seed=707)])
    shares = contributions(module.model(), images)
    leads = shares - shares.mean(dim=2, keepdim=True)
    for scene in module.SCENES:
        np.testing.assert_allclose(module.summands(scene), leads[scene], atol=1e-4)


def test_the_marker_frames_the_pixel_of_the_logits() -> None:
    for percent, index in ((0, 0), (48, 15), (100, 31)):
        assert module.token_at((32, 32), percent, percent) == (index, index)
    frame = module.marker(10, 20, 64, (0, 31), (5, 8, 32, 32))[-1]
    assert (frame.x + 5, frame.y + 5) == (10 + 63, 20 + 1)


def test_the_task_can_be_solved() -> None:
    """In every scene, pixels won although stage 1 is against; and poles that stages disagree on."""
    for scene in module.SCENES:
        sums = module.summands(scene)  # (5, K, h, w)
        winner = sums.sum(0).argmax(0)
        first = np.take_along_axis(sums[0], winner[None], 0)[0]
        assert (first < -0.5).sum() > 10, scene
    assert any((module.summands(scene).sum(0).argmax(0) == 7).any() for scene in module.SCENES)


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_the_note_on_colours_begins_behind_the_longest_heading(label: int) -> None:
    texts = [shape for shape in module.draw(State(label=label)).shapes if isinstance(shape, Text)]
    heading = next(text for text in texts if text.text.startswith("What each part"))
    note = next(text for text in texts if text.text.startswith("orange"))
    length = _font(heading.bold, 100).getlength(heading.text) * heading.size / 100
    assert heading.x + length + 10 < note.x
