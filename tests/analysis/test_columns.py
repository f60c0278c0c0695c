"""Columns are one stage of equal blocks, and the widest one is the last that a budget pays for."""

import pytest

from segformer_edu import SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.analysis.columns import column, encoder_work, widest_column

BUDGET = cost(SegFormerConfig.named("b0"), (512, 512)).encoder_multiply_adds


@pytest.mark.parametrize(
    ("stride", "r", "width"), [(4, 8, 27), (8, 4, 71), (16, 2, 158), (32, 1, 323)]
)
def test_a_budget_pays_for_the_widest_column_and_for_no_wider_one(stride, r, width):
    assert widest_column(BUDGET, stride, r) == width
    assert encoder_work(column(stride, r, width), 512) <= BUDGET
    assert encoder_work(column(stride, r, width + 1), 512) > BUDGET


@pytest.mark.parametrize(("stride", "r"), [(4, 8), (8, 4), (16, 2), (32, 1)])
def test_a_column_has_one_map_with_the_tokens_of_its_stride(stride, r):
    (stage,) = cost(column(stride, r, width=12), (512, 512)).stages
    assert (stage.tokens, stage.keys) == ((512 // stride) ** 2, 256)


def test_no_channel_is_paid_for_by_full_attention_at_a_quarter():
    assert widest_column(BUDGET, stride=4, reduction_ratio=1) == 0
    assert encoder_work(column(4, 1, width=1), 512) > BUDGET
