"""Whether any token notices an edge (lesson 01)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

SIDE, FILTERS = 64, 64  # pixels of the image, and how many filters look at it
BORDER = 2  # tokens left out at each side, where the padding is an edge too


def loudest_answer(patch_size: int, padding: int, column: int, stride: int = 4) -> float:
    """The largest answer that random filters give to a sharp, upright edge.

    The image is 0 to the left of `column` and 1 from there on. The weights of each filter sum to
    zero, so that it is silent where all is flat, and their squares sum to one.

    Args:
        patch_size: pixels of a patch along one side.
        padding: zeros around the image.
        column: the first bright one of 64 columns.
        stride: pixels from token to token.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(FILTERS, 1, patch_size, patch_size, generator=generator)
    weight = weight - weight.mean((2, 3), keepdim=True)
    weight = weight / weight.square().sum((2, 3), keepdim=True).sqrt()
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., column:] = 1
    answers = F.conv2d(image, weight, stride=stride, padding=padding)
    return answers[..., BORDER:-BORDER, BORDER:-BORDER].abs().max().item()
