"""Efficient self-attention: fewer keys and values, all the queries (paper, section 3.1, eq. 1 and
2).
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.checks import check_heads, check_map, check_positive
from segformer_edu.layers import Linear


class SpatialReduction(nn.Module):
    """Merge every r×r block of tokens into one: a strided convolution, then LayerNorm.

    The same map as eq. 2's reshape to `(N / r², r²·C)` followed by a Linear to C channels.

    Args:
        dim: channels C.
        reduction_ratio: r, per side (the paper's R is r²).

    Shape: `(B, H, W, C)` → `(B, ⌊H/r⌋, ⌊W/r⌋, C)`. There is no padding: rows and columns past the
    last whole block are never seen.

    Raises:
        ValueError: an input of the wrong rank, dtype or width, or smaller than one block.
    """

    def __init__(self, dim: int, reduction_ratio: int) -> None:
        super().__init__()
        check_positive(dim=dim, reduction_ratio=reduction_ratio)
        self.dim, self.reduction_ratio = dim, reduction_ratio
        self.projection = nn.Conv2d(dim, dim, reduction_ratio, stride=reduction_ratio)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        check_map(x, self.projection.weight, self.dim, "SpatialReduction", self.reduction_ratio)
        blocks = self.projection(x.permute(0, 3, 1, 2))  # (B, C, H/r, W/r)
        return self.norm(blocks.permute(0, 2, 3, 1))  # (B, H/r, W/r, C)


class SpatialReductionAttention(nn.Module):
    """Multi-head self-attention with keys and values from a map whose sides are r times shorter.

    softmax(q kᵀ / √d) v (eq. 1), with k and v computed from the reduced map (eq. 2, R = r²): the
    cost falls from O(N²) to O(N² / r²).

    Args:
        dim: channels C.
        num_heads: heads; each has d = C / num_heads channels.
        reduction_ratio: r, per side. 1 is plain self-attention.

    Shape: `(B, H, W, C)` → `(B, H, W, C)`, any H and W of at least r.

    Raises:
        ValueError: heads that do not divide dim; an input of the wrong rank, dtype or width, or
            smaller than r.
    """

    def __init__(self, dim: int, num_heads: int, reduction_ratio: int) -> None:
        super().__init__()
        check_heads(dim, num_heads)
        check_positive(reduction_ratio=reduction_ratio)
        self.dim, self.num_heads, self.reduction_ratio = dim, num_heads, reduction_ratio
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim)
        self.value = Linear(dim, dim)
        self.output = Linear(dim, dim)
        self.reduce = (
            SpatialReduction(dim, reduction_ratio) if reduction_ratio > 1 else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.queries_keys_values(x)
        mixed = F.scaled_dot_product_attention(q, k, v)  # softmax(q kᵀ / √d) v: (B, heads, H·W, d)
        return self.output(mixed.transpose(1, 2).reshape(x.shape))

    def weights(self, x: Tensor) -> Tensor:
        """softmax(q kᵀ / √d), each query's attention to each key: `(B, heads, H, W, H/r, W/r)`."""
        q, k, _ = self.queries_keys_values(x)
        weights = ((q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)).softmax(-1)
        key_size = [side // self.reduction_ratio for side in x.shape[1:3]]
        return weights.unflatten(-1, key_size).unflatten(2, x.shape[1:3])

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q of every token, `(B, heads, H·W, d)`; k and v of the reduced map, r² times fewer."""
        weight, name = self.output.weight, "SpatialReductionAttention"
        check_map(x, weight, self.dim, name, self.reduction_ratio)
        reduced = self.reduce(x)  # (B, H/r, W/r, C)
        q, k, v = self.query(x), self.key(reduced), self.value(reduced)
        return self.heads(q), self.heads(k), self.heads(v)

    def heads(self, x: Tensor) -> Tensor:
        """`(B, H, W, C)` → `(B, heads, H·W, d)`."""
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
