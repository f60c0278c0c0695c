"""analysis.receptive_field, on networks whose fields are known."""

import pytest
import torch
from torch import nn

from segformer_edu import MixTransformer, SegFormerConfig
from segformer_edu.analysis.receptive_field import (
    area,
    conv_twin,
    moved_from_outside,
    receptive_field,
    stage_fields,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 2), (7, 4)])
def test_a_convolution_responds_to_its_own_window(generator, kernel, stride):
    convolution = nn.Conv2d(3, 4, kernel, stride, padding=kernel // 2)
    field = receptive_field(convolution, torch.randn(2, 3, 33, 25, generator=generator), generator)
    rows, columns = ((field > 0).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    middle = [stride * ((side - 1) // stride + 1 >> 1) for side in (33, 25)]
    assert (field > 0).sum() == kernel**2
    assert rows == [middle[0] - kernel // 2 + i for i in range(kernel)]
    assert columns == [middle[1] - kernel // 2 + i for i in range(kernel)]


def test_the_strength_is_the_length_of_the_gradient(generator):
    weight = torch.tensor([[[[3.0, 1.0]], [[4.0, 0.0]]]])  # one token number: 5 at left, 1 at right
    layer = nn.Conv2d(2, 1, (1, 2), bias=False)
    layer.weight = nn.Parameter(weight)
    field = receptive_field(layer, torch.randn(1, 2, 1, 4), generator)
    torch.testing.assert_close(field, torch.tensor([[0.0, 5 / 6, 1 / 6, 0.0]]))


def test_the_gradient_is_taken_along_a_random_direction_of_the_token(generator):
    """Not along the sum of its channels, which is constant after a LayerNorm."""
    layer = nn.Conv2d(1, 2, (1, 2), bias=False)
    layer.weight = nn.Parameter(torch.eye(2).view(2, 1, 1, 2))  # a channel for each of two pixels
    field = receptive_field(layer, torch.zeros(1, 1, 1, 2), generator)
    direction = torch.randn(1, 2, generator=torch.Generator().manual_seed(0)).abs()
    torch.testing.assert_close(field, direction / direction.sum())


def test_it_leaves_images_and_gradients_as_they_were(generator):
    layer, images = nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        receptive_field(layer, images, generator)
        assert not torch.is_grad_enabled()
    assert images.grad is None and not images.requires_grad and layer.weight.grad is None


def test_attention_reaches_everything_and_a_convolution_does_not(small_model, generator):
    images = torch.randn(1, 3, 64, 64)
    fields = [receptive_field(lambda x: small_model.encoder(x)[0], images, generator)]
    fields.append(receptive_field(nn.Conv2d(3, 8, 7, 4, padding=3), images, generator))
    assert [(field > 0).double().mean().item() for field in fields] == [1.0, (7 / 64) ** 2]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([4, 3, 2, 1], 0.7, 0.5),
        ([4, 3, 2, 1], 0.71, 0.75),
        ([1, 1, 1, 1], 1, 1),
        ([9, 1], 0.9, 0.5),
    ],
)
def test_the_area_is_the_smallest_that_holds_the_share(values, share, expected):
    assert area(torch.tensor([values]) / sum(values), share) == expected


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        area(torch.ones(2, 2), share)


@pytest.mark.parametrize(
    ("features", "images", "message"),
    [
        (nn.Identity(), torch.ones(3, 8, 8), "give"),
        (nn.Identity(), torch.ones(0, 3, 8, 8), "give"),
        (lambda x: x.mean((2, 3)), torch.ones(1, 3, 8, 8), "it should be"),
        (lambda x: 0 * x, torch.ones(1, 3, 8, 8), "responds to no pixel"),
        (lambda x: torch.ones(1, 2, 3, 3, requires_grad=True), torch.ones(1, 3, 8, 8), "no pixel"),
    ],
)
def test_a_token_without_a_field_is_refused(generator, features, images, message):
    with pytest.raises(ValueError, match=message):
        receptive_field(features, images, generator)


def test_the_twin_differs_in_attention_alone_and_reaches_what_its_kernels_say(generator):
    config = SegFormerConfig.named("nano")
    twin, encoder = conv_twin(config), MixTransformer(config)
    assert not twin.training

    def elsewhere(model):
        state = model.state_dict()
        return {name: each.shape for name, each in state.items() if ".attention." not in name}

    assert elsewhere(twin) == elsewhere(encoder)
    fields = stage_fields({"twin": twin}, torch.randn(1, 3, 256, 256), generator)["twin"]
    widths = [int((field > 0).any(0).sum()) for field in fields]
    # Stage 1: 7, then four kernels of 3 at stride 4; stage 2: one more of stride 2, and four; …
    assert widths[:3] == [7 + 8 * 4, 7 + 8 * 4 + 2 * 4 + 8 * 8, 255]


def test_stage_fields_are_those_of_each_stage(small_model, generator):
    images = torch.randn(1, 3, 64, 64)
    found = stage_fields({"a": small_model.encoder}, images, torch.Generator().manual_seed(0))
    for stage, field in enumerate(found["a"]):
        expected = receptive_field(lambda x, i=stage: small_model.encoder(x)[i], images, generator)
        torch.testing.assert_close(field, expected)
    assert len(found["a"]) == 4


def test_a_token_moves_by_what_it_takes_from_outside_the_region():
    """A mean over the picture by the part that was exchanged, a single pixel not at all."""
    images = torch.tensor([0.0, 1.0, 4.0])[:, None, None, None].expand(3, 2, 8, 8)
    region = torch.zeros(8, 8, dtype=torch.bool)
    region[2:6, 2:6] = True  # a quarter of the picture, with the middle pixel

    def encoder(x):
        return [x.mean((2, 3), keepdim=True), x, x]

    moved = moved_from_outside(encoder, images, [region, region, ~region])
    assert moved == pytest.approx([0.75, 0, 1])


def test_a_single_image_has_none_to_exchange_with():
    with pytest.raises(ValueError, match="two or more"):
        moved_from_outside(lambda x: [x], torch.ones(1, 3, 8, 8), [torch.ones(8, 8) > 0])
