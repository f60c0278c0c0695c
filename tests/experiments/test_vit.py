"""The plain ViTs of lesson 11 are what they are said to be, and cost what SegFormer costs."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from experiments.claims.vit import (
    COARSE,
    FINE,
    ClassQueryViT,
    Finer,
    LinearHeadViT,
    Sizes,
    adamw,
    multiply_adds,
)
from experiments.training import CONFIG
from segformer_edu import SegFormer
from segformer_edu.training.minute import predictions, training_steps

SMALL = Sizes(patch=8, dim=8, heads=2, early=1, late=1)
IMAGES = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[LinearHeadViT, ClassQueryViT])
def vit(request, randomized):
    return randomized(request.param(SMALL, num_classes=5, image_size=32)).eval()


def encoder_layer(block):
    """torch's own Transformer block, with the weights of one of ours."""
    dim = block.attention.dim
    layer = nn.TransformerEncoderLayer(
        dim,
        block.attention.num_heads,
        4 * dim,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    own, three = block.attention, ("query", "key", "value")
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([getattr(own, x).weight for x in three]),
            "self_attn.in_proj_bias": torch.cat([getattr(own, x).bias for x in three]),
            "self_attn.out_proj.weight": own.output.weight,
            "self_attn.out_proj.bias": own.output.bias,
            "linear1.weight": block.mlp[0].weight,
            "linear1.bias": block.mlp[0].bias,
            "linear2.weight": block.mlp[2].weight,
            "linear2.bias": block.mlp[2].bias,
            "norm1.weight": block.norm1.weight,
            "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight,
            "norm2.bias": block.norm2.bias,
        }
    )
    return layer.train()  # with no dropout the same numbers as in evaluation


def patches_of(vit):
    """Every patch with its place, `(B, N, C)`, each cut out and multiplied by hand."""
    weight = vit.patches.weight.flatten(1)
    cut = F.unfold(IMAGES, 8, stride=8).transpose(1, 2)  # (B, N, 3·8·8)
    place = F.interpolate(vit.position, (4, 6), mode="bilinear").flatten(2).transpose(1, 2)
    return cut @ weight.T + vit.patches.bias + place


def finer_map(vit, tokens):
    return vit.finer(tokens.transpose(1, 2).unflatten(2, (4, 6)))  # (B, C, 8, 12)


def test_it_is_a_transformer_whose_blocks_are_those_of_torch(vit):
    x = encoder_layer(vit.early[0])(patches_of(vit))
    if isinstance(vit, LinearHeadViT):
        x = vit.norm(encoder_layer(vit.late[0])(x))
        expected = vit.classify(finer_map(vit, x))
    else:
        x = torch.cat([x, vit.queries[0].expand(2, -1, -1)], 1)  # the order of tokens is no matter
        x = vit.norm(encoder_layer(vit.late[0])(x))
        masks, features = vit.mask(x[:, 24:]), finer_map(vit, x[:, :24])
        expected = (masks[:, :, :, None, None] * features[:, None]).sum(2)
    torch.testing.assert_close(vit(IMAGES), expected)


def test_a_finer_map_gives_each_token_four_places_and_then_mixes_neighbours(randomized):
    finer = randomized(Finer(4))
    x = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    doubled = torch.empty(2, 4, 6, 10)
    for row, column in product(range(2), range(2)):
        matrix = finer.upscale.weight[:, :, row, column]  # (C_in, C_out)
        doubled[:, :, row::2, column::2] = torch.einsum("io,bihw->bohw", matrix, x)
    framed = F.pad(F.gelu(doubled + finer.upscale.bias[:, None, None]), (1, 1, 1, 1))
    mixed = finer.smooth.bias[:, None, None] + sum(
        finer.smooth.weight[:, 0, row, column, None, None]
        * framed[:, :, row : row + 6, column : column + 10]
        for row, column in product(range(3), range(3))
    )
    mean, variance = mixed.mean(1, keepdim=True), mixed.var(1, correction=0, keepdim=True)
    normed = (mixed - mean) / (variance + 1e-6).sqrt()
    weight, bias = (x[:, None, None] for x in (finer.norm.weight, finer.norm.bias))
    torch.testing.assert_close(finer(x), normed * weight + bias)


def test_logits_are_at_a_quarter_and_labels_at_full_size(vit):
    logits = vit(IMAGES)
    assert logits.shape == (2, 5, 8, 12)
    expected = F.interpolate(logits, scale_factor=4, mode="bilinear").argmax(1)
    assert torch.equal(vit.train().predict(IMAGES), expected) and vit.training


def test_every_class_has_a_query_that_moves_its_logits(randomized):
    vit = randomized(ClassQueryViT(SMALL, num_classes=5, image_size=32)).eval()
    before = vit(IMAGES)
    with torch.no_grad():
        vit.queries[0, 0, 3, 0] += 5.0  # one channel: a norm takes away what all share
    moved = (vit(IMAGES) - before).abs().mean((0, 2, 3))
    assert moved.argmax() == 3 and moved.min() > 1e-6  # the others see it by attention


def test_both_start_from_the_same_shared_weights_and_differ_in_the_head_alone():
    torch.manual_seed(0)
    linear = LinearHeadViT(SMALL, 5, 32).state_dict()
    torch.manual_seed(0)
    queries = ClassQueryViT(SMALL, 5, 32).state_dict()
    shared = linear.keys() & queries.keys()
    assert all(torch.equal(linear[name], queries[name]) for name in shared)
    heads = {name.split(".")[0] for name in linear.keys() ^ queries.keys()}
    assert heads == {"classify", "queries", "mask"}


@pytest.mark.parametrize("sizes", [FINE, COARSE])
@pytest.mark.parametrize("kind", [LinearHeadViT, ClassQueryViT])
def test_both_cost_about_what_segformer_costs(sizes, kind):
    ratios = [
        multiply_adds(kind(sizes, 8, side), side) / multiply_adds(SegFormer(CONFIG), side)
        for side in (64, 96)
    ]
    assert 0.8 < min(ratios) <= max(ratios) < 1.2


def test_multiply_adds_of_a_vit_by_hand():
    n, c, k = 64, 36, 8  # tokens at 64 px, channels, queries
    blocks = sum(2 * (12 * m * c**2 + 2 * m**2 * c) for m in (n, n + k))
    finer = 4 * n * (c**2 + 9 * c)
    expected = n * 192 * c + blocks + finer + 3 * k * c**2 + 4 * n * c * k
    assert multiply_adds(ClassQueryViT(FINE, k, 64), 64) == expected


def test_images_that_patches_do_not_cover_are_refused(vit):
    with pytest.raises(ValueError, match="multiples of 8"):
        vit(torch.zeros(1, 3, 32, 36))


def test_what_belongs_to_a_place_a_class_or_a_channel_does_not_decay(vit):
    decayed, kept = adamw(vit, 0.1).param_groups
    assert decayed["weight_decay"] == 0.01 and kept["weight_decay"] == 0.0
    names = {id(x): name for name, x in vit.named_parameters()}
    assert {names[id(x)].split(".")[-1] for x in decayed["params"]} == {"weight"}
    assert {id(x) for x in decayed["params"] + kept["params"]} == set(names)
    free = {names[id(x)] for x in kept["params"]}
    assert "position" in free and "norm.weight" in free and "patches.weight" not in free
    assert ("queries" in free) == isinstance(vit, ClassQueryViT)


def test_a_few_steps_of_the_loop_of_lesson_08_learn_one_batch(vit):
    torch.manual_seed(0)
    fresh = type(vit)(SMALL, num_classes=5, image_size=32)
    images = torch.randn(4, 3, 32, 32)
    labels = (images.mean(1) > 0).long()
    steps = training_steps(
        fresh, adamw(fresh, 8e-3), images, labels, None, 60, batch_size=4, warmup_steps=5
    )
    losses = list(steps)
    assert losses[-1] < 0.8 * losses[0]
    assert predictions(fresh, images).shape == labels.shape
