"""Overlapping patch embedding: from pixels, or a finer map, to tokens (paper, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from segformer_edu.checks import check_images, check_positive


class OverlapPatchEmbedding(nn.Module):
    """Cut an image or a map into overlapping patches and embed each as a token.

    A strided convolution whose kernel is wider than its stride, then LayerNorm (paper, section 3.1,
    "overlapped patch merging"). Padding is patch_size // 2.

    Args:
        in_channels: channels of the input.
        embed_dim: channels C of a token.
        patch_size: side of a patch, K.
        stride: distance between patches, S.

    Shape: `(B, in_channels, H, W)` → `(B, H', W', embed_dim)`, H' = ⌊(H + 2⌊K/2⌋ − K) / S⌋ + 1.

    Raises:
        ValueError: an input of the wrong rank, precision or number of channels, or smaller than one
            patch.
    """

    def __init__(self, in_channels: int, embed_dim: int, patch_size: int, stride: int) -> None:
        super().__init__()
        check_positive(
            in_channels=in_channels, embed_dim=embed_dim, patch_size=patch_size, stride=stride
        )
        padding = patch_size // 2
        self.projection = nn.Conv2d(in_channels, embed_dim, patch_size, stride, padding)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        projection = self.projection
        check_images(x, projection.weight, projection.in_channels, "OverlapPatchEmbedding")
        tokens = self.projection(x)  # (B, C, H', W')
        return self.norm(tokens.permute(0, 2, 3, 1))  # (B, H', W', C)
