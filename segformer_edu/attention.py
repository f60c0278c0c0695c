"""Efficient self-attention: fewer keys and values, all the queries (paper, section 3.1, eq. 1 and
2).
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.layers import Linear, check_map, check_positive


class SpatialReductionAttention(nn.Module):
    """Multi-head self-attention whose keys and values come from a map r times shorter a side.

    softmax(q kᵀ / √d) v (eq. 1), with k and v computed from the reduced map (eq. 2, R = r²): the
    cost falls from O(N²) to O(N² / r²).

    Args:
        dim: channels C.
        num_heads: heads; each has d = C / num_heads channels.
        reduction_ratio: r, per side. 1 is plain self-attention.

    Shape: `(B, H, W, C)` → `(B, H, W, C)`, any H and W of at least r. Rows and columns past the
        last whole r×r window
    are never seen by a key.

    Raises:
        ValueError: heads that do not divide dim; an input of another rank, dtype or width, or
            smaller than r.
    """

    def __init__(self, dim: int, num_heads: int, reduction_ratio: int) -> None:
        super().__init__()
        check_positive(dim=dim, num_heads=num_heads, reduction_ratio=reduction_ratio)
        if dim % num_heads:
            raise ValueError(f"num_heads = {num_heads} does not divide dim = {dim}.")
        self.dim, self.num_heads, self.reduction_ratio = dim, num_heads, reduction_ratio
        self.query, self.key, self.value = (Linear(dim, dim) for _ in range(3))
        self.output = Linear(dim, dim)
        self.reduce: nn.Module = nn.Identity()
        self.norm: nn.Module = nn.Identity()
        if reduction_ratio > 1:
            self.reduce = nn.Conv2d(dim, dim, reduction_ratio, stride=reduction_ratio)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduced(x)
        q, k, v = map(self.heads, (self.query(x), self.key(reduced), self.value(reduced)))
        mixed = F.scaled_dot_product_attention(q, k, v)  # softmax(q kᵀ / √d) v: (B, heads, H·W, d)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def weights(self, x: Tensor) -> Tensor:
        """softmax(q kᵀ / √d), each query's attention to each key: `(B, heads, H, W, H/r, W/r)`."""
        reduced = self.reduced(x)
        q, k = self.heads(self.query(x)), self.heads(self.key(reduced))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return scores.softmax(-1).unflatten(-1, reduced.shape[1:3]).unflatten(2, x.shape[1:3])

    def reduced(self, x: Tensor) -> Tensor:
        """The map that keys and values are made from, `(B, ⌊H/r⌋, ⌊W/r⌋, C)`."""
        check_map(x, self.dim, "SpatialReductionAttention", min_size=self.reduction_ratio)
        return self.norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))

    def heads(self, x: Tensor) -> Tensor:
        """`(B, H, W, C)` → `(B, heads, H·W, C / heads)`."""
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
