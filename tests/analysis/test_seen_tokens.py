"""Which tokens reach the keys, against the geometry of the windows."""

import pytest
import torch

from segformer_edu import SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.analysis.seen_tokens import tokens_seen_by_keys
from segformer_edu.attention import SpatialReduction

B0 = SegFormerConfig.named("b0")


@pytest.mark.parametrize(("height", "width"), [(31, 31), (25, 17), (17, 32), (32, 32)])
def test_the_tokens_that_reach_no_key_are_those_past_the_last_window(height, width):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # as in the lesson
        seen = tokens_seen_by_keys(SpatialReduction(4, 8), height, width, generator)
    expected = torch.zeros(height, width, dtype=torch.bool)
    expected[: height // 8 * 8, : width // 8 * 8] = True
    assert torch.equal(seen, expected)
    counted = cost(B0, (4 * height, 4 * width)).stages[0].share_of_tokens_seen
    assert seen.double().mean().item() == pytest.approx(counted)
