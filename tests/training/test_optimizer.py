"""Which weights decay and which are not trained; the learning rate's course; the average."""

import copy

import pytest
import torch
from torch import nn

from segformer_edu import SegFormer, SegFormerConfig, segmentation_loss
from segformer_edu.training import (
    learning_rate_factor,
    make_optimizer,
    set_learning_rate,
    update_average,
)


@pytest.fixture
def model(small_config):
    return SegFormer(small_config)


def test_norms_and_biases_are_not_decayed_and_the_decoder_learns_faster(model):
    optimizer = make_optimizer(model, 1e-3, head_lr_factor=10, weight_decay=0.05)
    found = {
        id(x): (group["weight_decay"], group["lr"])
        for group in optimizer.param_groups
        for x in group["params"]
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(found)
    plain = nn.LayerNorm | nn.BatchNorm2d
    for name, part in model.named_modules():
        rate = 1e-2 if name.startswith("decoder") else 1e-3
        for kind, x in part.named_parameters(recurse=False):
            if id(x) in found:
                decay = 0 if kind == "bias" or isinstance(part, plain) else 0.05
                assert found[id(x)] == (decay, pytest.approx(rate)), (name, kind)


def test_what_is_not_taught_has_no_gradient_but_rounding(model):
    taught = {id(x) for group in make_optimizer(model, 1e-3).param_groups for x in group["params"]}
    model.double()
    logits = model(torch.randn(3, 3, 64, 64, dtype=torch.float64))
    segmentation_loss(logits, torch.randint(5, (3, 64, 64))).backward()
    left_out = {name: x for name, x in model.named_parameters() if id(x) not in taught}
    assert sorted(left_out) == [
        *(f"decoder.projections.{stage}.bias" for stage in range(4)),
        "encoder.stages.3.norm.bias",
    ]
    largest = max(x.grad.abs().max() for x in model.parameters())
    assert all(x.grad.abs().max() < 1e-7 * largest for x in left_out.values())


def test_a_folded_model_is_refused(model):
    with pytest.raises(ValueError, match="folded"):
        make_optimizer(model.folded(), 1e-3)


def test_the_rate_rises_in_a_line_and_falls_to_nothing():
    rates = [learning_rate_factor(step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 * (1 - i / 100) for i in range(10)])
    assert rates[10:] == pytest.approx([1 - i / 100 for i in range(10, 100)])
    assert rates[-1] == pytest.approx(0.01)
    assert learning_rate_factor(0, 100, 0) == 1
    assert learning_rate_factor(75, 100, 10, power=2) == pytest.approx(0.25**2)


def test_the_schedule_moves_every_group_in_step(model):
    optimizer = make_optimizer(model, 1e-3, head_lr_factor=10)
    set_learning_rate(optimizer, 0.5)
    set_learning_rate(optimizer, 0.25)  # of the full rate, not of the last
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([2.5e-4, 2.5e-4, 2.5e-3, 2.5e-3])


def test_an_average_is_the_weighted_mean_that_it_says():
    model = SegFormer(SegFormerConfig.named("nano"))
    average = copy.deepcopy(model)
    name = "encoder.stages.0.norm.weight"
    expected = model.get_parameter(name).detach().clone()
    for step in range(4):
        with torch.no_grad():
            model.get_parameter(name).fill_(step)
        model.decoder.norm.running_mean.fill_(step)
        model.decoder.norm.num_batches_tracked.fill_(step)
        update_average(average, model, decay=0.9)
        expected = 0.9 * expected + 0.1 * step
    assert torch.allclose(average.get_parameter(name), expected)
    assert average.decoder.norm.running_mean[0].item() == pytest.approx(expected[0].item() - 0.9**4)
    assert average.decoder.norm.num_batches_tracked == 3
    update_average(average, model, decay=0)
    assert torch.equal(average.get_parameter(name), model.get_parameter(name))
