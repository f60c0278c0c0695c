"""What the parts share: Linear over maps, initial weights, temporary evaluation mode."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu.layers import Linear, PointwiseConv2d, evaluation, initialize, linear


@pytest.mark.parametrize("shape", [(2, 5, 7, 6), (2, 35, 6), (35, 6), (0, 5, 7, 6)], ids=str)
def test_linear_is_torchs_on_maps_and_on_tokens(device, shape):
    layer = Linear(6, 4).to(device)
    x = torch.randn(shape, device=device)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("shape", [(2, 6, 5, 7), (1, 6, 30, 2), (3, 6, 1, 1)], ids=str)
def test_linear_and_pointwise_convolution_have_torchs_gradients(device, shape):
    pointwise = PointwiseConv2d(6, 4).to(device)
    matrix = pointwise.weight[:, :, 0, 0]
    outcomes = []
    for form in (
        pointwise,
        lambda x: F.conv2d(x, pointwise.weight, pointwise.bias),
        lambda x: linear(x.permute(0, 2, 3, 1), matrix, pointwise.bias).permute(0, 3, 1, 2),
    ):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        y = form(x.requires_grad_())
        gradients = torch.autograd.grad(y.sin().sum(), [x, *pointwise.parameters()])
        outcomes.append([y, *gradients])
    for outcome in outcomes[1:]:
        torch.testing.assert_close(outcomes[0], outcome, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "std"),
    [
        (nn.Linear(500, 400), 0.02),
        (nn.Conv2d(16, 64, 3), (2 / (9 * 64)) ** 0.5),
        (nn.Conv2d(512, 512, 3, groups=512), (2 / 9) ** 0.5),
        (nn.Conv2d(200, 300, 1), (2 / 300) ** 0.5),
    ],
    ids=["linear", "conv", "depthwise", "pointwise"],
)
def test_initial_weights_have_the_spread_of_the_reference(layer, std):
    initialize(layer)
    count = layer.weight.numel()
    assert layer.weight.std().item() == pytest.approx(std, rel=5 / (2 * count) ** 0.5)
    assert layer.weight.mean().item() == pytest.approx(0, abs=5 * std / count**0.5)
    assert not layer.bias.any()


def test_evaluation_is_temporary_and_each_module_gets_its_mode_back():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(2).eval(), nn.ReLU()))
    modes = [module.training for module in model.modules()]
    with pytest.raises(KeyError), evaluation(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == modes
    assert set(modes) == {True, False}
