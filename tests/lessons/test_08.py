"""Lesson 08: a thousand steps are enough, and what it says of losses, scores and steps holds."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch.nn import functional as F

from experiments.training import CONFIG, HERE, LEARNING_RATE, SEEN, SMALL, STEPS, fresh
from segformer_edu import SegFormer, segmentation_loss
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import confusion_matrix, make_optimizer, scores
from segformer_edu.training.minute import in_memory, predictions, training_steps
from segformer_edu.training.pictures import VALIDATION_SEED
from tests.lessons.written import code_cells, written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/08_training.py"
RESULTS = json.loads((HERE / "training.json").read_text(encoding="utf-8"))
PERSON, POLE, BUILDING = (CLASSES.index(name) for name in ("person", "pole", "building"))


@pytest.fixture(scope="module")
def cells():
    return code_cells(SOURCE)


@pytest.fixture(scope="module")
def lesson():
    from PIL import Image, ImageDraw

    names = {
        "np": np, "torch": torch, "F": F, "Image": Image, "ImageDraw": ImageDraw,
        "CLASSES": CLASSES, "SegFormer": SegFormer, "SegmentationDataset": SegmentationDataset,
        "segmentation_loss": segmentation_loss, "SegFormerConfig": type(CONFIG),
    }  # fmt: skip
    return written_out(SOURCE, **names)


@pytest.fixture(scope="module")
def unseen():
    return in_memory(Scenes(60, 96, seed=VALIDATION_SEED), workers=0)


def test_the_lesson_takes_the_steps_that_were_measured(cells, lesson):
    """It is counted in steps: how long they take depends on what else a machine does."""
    code = "\n".join(cells)
    assert f"\nSTEPS = {STEPS}  #" in code
    assert "class_weights, steps=STEPS)" in code
    assert f"make_optimizer(model, {LEARNING_RATE:g})" in code.replace("8e-3", "0.008")
    assert re.findall(r"^train_to\(.*\)$", code, re.MULTILINE)[-1] == "train_to(STEPS)"
    assert lesson["fresh"](0).config == fresh(0).config
    assert all(
        torch.equal(a, b)
        for a, b in zip(lesson["fresh"](3).parameters(), fresh(3).parameters(), strict=True)
    )


def test_a_minute_is_enough_from_each_of_three_beginnings():
    rows = RESULTS["seeds"]["rows"]
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert all((row["size"], row["steps"]) == (96, STEPS) for row in rows)
    assert min(row["miou"] for row in rows) > 0.67
    for row in rows:
        assert row["miou"] == pytest.approx(np.mean(row["iou"]), abs=2e-4)
        worst_two = sorted(zip(row["iou"], CLASSES, strict=True))[:2]
        assert {name for _, name in worst_two} == {"person", "pole"}


def test_what_is_said_of_optimizers_is_what_was_measured():
    rows = RESULTS["optimizers"]["rows"]
    adam = {(r["seed"], r["warm-up"] > 0): r["miou"] for r in rows if r["optimizer"] == "AdamW"}
    sgd = {r["learning rate"]: r["miou"] for r in rows if r["optimizer"] == "SGD"}
    assert len(adam) == 4 and len(sgd) == 3
    assert all(0 < adam[seed, True] - adam[seed, False] < 0.03 for seed in (0, 1))
    assert max(sgd.values()) < min(adam.values())
    assert max(sgd, key=sgd.get) == 100 * LEARNING_RATE
    first = {r["warm-up"]: np.mean(r["losses"][:10]) for r in rows[:2]}
    assert first[0] < first[50]  # longer steps: the loss falls faster at first


def test_what_is_said_of_the_grid_is_what_was_measured():
    table = {
        size: {r["learning rate"]: r for r in RESULTS["grid"]["rows"] if r["batch size"] == size}
        for size in (4, 16, 64)
    }
    for size, row in table.items():
        assert all(r["steps"] * size == SEEN and r["size"] == SMALL for r in row.values())
    best = {size: max(row, key=lambda rate: row[rate]["miou"]) for size, row in table.items()}
    assert best == {4: 0.008, 16: 0.032, 64: 0.008}
    for rate in table[4]:
        assert table[4][rate]["miou"] + 0.01 > table[16][rate]["miou"] > table[64][rate]["miou"]
        assert table[4][rate]["seconds"] > table[16][rate]["seconds"] > table[64][rate]["seconds"]
        assert table[4][rate]["seconds"] == pytest.approx(2 * table[16][rate]["seconds"], rel=0.1)
    lead = table[16][0.032]["miou"] - table[16][0.008]["miou"]
    cold = [r["miou"] for r in RESULTS["optimizers"]["rows"] if not r["warm-up"]]
    assert 0 < lead < abs(cold[0] - cold[1])  # no more than two seeds are apart


def test_true_labels_lose_a_tenth_at_a_quarter_of_the_size(unseen):
    labels = unseen[1]
    quarter = F.avg_pool2d(F.one_hot(labels, 8).permute(0, 3, 1, 2).float(), 4)
    back = F.interpolate(quarter, size=(96, 96), mode="bilinear").argmax(dim=1)
    ceiling = jaccard_score(labels.flatten(), back.flatten(), average="macro")
    assert 0.86 < ceiling < 0.93


def test_accuracy_flatters_a_model_that_sees_no_person_and_no_pole(unseen):
    labels = unseen[1]
    blind = labels.clone()
    blind[(labels == PERSON) | (labels == POLE)] = BUILDING
    found = scores(confusion_matrix(blind, labels, 8))
    assert found.pixel_accuracy > 0.9 and found.miou < 0.75


def test_an_untrained_model_is_worse_than_one_that_guesses_evenly(unseen):
    images, labels = unseen
    assert segmentation_loss(fresh(0)(images[:16]), labels[:16]) > 1.5 * np.log(8)
    assert segmentation_loss(torch.zeros(16, 8, 24, 24), labels[:16]).item() == pytest.approx(
        np.log(8), rel=1e-5
    )


def test_adams_first_step_is_as_long_for_every_weight(unseen):
    images, labels = unseen
    model = fresh(0).train()
    optimizer = make_optimizer(model, 8e-3, weight_decay=0.0)
    segmentation_loss(model(images[:4]), labels[:4]).backward()
    matrices = {n: p for n, p in model.named_parameters() if p.ndim > 1}
    before = {name: weight.detach().clone() for name, weight in matrices.items()}
    lengths = {name: weight.grad.square().mean().sqrt().item() for name, weight in matrices.items()}
    optimizer.step()
    for name, weight in matrices.items():
        assert (weight - before[name]).abs().median().item() == pytest.approx(8e-3, rel=0.02), name
    queries = "encoder.stages.0.blocks.0.attention.query.weight"
    assert lengths["decoder.classifier.weight"] > 1000 * lengths[queries]


def test_thirty_steps_find_the_sky_before_any_pole(unseen):
    images, labels = in_memory(Scenes(120, 64), workers=0)
    model = fresh(0)
    run = training_steps(model, make_optimizer(model, 8e-3), images, labels, None, steps=200)
    losses = list(itertools.islice(run, 30))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    found = scores(confusion_matrix(predictions(model, unseen[0]), unseen[1], 8))
    assert found.iou[CLASSES.index("sky")] > 0.3 > found.iou[POLE]
    assert found.pixel_accuracy > found.miou + 0.15


def test_cones_stand_on_the_road_with_their_pixels_labelled(lesson):
    scenes = Scenes(12, 96, seed=1)
    cones = lesson["Cones"](scenes)
    assert len(cones) == 12 and cones.class_names == (*CLASSES, "cone")
    for index in range(12):
        (image, labels), (with_cones, new) = scenes.picture(index), cones.picture(index)
        is_cone = new == 8
        assert 10 < is_cone.sum() < 0.3 * new.size
        assert np.array_equal(labels[~is_cone], new[~is_cone])
        changed = (image != with_cones).any(axis=-1)
        assert (changed & ~is_cone).sum() <= 0.1 * changed.sum()
        assert (changed & is_cone).sum() > 0.9 * is_cone.sum()
        assert np.array_equal(cones.picture(index)[1], new)


def test_the_bug_divides_by_pixels_that_do_not_count(lesson):
    logits, labels = torch.randn(2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    right, wrong = lesson["binary_loss"], lesson["binary_loss_with_a_bug"]
    expected = F.binary_cross_entropy_with_logits(logits, labels.float())
    torch.testing.assert_close(right(logits, labels), expected)
    torch.testing.assert_close(wrong(logits, labels), expected)
    wide, ignored = F.pad(logits, (4,) * 4), F.pad(labels, (4,) * 4, value=255)
    torch.testing.assert_close(right(wide, ignored), expected)
    torch.testing.assert_close(wrong(wide, ignored), expected / 4)


def test_the_bug_is_that_of_the_library():
    """The published class gives the same loss as the lesson's two lines."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        num_labels=1, hidden_sizes=[8, 8, 8, 8], depths=[1] * 4, num_attention_heads=[1] * 4,
        decoder_hidden_size=8,
    )  # fmt: skip
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    images, labels = torch.randn(1, 3, 64, 64), torch.randint(0, 2, (1, 64, 64))
    with torch.no_grad():
        whole = theirs(images, labels=labels)
        labels[:, 16:] = 255
        part = theirs(images, labels=labels)
        logits = F.interpolate(whole.logits, size=(64, 64), mode="bilinear", align_corners=False)
    of_what_counts = segmentation_loss(logits, labels)
    assert part.loss.item() == pytest.approx(of_what_counts.item() / 4, rel=1e-4)
