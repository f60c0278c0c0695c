"""A model without branches is what its equations say without those terms."""

import itertools

import pytest
import torch

from segformer_edu import SegFormer
from segformer_edu.analysis.branches import branches, drawn_branches, without_branches
from segformer_edu.training import make_optimizer


def by_hand(model, images, missing):
    """The four maps, written out: x + attention(norm(x)), x + mix_ffn(norm(x)), or x alone."""
    maps, x = [], images
    for number, stage in enumerate(model.encoder.stages):
        x = stage.patch_embedding(x)
        for index, block in enumerate(stage.blocks):
            if (number, index, "attention") not in missing:
                x = x + block.attention(block.norm1(x))
            if (number, index, "mix_ffn") not in missing:
                x = x + block.mix_ffn(block.norm2(x))
        x = stage.norm(x).permute(0, 3, 1, 2)
        maps.append(x)
    return maps


def test_a_nano_has_sixteen_in_the_order_of_computation():
    found = branches(SegFormer.from_pretrained("nano"))
    assert len(found) == len(set(found)) == 16 and found == sorted(found)
    assert found[:3] == [(0, 0, "attention"), (0, 0, "mix_ffn"), (0, 1, "attention")]


def test_those_of_one_kind(small_model):
    blocks = [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]
    assert branches(small_model, "mix_ffn") == [(*block, "mix_ffn") for block in blocks]


@torch.no_grad()
def test_each_branch_that_is_missing_leaves_x_as_it_is(small_model):
    images = torch.randn(2, 3, 65, 97)
    every = branches(small_model)
    for missing in ([], *([each] for each in every), every[1::2], every):
        found = without_branches(small_model, missing).encoder(images)
        for ours, expected in zip(found, by_hand(small_model, images, missing), strict=True):
            assert torch.equal(ours, expected), missing


def test_a_missing_branch_learns_nothing_and_all_others_do(small_model):
    gone = "encoder.stages.1.blocks.0.attention.", "encoder.stages.2.blocks.0.mix_ffn."
    shorter = without_branches(small_model, [(1, 0, "attention"), (2, 0, "mix_ffn")]).train()
    before = {name: weight.clone() for name, weight in shorter.named_parameters()}
    optimizer = make_optimizer(shorter, 0.1)
    shorter(torch.randn(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    matrices = {name: weight for name, weight in shorter.named_parameters() if weight.ndim > 1}
    for name, weight in matrices.items():
        assert torch.equal(weight, before[name]) == name.startswith(gone), name


def test_the_model_stays_as_it_is(small_model):
    before = {name: weight.clone() for name, weight in small_model.state_dict().items()}
    without_branches(small_model, branches(small_model))
    assert all(torch.equal(x, before[name]) for name, x in small_model.state_dict().items())
    assert all(weight.requires_grad for weight in small_model.parameters())


@pytest.mark.parametrize(
    "bad", [(4, 0, "attention"), (0, 1, "attention"), (0, 0, "ffn"), (-1, 0, "mix_ffn")]
)
def test_a_branch_that_is_not_there_is_refused(small_model, bad):
    with pytest.raises(ValueError, match=r"missing holds .* one of \(0, 0, 'attention'\) … \(3, 0"):
        without_branches(small_model, [bad])


def test_only_a_segformer_has_branches(small_model):
    with pytest.raises(ValueError, match="model is a MixTransformer: give a whole SegFormer"):
        without_branches(small_model.encoder, [])


def test_branches_are_drawn_at_the_rates_of_the_blocks(small_config):
    """Five blocks, the rates 0, 1/8, 1/4, 3/8 and 1/2; four standard deviations of 800 draws."""
    model = SegFormer(small_config)
    drawn = [drawn_branches(model, 0.5, seed) for seed in range(800)]
    for index, branch in enumerate(branches(model)):
        share = sum(branch in missing for missing in drawn) / 800
        assert share == pytest.approx(index // 2 / 8, abs=0.07 if index > 1 else 0)
    pair = sum({(3, 0, "attention"), (3, 0, "mix_ffn")} <= set(missing) for missing in drawn)
    assert pair / 800 == pytest.approx(0.25, abs=0.07)  # each has a gate of its own


def test_a_higher_rate_leaves_out_more_of_the_same(small_model):
    for seed in range(20):
        drawn = [drawn_branches(small_model, rate, seed) for rate in (0, 0.2, 0.7, 1)]
        assert drawn[0] == [] and drawn[3][-2:] == branches(small_model)[-2:]
        assert all(set(low) <= set(high) for low, high in itertools.pairwise(drawn))
