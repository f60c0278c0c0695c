"""SegFormer, built from its parts: small, tested, fast. The classes of the lessons."""

from segformer_edu.attention import SpatialReductionAttention
from segformer_edu.config import SegFormerConfig
from segformer_edu.decoder import AllMLPDecoder
from segformer_edu.encoder import EncoderBlock, EncoderStage, MixTransformer
from segformer_edu.loss import segmentation_loss
from segformer_edu.mix_ffn import MixFFN
from segformer_edu.patch_embedding import OverlapPatchEmbedding
from segformer_edu.segformer import SegFormer
from segformer_edu.stochastic_depth import DropPath, drop_rates, residual

__all__ = [
    "AllMLPDecoder",
    "DropPath",
    "EncoderBlock",
    "EncoderStage",
    "MixFFN",
    "MixTransformer",
    "OverlapPatchEmbedding",
    "SegFormer",
    "SegFormerConfig",
    "SpatialReductionAttention",
    "drop_rates",
    "residual",
    "segmentation_loss",
]
