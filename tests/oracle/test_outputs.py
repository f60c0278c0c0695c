"""The same weights give the same numbers as transformers: logits, maps, attention, loss."""

import pytest
import torch

from segformer_edu import segmentation_loss
from segformer_edu.analysis import attention_maps

TOLERANCE = 1e-5  # of the largest value: the last bits of float32 are free, all others agree


def images_for(model, *shape):
    images = torch.randn(shape[0], model.config.in_channels, *shape[1:])
    return images.to(next(model.parameters()).device)


def assert_equal_to_scale(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 47)], ids=str)
def test_logits(twins, size):
    ours, theirs = twins
    images = images_for(ours, 2, *size)
    assert_equal_to_scale(ours(images), theirs(images).logits)


@torch.no_grad()
@pytest.mark.parametrize("size", [(500, 300), (512, 512)], ids=str)
def test_logits_of_large_images(light_twins, size):
    ours, theirs = light_twins
    images = images_for(ours, 1, *size)
    assert_equal_to_scale(ours(images), theirs(images).logits)


@torch.no_grad()
def test_hidden_maps(twins):
    ours, theirs = twins
    images = images_for(ours, 2, 65, 97)
    their_maps = theirs(images, output_hidden_states=True).hidden_states
    for our_map, their_map in zip(ours.encoder(images), their_maps, strict=True):
        assert_equal_to_scale(our_map, their_map)


@torch.no_grad()
def test_attention_maps(twins):
    ours, theirs = twins
    images = images_for(ours, 2, 65, 97)
    maps = attention_maps(ours, images)
    assert [len(stage) for stage in maps] == list(ours.config.depths)
    theirs.set_attn_implementation("eager")  # the only one of theirs that has the maps
    their_maps = theirs(images, output_attentions=True).attentions
    theirs.set_attn_implementation("sdpa")
    for our_map, their_map in zip(sum(maps, []), their_maps, strict=True):  # (B, heads, H, W, h, w)
        assert_equal_to_scale(our_map.flatten(4).flatten(2, 3), their_map)


def test_loss(light_twins):
    ours, theirs = light_twins
    num_classes = max(ours.config.num_classes, 2)
    images = images_for(ours, 2, 65, 97)
    labels = torch.randint(num_classes, (2, 65, 97), device=images.device)
    labels[:, 20:40, :50] = 255
    with torch.no_grad():
        loss, their_loss = segmentation_loss(ours(images), labels), theirs(images, labels).loss
    if ours.config.num_classes == 1:  # theirs divides a binary loss by the ignored pixels too
        their_loss *= labels.numel() / (labels != 255).sum()
    torch.testing.assert_close(loss, their_loss, rtol=1e-5, atol=0)
