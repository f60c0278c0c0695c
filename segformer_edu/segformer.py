"""SegFormer: encoder and decoder, labels at the image's own size, and the loss (paper, arXiv
2105.15203).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segformer_edu.config import SegFormerConfig
from segformer_edu.decoder import AllMLPDecoder, FoldedDecoder
from segformer_edu.encoder import MixTransformer
from segformer_edu.layers import evaluation
from segformer_edu.strips import source_pairs

PIXELS = 2**14  # whose logits are mixed at once


class SegFormer(nn.Module):
    """Semantic segmentation: one of K classes for every pixel of an image.

    >>> model = SegFormer(SegFormerConfig.named("b0", num_classes=19))
    >>> model.predict(torch.rand(1, 3, 65, 97)).shape
    torch.Size([1, 65, 97])

    Args:
        config: which SegFormer to build.

    Shape: `(B, in_channels, H, W)` → logits `(B, K, ⌈H/4⌉, ⌈W/4⌉)`. Images are floating point and
        normalised, with any H and W from `config.min_image_size` upwards.

    Raises:
        ValueError: images of the wrong rank, dtype or channel count, or too small.
    """

    def __init__(self, config: SegFormerConfig) -> None:
        super().__init__()
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

        A binary model (one class) answers 1 where its probability is above one half. The model runs
        in evaluation mode; afterwards it is in the mode in which it was before.
        """
        with evaluation(self):
            return labels_from_logits(self(images), images.shape[-2:])

    def folded(self) -> SegFormer:
        """A copy for evaluation and export, with the decoder's matrices composed; same labels."""
        model = copy.deepcopy(self).eval()
        if isinstance(model.decoder, AllMLPDecoder):
            model.decoder = FoldedDecoder(model.decoder)
        return model

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, as torch does.

        Raises:
            ValueError: training mode for a folded model.
        """
        self.decoder.train(mode)  # first, so that a refusal leaves everything as it was
        return super().train(mode)

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path,
        config: SegFormerConfig | None = None,
        num_classes: int | None = None,
    ) -> SegFormer:
        """A model with published weights, or your own: float32, on the CPU, in evaluation mode.

        It understands the weight names of the paper's code, of transformers (in files and in
        memory), of segmentation_models_pytorch and of this package. Loading is strict, and nothing
        in a file is ever executed.

        Args:
            path_or_hub_id: a .safetensors, .pth, .pt or .bin file, the .index.json of a sharded
                one, a folder that holds one, the name of weights that come with this package, or
                "owner/name" on the Hugging Face hub (extra "hub"). Those that come with it are
                "nano" and "nano-drop-path" for its street scenes, and "lamps" for strips in which
                attention decides.
            config: which SegFormer this is; its reduction ratios may be others than the file's
                where reductions for them stand beside it, as for "nano". If left out, it is read
                from the config.json beside the weights, or is the published variant that they fit,
                with a block_norm_eps of 1e-5 for weights from transformers and 1e-6 for others.
            num_classes: number of classes. If the file holds an encoder only, a decoder starts
                from random weights; if it has another number, a classifier does, with a warning.

        Raises:
            ValueError: nothing is there, the file is damaged or hostile, tensors are missing,
                unexpected or of another shape (all are named), or no config can be found.
        """
        from segformer_edu import checkpoints  # imported here: building a model reads no files

        config, weights = checkpoints.read(path_or_hub_id, config, num_classes)
        with torch.device("meta"):
            model = cls(config)  # shapes and names, without memory
        tensors = checkpoints.fitting(weights, model.state_dict())
        if len(tensors) < len(model.state_dict()):  # a decoder or classifier not in the file
            with torch.device("cpu"):
                tensors = {**cls(config).state_dict(), **tensors}
        model.load_state_dict(tensors, assign=True)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors and config.json as transformers does, each in one step.

        transformers uses one epsilon, 1e-5, for all its norms, so it gives the same logits for a
        model whose block_norm_eps is 1e-5. For the paper's 1e-6 its norms differ by a fraction of
        9e-6 / 2v, where v is the variance of a token, which is little unless tokens are nearly
        constant. `from_pretrained` returns the same model either way.

        Args:
            folder: created if it does not exist; other files in it stay.

        Raises:
            ValueError: a folded model, or a folder that is a file.
            OSError: the folder cannot be written; what was there before is unchanged.
        """
        from segformer_edu import checkpoints

        if isinstance(self.decoder, FoldedDecoder):
            raise ValueError("A folded model cannot be saved: save the model that folded() copied.")
        checkpoints.write(self.config, self.state_dict(), folder)


def labels_from_logits(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Resize logits `(B, K, h, w)` to `size`, then take the argmax: `(B, H, W)` int64.

    Resizing the labels instead would round every border to the coarse grid. But where the four
    tokens around a pixel agree on the largest logit, every weighted mean of them agrees, too. So
    only the other pixels are mixed, some at a time, and K maps at full size never exist.
    """
    if logits.shape[1] == 1:
        logits = F.pad(logits, (0, 0, 0, 0, 1, 0))  # a binary model: class 0 has logit 0
    x = logits.permute(0, 2, 3, 1).float()  # (B, h, w, K)
    rows, down = source_pairs(x.shape[1], size[0], x)  # (H, 2) each: source rows and weights
    columns, right = source_pairs(x.shape[2], size[1], x)  # (W, 2) each
    coarse = x.max(dim=-1).indices  # (B, h, w)
    nearest = coarse[:, rows[:, 0]][:, :, columns[:, 0]]  # (B, H, W)
    mixed = disagree(coarse)[:, rows[:, 0]][:, :, columns[:, 0]]
    tokens = x.reshape(-1, x.shape[3])  # (B·h·w, K)
    for pixels in mixed.nonzero().split(PIXELS):
        image, row, column = pixels.unbind(dim=1)  # (n,) each
        starts = (image[:, None] * x.shape[1] + rows[row]) * x.shape[2]
        corners = starts[:, :, None] + columns[column][:, None]  # (n, 2, 2): numbers of tokens
        weights = down[row][:, :, None] * right[column][:, None]
        means = F.embedding_bag(
            corners.flatten(1), tokens, mode="sum", per_sample_weights=weights.flatten(1)
        )
        nearest[image, row, column] = means.max(dim=1).indices
    return nearest


def disagree(labels: Tensor) -> Tensor:
    """Where the largest and the smallest of four labels differ: a token's, its right, its lower and
    its lower right neighbour's. `(B, h, w)` → `(B, h, w)`.
    """
    x = F.pad(labels[:, None].float(), (0, 1, 0, 1), mode="replicate")
    return (F.max_pool2d(x, 2, stride=1) != -F.max_pool2d(-x, 2, stride=1))[:, 0]
