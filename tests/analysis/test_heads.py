"""analysis.heads: maps are stacked as a decoder stacks them, and a fit finds what is there."""

import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu.analysis.heads import fit, linear_head, side_by_side


def test_maps_are_brought_to_the_size_of_the_first():
    maps = [torch.randn(2, 3, 8, 12), torch.randn(2, 5, 4, 6)]
    stacked = side_by_side(maps)
    assert torch.equal(stacked[:, :3], maps[0])
    expected = F.interpolate(maps[1], (8, 12), mode="bilinear")
    assert torch.equal(stacked[:, 3:], expected)


def test_a_linear_head_starts_without_an_opinion():
    logits = linear_head(3, 5)(torch.randn(2, 3, 8, 12))
    assert logits.shape == (2, 5, 8, 12)
    assert not logits.any()


def test_a_fit_finds_a_rule_that_is_linear_in_the_channels():
    inputs = torch.randn(4, 3, 8, 8)
    targets = (inputs[:, 0] > inputs[:, 1]).long()
    head = nn.Conv2d(3, 2, 1)
    before = F.cross_entropy(head(inputs), targets)
    fit(head, inputs, targets)
    assert (head(inputs).argmax(1) == targets).double().mean() > 0.98
    assert F.cross_entropy(head(inputs), targets) < 0.2 * before


def test_the_loss_is_taken_at_the_size_of_the_targets():
    """Two tokens, and a border that only pixels know: three of four belong to the first class."""
    inputs = torch.tensor([[[[-1.0, 1.0]]]])
    targets = torch.tensor([[[0, 0, 0, 1]]])
    head = linear_head(1, 2)
    fit(head, inputs, targets)
    logits = F.interpolate(head(inputs), (1, 4), mode="bilinear")
    assert torch.equal(logits.argmax(1), targets)
