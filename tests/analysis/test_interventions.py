"""analysis.interventions, against attention computed head by head from eq. 1."""

import pytest
import torch

from segformer_edu.analysis import attention_maps
from segformer_edu.analysis.attention_maps import attentions_of
from segformer_edu.analysis.branches import without_branches
from segformer_edu.analysis.interventions import (
    silenced,
    transplanted,
    with_constant_attention,
    with_even_attention,
)


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96)


def by_hand(attention, x, change):
    """Eq. 1 head by head; `change` gets what each head gathered, (B, N, d), and its values."""
    q, k, v = attention.queries_keys_values(x)
    found = []
    for head in range(attention.num_heads):
        scores = q[:, head] @ k[:, head].transpose(1, 2) / q.shape[-1] ** 0.5
        found.append(change(head, scores.softmax(-1) @ v[:, head], v[:, head]))
    mixed = torch.cat(found, dim=-1)
    return (mixed @ attention.output.weight.T + attention.output.bias).reshape(x.shape)


def attention_of(model, stage, block):
    return attentions_of(model.encoder.stages[stage])[block]


@pytest.mark.parametrize(("stage", "heads"), [(1, [1]), (2, [0, 2]), (3, None)])
@torch.no_grad()
def test_silenced_and_even_heads_gather_nothing_and_the_mean(small_model, stage, heads):
    before = attention_of(small_model, stage, 0)
    x = torch.randn(2, 8, 12, before.dim)
    count = before.num_heads
    chosen = range(count) if heads is None else heads

    def nothing(head, gathered, values):
        return 0 * gathered if head in chosen else gathered

    def mean(head, gathered, values):
        return values.mean(1, keepdim=True).expand_as(gathered) if head in chosen else gathered

    for change, made in ((nothing, silenced), (mean, with_even_attention)):
        changed = attention_of(made(small_model, stage, 0, heads), stage, 0)
        torch.testing.assert_close(changed(x), by_hand(before, x, change))
        assert not torch.allclose(changed(x), before(x), atol=1e-3)


def test_even_heads_attend_to_all_keys_alike_and_others_as_before(small_model, images):
    before = attention_maps(small_model, images)[3][0]
    after = attention_maps(with_even_attention(small_model, 3, 0, [1]), images)[3][0]
    torch.testing.assert_close(
        after[:, 1], torch.full_like(after[:, 1], 1 / after[0, 0, 0, 0].numel())
    )
    torch.testing.assert_close(after[:, 0], before[:, 0])


def test_only_the_block_that_is_named_changes(small_model):
    state = small_model.state_dict()
    last = small_model.config.depths[1] - 1
    for made, names in (
        (silenced, ["output.weight"]),
        (with_even_attention, ["query.weight", "query.bias"]),
    ):
        changed = made(small_model, 1, last).state_dict()
        assert [name for name in state if not torch.equal(state[name], changed[name])] == [
            f"encoder.stages.1.blocks.{last}.attention.{name}" for name in names
        ]


@torch.no_grad()
def test_silenced_heads_leave_the_bias_which_silenced_attention_does_not(small_model, images):
    quiet = silenced(small_model, 3)  # whose stage has one block
    without = without_branches(small_model, [(3, 0, "attention")])(images)
    assert not torch.allclose(quiet(images), without)
    attention_of(quiet, 3, 0).output.bias.zero_()
    torch.testing.assert_close(quiet(images), without)


@torch.no_grad()
def test_a_transplant_gives_a_head_what_it_gathered_in_the_donor(small_model, images):
    donors, stage, heads = torch.randn_like(images), 2, [1]
    attention = attention_of(small_model, stage, 0)
    inputs = []
    hook = attention.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
    small_model.encoder(donors)
    hook.remove()
    q, k, v = attention.queries_keys_values(inputs[0])
    donated = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v

    def donate(head, gathered, values):
        return donated[:, head] if head in heads else gathered

    hook = attention.register_forward_hook(lambda part, x, _: by_hand(part, x[0], donate))
    expected = small_model.predict(images)
    hook.remove()
    found = transplanted(small_model, images, donors, stage, 0, heads)
    assert (found == expected).float().mean() > 0.999  # a tie may fall the other way
    assert not torch.equal(found, small_model.predict(images))
    assert not attention.output._forward_pre_hooks


def test_from_itself_a_transplant_changes_nothing(small_model, images):
    for stage in range(4):
        assert torch.equal(
            transplanted(small_model, images, images, stage), small_model.predict(images)
        )


@torch.no_grad()
def test_constant_attention_adds_its_mean_over_tokens_and_pictures(small_model, images):
    added = []
    hook = attention_of(small_model, 1, 1).register_forward_hook(
        lambda *told: added.append(told[2])
    )
    small_model.encoder(images)
    hook.remove()
    changed = attention_of(with_constant_attention(small_model, images, 1, 1), 1, 1)
    found = changed(torch.randn(1, 8, 12, changed.dim))
    expected = added[0].flatten(0, 2).mean(0).expand_as(found)
    torch.testing.assert_close(found, expected)
    assert not changed._forward_hooks


def test_what_there_is_not_is_refused(small_model, images):
    for change in (silenced, with_even_attention):
        for place in ((4, 0), (-1, 0), (0, 9)):
            with pytest.raises(ValueError, match="counted from 0"):
                change(small_model, *place)
        with pytest.raises(ValueError, match="heads \\[99\\]"):
            change(small_model, 1, 0, [99])
    with pytest.raises(ValueError, match="one donor for each"):
        transplanted(small_model, images, images[:1], 0)
    with pytest.raises(ValueError, match="give a whole SegFormer"):
        silenced(small_model.encoder, 0)
