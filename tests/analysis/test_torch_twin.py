"""The twin of a block is torch's layer, and the block itself is left alone."""

import torch

from segformer_edu import EncoderBlock
from segformer_edu.analysis.torch_twin import torch_twin


def test_the_plain_block_is_torchs(randomized):
    block = randomized(EncoderBlock(16, 2, 1)).eval()
    x = torch.randn(2, 3, 5, 16)
    with torch.no_grad():
        before = block(x)
        plain, theirs = torch_twin(block)
        torch.testing.assert_close(plain(x).flatten(1, 2), theirs(x.flatten(1, 2)))
        assert torch.equal(block(x), before)
        assert not torch.allclose(before, plain(x))  # the convolution did look at its neighbours
