"""Mix-FFN: eq. 3 written out, and the zero padding that tells tokens where the border is."""

import math

import pytest
import torch
from torch.nn import functional as F

from segformer_edu import MixFFN


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(5, 7), (120, 30), (200, 30)])  # in 1, 2, 3 strips
def test_equals_eq_3_written_out(device, randomized, height, width):
    ffn = randomized(MixFFN(6, 10)).to(device)
    x = torch.randn(2, height, width, 6, device=device)
    hidden = F.linear(x, ffn.expand.weight, ffn.expand.bias)
    padded = F.pad(hidden, (0, 0, 1, 1, 1, 1))  # a ring of zeros
    mixed = ffn.depthwise.bias + sum(
        padded[:, row : row + height, column : column + width]
        * ffn.depthwise.weight[:, 0, row, column]
        for row in range(3)
        for column in range(3)
    )
    gelu = mixed * (1 + torch.erf(mixed / math.sqrt(2))) / 2
    expected = F.linear(gelu, ffn.contract.weight, ffn.contract.bias)
    torch.testing.assert_close(ffn(x), expected, rtol=1e-4, atol=1e-5)


def test_on_a_flat_map_only_the_border_differs(randomized):
    flat = torch.ones(1, 6, 8, 4)
    y = randomized(MixFFN(4, 16))(flat)[0]
    inside = y[1:-1, 1:-1]
    torch.testing.assert_close(inside, inside[:1, :1].expand_as(inside))
    corner, top, left, middle = y[0, 0], y[0, 3], y[3, 0], y[3, 3]
    kinds = torch.stack([corner, top, left, middle])
    assert torch.pdist(kinds).min() > 1e-3  # four kinds of place, told apart


def test_a_token_depends_on_its_eight_neighbours_and_no_others(randomized):
    x = torch.randn(1, 7, 7, 4, requires_grad=True)
    randomized(MixFFN(4, 8))(x)[0, 3, 3].sum().backward()
    heard = (x.grad[0] != 0).any(-1)
    assert heard[2:5, 2:5].all()
    assert heard.sum() == 9


@torch.no_grad()
@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_another_padding_sees_the_other_rows_of_the_map(randomized, mode):
    ffn = randomized(MixFFN(6, 10)).eval()
    ffn.depthwise.padding_mode = mode
    x = torch.randn(1, 200, 60, 6)  # in three strips, were the padding zeros
    hidden = F.pad(ffn.expand(x).permute(0, 3, 1, 2), (1, 1, 1, 1), mode)
    mixed = F.conv2d(hidden, ffn.depthwise.weight, ffn.depthwise.bias, groups=10)
    expected = ffn.contract(F.gelu(mixed).permute(0, 2, 3, 1))
    torch.testing.assert_close(ffn(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_larger_kernel_gets_as_many_rows_as_it_reads(randomized):
    ffn = randomized(MixFFN(6, 10)).eval()
    ffn.depthwise = torch.nn.Conv2d(10, 10, (7, 3), padding=(3, 1), groups=10)
    x = torch.randn(1, 200, 60, 6)
    torch.testing.assert_close(ffn(x), ffn.mix(x), rtol=1e-4, atol=1e-5)


def test_training_takes_the_whole_map_and_evaluation_strips():
    heights = []
    ffn = MixFFN(6, 10)
    ffn.expand.register_forward_hook(lambda module, inputs, output: heights.append(len(output[0])))
    x = torch.randn(1, 200, 60, 6)
    ffn.train()(x)
    assert heights == [200]
    ffn.eval()(x)
    assert heights[1:] == [69, 70, 65]  # 68 rows of 60 pixels, and the neighbours that they read
