"""One model that answers at every reduction ratio: each block has a reduction for each ratio, and
every step of training draws which ones it uses. All other weights are shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from segformer_edu.analysis.attention_maps import attentions_of
from segformer_edu.attention import SpatialReduction
from segformer_edu.checkpoints.reductions import stage_of, write_reductions
from segformer_edu.config import SegFormerConfig
from segformer_edu.layers import initialize
from segformer_edu.segformer import SegFormer

RATIOS = ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4), (1, 2))  # of nano's stages, per side


class ReductionChoice(nn.Module):
    """A reduction for each ratio, of which one is in use.

    Args:
        dim: channels C.
        ratios: r per side; 1 keeps every token, and has no weights.

    Shape: `(B, H, W, C)` → `(B, ⌊H/r⌋, ⌊W/r⌋, C)`, for the r in use.
    """

    def __init__(self, dim: int, ratios: Sequence[int]) -> None:
        super().__init__()
        self.choices = nn.ModuleDict(
            {str(r): SpatialReduction(dim, r) if r > 1 else nn.Identity() for r in ratios}
        )
        self.in_use = ratios[0]
        self.apply(initialize)

    def forward(self, x: Tensor) -> Tensor:
        return self.choices[str(self.in_use)](x)


class EveryRatioSegFormer(SegFormer):
    """A SegFormer for every combination of ratios. In training, each forward pass draws one, from
    torch's generator; in evaluation it keeps those that it was last given.

    Args:
        config: which SegFormer; its own ratios are among the choices, and are given first.
        ratios: for each stage, the ratios to choose from.

    Raises:
        ValueError: a ratio of the config that is not among the choices.
    """

    def __init__(self, config: SegFormerConfig, ratios: Sequence[Sequence[int]] = RATIOS) -> None:
        super().__init__(config)
        self.ratios = tuple(map(tuple, ratios))
        for stage, choices in zip(self.encoder.stages, self.ratios, strict=True):
            for attention in attentions_of(stage):
                attention.add_module("reduce", ReductionChoice(attention.dim, choices))
        self.use(config.reduction_ratios)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.use([of[int(torch.randint(len(of), ()))] for of in self.ratios])
        return super().forward(images)

    def use(self, ratios: Sequence[int]) -> None:
        """Answer with these ratios, one for each stage, from now on.

        Raises:
            ValueError: a ratio that a stage has no reduction for.
        """
        self._check(ratios)
        for stage, ratio in zip(self.encoder.stages, ratios, strict=True):
            for attention in attentions_of(stage):
                attention.reduction_ratio = ratio
                cast(ReductionChoice, attention.get_submodule("reduce")).in_use = ratio

    def at(self, ratios: Sequence[int]) -> SegFormer:
        """A plain SegFormer of these ratios, with copies of the weights; in evaluation mode.

        Raises:
            ValueError: a ratio that a stage has no reduction for.
        """
        self._check(ratios)
        model = SegFormer(self.config.replace(reduction_ratios=tuple(ratios)))
        own = {}
        for name, weight in self.state_dict().items():
            of_one = f".reduce.choices.{ratios[stage_of(name)]}." if ".reduce." in name else ""
            if of_one in name:
                own[name.replace(of_one, ".reduce.") if of_one else name] = weight
        model.to(next(self.parameters()).dtype).load_state_dict(own)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the plain SegFormer of the config's ratios, and all other reductions beside it."""
        own = self.config.reduction_ratios
        self.at(own).save_pretrained(folder)
        others = {
            name.replace(".choices.", "."): weight
            for name, weight in self.state_dict().items()
            if ".choices." in name and f".choices.{own[stage_of(name)]}." not in name
        }
        write_reductions(others, folder)

    def _check(self, ratios: Sequence[int]) -> None:
        for stage, (ratio, choices) in enumerate(zip(ratios, self.ratios, strict=True), start=1):
            if ratio not in choices:
                raise ValueError(
                    f"reduction ratio {ratio} in stage {stage}: there are reductions for "
                    f"{', '.join(map(str, choices))}."
                )
