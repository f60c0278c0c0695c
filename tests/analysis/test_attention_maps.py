"""analysis.attention_maps, against attention.weights; against transformers in tests/oracle."""

import pytest
import torch

from segformer_edu import SpatialReductionAttention
from segformer_edu.analysis import attention_maps


@pytest.fixture
def images():
    return torch.randn(2, 3, 65, 97)


def test_one_map_a_block_on_the_grids_of_its_stage(small_model, small_config, images):
    maps = attention_maps(small_model, images)
    assert [len(stage) for stage in maps] == list(small_config.depths)
    sizes = [((17, 25), (2, 3)), ((9, 13), (2, 3)), ((5, 7), (2, 3)), ((3, 4), (3, 4))]
    for stage, heads, (tokens, keys) in zip(maps, small_config.num_heads, sizes, strict=True):
        for weights in stage:
            assert weights.shape == (2, heads, *tokens, *keys)
            assert torch.allclose(weights.sum((-2, -1)), torch.ones(2, heads, *tokens))


def test_each_is_what_its_own_attention_answers(small_model, images):
    x, maps = images, attention_maps(small_model, images)
    with torch.no_grad():
        for stage, found in zip(small_model.encoder.stages, maps, strict=True):
            x = stage.patch_embedding(x)
            for block, weights in zip(stage.blocks, found, strict=True):
                torch.testing.assert_close(weights, block.attention.weights(block.norm1(x)))
                x = block(x)
            x = stage.norm(x).permute(0, 3, 1, 2)


def test_it_looks_at_all_samples_even_while_the_model_trains(
    small_model, small_config, randomized, images
):
    dropping = randomized(type(small_model)(small_config.replace(drop_path_rate=1.0))).train()
    for found, expected in zip(
        flat(attention_maps(dropping, images)),
        flat(attention_maps(small_model, images)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_the_model_and_the_random_numbers_are_as_before(small_model, images):
    small_model.train()
    small_model.encoder.stages[1].eval()  # frozen, as in fine-tuning
    modes = [part.training for part in small_model.modules()]
    statistics = small_model.decoder.norm.running_mean.clone()
    state = torch.get_rng_state()
    maps = attention_maps(small_model, images)
    assert [part.training for part in small_model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(small_model.decoder.norm.running_mean, statistics)
    assert not any(weights.requires_grad for weights in flat(maps))
    assert hooks_of(small_model) == 0


def test_hooks_and_mode_do_not_outlive_an_error(small_model, images):
    def fail(*_):
        raise RuntimeError("in the middle")

    small_model.train()
    failing = small_model.encoder.stages[2].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        attention_maps(small_model, images)
    failing.remove()
    assert hooks_of(small_model) == 0
    assert all(part.training for part in small_model.modules())


def test_folding_does_not_change_where_it_looks(small_model, images):
    folded = attention_maps(small_model.folded(), images)
    for found, expected in zip(
        flat(folded), flat(attention_maps(small_model, images)), strict=True
    ):
        assert torch.equal(found, expected)


def test_images_that_the_model_refuses_are_refused(small_model):
    with pytest.raises(ValueError, match="floating"):
        attention_maps(small_model, torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def flat(maps):
    return [weights for stage in maps for weights in stage]


def hooks_of(model):
    parts = [part for part in model.modules() if isinstance(part, SpatialReductionAttention)]
    return sum(len(part._forward_hooks) for part in parts)
