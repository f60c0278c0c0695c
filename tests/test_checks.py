"""What the parts of the model refuse; the error names the part that was called."""

import re

import pytest
import torch

from segformer_edu import (
    AllMLPDecoder,
    EncoderBlock,
    MixFFN,
    MixTransformer,
    OverlapPatchEmbedding,
    SegFormerConfig,
    SpatialReductionAttention,
)
from segformer_edu.attention import SpatialReduction
from segformer_edu.checks import check_logits_and_labels
from segformer_edu.decoder import FoldedDecoder

TOO_SMALL = [
    ("OverlapPatchEmbedding", lambda x: OverlapPatchEmbedding(8, 8, 3, 2)(x), (1, 8, 0, 3)),
    ("SpatialReduction", lambda x: SpatialReduction(8, 4)(x), (1, 3, 9, 8)),
    ("SpatialReductionAttention", lambda x: SpatialReductionAttention(8, 2, 4)(x), (1, 9, 3, 8)),
    (
        "SpatialReductionAttention",
        lambda x: SpatialReductionAttention(8, 2, 4).weights(x),
        (1, 9, 3, 8),
    ),
    ("MixFFN", lambda x: MixFFN(8, 8)(x), (1, 0, 3, 8)),
    ("EncoderBlock", lambda x: EncoderBlock(8, 2, 4)(x), (1, 3, 9, 8)),
    ("The model", lambda x: MixTransformer(SegFormerConfig(in_channels=8))(x), (1, 8, 28, 29)),
    ("The decoder's map 1", lambda x: AllMLPDecoder([8], 8, 2)([x]), (1, 8, 0, 3)),
]


@pytest.mark.parametrize(("owner", "call", "shape"), TOO_SMALL)
def test_a_map_too_small_is_refused_in_the_name_of_the_part_that_was_called(owner, call, shape):
    with pytest.raises(ValueError, match=rf"^{owner} needs at least \d+×\d+ here"):
        call(torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("embed_dim", lambda: OverlapPatchEmbedding(3, 0, 3, 2)),
        ("dim", lambda: SpatialReduction(0, 2)),
        ("dim", lambda: SpatialReductionAttention(0, 1, 1)),
        ("dim", lambda: MixFFN(0, 4)),
    ],
)
def test_a_part_of_no_width_is_refused(name, make):
    with pytest.raises(ValueError, match=f"^{name} = 0:"):
        make()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            OverlapPatchEmbedding(8, 8, 3, 2),
            r"OverlapPatchEmbedding takes a tensor \(B, C, H, W\);",
        ),
        (MixFFN(8, 8), r"MixFFN takes a tensor \(B, H, W, C\);"),
    ],
)
def test_anything_but_a_tensor_is_refused_with_the_axes_that_it_should_have(part, words):
    with pytest.raises(ValueError, match=f"^{words} got list"):
        part([1.0])


@pytest.mark.parametrize("first", [(1, 2, 2), (2, 2, 1), (1, 2, 1), (1, 1, 2), (2, 1, 1)], ids=str)
def test_two_tokens_are_enough_for_a_batch_norm(first):
    batch, height, width = first
    maps = [torch.randn(batch, 4, height, width), torch.randn(batch, 8, 1, 1)]
    assert AllMLPDecoder((4, 8), 6, 3).train()(maps).shape == (batch, 3, height, width)


@pytest.mark.parametrize("second", [(1, 1), (2, 3)], ids=str)
def test_one_token_is_too_few_whatever_the_other_maps_have(second):
    maps = [torch.randn(1, 4, 1, 1), torch.randn(1, 8, *second)]
    with pytest.raises(ValueError, match="a single token"):
        AllMLPDecoder((4, 8), 6, 3).train()(maps)


@pytest.mark.parametrize(
    ("ignore_index", "allowed"),
    [(2**63 - 1, True), (2**63, False), (-(2**63), True), (-(2**63) - 1, False)],
)
def test_a_label_of_64_bits_may_be_ignored(ignore_index, allowed):
    logits, labels = torch.zeros(1, 3, 4, 4), torch.zeros(1, 8, 8, dtype=torch.long)
    if allowed:
        check_logits_and_labels(logits, labels, ignore_index)
    else:
        with pytest.raises(ValueError, match=f"ignore_index = {ignore_index}: give a whole"):
            check_logits_and_labels(logits, labels, ignore_index)


@pytest.mark.parametrize(
    ("part", "shape", "words"),
    [
        (
            MixFFN(8, 8),
            (1, 0, 3, 8),
            "MixFFN needs at least 1×1 here; got 0×3. Enlarge the image, or look why it is empty.",
        ),
        (
            SpatialReduction(8, 4),
            (1, 3, 9, 8),
            "SpatialReduction needs at least 4×4 here, or attention "
            "has no key left; got 3×9. Enlarge the image, or lower the reduction ratio.",
        ),
    ],
)
def test_the_refusal_of_a_small_map_is_a_whole_sentence(part, shape, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        part(torch.zeros(shape))


def test_a_folded_decoder_takes_a_single_token():
    folded = FoldedDecoder(AllMLPDecoder((4,), 6, 3).eval())
    assert folded([torch.randn(1, 4, 1, 1)]).shape == (1, 3, 1, 1)


def test_a_replica_whose_parameters_are_plain_tensors_runs():
    """As DataParallel makes them."""
    encoder = MixTransformer(SegFormerConfig.named("nano")).eval()
    images = torch.randn(1, 3, 64, 64)
    expected = encoder(images)
    for module in encoder.modules():
        for name in list(module._parameters):
            tensor = module._parameters.pop(name)
            setattr(module, name, None if tensor is None else tensor.detach())
    assert not list(encoder.parameters())
    torch.testing.assert_close(encoder(images), expected)


def test_shapes_can_be_found_without_memory():
    with torch.device("meta"):
        model, images = MixTransformer(SegFormerConfig()), torch.empty(2, 3, 64, 96)
    assert [tuple(x.shape[2:]) for x in model(images)] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    with pytest.raises(ValueError, match="weights in torch.float32; got torch.float64"):
        model(images.double())
