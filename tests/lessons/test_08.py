"""Lesson 08: a thousand steps are enough, and what it says of losses, scores and steps holds."""

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch.nn import functional as F

from experiments.training import CONFIG, HERE, LEARNING_RATE, SEEN, SMALL, STEPS, fresh
from segformer_edu import SegFormer, segmentation_loss
from segformer_edu.data.scenes import CLASSES, Scenes
from segformer_edu.training import confusion_matrix, make_optimizer, scores
from segformer_edu.training.minute import in_memory, predictions, training_steps
from segformer_edu.training.pictures import VALIDATION_SEED
from segformer_edu.widgets import training_run
from tests.lessons.written import code_cells, written_out

SOURCE = Path(__file__).resolve().parents[2] / "notebooks/source/08_training.py"
RESULTS = json.loads((HERE / "training.json").read_text(encoding="utf-8"))
PERSON, POLE, BUILDING = (CLASSES.index(name) for name in ("person", "pole", "building"))


@pytest.fixture(scope="module")
def cells():
    return code_cells(SOURCE)


@pytest.fixture(scope="module")
def lesson():
    names = {
        "torch": torch, "F": F, "SegFormer": SegFormer, "segmentation_loss": segmentation_loss,
        "SegFormerConfig": type(CONFIG),
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
    assert len(adam) == 12 and len(sgd) == 4
    assert all(adam[seed, True] > adam[seed, False] for seed in range(6))
    gains = [adam[seed, True] - adam[seed, False] for seed in range(6)]
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / math.sqrt(6)  # three standard errors
    assert max(sgd.values()) < min(adam[seed, True] for seed in range(6))
    best = max(sgd, key=sgd.get)
    assert best == 100 * LEARNING_RATE and min(sgd) < best < max(sgd)
    cold, warm = (
        np.mean([r["losses"] for r in rows if r["optimizer"] == "AdamW" and r["warm-up"] == w], 0)
        for w in (0, 50)
    )
    assert cold[:20].mean() < warm[:20].mean()  # longer steps: the loss falls faster at first


def test_most_early_gradients_are_cut_and_a_third_of_the_later_ones():
    rows = [r for r in RESULTS["optimizers"]["rows"] if r["optimizer"] == "AdamW" and r["warm-up"]]
    for row in rows:
        first, later = (
            sum(a <= step < b for step in row["cut at"]) for a, b in ((0, 50), (50, 200))
        )
        assert first / 50 > 0.7 and 0.2 < later / 150 < 0.5


@pytest.mark.parametrize("size", [100.0, 0.01])
def test_adam_moves_a_weight_by_the_rate_unless_its_gradient_keeps_changing_sign(size):
    weights = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.AdamW([weights], lr=0.01, weight_decay=0.0)
    for step in range(100):
        before = weights.detach().clone()
        weights.grad = torch.tensor([size, size * (-1) ** step])
        optimizer.step()
    steady, changing = (weights.detach() - before).abs().tolist()
    assert steady == pytest.approx(0.01, rel=1e-3) and changing < 0.1 * steady


@pytest.mark.parametrize("early", [20.0, 1.0])
def test_after_long_early_gradients_adams_later_steps_are_longer_where_those_are_cut(early):
    def length_of_later_steps(cut):
        weight = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.0)
        lengths = []
        for step in range(200):
            before = weight.item()
            weight.grad = torch.tensor([early if step < 50 else 1.0])
            if cut:
                torch.nn.utils.clip_grad_norm_([weight], 1.0)
            optimizer.step()
            lengths.append(abs(weight.item() - before))
        assert lengths[0] == pytest.approx(0.01)  # the first step is as long either way
        return sum(lengths[100:])

    longer = length_of_later_steps(cut=True) / length_of_later_steps(cut=False)
    assert longer > 3 if early > 1 else longer == pytest.approx(1)


def test_the_step_of_one_bad_batch_is_shorter_where_its_gradient_is_cut():
    def longest_step(cut):
        """After a gradient of 100 among a thousand of 1, which change their sign."""
        weight = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.0)
        lengths = []
        for step in range(1020):
            before = weight.item()
            weight.grad = torch.tensor([100.0 if step == 1000 else (-1.0) ** step])
            if cut:
                torch.nn.utils.clip_grad_norm_([weight], 1.0)
            optimizer.step()
            lengths.append(abs(weight.item() - before))
        return max(lengths[1000:])

    assert longest_step(cut=True) < longest_step(cut=False) / 3


def test_what_is_said_of_the_weights_of_classes_is_what_was_measured():
    table = {(r["class weights"], r["steps"], r["seed"]): r for r in RESULTS["weights"]["rows"]}
    for seed in (0, 1, 2):
        none, root, inverse = (
            table[kind, 200, seed]["miou"] for kind in ("none", "1/√frequency", "1/frequency")
        )
        assert root > max(none, inverse) + 0.01
    minute = {
        "none": [table["none", STEPS, seed] for seed in (0, 1, 2)],
        "root": RESULTS["seeds"]["rows"],
    }
    person = {kind: [row["iou"][PERSON] for row in rows] for kind, rows in minute.items()}
    assert min(person["root"]) > max(person["none"]) + 0.02
    accuracy = {kind: [row["pixel accuracy"] for row in rows] for kind, rows in minute.items()}
    assert max(accuracy["root"]) < min(accuracy["none"])  # which pays for it
    means = {kind: np.mean([row["miou"] for row in rows]) for kind, rows in minute.items()}
    assert abs(means["root"] - means["none"]) < 0.01


def test_short_runs_differ_more_than_the_minute():
    minute = [row["miou"] for row in RESULTS["seeds"]["rows"]]
    short = [r["miou"] for r in RESULTS["optimizers"]["rows"] if r["optimizer"] == "AdamW"]
    assert np.std(short[::2], ddof=1) > 1.5 * np.std(minute, ddof=1)


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
    warm = [r["miou"] for r in RESULTS["optimizers"]["rows"] if r["warm-up"] and r["seed"] >= 0]
    spread = 2 * math.sqrt(2) * np.std(warm[:6], ddof=1)  # of a difference, twice
    assert abs(table[16][0.032]["miou"] - table[16][0.008]["miou"]) < spread
    assert abs(table[16][0.032]["miou"] - table[4][0.032]["miou"]) < spread
    for rate in (0.002, 0.008):
        assert table[4][rate]["miou"] > table[16][rate]["miou"] + spread
    assert all(table[16][rate]["miou"] > table[64][rate]["miou"] + 2 * spread for rate in table[64])


def test_shares_at_a_quarter_of_the_size_lose_what_fitted_scores_keep(unseen):
    labels = unseen[1]
    shares = F.avg_pool2d(F.one_hot(labels, 8).permute(0, 3, 1, 2).float(), 4)
    fitted = (shares + 0.01).log().requires_grad_()
    optimizer = torch.optim.Adam([fitted], lr=0.5)  # another way to fit than the lesson's
    for _ in range(40):
        optimizer.zero_grad()
        enlarged = F.interpolate(fitted, size=(96, 96), mode="bilinear")
        F.cross_entropy(enlarged, labels).backward()
        optimizer.step()
    found = {}
    for kind, maps in {"shares": shares, "fitted": fitted.detach()}.items():
        back = F.interpolate(maps, size=(96, 96), mode="bilinear").argmax(dim=1)
        found[kind] = jaccard_score(labels.flatten(), back.flatten(), average=None)
    assert 0.86 < found["shares"].mean() < 0.93 and found["fitted"].mean() > 0.95
    assert found["shares"][POLE] < 0.9 < found["fitted"][POLE]


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


def test_small_weights_of_the_classifier_begin_close_to_ln_8(unseen):
    images, labels = unseen
    model = fresh(0)
    with torch.no_grad():
        model.decoder.classifier.weight.mul_(0.01)
        assert abs(segmentation_loss(model(images[:16]), labels[:16]) - math.log(8)) < 0.05


def test_where_no_pixel_counts_a_loss_that_multiplies_by_a_mask_has_no_gradient():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    nothing = torch.full((2, 4, 4), 255)
    (theirs,) = torch.autograd.grad(F.cross_entropy(logits, nothing, ignore_index=255), logits)
    assert (theirs == 0).all()
    valid = (nothing != 255).float()
    losses = F.cross_entropy(logits, nothing.where(valid > 0, 0), reduction="none")
    (masked,) = torch.autograd.grad((losses * valid).sum() / valid.sum(), logits)
    assert masked.isnan().all()
    losses = F.cross_entropy(logits, nothing.where(valid > 0, 0), reduction="none")
    (chosen,) = torch.autograd.grad(losses[valid > 0].mean(), logits)
    assert (chosen == 0).all()


def test_ignored_pixels_make_recall_of_iou():
    true, said = torch.randint(0, 4, (2, 500), generator=torch.Generator().manual_seed(0))
    found = scores(confusion_matrix(said, true.where(true == 2, 255), 4)).iou[2]
    assert found == pytest.approx((said[true == 2] == 2).double().mean().item())


def test_losses_that_look_odd_have_the_reasons_that_are_given():
    right = torch.eye(8)[torch.arange(8)]  # probabilities, all of them right
    assert F.cross_entropy(right, torch.arange(8)).item() == pytest.approx(1.27, abs=0.005)
    assert F.cross_entropy(torch.randn(5, 1), torch.zeros(5, dtype=torch.long)) == 0
    logits = torch.full((4,), 3.0)
    assert F.binary_cross_entropy_with_logits(logits, torch.full((4,), 255.0)) < 0
    with pytest.raises(IndexError, match="out of bounds"):
        F.cross_entropy(torch.randn(5, 8), torch.full((5,), 8))


def test_what_is_said_of_the_curves_and_the_confusions_holds_in_the_saved_run():
    found = {step: training_run.found_at(step) for step in training_run.STEPS}
    accuracy, miou = (
        getattr(found[100], name) / getattr(found[1000], name)
        for name in ("pixel_accuracy", "miou")
    )
    assert 0.75 < accuracy < 0.87 and 0.53 < miou < 0.67
    gains = np.subtract(found[1000].iou, found[100].iou)
    pixels = training_run.saved().confusions[-1].sum(axis=1)
    smallest = pixels.argsort()[:4]
    assert 0.62 < gains[smallest].sum() / gains.sum() < 0.78
    assert pixels[smallest].sum() / pixels.sum() == pytest.approx(0.2, abs=0.03)
    assert CLASSES[np.argmax(found[25].iou)] == "sky" and np.argmin(found[100].iou) == POLE
    assert all(np.argmin(found[step].iou) == PERSON for step in training_run.STEPS if step >= 250)
    vehicle = CLASSES.index("vehicle")
    early = training_run.saved().confusions[training_run.STEPS.index(25)]
    assert early[:, vehicle].sum() == pytest.approx(2 * early[vehicle].sum(), rel=0.3)
    assert found[50].pixel_accuracy < 0.6 and found[100].pixel_accuracy == pytest.approx(
        0.7, abs=0.02
    )
    for name in ("pixel_accuracy", "miou"):
        course = [getattr(found[step], name) for step in (550, 700, 850, 1000)]
        assert course[-1] > course[0] + 0.02
    wrong = training_run.saved().confusions[-1].copy()
    np.fill_diagonal(wrong, 0)
    called = [[CLASSES[k] for k in row.argsort()[::-1][:2]] for row in wrong]
    assert set(called[PERSON]) == {"road", "sidewalk"} and called[POLE][0] == "building"
    missed, invented = wrong.sum(axis=1), wrong.sum(axis=0)
    assert all(invented[k] > 1.2 * missed[k] for k in (PERSON, POLE))
    assert CLASSES[wrong[:, PERSON].argmax()] == "road"
    for name in ("sky", "building", "road"):
        k = CLASSES.index(name)
        assert missed[k] < 0.2 * pixels[k]


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
