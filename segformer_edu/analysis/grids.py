"""What a coarse map can say about the labels of a picture (lesson 06)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.data.scenes import CLASSES


def class_shares(labels: Tensor, stride: int) -> Tensor:
    """The share of each class in each square of stride × stride pixels.

    Args:
        labels: `(H, W)` of class numbers; the stride divides both sides.
        stride: pixels from token to token.

    Shape: → `(1, K, H/stride, W/stride)`, for the classes of the street scenes.
    """
    ones = F.one_hot(labels.long(), len(CLASSES)).permute(2, 0, 1)[None].float()
    return F.avg_pool2d(ones, stride)


def through_a_grid(labels: Tensor, stride: int) -> Tensor:
    """The labels that come back if each token knows the shares of the classes under it.

    Args:
        labels: `(H, W)` of class numbers; the stride divides both sides.
        stride: pixels from token to token.

    Shape: → `(H, W)`.
    """
    shares = class_shares(labels, stride)  # (1, K, H/stride, W/stride)
    enlarged = F.interpolate(shares, size=labels.shape, mode="bilinear")  # (1, K, H, W)
    return enlarged[0].argmax(dim=0)  # (H, W)


@torch.enable_grad()
def fitted_through_a_grid(labels: Tensor, stride: int, steps: int = 30) -> Tensor:
    """The labels that come back from scores that are fitted to them.

    The scores begin at the logarithms of the shares and are fitted by gradient descent with
    momentum, through the same enlarging.

    Args:
        labels: `(H, W)` of class numbers; the stride divides both sides.
        stride: pixels from token to token.
        steps: how many steps of gradient descent.

    Shape: → `(H, W)`.
    """
    fitted = (class_shares(labels, stride) + 0.01).log().requires_grad_()
    optimizer = torch.optim.SGD([fitted], lr=4 / stride**2, momentum=0.9, nesterov=True)
    for _ in range(steps):
        enlarged = F.interpolate(fitted, size=labels.shape, mode="bilinear")
        optimizer.zero_grad()
        F.cross_entropy(enlarged, labels[None].long(), reduction="sum").backward()
        optimizer.step()
    return F.interpolate(fitted.detach(), size=labels.shape, mode="bilinear")[0].argmax(dim=0)


def iou_through(
    give_back: Callable[[Tensor, int], Tensor], labels: Tensor, stride: int
) -> dict[str, float]:
    """The IoU of each class in the labels that come back from a grid, and their mean as "mean"; nan
    for a class that neither has.

    Args:
        give_back: `through_a_grid` or another such function.
        labels: `(B, H, W)` of class numbers; the stride divides both sides.
        stride: pixels from token to token.
    """
    returned = torch.stack([give_back(each, stride) for each in labels])
    iou = {}
    for number, name in enumerate(CLASSES):
        are, said = labels == number, returned == number
        iou[name] = ((are & said).sum().double() / (are | said).sum()).item()
    return {**iou, "mean": torch.tensor(list(iou.values())).nanmean().item()}
