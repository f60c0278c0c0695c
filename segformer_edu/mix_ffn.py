"""Mix-FFN: a feed-forward layer with a 3×3 depthwise convolution inside (paper, section 3.1, eq.
3).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.checks import check_map, check_positive
from segformer_edu.layers import Linear
from segformer_edu.strips import in_strips


class MixFFN(nn.Module):
    """Widen each token, mix it with its neighbours by a 3×3 depthwise convolution, apply GELU, and
    narrow it again.

    MLP(GELU(Conv3×3(MLP(x)))) (eq. 3). The zero padding of the convolution is what tells tokens
    where the border is: the model has no position embedding. In evaluation the map goes through the
    three layers in strips of rows, and a hook on one of them runs once for each.

    Args:
        dim: channels C of a token.
        hidden_dim: channels of the hidden layer.

    Shape: `(B, H, W, C)` → `(B, H, W, C)`.

    Raises:
        ValueError: an input of the wrong rank, dtype or width.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        check_positive(dim=dim, hidden_dim=hidden_dim)
        self.dim = dim
        self.expand = Linear(dim, hidden_dim)
        self.depthwise = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.contract = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        check_map(x, self.expand.weight, self.dim, "MixFFN")
        halo = self.depthwise.kernel_size[0] // 2
        inward = self.depthwise.padding_mode != "zeros"  # pads with rows that a strip may lack
        return in_strips(self.mix, x, halo, whole=self.training or inward)

    def mix(self, x: Tensor) -> Tensor:
        """Eq. 3 on a map, or on some rows of it."""
        hidden = self.expand(x)  # (B, H, W, hidden)
        hidden = self.depthwise(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.contract(F.gelu(hidden))  # (B, H, W, C)
