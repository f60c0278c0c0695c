"""The change of tokens under a shift, where it is known beforehand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu.analysis.shift import change_under_shift

IMAGES = torch.randn(1, 3, 256, 512, generator=torch.Generator().manual_seed(0))


def test_the_same_tokens_have_not_changed():
    with torch.no_grad():
        assert change_under_shift(nn.Conv2d(3, 8, 4, 4), IMAGES, 0) == 0


@pytest.mark.parametrize(("patch_size", "stride"), [(4, 4), (7, 4), (3, 2)])
@torch.no_grad()
def test_a_shift_by_whole_strides_moves_every_token_and_changes_none(patch_size, stride):
    embed = nn.Conv2d(3, 8, patch_size, stride, padding=patch_size // 2)
    for tokens in (1, 2):
        assert change_under_shift(embed, IMAGES, tokens * stride, stride) < 1e-5
    assert change_under_shift(embed, IMAGES, 1, stride) > 0.1


def test_unrelated_tokens_differ_by_root_2():
    generator = torch.Generator().manual_seed(0)

    def noise(images):  # whatever it is handed: tokens that have nothing to do with one another
        return torch.randn(1, 32, 32, 64, generator=generator)

    assert change_under_shift(noise, IMAGES, 1) == pytest.approx(2**0.5, rel=0.02)


def test_the_content_moves_right_and_is_compared_where_it_came_to_stand():
    ramp = torch.arange(512.0).expand(1, 3, 256, 512)
    columns = F.avg_pool2d(ramp, 4)[0, 0, 0]
    token = columns.diff()[0]  # a step of the ramp from token to token
    for shift, expected in ((1, 1), (3, 1), (5, 1)):  # pixels to the nearest whole token
        spread = columns[36:92][: 56 - (shift + 2) // 4].std(correction=0)
        found = change_under_shift(lambda images: F.avg_pool2d(images, 4), ramp, shift)
        assert found == pytest.approx(float(expected * token / 4 / spread), rel=1e-4)
