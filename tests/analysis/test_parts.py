"""The parts of a model add up to the whole, and each holds what a count by hand gives it."""

import pytest

from segformer_edu import MixTransformer, SegFormerConfig
from segformer_edu.analysis import cost
from segformer_edu.analysis.parts import multiply_adds_by_part, parameters_by_part

SIZES = ["b0", "b1", "b2", "b3", "b4", "b5"]


def test_the_parts_add_up_to_the_encoder():
    b0 = SegFormerConfig.named("b0")
    parts = parameters_by_part(b0)
    assert sum(parts.values()) == pytest.approx(3.319392)
    assert sum(parts.values()) == pytest.approx(
        sum(weight.numel() for weight in MixTransformer(b0).parameters()) / 1e6
    )


def test_each_part_of_a_small_encoder_by_hand():
    config = SegFormerConfig(
        embed_dims=(4,),
        depths=(2,),
        num_heads=(1,),
        reduction_ratios=(2,),
        mlp_ratios=(3,),
        patch_sizes=(7,),
        strides=(4,),
    )
    patches = 7 * 7 * 3 * 4 + 4 + 8  # convolution, bias, norm
    norms = 2 * 2 * 8 + 8  # two in each block, one at the end
    reduction = 2 * (2 * 2 * 4 * 4 + 4 + 8)
    projections = 2 * 4 * (4 * 4 + 4)
    mix_ffn = 2 * (4 * 12 + 12 + 9 * 12 + 12 + 12 * 4 + 4)
    expected = [patches + norms, reduction, projections, mix_ffn]
    assert [1e6 * x for x in parameters_by_part(config).values()] == pytest.approx(expected)


@pytest.mark.parametrize("name", SIZES)
def test_mix_ffn_is_the_largest_part_of_the_encoder_and_the_decoder_larger_still(name):
    config = SegFormerConfig.named(name)
    parameters = parameters_by_part(config)
    assert max(parameters, key=parameters.get) == "Mix-FFN"
    work = multiply_adds_by_part(config, 512)
    bill = cost(config, (512, 512))
    assert sum(work.values()) == pytest.approx(bill.reference_multiply_adds / 1e9)
    assert sorted(work, key=work.get)[-2:] == ["Mix-FFN", "decoder"]
