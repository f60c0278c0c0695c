"""What a SegFormer costs and where it looks, as numbers and arrays; nothing here draws."""

from segformer_edu.analysis.attention_maps import attention_maps
from segformer_edu.analysis.cost import Cost, DecoderCost, StageCost, StageMultiplyAdds, cost

__all__ = [
    "Cost",
    "DecoderCost",
    "StageCost",
    "StageMultiplyAdds",
    "attention_maps",
    "cost",
]
