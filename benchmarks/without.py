"""This package's model without one of the tricks that make it fast, and with all the others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.contenders import Ours


class MatrixProducts(Ours):
    """This package's model, with its Linears over maps computed by `F.linear`."""

    def prepared(self, model: Any) -> Any:
        from segformer_edu import decoder, layers

        layers.linear = decoder.linear = F.linear
        return model


class WholeMaps(Ours):
    """This package's model, with every map computed at once."""

    def prepared(self, model: Any) -> Any:
        from segformer_edu import decoder, strips

        def whole(size: Any, x: Tensor, *_: Any) -> Any:
            yield 0, size[0]

        strips.strips = decoder.strips = whole
        return model


class PublishedOrder(Ours):
    """This package's model, with its decoder in the published order: project, concatenate, fuse."""

    def prepared(self, model: Any) -> Any:
        decoder = model.decoder

        def decode(maps: list[Tensor]) -> Tensor:
            projected = [
                F.interpolate(
                    project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
                    maps[0].shape[2:],
                    mode="bilinear",
                )
                for project, x in zip(decoder.projections, maps, strict=True)
            ]
            fused = decoder.norm(decoder.fuse(torch.cat(projected[::-1], dim=1)))
            return decoder.classifier(decoder.dropout(F.relu(fused)))

        decoder.forward = decode
        return model


class MemoryHandedBack(Ours):
    """This package's model in a process that returns freed memory to the system."""

    def prepared(self, model: Any) -> Any:
        from segformer_edu import memory

        memory.keep_freed_memory = lambda: None
        return model


# What makes the model fast, and the contender that does without it.
TRICKS: dict[str, type] = {
    "Linears over maps as 1×1 convolutions": MatrixProducts,
    "maps in strips of rows": WholeMaps,
    "one composed matrix a stage in the decoder": PublishedOrder,
    "freed memory kept by the process": MemoryHandedBack,
}
