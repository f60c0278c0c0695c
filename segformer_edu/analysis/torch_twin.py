"""torch's own Transformer block with the weights of ours (lesson 06)."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu.encoder import EncoderBlock


@torch.no_grad()
def torch_twin(block: EncoderBlock) -> tuple[EncoderBlock, nn.TransformerEncoderLayer]:
    """A block whose feed-forward layer is made plain, and torch's layer with the same weights.

    The 3×3 kernels get a 1 in the middle and 0 around it, so each token looks at itself alone.

    Args:
        block: with a reduction ratio of 1. It stays as it is; the first block returned is a copy.
    """
    ours = copy.deepcopy(block).eval()
    attention, ffn = ours.attention, ours.mix_ffn
    bias = ffn.depthwise.bias
    assert bias is not None  # Mix-FFN has one
    ffn.depthwise.weight.zero_()[:, :, 1, 1] = 1
    ffn.expand.bias.add_(bias)  # two biases in a row are one
    bias.zero_()
    theirs = nn.TransformerEncoderLayer(
        attention.dim,
        attention.num_heads,
        ffn.expand.out_features,
        dropout=0.0,
        activation=F.gelu,
        layer_norm_eps=block.norm1.eps,
        batch_first=True,
        norm_first=True,
    )
    parts = attention.query, attention.key, attention.value
    theirs.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    pairs = {"norm1": ours.norm1, "norm2": ours.norm2, "linear1": ffn.expand}
    pairs |= {"linear2": ffn.contract, "self_attn.out_proj": attention.output}
    for name, part in pairs.items():
        theirs.get_submodule(name).load_state_dict(part.state_dict())
    return ours, theirs.eval()
