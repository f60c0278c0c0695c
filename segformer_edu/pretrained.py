"""Weights into a model and out of it, as methods of the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import nn

from segformer_edu.config import SegFormerConfig

if TYPE_CHECKING:
    from segformer_edu.segformer import SegFormer


class Pretrained(nn.Module):
    """A model that loads published weights and saves its own; `SegFormer` is the only one."""

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path,
        config: SegFormerConfig | None = None,
        num_classes: int | None = None,
    ) -> SegFormer:
        """A model with published weights, or yours: float32, on the CPU, in evaluation mode.

        The names of the paper's code, of transformers (in files and in memory), of
        segmentation_models_pytorch and of this package are understood. Loading is strict, and
        nothing in a file is ever executed.

        Args:
            path_or_hub_id: a .safetensors, .pth, .pt or .bin file, the .index.json of one in
                shards, a folder that holds one, "nano" for the weights that come with this package
                (trained on its street scenes), or "owner/name" on the Hugging Face hub (extra
                "hub").
            config: which SegFormer this is. Otherwise config.json beside the weights tells, or the
                published variant that the weights fit: its block_norm_eps is then 1e-5 for weights
                from transformers and 1e-6 for others.
            num_classes: classes of a decoder that starts from random weights if the file holds an
                encoder only, or of such a classifier if the file has another number (warned of).

        Raises:
            ValueError: nothing there, a damaged or hostile file, weights that lack a tensor, hold
                another or one of another shape (all are named), or a config that cannot be found.
        """
        from segformer_edu.checkpoints import load  # which imports the model

        return load(path_or_hub_id, config, num_classes)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors and config.json as transformers does; each replaced in one step.

        transformers has one epsilon, 1e-5, for all its norms: it gives the same logits for a model
        whose block_norm_eps is 1e-5. For the paper's 1e-6 its norms differ by the fraction
        9e-6 / 2v, where v is the variance of a token: little unless tokens are nearly constant.
        `from_pretrained` gives back the same model either way.

        Args:
            folder: made if it is not there; other files in it stay.

        Raises:
            ValueError: a folded model, or a folder that is a file.
            OSError: it cannot be written; what was there is unchanged.
        """
        from segformer_edu.checkpoints import save  # which imports the model

        save(cast("SegFormer", self), folder)
