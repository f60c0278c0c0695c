"""The task of naming the left neighbour's colour, against models whose answers are known."""

import torch
from torch import nn

from segformer_edu.analysis.left_neighbour import learn, random_colors, share_right


class Left(nn.Module):
    """Answers with the colour of the token so many steps to the left."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, colors):
        return colors.roll(self.steps, dims=2)


def test_colours_are_black_or_white_by_chance():
    colors = random_colors(16, torch.Generator().manual_seed(0))
    assert colors.shape[1:] == (16, 16, 1) and set(colors.unique().tolist()) == {-1, 1}
    assert abs(colors.mean()) < 0.1


def test_the_share_counts_the_tokens_that_name_the_asked_colour():
    generator = torch.Generator().manual_seed(0)
    for steps in (1, 2, 3):
        assert share_right(Left(steps), 16, steps, generator) == 1
        assert abs(share_right(Left(steps), 16, steps + 1, generator) - 0.5) < 0.1


def test_a_convolution_learns_to_look_to_its_left():
    torch.manual_seed(0)
    convolution = nn.Conv2d(1, 1, 3, padding=1)
    model = nn.Sequential(Moved(3, 1), convolution, Moved(1, 3))
    learn(model, side=8, steps=1000, generator=torch.Generator().manual_seed(0))
    learned = convolution.weight.detach()[0, 0]
    assert learned[1, 0] > 0.8 and learned.abs().sum() - learned[1, 0] < 0.5


class Moved(nn.Module):
    def __init__(self, source, target):
        super().__init__()
        self.axes = source, target

    def forward(self, x):
        return x.movedim(*self.axes)
