"""torch's attention and layer, with weights of ours, do as ours; and ours are left alone."""

import torch
from torch import nn

from segformer_edu import EncoderBlock, SpatialReductionAttention
from segformer_edu.analysis.torch_twin import copy_attention, torch_twin


def test_torchs_attention_with_our_weights_answers_as_ours(randomized):
    ours = randomized(SpatialReductionAttention(12, 3, 1))
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    copy_attention(theirs, ours.query, ours.key, ours.value, ours.output)
    x = torch.randn(2, 3, 5, 12)
    tokens = x.flatten(1, 2)
    torch.testing.assert_close(ours(x).flatten(1, 2), theirs(tokens, tokens, tokens)[0])


def test_the_plain_block_is_torchs(randomized):
    block = randomized(EncoderBlock(16, 2, 1)).eval()
    x = torch.randn(2, 3, 5, 16)
    with torch.no_grad():
        before = block(x)
        plain, theirs = torch_twin(block)
        torch.testing.assert_close(plain(x).flatten(1, 2), theirs(x.flatten(1, 2)))
        assert torch.equal(block(x), before)
        assert not torch.allclose(before, plain(x))  # the convolution did look at its neighbours
