"""The loop of lesson 08: its pictures, its order, its steps."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from segformer_edu import SegFormer, SegFormerConfig
from segformer_edu.data.scenes import Scenes
from segformer_edu.training import confusion_matrix, make_optimizer, scores
from segformer_edu.training.minute import (
    batches,
    in_memory,
    predictions,
    some_flipped,
    training_steps,
)

CONFIG = SegFormerConfig.named("nano", depths=(1,) * 4, drop_path_rate=0.0, decoder_dropout=0.0)


def fresh(seed: int = 0) -> SegFormer:
    torch.manual_seed(seed)
    return SegFormer(CONFIG)


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_come_in_order_whoever_draws_them(workers: int) -> None:
    scenes = Scenes(43, 32)
    images, labels = in_memory(scenes, workers)
    assert images.shape == (43, 3, 32, 32) and labels.shape == (43, 32, 32)
    for number in (0, 21, 42):
        assert torch.equal(images[number], scenes[number][0])
        assert torch.equal(labels[number], scenes[number][1])


def test_every_picture_comes_once_before_any_comes_twice() -> None:
    choose = batches(10, 4, torch.Generator().manual_seed(0))
    rounds = [torch.cat(list(itertools.islice(choose, 3))) for _ in range(3)]
    assert all(each.sort().values.tolist() == list(range(10)) for each in rounds)
    assert rounds[0].tolist() != rounds[1].tolist()


def test_about_half_are_flipped_each_with_its_labels(device: torch.device) -> None:
    images = torch.arange(400 * 6.0, device=device).view(400, 1, 2, 3).expand(-1, 3, -1, -1)
    labels = images[:, 0].long()
    new_images, new_labels = some_flipped(images, labels, torch.Generator().manual_seed(0))
    assert torch.equal(new_images[:, 1].long(), new_labels)
    flipped = (new_labels == labels.flip(-1)).flatten(1).all(1)
    kept = (new_labels == labels).flatten(1).all(1)
    assert torch.equal(flipped, ~kept)
    assert 160 < flipped.sum() < 240


def test_a_run_in_parts_is_the_run_in_one() -> None:
    images, labels = in_memory(Scenes(8, 32), workers=0)
    whole, parts = fresh(), fresh()
    losses = list(training_steps(whole, make_optimizer(whole, 8e-3), images, labels, None, 6, 4, 2))
    run = training_steps(parts, make_optimizer(parts, 8e-3), images, labels, None, 6, 4, 2)
    again = []
    for count in (1, 3, 2):
        again += itertools.islice(run, count)
        predictions(parts, images)  # switches to evaluation; the run switches back
    assert again == losses and len(losses) == 6
    for ours, theirs in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_first_loss_is_the_cross_entropy_of_the_first_batch() -> None:
    images, labels = in_memory(Scenes(5, 32), workers=0)
    images, labels = images + images.flip(-1), torch.minimum(labels, labels.flip(-1))
    weights = torch.rand(8) + 0.5  # all in one batch, and each its own mirror image: no chance left
    logits = F.interpolate(fresh().train()(images), size=(32, 32), mode="bilinear")
    expected = F.cross_entropy(logits, labels, weights)
    model = fresh()
    run = training_steps(
        model, make_optimizer(model, 8e-3), images, labels, weights, 5, batch_size=5
    )
    assert next(run) == pytest.approx(expected.item(), rel=1e-4)


def test_the_rate_follows_the_schedule() -> None:
    images, labels = in_memory(Scenes(4, 32), workers=0)
    model = fresh()
    optimizer = make_optimizer(model, 0.01)
    rates = []
    for _ in training_steps(model, optimizer, images, labels, None, 6, 2, warmup_steps=2):
        rates.append(optimizer.param_groups[0]["lr"])
    shares = [1 / 2, 1 * 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert rates == pytest.approx([0.01 * share for share in shares])


@pytest.mark.usefixtures("one_thread")
def test_a_few_steps_learn_a_few_scenes_by_heart() -> None:
    images, labels = in_memory(Scenes(4, 32), workers=0)
    model = fresh()

    def accuracy():
        return scores(confusion_matrix(predictions(model, images), labels, 8)).pixel_accuracy

    before = accuracy()
    losses = list(
        training_steps(model, make_optimizer(model, 8e-3), images, labels, None, 80, 4, 10)
    )
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert accuracy() > 0.75 > before
