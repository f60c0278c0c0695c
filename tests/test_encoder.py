"""The encoder: four maps, drop rates in order, gradient checkpointing, any number of stages."""

import pytest
import torch

from segformer_edu import EncoderBlock, MixTransformer, SegFormerConfig, drop_rates


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 47), (29, 200)], ids=str)
def test_each_stage_halves_the_map_rounding_up(small_config, device, size):
    encoder = MixTransformer(small_config).to(device)
    maps = encoder(torch.randn(2, 3, *size, device=device))
    for x, dim, stride in zip(maps, small_config.embed_dims, (4, 8, 16, 32), strict=True):
        assert x.shape == (2, dim, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("rule", ["linspace", "paper"])
def test_blocks_have_the_drop_rates_of_the_schedule_in_order(rule):
    config = SegFormerConfig(depths=(1, 3, 2, 1), drop_path_rate=0.3, drop_path_rule=rule)
    rates = [
        block.drop_path.rate for stage in MixTransformer(config).stages for block in stage.blocks
    ]
    assert rates == drop_rates(0.3, 7, rule)
    assert rates == sorted(rates)
    assert len(set(rates)) == 7


def test_a_block_adds_attention_and_then_mix_ffn(device, randomized):
    block = randomized(EncoderBlock(8, 2, 2)).to(device)
    x = torch.randn(2, 6, 7, 8, device=device)
    attended = x + block.attention(block.norm1(x))
    torch.testing.assert_close(block(x), attended + block.mix_ffn(block.norm2(attended)))


def test_a_block_by_default_is_four_times_as_wide_inside_and_never_dropped():
    block = EncoderBlock(8, 2, 2)
    assert block.mix_ffn.depthwise.in_channels == 32
    assert block.drop_path.rate == 0
    assert (block.norm1.eps, block.norm2.eps) == (1e-6, 1e-6)


def test_epsilons_are_the_configs_in_block_and_stage_norms_and_1e5_elsewhere(small_config):
    encoder = MixTransformer(small_config.replace(block_norm_eps=3e-4))
    epsilons = {
        name: part.eps
        for name, part in encoder.named_modules()
        if isinstance(part, torch.nn.LayerNorm)
    }
    own = {name for name, eps in epsilons.items() if eps == 3e-4}
    assert own == {n for n in epsilons if "patch_embedding" not in n and "attention" not in n}
    assert {eps for name, eps in epsilons.items() if name not in own} == {1e-5}


@pytest.mark.parametrize("drop_path_rate", [0.0, 0.5])
def test_gradient_checkpointing_changes_memory_and_nothing_else(
    small_config, device, drop_path_rate
):
    config = small_config.replace(drop_path_rate=drop_path_rate)
    images = torch.randn(4, 3, 64, 64, device=device)
    plain = MixTransformer(config).to(device)
    recomputed = MixTransformer(config.replace(gradient_checkpointing=True)).to(device)
    recomputed.load_state_dict(plain.state_dict())
    kept, outcomes = [], []
    for encoder in (plain, recomputed):
        bytes_kept = 0

        def count(x):
            nonlocal bytes_kept
            bytes_kept += x.nbytes
            return x

        torch.manual_seed(3)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
            maps = encoder(images)
        kept.append(bytes_kept)
        loss = sum(x.square().mean() for x in maps)
        outcomes.append([loss, *torch.autograd.grad(loss, list(encoder.parameters()))])
    torch.testing.assert_close(*outcomes)
    assert kept[1] < kept[0] / 2


def test_every_parameter_gets_a_gradient_when_every_branch_is_dropped(small_config, device):
    encoder = MixTransformer(small_config).to(device)
    for stage in encoder.stages:
        for block in stage.blocks:
            block.drop_path.rate = 1.0
    maps = encoder(torch.randn(2, 3, 64, 64, device=device))
    sum(x.square().sum() for x in maps).backward()
    for name, x in encoder.named_parameters():
        assert x.grad is not None and x.grad.isfinite().all(), name
        assert x.grad.any() != ("blocks" in name), name
