"""analysis.attention_heads, against numbers worked by hand and loops."""

import math

import pytest
import torch

from segformer_edu import SegFormer
from segformer_edu.analysis.attention_heads import (
    attention_between,
    attention_on,
    cells,
    entropy,
    even_share,
)
from segformer_edu.analysis.attention_maps import attention_maps


def test_entropy_of_maps_worked_by_hand():
    weights = torch.zeros(4, 2, 4)
    weights[0, 1, 2] = 1  # one key
    weights[1] = 1 / 8  # all alike
    weights[2, 0] = 1 / 4  # four alike
    weights[3, 0, :2] = torch.tensor([0.25, 0.75])
    by_hand = [0, math.log(8), math.log(4), 2 * math.log(2) - 0.75 * math.log(3)]
    torch.testing.assert_close(entropy(weights), torch.tensor(by_hand))


def test_entropy_is_that_of_a_categorical_distribution():
    weights = torch.randn(2, 3, 4, 5, 6, 7).flatten(-2).softmax(-1)
    expected = torch.distributions.Categorical(weights).entropy()
    torch.testing.assert_close(entropy(weights.unflatten(-1, (6, 7))), expected)


def test_cells_are_those_of_which_enough_lies_in_the_mask():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 0, 0] = True  # 1 of 16 pixels of the first cell
    mask[0, 4:, 4:6] = True  # half of the last
    mask[0, :4, 5:] = True  # three quarters of the second
    for least, expected in ((0, [[1, 1], [0, 1]]), (0.5, [[0, 1], [0, 0]]), (0.75, [[0, 0]] * 2)):
        assert cells(mask, (2, 2), least)[0].int().tolist() == expected


def test_attention_on_keys_is_the_mean_over_the_queries_of_all_pictures():
    weights = torch.randn(2, 3, 2, 3, 2, 2).flatten(-2).softmax(-1).unflatten(-1, (2, 2))
    keys, queries = torch.rand(2, 2, 2) > 0.5, torch.rand(2, 2, 3) > 0.3
    for head, found in enumerate(attention_on(weights, keys, queries)):
        shares = [
            sum(weights[picture, head, *query, *key] for key in keys[picture].nonzero())
            for picture in range(2)
            for query in queries[picture].nonzero()
        ]
        assert found.item() == pytest.approx(sum(map(float, shares)) / len(shares), abs=1e-6)


def test_an_even_share_is_what_even_weights_give_however_the_queries_are_spread():
    keys, queries = torch.rand(3, 2, 2) > 0.5, torch.rand(3, 4, 4) > torch.rand(3, 1, 1)
    found = attention_on(torch.full((3, 1, 4, 4, 2, 2), 1 / 4), keys, queries)
    assert even_share(keys, queries) == pytest.approx(found.item(), abs=1e-6)


def test_attention_between_pixels_is_that_of_the_last_blocks_and_even_where_queries_are_zero():
    torch.manual_seed(0)
    model, images = SegFormer.from_pretrained("nano"), torch.randn(1, 3, 128, 128)
    asking, asked = (torch.zeros(1, 128, 128, dtype=torch.bool) for _ in range(2))
    asking[0, 64:96, 32:64] = asked[0, :32, 96:] = True  # one token, and one key, of stage 4
    found = attention_between(model, images, asking, asked)
    last = attention_maps(model, images)[3][-1]  # (1, heads, 4, 4, 4, 4)
    assert found[3] == pytest.approx((last[0, :, 2, 1, 0, 3].mean().item(), 1 / 16), abs=1e-5)
    for stage in model.encoder.stages:
        for name, parameter in stage.named_parameters():
            if "query" in name:
                parameter.data.zero_()
    for share, evenly in attention_between(model, images, asking, asked):
        assert share == pytest.approx(evenly, abs=1e-5)


def test_no_query_is_refused():
    with pytest.raises(ValueError, match="not a single one"):
        attention_on(
            torch.full((1, 1, 2, 2, 2, 2), 0.25),
            torch.ones(1, 2, 2, dtype=torch.bool),
            torch.zeros(1, 2, 2, dtype=torch.bool),
        )
