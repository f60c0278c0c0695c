"""Focal and dice loss in strips against their formulas at full size, in float64, gradients too."""

import pytest
import torch
from torch.nn import functional as F

from segformer_edu import segmentation_loss
from segformer_edu.loss import summed_loss
from segformer_edu.training.losses import dice_loss, summed_focal_loss
from tests.test_loss import Operations, batch, value_and_gradient

SIZES = [(5, 4), (67, 45), (600, 500)]  # the last is made in several strips
IGNORED = [255, -100, 0]


def probabilities(logits, labels, ignore_index):
    """`(n, K)` float64 of the valid pixels, and their labels, from logits at full size."""
    full = F.interpolate(logits.double(), labels.shape[1:], mode="bilinear", align_corners=False)
    if full.shape[1] == 1:
        p = torch.cat([torch.sigmoid(-full), torch.sigmoid(full)], dim=1)
    else:
        p = full.exp() / full.exp().sum(1, keepdim=True)
    valid = labels != ignore_index
    return p.movedim(1, 3)[valid], labels[valid].long()


def dense_focal(logits, labels, gamma=2.0, ignore_index=255, class_weights=None):
    p, y = probabilities(logits, labels, ignore_index)
    own = p[torch.arange(len(y)), y]
    weights = torch.ones_like(own) if class_weights is None else class_weights.double()[y]
    return (weights * (1 - own) ** gamma * -own.log()).sum().float()


def dense_dice(logits, labels, ignore_index=255, class_weights=None):
    p, y = probabilities(logits, labels, ignore_index)
    total = divisor = 0
    for label in y.unique().tolist():
        weight = 1 if class_weights is None else class_weights.double()[label]
        of_class = (y == label).double()
        dice = 2 * (p[:, label] * of_class).sum() / (p[:, label].sum() + of_class.sum())
        total, divisor = total + weight * (1 - dice), divisor + weight
    return (total / divisor).float()


def compare(ours, dense, logits, labels, **options):
    found, expected = (
        value_and_gradient(each, logits, labels, **options) for each in (ours, dense)
    )
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-7)
    largest = expected[1].abs().max().item()
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize(("size", "ignore_index"), [*zip(SIZES, IGNORED, strict=True)], ids=str)
@pytest.mark.parametrize("num_classes", [1, 2, 7, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_they_are_their_formulas(device, num_classes, size, ignore_index, weighted):
    logits, labels = batch(device, num_classes, ignore_index, size)
    weights = torch.rand(max(num_classes, 2), device=device) * 3 if weighted else None
    options = {"ignore_index": ignore_index, "class_weights": weights}
    compare(dice_loss, dense_dice, logits, labels, **options)
    for gamma in (0.5, 1.0, 2.0):
        compare(summed_focal_loss, dense_focal, logits, labels, gamma=gamma, **options)


@pytest.mark.parametrize("num_classes", [1, 7])
def test_their_gradients_agree_with_finite_differences(num_classes):
    """Of the loss itself, so that its value and its gradient cannot both be of another function."""
    logits, labels = batch("cpu", num_classes, size=(40, 50))
    logits[:, -1] += 1  # the classes are not alike
    every_pixel = torch.zeros_like(logits)
    every_pixel[:, -1] = 1
    for loss in (dice_loss, summed_focal_loss):
        _, gradient = value_and_gradient(loss, logits, labels)
        for direction in (every_pixel, gradient / gradient.norm()):
            ends = [float(loss(logits + shift * direction, labels)) for shift in (0.05, -0.05)]
            slope = 3 * (ends[0] - ends[1]) / 0.1
            assert (gradient * direction).sum().item() == pytest.approx(slope, rel=0.01)


def test_without_a_power_focal_loss_is_cross_entropy(device):
    for num_classes in (1, 7):
        logits, labels = batch(device, num_classes)
        weights = torch.rand(max(num_classes, 2), device=device)
        found = value_and_gradient(
            summed_focal_loss, logits, labels, gamma=0.0, class_weights=weights
        )
        expected = value_and_gradient(summed_loss, logits, labels, class_weights=weights)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_pixel_that_is_as_sure_as_can_be_breaks_nothing(device, num_classes, gamma):
    logits = torch.zeros(1, num_classes, 4, 4, device=device)
    logits[:, -1] = 300.0  # its cross-entropy is 0 in float32, or 300
    for label, most in ((max(num_classes, 2) - 1, 0.0), (0, 300.0)):
        labels = torch.full((1, 4, 4), label, device=device)
        value, gradient = value_and_gradient(summed_focal_loss, logits, labels, gamma=gamma)
        assert value.item() == pytest.approx(16 * most, abs=1e-6) and gradient.isfinite().all()
        value, gradient = value_and_gradient(dice_loss, logits, labels)
        assert value.item() == pytest.approx(float(label == 0), abs=1e-6)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("weighted", [False, True])
def test_a_class_that_no_label_shows_does_not_count_in_dice(device, weighted):
    logits, labels = batch(device, 4)
    labels[labels == 2] = 1
    weights = torch.tensor([1.0, 2.0, 5.0, 3.0], device=device) if weighted else None
    compare(dice_loss, dense_dice, logits, labels, class_weights=weights)
    nothing = torch.full_like(labels, 255)
    value, gradient = value_and_gradient(dice_loss, logits, nothing, class_weights=weights)
    assert value == 0 and not gradient.any()


def test_a_small_class_counts_in_dice_as_much_as_a_large_one(device):
    """Four pixels of 4,096 are missed: dice is almost a half, and cross-entropy almost nothing."""
    labels = torch.zeros(1, 64, 64, dtype=torch.long, device=device)
    labels[0, :2, :2] = 1
    logits = torch.tensor([4.0, -4.0], device=device).view(1, 2, 1, 1).expand(1, 2, 16, 16)
    assert dice_loss(logits, labels) > 0.49 and segmentation_loss(logits, labels) < 0.02


def test_dice_of_parts_whose_sums_are_added_up_is_that_of_the_whole(device):
    """What several processes do: each knows its own pixels, and the sums of all."""
    logits, labels = batch(device)
    weights = torch.rand(7, device=device)
    options = {"class_weights": weights}
    expected = value_and_gradient(dice_loss, logits, labels, **options)
    seen = []

    def note(sums):
        seen.append(sums)
        return sums.clone()

    parts = list(zip(logits.split(1), labels.split(1), strict=True))
    for part in parts:
        dice_loss(*part, **options, add_up=note)
    found = [
        value_and_gradient(dice_loss, *part, **options, add_up=lambda sums: sum(seen))
        for part in parts
    ]
    for value, _ in found:
        torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(torch.cat([gradient for _, gradient in found]), expected[1])
    apart = sum(dice_loss(*part, **options) for part in parts) / 2
    assert abs(apart - expected[0]) > 1e-4  # the mean over the parts is another number


@pytest.mark.parametrize("loss", [dice_loss, summed_focal_loss])
def test_no_map_of_all_classes_at_full_size_is_made(loss):
    logits, labels = batch("cpu", 150, size=(400, 400), coarse=(100, 100))

    class Sizes(Operations):
        largest = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = super().__torch_dispatch__(function, types, args, kwargs)
            for x in made if isinstance(made, (tuple, list)) else [made]:
                if isinstance(x, torch.Tensor):
                    self.largest = max(self.largest, x.numel())
            return made

    with Sizes() as sizes:
        loss(logits.requires_grad_(), labels).backward()
    assert sizes.largest <= max(logits.numel(), labels.numel()) < 150 * labels.numel() / 10


@pytest.mark.parametrize("loss", [dice_loss, summed_focal_loss])
def test_in_16_bits_they_are_computed_in_32(device, loss):
    logits, labels = batch(device)
    expected = value_and_gradient(loss, logits.bfloat16().float(), labels)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        value, gradient = value_and_gradient(loss, logits.bfloat16(), labels)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(gradient, expected[1].bfloat16())


@pytest.mark.parametrize("loss", [dice_loss, summed_focal_loss])
def test_they_refuse_what_cross_entropy_refuses(loss):
    logits, labels = batch("cpu")
    for given, words in (
        ((logits.tolist(), labels), "logits must be a tensor"),
        ((logits, labels + 1), "labels hold"),
        ((logits[0], labels), "logits must be"),
    ):
        with pytest.raises(ValueError, match=words):
            loss(*given)
    with pytest.raises(ValueError, match=r"class_weights have shape \(6,\)"):
        loss(logits, labels, class_weights=torch.ones(6))
