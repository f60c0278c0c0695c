"""torch's own attention (lesson 02) and Transformer block (lesson 06) with the weights of ours."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from segformer_edu.encoder import EncoderBlock


@torch.no_grad()
def copy_attention(
    theirs: nn.MultiheadAttention,
    query: nn.Linear,
    key: nn.Linear,
    value: nn.Linear,
    output: nn.Linear,
) -> None:
    """Give torch's attention the weights of four Linears."""
    parts = query, key, value
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(output.state_dict())


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
    projections = attention.query, attention.key, attention.value, attention.output
    copy_attention(theirs.self_attn, *projections)
    pairs = {"norm1": ours.norm1, "norm2": ours.norm2, "linear1": ffn.expand}
    pairs |= {"linear2": ffn.contract}
    for name, part in pairs.items():
        theirs.get_submodule(name).load_state_dict(part.state_dict())
    return ours, theirs.eval()
