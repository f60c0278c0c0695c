"""SegFormer: encoder and decoder, labels at the image's own size, and the loss (paper, arXiv
2105.15203).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from segformer_edu.config import SegFormerConfig
from segformer_edu.decoder import AllMLPDecoder, FoldedDecoder
from segformer_edu.encoder import MixTransformer
from segformer_edu.layers import resize, strips
from segformer_edu.pretrained import Pretrained


class SegFormer(Pretrained):
    """Semantic segmentation: one of K classes for every pixel of an image.

    >>> model = SegFormer(SegFormerConfig.named("b0", num_classes=19)).eval()
    >>> model.predict(torch.rand(1, 3, 65, 97)).shape
    torch.Size([1, 65, 97])

    Args:
        config: which SegFormer.

    Shape: `(B, in_channels, H, W)` → logits `(B, K, ⌈H/4⌉, ⌈W/4⌉)`. Images are floating point and
        normalised, any H and W from `config.min_image_size`.

    Raises:
        ValueError: images of another rank, dtype or channel count, or too small.
    """

    def __init__(self, config: SegFormerConfig) -> None:
        super().__init__()
        _keep_freed_memory()
        self.config = config
        self.encoder = MixTransformer(config)
        self.decoder: AllMLPDecoder | FoldedDecoder = AllMLPDecoder(
            config.embed_dims, config.decoder_dim, config.num_classes, config.decoder_dropout
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))  # (B, K, H/4, W/4)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """The class of every pixel, `(B, H, W)` int64: logits resized to the image, then argmax.

        A binary model (one class) answers 1 where its probability is above one half. Runs in the
        mode that the model is in: call `model.eval()` first.
        """
        return labels_from_logits(self(images), images.shape[-2:])

    def folded(self) -> SegFormer:
        """An evaluation-only copy, its decoder's matrices composed: for export, same labels."""
        model = copy.deepcopy(self).eval()
        if isinstance(model.decoder, AllMLPDecoder):
            model.decoder = FoldedDecoder(model.decoder)
        return model


def labels_from_logits(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Resize logits `(B, K, h, w)` to `size`, then take the argmax: `(B, H, W)` int64.

    Resizing the labels instead would round every border to the coarse grid. A strip of rows at a
    time, so that K maps at full size never exist.
    """
    x = logits.permute(0, 2, 3, 1)
    labels = []
    for top, bottom in strips(size, x):
        strip = resize(x, size, top, bottom).permute(0, 3, 1, 2)  # (B, K, rows, W)
        labels.append(strip.max(dim=1).indices if strip.shape[1] > 1 else (strip[:, 0] > 0).long())
    return torch.cat(labels, dim=1)


def _keep_freed_memory() -> None:
    """Let the C library keep the memory that one forward pass frees, for the next to use.

    glibc hands large blocks back to the system at once, and each then costs a page fault every
    4 KiB when it is asked for again. Freeing one block of just under 32 MiB, never written to,
    raises the size from which it does so; where the C library is another, nothing happens.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)
