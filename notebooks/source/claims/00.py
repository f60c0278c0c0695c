"""The numbers that lesson 00 states: each function computes one from the package."""

from notebooks.source.claims.shared import b0
from segformer_edu import SegFormerConfig


def b0_megabytes() -> str:
    return f"{4 * b0(512).parameters / 1e6:.0f}"  # float32


def b0_blocks_per_stage() -> str:
    (blocks,) = set(SegFormerConfig.named("b0").depths)
    return str(blocks)


def two_dice_agree() -> str:
    return f"{1 / SegFormerConfig.named('b0').num_classes:.1%}"
