"""The loss in strips against torch's cross-entropy of the whole, its gradient too."""

from itertools import product

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from segformer_edu import segmentation_loss
from segformer_edu.loss import pixel_weight, summed_loss


def batch(device, num_classes=7, ignore_index=255, size=(67, 45), coarse=(17, 12)):
    logits = torch.randn(2, num_classes, *coarse, device=device) * 3
    labels = torch.randint(max(num_classes, 2), (2, *size), device=device)
    labels[0, 5:30, 10:] = ignore_index
    return logits, labels


def reference(logits, labels, ignore_index=255, class_weights=None):
    """The loss as in a textbook: logits at full size, then the mean over the valid pixels."""
    full = F.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
    if full.shape[1] > 1:
        return F.cross_entropy(full, labels.long(), class_weights, ignore_index=ignore_index)
    valid = labels != ignore_index
    p = torch.sigmoid(full[:, 0][valid].double())
    y = labels[valid].double()
    w = torch.ones_like(y) if class_weights is None else class_weights.double()[labels[valid]]
    return -(w * (y * p.log() + (1 - y) * (1 - p).log())).sum().div(w.sum()).float()


def value_and_gradient(loss, logits, labels, **options):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels, **options)
    (3 * value).backward()  # an upstream gradient other than one
    return value.detach(), logits.grad


SIZES = [(67, 45), (17, 12), (5, 4), (300, 200)]
IN_STRIPS = [(1, (1100, 1000)), (7, (1100, 1000))]  # few classes; so are 150 at (300, 200)


@pytest.mark.parametrize(
    ("num_classes", "size"), [*product([1, 2, 7, 150], SIZES), *IN_STRIPS], ids=str
)
def test_equals_cross_entropy_of_resized_logits(device, num_classes, size):
    logits, labels = batch(device, num_classes, size=size)
    ours, expected = (value_and_gradient(f, logits, labels) for f in (segmentation_loss, reference))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("num_classes", [1, 7, 20])
def test_wide_logits(device, num_classes):
    logits, labels = batch(device, num_classes, size=(40, 1200), coarse=(10, 300))
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


@pytest.mark.parametrize("num_classes", [1, 2, 7, 150])
@pytest.mark.parametrize("ignore_index", [-100, 0, 255])
def test_class_weights_are_those_of_cross_entropy(device, num_classes, ignore_index):
    logits, labels = batch(device, num_classes, ignore_index)
    weights = torch.rand(max(num_classes, 2), device=device) * 3
    weights[2:3] = 0  # a class may count for nothing
    ours, expected = (
        value_and_gradient(f, logits, labels, ignore_index=ignore_index, class_weights=weights)
        for f in (segmentation_loss, reference)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-7)


def test_equal_class_weights_change_nothing(device):
    logits, labels = batch(device)
    plain, equal = (
        value_and_gradient(segmentation_loss, logits, labels, class_weights=weights)
        for weights in (None, torch.full((7,), 5.0, device=device))
    )
    torch.testing.assert_close(equal, plain)


def test_sums_of_parts_divided_by_their_weight_are_the_mean_of_the_whole(device):
    logits, labels = batch(device)
    labels[1] = 255  # a part in which no pixel counts
    weights = torch.rand(7, device=device)
    for options in ({}, {"class_weights": weights}):
        parts = list(zip(logits.split(1), labels.split(1), strict=True))
        total = sum(summed_loss(x, y, **options) for x, y in parts)
        weight = sum(pixel_weight(y, 7, **options) for _, y in parts)
        whole = segmentation_loss(logits, labels, **options)
        torch.testing.assert_close(total / weight, whole)
        assert summed_loss(*parts[1], **options) == pixel_weight(parts[1][1], 7, **options) == 0


def test_sixteen_bits_keep_a_gradient_that_the_mean_would_round_to_zero(device):
    """Over many pixels the mean's gradient is below what float16 holds; a scaled loss saves it."""
    logits = torch.zeros(1, 2, 64, 64, device=device, dtype=torch.float16, requires_grad=True)
    labels = torch.zeros(1, 1024, 1024, dtype=torch.long, device=device)
    labels[:, ::2] = 1
    labels[:, :256, :256] = 0
    (segmentation_loss(logits, labels) * 2.0**16).backward()
    expected = torch.zeros(1, 2, 64, 64, device=device, requires_grad=True)
    (segmentation_loss(expected, labels) * 2.0**16).backward()
    torch.testing.assert_close(logits.grad.float(), expected.grad, rtol=2e-3, atol=1e-4)


BAD_WEIGHTS = {
    "a list": ([1.0] * 7, "got list"),
    "whole numbers": (torch.ones(7, dtype=torch.long), "int64"),
    "too few": (torch.ones(6), "(6,)"),
    "a table": (torch.ones(7, 1), "(7, 1)"),
    "a negative one": (torch.tensor([1.0] * 6 + [-1.0]), "at least 0"),
    "an infinite one": (torch.tensor([1.0] * 6 + [float("inf")]), "finite"),
    "one that is not a number": (torch.tensor([1.0] * 6 + [float("nan")]), "finite"),
    "nothing but zeros": (torch.zeros(7), "weight is 0"),
    "another device": (torch.ones(7, device="meta"), "meta"),
}


@pytest.mark.parametrize(("weights", "words"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_impossible_class_weights_are_refused(weights, words):
    with pytest.raises(ValueError) as refusal:
        segmentation_loss(*batch("cpu"), class_weights=weights)
    assert words in str(refusal.value)


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


class Operations(TorchDispatchMode):
    """Remembers the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.__name__)
        return function(*args, **(kwargs or {}))


def test_a_gradient_that_nobody_asked_for_is_not_computed(device):
    logits, labels = batch(device)
    for needed in (False, True):
        with Operations() as operations:
            segmentation_loss(logits.requires_grad_(needed), labels)
        assert any("backward" in name for name in operations.names) == needed


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


@pytest.mark.parametrize("weight", [1.0, 1e-3])
def test_one_pixel_that_counts_is_enough(device, weight):
    logits, labels = batch(device)
    labels = torch.full_like(labels, 255)
    labels[1, 40, 20] = 3
    weights = torch.full((7,), weight, device=device)
    value = segmentation_loss(logits, labels, class_weights=weights)
    torch.testing.assert_close(value, reference(logits, labels))


@pytest.mark.parametrize("name", ["logits", "labels"])
def test_a_refusal_names_the_argument_that_is_not_a_tensor(name):
    given = dict(zip(("logits", "labels"), batch("cpu"), strict=True))
    given[name] = given[name].tolist()
    with pytest.raises(ValueError, match=f"^{name} must be a tensor; got list"):
        segmentation_loss(**given)


def test_a_refusal_shows_a_few_of_the_labels_that_are_not_classes():
    labels = torch.arange(64).view(1, 8, 8)
    with pytest.raises(ValueError, match=r"^labels hold \[7, 8, 9, 10, 11\], outside 0 … 6 "):
        segmentation_loss(torch.zeros(1, 7, 2, 2), labels)


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
