"""The numbers that define a SegFormer, and the published variants by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any, NamedTuple

from segformer_edu.checks import (
    check_choice,
    check_heads,
    check_per_stage,
    check_positive,
    check_rate,
    is_real,
)
from segformer_edu.stochastic_depth import RULES, drop_rates

SMALLEST = 1e-37  # the smallest epsilon that float32 holds in full precision
MOST_PARAMETERS = 10**10  # 40 GB; B5, the largest published, has 8.5e7

SMALL, LARGE = (32, 64, 160, 256), (64, 128, 320, 512)

VARIANTS: dict[str, dict[str, Any]] = {
    "b0": {"embed_dims": SMALL, "depths": (2, 2, 2, 2), "decoder_dim": 256},
    "b1": {"embed_dims": LARGE, "depths": (2, 2, 2, 2), "decoder_dim": 256},
    "b2": {"embed_dims": LARGE, "depths": (3, 4, 6, 3), "decoder_dim": 768},
    "b3": {"embed_dims": LARGE, "depths": (3, 4, 18, 3), "decoder_dim": 768},
    "b4": {"embed_dims": LARGE, "depths": (3, 8, 27, 3), "decoder_dim": 768},
    "b5": {"embed_dims": LARGE, "depths": (3, 6, 40, 3), "decoder_dim": 768},
    "nano": {
        "embed_dims": (16, 32, 64, 128),
        "depths": (2, 2, 2, 2),
        "num_heads": (1, 2, 4, 8),
        "reduction_ratios": (4, 2, 1, 1),
        "decoder_dim": 64,
        "num_classes": 8,
    },
}


class Stage(NamedTuple):
    """The settings of one stage of the encoder; `drop_path_rates` has one for each block."""

    in_channels: int
    embed_dim: int
    depth: int
    num_heads: int
    reduction_ratio: int
    mlp_ratio: int
    patch_size: int
    stride: int
    drop_path_rates: tuple[float, ...]


@dataclass(frozen=True)
class SegFormerConfig:
    """Everything that fixes the shape of a SegFormer; the defaults are B0 (paper, Table 6).

    Fields with one value per stage are tuples of equal length; four stages are usual, but any
    number from one works.

    Args:
        num_classes: number of classes K; 1 means a binary model with one logit.
        in_channels: channels of the image.
        embed_dims: channels C_i of each stage.
        depths: blocks L_i of each stage.
        num_heads: attention heads of each stage; each divides its embed_dim.
        reduction_ratios: r of each stage, per *side*: keys are r² times fewer (the paper's R = r²).
        mlp_ratios: hidden width of each stage's Mix-FFN, divided by the stage's width.
        patch_sizes: kernel of each overlapping patch embedding, padded by kernel // 2.
        strides: stride of each patch embedding.
        decoder_dim: channels D of the decoder.
        drop_path_rate: drop probability of the last block.
        drop_path_rule: "linspace" (first block 0) or "paper" (first block rate / L).
        decoder_dropout: probability that the decoder drops a whole channel in training.
        block_norm_eps: epsilon of the block and stage norms: 1e-6 in the paper's code, 1e-5 in
            transformers.
        class_names: the names of the classes, or empty. With one logit, those of both classes, the
            one that it speaks for last; or of that one alone.
        image_mean: the mean of each channel of the pictures that the model was trained on, which is
            taken off, or empty for photographs, whose mean is that of ImageNet.
        image_std: its standard deviation, by which it is divided; as many as of the means.
        gradient_checkpointing: recompute each block in the backward pass instead of keeping its
            activations.

    Raises:
        ValueError: names the field, its value and the rule that it breaks.
    """

    num_classes: int = 150
    in_channels: int = 3
    embed_dims: tuple[int, ...] = SMALL
    depths: tuple[int, ...] = (2, 2, 2, 2)
    num_heads: tuple[int, ...] = (1, 2, 5, 8)
    reduction_ratios: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)
    patch_sizes: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    decoder_dim: int = 256
    drop_path_rate: float = 0.1
    drop_path_rule: str = "linspace"
    decoder_dropout: float = 0.1
    block_norm_eps: float = 1e-6
    class_names: tuple[str, ...] = ()
    image_mean: tuple[float, ...] = ()
    image_std: tuple[float, ...] = ()
    gradient_checkpointing: bool = False

    @classmethod
    def named(cls, name: str, **changes: Any) -> SegFormerConfig:
        """A published variant "b0" … "b5", or "nano", with any field changed.

        >>> SegFormerConfig.named("b2", num_classes=19).depths
        (3, 4, 6, 3)
        """
        if not isinstance(name, str) or name not in VARIANTS:
            raise ValueError(f"There is no variant {name!r}; choose one of {', '.join(VARIANTS)}.")
        return cls().replace(**{**VARIANTS[name], **changes})

    def replace(self, **changes: Any) -> SegFormerConfig:
        """A copy with some fields changed, validated again."""
        known = [field.name for field in fields(self)]
        if unknown := sorted(set(changes) - set(known)):
            raise ValueError(f"There is no field {unknown[0]!r}; fields are {', '.join(known)}.")
        return replace(self, **changes)

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of each channel, or None for photographs."""
        return (self.image_mean, self.image_std) if self.image_mean else None

    @property
    def num_stages(self) -> int:
        return len(self.embed_dims)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The fields with one value per stage, stage by stage."""
        rates = iter(drop_rates(self.drop_path_rate, sum(self.depths), self.drop_path_rule))
        in_channels = (self.in_channels, *self.embed_dims[:-1])
        return tuple(
            Stage(
                in_channels[stage],
                self.embed_dims[stage],
                depth,
                self.num_heads[stage],
                self.reduction_ratios[stage],
                self.mlp_ratios[stage],
                self.patch_sizes[stage],
                self.strides[stage],
                tuple(islice(rates, depth)),
            )
            for stage, depth in enumerate(self.depths)
        )

    @property
    def min_image_size(self) -> int:
        """The smallest side, in pixels, that leaves every stage at least one key."""
        side = 1
        for stage in reversed(self.stages):
            side = (max(side, stage.reduction_ratio) - 1) * stage.stride + stage.patch_size % 2
            side = max(side, 1)
        return side

    @property
    def approximate_parameters(self) -> int:
        """The weights of the convolutions and Linears: nearly all parameters of a model."""
        d = self.decoder_dim
        weights = d * (self.num_stages * d + sum(self.embed_dims) + self.num_classes)
        for stage in self.stages:
            weights += stage.patch_size**2 * stage.in_channels * stage.embed_dim
            block = stage.reduction_ratio**2 + 2 * stage.mlp_ratio + 4
            weights += stage.depth * block * stage.embed_dim**2
        return weights

    def __post_init__(self) -> None:
        for name in PER_STAGE:
            check_per_stage(**{name: getattr(self, name)})
            object.__setattr__(self, name, tuple(map(int, getattr(self, name))))
            if len(getattr(self, name)) != self.num_stages:
                raise ValueError(
                    f"{name} = {getattr(self, name)} has {len(getattr(self, name))} entries but "
                    f"embed_dims has {self.num_stages}: give one value for each stage."
                )
        for name in ("num_classes", "in_channels", "decoder_dim"):
            check_positive(**{name: getattr(self, name)})
            object.__setattr__(self, name, int(getattr(self, name)))
        for dim, heads in zip(self.embed_dims, self.num_heads, strict=True):
            check_heads(dim, heads)
        check_rate(drop_path_rate=self.drop_path_rate, decoder_dropout=self.decoder_dropout)
        check_choice(RULES, drop_path_rule=self.drop_path_rule)
        if not is_real(self.block_norm_eps) or not SMALLEST <= self.block_norm_eps < 1:
            raise ValueError(
                f"block_norm_eps = {self.block_norm_eps!r}: give a small positive number, such as "
                f"1e-6, and none below {SMALLEST}, which float32 would round to 0."
            )
        for name in ("drop_path_rate", "decoder_dropout", "block_norm_eps"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.approximate_parameters > MOST_PARAMETERS:
            raise ValueError(
                f"This config asks for about {self.approximate_parameters:.0e} parameters, but at "
                f"most {MOST_PARAMETERS:.0e} are allowed: lower embed_dims, depths, the ratios, "
                f"patch_sizes, decoder_dim or num_classes."
            )
        self._check_class_names()
        self._check_normalization()
        if not isinstance(self.gradient_checkpointing, bool):
            raise ValueError(
                f"gradient_checkpointing = {self.gradient_checkpointing!r}: give True or False."
            )

    def _check_class_names(self) -> None:
        names = self.class_names
        if not isinstance(names, (list, tuple)) or not all(isinstance(x, str) for x in names):
            raise ValueError(f"class_names = {names!r}: give a list of strings, one per class.")
        object.__setattr__(self, "class_names", tuple(names))
        if names and len(names) not in (self.num_classes, max(self.num_classes, 2)):
            raise ValueError(
                f"class_names has {len(names)} entries but num_classes = "
                f"{self.num_classes}: give one name for each class."
            )

    def _check_normalization(self) -> None:
        for name in ("image_mean", "image_std"):
            numbers = getattr(self, name)
            if not isinstance(numbers, (list, tuple)) or not all(map(is_real, numbers)):
                raise ValueError(f"{name} = {numbers!r}: give a list of numbers.")
            object.__setattr__(self, name, tuple(map(float, numbers)))
        lengths = len(self.image_mean), len(self.image_std)
        if lengths not in ((0, 0), 2 * (self.in_channels,)):
            raise ValueError(
                f"image_mean has {lengths[0]} and image_std {lengths[1]} entries, but in_channels "
                f"= {self.in_channels}: give one for each channel, or neither."
            )
        if not all(map(math.isfinite, self.image_mean)) or not all(
            0 < each < math.inf for each in self.image_std
        ):
            raise ValueError(
                f"image_mean = {self.image_mean}, image_std = {self.image_std}: give finite "
                f"numbers, the latter above 0."
            )


PER_STAGE = (
    "embed_dims",
    "depths",
    "num_heads",
    "reduction_ratios",
    "mlp_ratios",
    "patch_sizes",
    "strides",
)


def check_config(config: SegFormerConfig) -> None:
    """Refuse anything but a config."""
    if not isinstance(config, SegFormerConfig):
        raise ValueError(
            f"config = {config!r} is not a SegFormerConfig: make one, for example with "
            f"SegFormerConfig.named('b0')."
        )
