"""The loss in strips against torch's cross-entropy of the whole, its gradient too."""

import pytest
import torch
from torch.nn import functional as F

from segformer_edu import segmentation_loss


def batch(device, num_classes=7, ignore_index=255, size=(67, 45)):
    logits = torch.randn(2, num_classes, 17, 12, device=device) * 3
    labels = torch.randint(max(num_classes, 2), (2, *size), device=device)
    labels[0, 5:30, 10:] = ignore_index
    return logits, labels


def reference(logits, labels, ignore_index=255):
    """The loss as a textbook has it: logits at full size, then the mean over the valid pixels."""
    full = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
    if full.shape[1] > 1:
        return F.cross_entropy(full, labels.long(), ignore_index=ignore_index)
    valid = labels != ignore_index
    p = torch.sigmoid(full[:, 0][valid].double())
    y = labels[valid].double()
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean().float()


def value_and_gradient(loss, logits, labels, **options):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels, **options)
    (3 * value).backward()  # an upstream gradient other than one
    return value.detach(), logits.grad


@pytest.mark.parametrize("num_classes", [1, 2, 7, 150])
@pytest.mark.parametrize("size", [(67, 45), (17, 12), (5, 4), (300, 200)], ids=str)
def test_equals_cross_entropy_of_resized_logits(device, num_classes, size):
    logits, labels = batch(device, num_classes, size=size)
    ours, expected = (value_and_gradient(f, logits, labels) for f in (segmentation_loss, reference))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("num_classes", [1, 7])
@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 3, 255])
def test_any_ignore_index(device, num_classes, ignore_index):
    logits, labels = batch(device, num_classes, ignore_index)
    ours, expected = (
        value_and_gradient(f, logits, labels, ignore_index=ignore_index)
        for f in (segmentation_loss, reference)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-7)


def test_binary_loss_is_the_mean_over_valid_pixels_alone(device):
    logits = torch.zeros(1, 1, 8, 8, device=device)
    labels = torch.full((1, 32, 32), 255, device=device)
    labels[0, :4, :4] = 1
    torch.testing.assert_close(segmentation_loss(logits, labels).cpu(), torch.tensor(2.0).log())


def test_gradient_agrees_with_finite_differences():
    logits, labels = batch("cpu", num_classes=3, size=(40, 50))
    _, gradient = value_and_gradient(segmentation_loss, logits, labels)
    step = 0.05
    for place in [(0, 0, 0, 0), (1, 2, 16, 11), (0, 1, 8, 3), (1, 0, 4, 11)]:
        shifted = [logits.clone(), logits.clone()]
        shifted[0][place] += step
        shifted[1][place] -= step
        above, below = (segmentation_loss(x, labels).item() for x in shifted)
        slope = 3 * (above - below) / (2 * step)
        assert gradient[place].item() == pytest.approx(slope, rel=0.01, abs=1e-5)


def test_ignored_pixels_have_no_gradient(device):
    logits = torch.randn(1, 4, 6, 6, device=device)
    labels = torch.zeros(1, 6, 6, dtype=torch.long, device=device)
    labels[:, 3:] = 255
    _, gradient = value_and_gradient(segmentation_loss, logits, labels)
    assert gradient[:, :, :3].all()
    assert not gradient[:, :, 3:].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_give_a_float32_loss(device, dtype):
    logits, labels = batch(device)
    value, gradient = value_and_gradient(segmentation_loss, logits.to(dtype), labels)
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    expected, expected_gradient = value_and_gradient(reference, logits.to(dtype).float(), labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_round_the_loss(device, dtype):
    logits, labels = batch(device)
    with torch.autocast(device.type, dtype=dtype):
        rounded = value_and_gradient(segmentation_loss, logits, labels)
    expected = value_and_gradient(segmentation_loss, logits, labels)
    torch.testing.assert_close(rounded, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
@pytest.mark.parametrize("ignore_index", [-100, 255])
def test_labels_of_any_integer_type(device, dtype, ignore_index):
    logits, labels = batch(device, ignore_index=0)
    if ignore_index <= torch.iinfo(dtype).max and ignore_index >= torch.iinfo(dtype).min:
        labels[labels == 0] = ignore_index
    value = segmentation_loss(logits, labels.to(dtype), ignore_index)
    torch.testing.assert_close(value, reference(logits, labels, ignore_index))


def test_an_index_that_its_type_cannot_hold_ignores_nothing():
    labels = torch.full((1, 8, 8), 156, dtype=torch.uint8)  # −100 modulo 256
    with pytest.raises(ValueError, match="156"):
        segmentation_loss(torch.zeros(1, 7, 2, 2), labels, ignore_index=-100)


def test_labels_that_are_a_view(device):
    logits, labels = batch(device)
    view = labels.transpose(1, 2).contiguous().transpose(1, 2)
    assert not view.is_contiguous()
    torch.testing.assert_close(segmentation_loss(logits, view), reference(logits, labels))


def test_inputs_are_left_as_they_were(device):
    logits, labels = batch(device)
    copies = logits.clone(), labels.clone()
    value_and_gradient(segmentation_loss, logits, labels)
    assert torch.equal(logits, copies[0]) and torch.equal(labels, copies[1])
