"""A plain Vision Transformer that segments, small: with a query for each class among its tokens, or
with a linear head.

The idea is that of EoMT (Kerssies et al. 2025, arXiv 2503.19108): queries join the patches before
the last blocks, and the mask of a query is its product with the patches, made finer. With one query
a class there is nothing to match, so both learn from segmentation_loss as SegFormer does. EoMT has
more queries than classes, matches them to the objects of a picture, and at first lets a query look
at its own mask alone; and it starts from pretrained weights. None of that is here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.layers import evaluation, initialize
from segformer_edu.segformer import labels_from_logits


class Sizes(NamedTuple):
    """Which ViT: side of a patch, channels, heads, blocks before and after the queries join."""

    patch: int
    dim: int
    heads: int
    early: int
    late: int


FINE, COARSE = Sizes(8, 36, 3, 2, 2), Sizes(16, 64, 4, 2, 2)
OUTPUT_STRIDE = 4  # logits at a quarter of the image's size, as SegFormer's


class Block(nn.Module):
    """Attention, then an MLP, each with a norm before and a skip around it.

    Shape: `(B, 1, N, C)` → the same: N tokens in a row.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = SpatialReductionAttention(dim, heads, reduction_ratio=1)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Finer(nn.Module):
    """A map of twice as many rows and columns: a transposed convolution, then a depthwise one.

    Shape: `(B, C, H, W)` → `(B, C, 2H, 2W)`.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.upscale = nn.ConvTranspose2d(dim, dim, 2, stride=2)
        self.smooth = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.smooth(F.gelu(self.upscale(x)))
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ViT(nn.Module):
    """What both models share: a plain ViT, and the layers that make its map finer.

    Args:
        sizes: of patches, tokens and blocks.
        image_size: side of the images for which it has position embeddings; for others they are
            resized.
    """

    def __init__(self, sizes: Sizes, image_size: int) -> None:
        super().__init__()
        patch, dim, heads, early, late = sizes
        grid = image_size // patch
        self.patches = nn.Conv2d(3, dim, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, dim, grid, grid))
        self.early = nn.Sequential(*[Block(dim, heads) for _ in range(early)])
        self.late = nn.Sequential(*[Block(dim, heads) for _ in range(late)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        doublings = int(math.log2(patch // OUTPUT_STRIDE))
        self.finer = nn.Sequential(*[Finer(dim) for _ in range(doublings)])
        self.apply(initialize)

    def embedded(self, images: Tensor) -> Tensor:
        """The patches, each with the embedding of its place: `(B, C, h, w)`.

        Raises:
            ValueError: images whose sides are no multiples of the patch.
        """
        (patch, _), size = self.patches.kernel_size, images.shape[-2:]
        if any(side % patch for side in size):
            raise ValueError(f"images of {tuple(size)}: give sides that are multiples of {patch}.")
        x = self.patches(images)
        return x + F.interpolate(self.position, x.shape[-2:], mode="bilinear")

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """The class of every pixel, `(B, H, W)` int64, as SegFormer's `predict` gives it."""
        with evaluation(self):
            return labels_from_logits(self(images), images.shape[-2:])


class LinearHeadViT(ViT):
    """A plain ViT in which one Linear classifies every place of the finer map.

    Args:
        sizes, image_size: as `ViT` takes them.
        num_classes: classes K.

    Shape: `(B, 3, H, W)` → logits `(B, K, H/4, W/4)`.
    """

    def __init__(self, sizes: Sizes, num_classes: int, image_size: int) -> None:
        super().__init__(sizes, image_size)
        self.classify = nn.Conv2d(sizes.dim, num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embedded(images)  # (B, C, h, w)
        tokens = self.norm(self.late(self.early(in_a_row(x))))
        return self.classify(self.finer(as_map(tokens, x)))


class ClassQueryViT(ViT):
    """A plain ViT in which a learned query for each class joins the patches before the last blocks.

    A logit is the product of the class's query, after those blocks and a small MLP, with the finer
    map at that place.

    Args, Shape: as `LinearHeadViT`.
    """

    def __init__(self, sizes: Sizes, num_classes: int, image_size: int) -> None:
        super().__init__(sizes, image_size)
        dim = sizes.dim
        self.queries = nn.Parameter(0.02 * torch.randn(1, 1, num_classes, dim))
        self.mask = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = self.embedded(images)  # (B, C, h, w)
        queries = self.queries.expand(len(x), -1, -1, -1)  # (B, 1, K, C)
        tokens = torch.cat([queries, self.early(in_a_row(x))], dim=2)
        tokens = self.norm(self.late(tokens))  # (B, 1, K + N, C)
        queries, patches = tokens.tensor_split([queries.shape[2]], dim=2)
        features = self.finer(as_map(patches, x))  # (B, C, H/4, W/4)
        return torch.einsum("bkc,bchw->bkhw", self.mask(queries[:, 0]), features)


def in_a_row(x: Tensor) -> Tensor:
    """`(B, C, h, w)` → `(B, 1, N, C)`."""
    return x.flatten(2).transpose(1, 2)[:, None]


def as_map(tokens: Tensor, like: Tensor) -> Tensor:
    """`(B, 1, N, C)` → `(B, C, h, w)`."""
    return tokens[:, 0].transpose(1, 2).reshape(like.shape)


def multiply_adds(model: nn.Module, size: int) -> int:
    """Of one square image, counted as the model runs: convolutions, Linears, attention's products.

    Under the "math" backend, because FlopCounterMode does not see the fused kernel of a CPU.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), evaluation(model), sdpa_kernel(SDPBackend.MATH), counter:
        model(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2


def adamw(model: nn.Module, learning_rate: float, weight_decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW as `make_optimizer` has it for a SegFormer: matrices and kernels decay, and what is
    learned for one place, one class or one channel does not.
    """
    weights = dict(model.named_parameters())
    alone = [name for name, x in weights.items() if x.ndim == 1 or name in ("position", "queries")]
    groups = [
        {"params": [x for name, x in weights.items() if name not in alone]},
        {"params": [weights[name] for name in alone], "weight_decay": 0.0},
    ]
    for group in groups:
        group["initial_lr"] = learning_rate  # of which the schedule gives a share
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)
