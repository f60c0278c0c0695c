"""The numbers that the lessons' prose states: each function computes one from the package."""

from segformer_edu import SegFormer, SegFormerConfig

# Lesson 00


def _b0_parameters() -> int:
    model = SegFormer(SegFormerConfig.named("b0"))
    return sum(weight.numel() for weight in model.parameters())


def b0_millions() -> str:
    return f"{_b0_parameters() / 1e6:.2f}"


def b0_megabytes() -> str:
    return f"{4 * _b0_parameters() / 1e6:.0f}"  # float32


def b0_classes() -> str:
    return str(SegFormerConfig.named("b0").num_classes)


def b0_last_channels() -> str:
    return str(SegFormerConfig.named("b0").embed_dims[-1])
