"""The config refuses what cannot be built, and knows the smallest image that fits."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segformer_edu import MixTransformer, SegFormer, SegFormerConfig

# Paper, table 6, as released: embed dims, depths, decoder width.
PUBLISHED = {
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": ((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "b2": ((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "b3": ((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "b4": ((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "b5": ((64, 128, 320, 512), (3, 6, 40, 3), 768),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_variants(name):
    config = SegFormerConfig.named(name)
    assert (config.embed_dims, config.depths, config.decoder_dim) == PUBLISHED[name]
    assert config.num_heads == (1, 2, 5, 8)
    assert config.reduction_ratios == (8, 4, 2, 1)
    assert config.mlp_ratios == (4, 4, 4, 4)
    assert (config.patch_sizes, config.strides) == ((7, 3, 3, 3), (4, 2, 2, 2))
    assert (config.in_channels, config.num_classes) == (3, 150)
    assert (config.drop_path_rate, config.decoder_dropout) == (0.1, 0.1)


def test_named_takes_changes_to_any_field():
    config = SegFormerConfig.named("b2", num_classes=19, drop_path_rate=0.2)
    assert (config.num_classes, config.drop_path_rate, config.depths) == (19, 0.2, (3, 4, 6, 3))


def test_lists_become_tuples_so_that_equal_configs_are_equal():
    from_lists = SegFormerConfig(depths=[2, 2, 2, 2], class_names=["road", "sky"], num_classes=2)
    from_tuples = SegFormerConfig(depths=(2, 2, 2, 2), class_names=("road", "sky"), num_classes=2)
    assert from_lists == from_tuples
    assert hash(from_lists) == hash(from_tuples)


def test_whole_numbers_of_numpy_are_whole_numbers():
    classes = np.array([0, 7]).max() + 1  # of a mask
    config = SegFormerConfig(num_classes=classes, depths=list(np.array([2, 2, 2, 2])))
    assert config == SegFormerConfig(num_classes=8)
    assert type(config.num_classes) is type(config.depths[0]) is int  # so that JSON takes them


def test_real_numbers_of_numpy_are_real_numbers():
    config = SegFormerConfig(drop_path_rate=np.float32(0.5), block_norm_eps=np.float64(1e-5))
    assert config == SegFormerConfig(drop_path_rate=0.5, block_norm_eps=1e-5)
    assert type(config.drop_path_rate) is type(config.block_norm_eps) is float


def test_a_config_stays_as_it_was_validated():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SegFormerConfig().num_classes = 0


def test_replace_validates_again():
    with pytest.raises(ValueError, match="num_classes"):
        SegFormerConfig().replace(num_classes=0)


def test_the_stages_hold_the_fields_stage_by_stage():
    first, *_, last = SegFormerConfig.named("b2").stages
    assert first == (3, 64, 3, 1, 8, 4, 7, 4, pytest.approx((0, 1 / 150, 2 / 150)))
    assert last == (320, 512, 3, 8, 1, 4, 3, 2, pytest.approx((13 / 150, 14 / 150, 0.1)))


def test_a_probability_may_be_0_or_1():
    for rate in (0, 0.0, 1, 1.0):
        config = SegFormerConfig(drop_path_rate=rate, decoder_dropout=rate)
        assert (config.drop_path_rate, config.decoder_dropout) == (rate, rate)


def test_the_smallest_epsilon_that_float32_holds_is_allowed():
    assert SegFormerConfig(block_norm_eps=1e-37).block_norm_eps == 1e-37


def test_the_parameters_that_it_asks_for_are_those_of_the_matrices():
    config = SegFormerConfig(
        num_classes=7,
        in_channels=5,
        embed_dims=(6, 10),
        depths=(2, 3),
        num_heads=(1, 2),
        reduction_ratios=(3, 2),
        mlp_ratios=(2, 5),
        patch_sizes=(5, 3),
        strides=(2, 2),
        decoder_dim=11,
    )
    with torch.device("meta"):
        parts = list(SegFormer(config).modules())
    matrices = [x for x in parts if isinstance(x, nn.Linear | nn.Conv2d)]
    dense = [x for x in matrices if getattr(x, "groups", 1) == 1]
    assert len(dense) == len(matrices) - 5  # the depthwise ones have next to none
    assert config.approximate_parameters == sum(x.weight.numel() for x in dense)


def test_as_many_parameters_as_are_allowed(monkeypatch):
    most = SegFormerConfig().approximate_parameters
    monkeypatch.setattr("segformer_edu.config.MOST_PARAMETERS", most)
    SegFormerConfig()
    monkeypatch.setattr("segformer_edu.config.MOST_PARAMETERS", most - 1)
    with pytest.raises(ValueError, match="asks for about 4e\\+06 parameters"):
        SegFormerConfig()


def test_an_epsilon_of_one_is_refused():
    with pytest.raises(ValueError, match="^block_norm_eps = 1:"):
        SegFormerConfig(block_norm_eps=1)


def test_the_published_models_need_29_pixels():
    assert SegFormerConfig().min_image_size == 29


@st.composite
def configs(draw):
    stages = draw(st.integers(1, 3))

    def one_a_stage(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * stages))

    return SegFormerConfig(
        num_classes=2,
        embed_dims=(4,) * stages,
        depths=(1,) * stages,
        num_heads=(1,) * stages,
        mlp_ratios=(1,) * stages,
        reduction_ratios=one_a_stage(1, 4),
        patch_sizes=one_a_stage(1, 7),
        strides=one_a_stage(1, 4),
    )


@torch.no_grad()
@settings(max_examples=40, deadline=None, derandomize=True)
@given(configs())
def test_min_image_size_is_the_least_that_leaves_every_stage_a_key(config):
    encoder = MixTransformer(config)
    least = config.min_image_size
    encoder(torch.zeros(1, 3, least, least))
    if least > 1:
        with pytest.raises((ValueError, RuntimeError)):  # from a stage, not from the encoder
            x = torch.zeros(1, 3, least - 1, least - 1)
            for stage in encoder.stages:
                x = stage(x)
        with pytest.raises(ValueError, match=f"at least {least}×{least}"):
            encoder(torch.zeros(1, 3, least - 1, least))
