"""What several lessons state, and what their claims are computed from."""

from segformer_edu import SegFormerConfig
from segformer_edu.analysis import Cost, StageCost, cost
from segformer_edu.analysis.patches import PatchRow


def b0_millions() -> str:
    return f"{b0(512).parameters / 1e6:.2f}"


def b0_classes() -> str:
    return str(SegFormerConfig.named("b0").num_classes)


def b0_last_channels() -> str:
    return str(SegFormerConfig.named("b0").embed_dims[-1])


def stage_1_tokens() -> str:
    return f"{PatchRow(512, 7, 4, 3).count ** 2:,}"


def b0(side: int) -> Cost:
    return cost(SegFormerConfig.named("b0"), (side, side))


def unreduced_stage_1(side: int, stride: int) -> StageCost:
    """Stage 1 of B0 in which every token asks every other."""
    config = SegFormerConfig(strides=(stride, 2, 2, 2), reduction_ratios=(1, 1, 1, 1))
    return cost(config, (side, side)).stages[0]
