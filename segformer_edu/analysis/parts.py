"""What the parts of a SegFormer hold and cost, summed over its blocks (lesson 06)."""

from __future__ import annotations

import torch

from segformer_edu.analysis.cost import cost
from segformer_edu.config import SegFormerConfig
from segformer_edu.encoder import MixTransformer

REDUCTION, PROJECTIONS, MIX_FFN = "reduction", "q, k, v, output", "Mix-FFN"


def parameters_by_part(config: SegFormerConfig) -> dict[str, float]:
    """Millions of parameters of an encoder, by what they are for.

    The model stands on torch's "meta" device, where tensors have shapes and no numbers.
    """
    with torch.device("meta"):
        encoder = MixTransformer(config)
    kinds = {"reduce": REDUCTION, "attention": PROJECTIONS, "mix_ffn": MIX_FFN}
    rest = "patches, norms"
    parts = dict.fromkeys((rest, *kinds.values()), 0.0)
    for name, weight in encoder.named_parameters():
        part = next((kind for key, kind in kinds.items() if key in name), rest)
        parts[part] += weight.numel() / 1e6
    return parts


def multiply_adds_by_part(config: SegFormerConfig, side: int) -> dict[str, float]:
    """Billions of multiply-adds for a square photograph, the decoder as the paper writes it."""
    kinds = {"patches": "patch_embedding", REDUCTION: "reduction", PROJECTIONS: "projections"}
    kinds |= {MIX_FFN: "mix_ffn", "products": "attention_matmuls"}
    bill = cost(config, (side, side))
    work = {
        kind: sum(getattr(stage.multiply_adds_of, part) for stage in bill.stages) / 1e9
        for kind, part in kinds.items()
    }
    return work | {"decoder": bill.decoder.reference_multiply_adds / 1e9}
