"""Where a token's knowledge of its position comes from: padding, how far it travels, and a probe
that reads it (lesson 04).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from segformer_edu.checks import check_choice
from segformer_edu.encoder import EncoderBlock, MixTransformer

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
PADDING_MODES = get_args(PaddingMode)
ROUNDING = 1e-14  # relative error of float64 where two sums should be equal
DIM, HEADS, RATIO = 8, 2, 2  # of the blocks on a flat map: small, so that they take little time
MAX_DEPTH = 8  # as many blocks


def reordered_tiles(photo: np.ndarray, order: np.ndarray, side: int) -> np.ndarray:
    """A photograph, its square tiles in another order.

    Args:
        photo: `(H, W, 3)`.
        order: `(n,)`, for each place, row by row, the number of the tile that is put there.
        side: of a tile, in pixels; it divides H and W.
    """
    rows, columns = (length // side for length in photo.shape[:2])
    tiles = photo.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    moved = tiles.reshape(-1, side, side, 3)[order].reshape(tiles.shape)
    return moved.swapaxes(1, 2).reshape(photo.shape)


def pad_with(module: nn.Module, mode: PaddingMode) -> None:
    """Switch every padding convolution in a module to this mode.

    Args:
        module: a model or any part of one; convolutions without padding stay as they are.
        mode: "zeros" as published, "reflect", "replicate", or "circular", under which a map has no
            border.

    Raises:
        ValueError: an unknown mode.
    """
    check_choice(PADDING_MODES, mode=mode)
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and any(part.padding):
            part.padding_mode = mode


def parts_that_pad(model: nn.Module) -> list[str]:
    """The names of the classes in a model that hold a padding convolution."""
    return sorted(
        {
            type(part).__name__
            for part in model.modules()
            for each in part.children()
            if isinstance(each, nn.Conv2d) and any(each.padding)
        }
    )


def zeros_only_in(model: nn.Module, *parts: str) -> None:
    """Pad with zeros in the parts whose classes have these names, and by replication elsewhere.

    Neither replication nor a circle adds position to a flat map. But a circle would carry what is
    known at one border around to the opposite one, which the published model cannot do.
    """
    pad_with(model, "replicate")
    for part in model.modules():
        if type(part).__name__ in parts:
            pad_with(part, "zeros")


def encoder_maps(encoder: MixTransformer, images: Tensor) -> list[np.ndarray]:
    """The maps of an encoder in evaluation mode as arrays with the channels last, one per stage.

    Shape: `(B, C, H, W)` → a list of `(B, H_i, W_i, C_i)` float64.
    """
    with torch.no_grad():
        return [x.permute(0, 2, 3, 1).double().numpy() for x in encoder(images)]


def deviation(tokens: np.ndarray) -> np.ndarray:
    """The distance of each token from the middle one, relative to the norm of that token.

    On a flat image the tokens differ only in what they know about the border, so this maps which of
    them know it.

    Args:
        tokens: `(H, W, C)`.

    Shape: → `(H, W)`, 0 in the middle, `[H // 2, W // 2]`, and wherever float64 sees no difference.

    Raises:
        ValueError: an array of the wrong rank, or a middle token of zeros.
    """
    if tokens.ndim != 3:
        raise ValueError(f"tokens of shape {tokens.shape}: give (H, W, C).")
    middle = tokens[len(tokens) // 2, tokens.shape[1] // 2]
    size = np.linalg.norm(middle)
    if size == 0:
        raise ValueError("the middle token is zero, so no distance can be relative to its norm.")
    distance = np.linalg.norm(tokens - middle, axis=-1) / size
    return np.where(distance > ROUNDING, distance, 0.0)


def travelled(differs: np.ndarray) -> int:
    """How many tokens inward the border's influence reaches: the innermost ring in which a token
    differs from the middle.

    Args:
        differs: `(H, W)` bool, true where a token differs from the middle one. If both sides are
            even, the innermost ring has four tokens, which can differ too.
    """
    return int((from_the_border(*differs.shape) + 1)[differs].max(initial=0))


def from_the_border(height: int, width: int) -> np.ndarray:
    """How many others lie between a place and the nearest border of its map: `(H, W)`."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    return np.minimum(rows[:, None], columns)


def border_reach(tokens: np.ndarray) -> tuple[int, int]:
    """How many tokens of the middle column differ from the middle one, counted from the top down
    and from the bottom up, until the first that does not.

    Args:
        tokens: `(H, W, C)`, of a flat image.
    """
    differs = deviation(tokens)[:, tokens.shape[1] // 2] > 0
    return int(differs.argmin()), int(differs[::-1].argmin())


def kinds(tokens: Tensor, tolerance: float = 1e-5) -> np.ndarray:
    """Which tokens of a map are alike: those of a kind have its number, from 1 on as they come.

    Args:
        tokens: `(H, W, C)`.
        tolerance: by how much channels of tokens of a kind may differ.

    Shape: → `(H, W)`.
    """
    found: list[Tensor] = []
    numbers = []
    for token in tokens.flatten(0, 1):
        distances = [(token - other).abs().max() for other in found]
        number = next((n for n, far in enumerate(distances) if far <= tolerance), len(found))
        if number == len(found):
            found.append(token)
        numbers.append(number + 1)
    return np.reshape(numbers, tokens.shape[:2])


@cache
def flat_map_deviations(
    padding: PaddingMode, kernel: int, side: int, attention: bool
) -> tuple[np.ndarray, ...]:
    """The distance of each token of a flat map from the middle one after 0, 1, 2, … blocks.

    In float64, where even a signal eight blocks inside exceeds the rounding error. The weights are
    random, and the same in every call.

    Args:
        padding, kernel: of the depthwise convolution in each block.
        side: tokens a side of the map.
        attention: whether the blocks' attention adds anything.

    Shape: → MAX_DEPTH + 1 arrays `(side, side)`.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        x = torch.randn(DIM).double().expand(1, side, side, DIM).contiguous()
        maps = [x]
        for block in [block_of(padding, kernel, attention) for _ in range(MAX_DEPTH)]:
            x = block(x)
            maps.append(x)
    return tuple(deviation(tokens[0].numpy()) for tokens in maps)


def block_of(padding: PaddingMode, kernel: int, attention: bool) -> EncoderBlock:
    """A block whose convolution has this kernel and padding; its attention adds nothing if off."""
    block = EncoderBlock(DIM, HEADS, reduction_ratio=1, mlp_ratio=RATIO)
    hidden = RATIO * DIM
    block.mix_ffn.depthwise = nn.Conv2d(
        hidden, hidden, kernel, padding=kernel // 2, groups=hidden, padding_mode=padding
    )
    if not attention:
        nn.init.zeros_(block.attention.output.weight)
        nn.init.zeros_(block.attention.output.bias)
    return block.double()


@dataclass(frozen=True)
class PositionProbe:
    """A linear map from a token to its position.

    Args:
        weight: `(C, 2)`, for the row and the column.
        bias: `(2,)`.
    """

    weight: np.ndarray
    bias: np.ndarray

    def predict(self, maps: np.ndarray) -> np.ndarray:
        """The predicted row and column of each token, on a scale from 0 to 1: `(B, H, W, 2)`."""
        return maps @ self.weight + self.bias

    def score(self, maps: np.ndarray) -> tuple[float, float]:
        """R² of rows and of columns: 1 is perfect, 0 no better than always answering the middle."""
        truth = np.broadcast_to(positions(*maps.shape[1:3]), (*maps.shape[:3], 2))
        wrong = ((truth - self.predict(maps)) ** 2).sum((0, 1, 2))
        spread = ((truth - truth.mean((0, 1, 2))) ** 2).sum((0, 1, 2))
        rows, columns = 1 - wrong / spread
        return float(rows), float(columns)


def fit_probe(maps: np.ndarray, strength: float = 1e-3) -> PositionProbe:
    """The ridge regression of position on tokens, in closed form: (XᵀX + λI)⁻¹ XᵀY, X and Y
    centred.

    Args:
        maps: `(B, H, W, C)`; score the probe on maps of other images than these.
        strength: λ divided by the mean eigenvalue of XᵀX, above 0.

    Raises:
        ValueError: maps of the wrong rank, or a strength that is not positive.
    """
    if maps.ndim != 4:
        raise ValueError(f"maps of shape {maps.shape}: give (B, H, W, C).")
    if not strength > 0:
        raise ValueError(f"strength = {strength!r}: give a positive number, such as 0.001.")
    places = np.broadcast_to(positions(*maps.shape[1:3]), (*maps.shape[:3], 2))
    x, y = maps.reshape(-1, maps.shape[-1]), places.reshape(-1, 2)
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x
    ridge = strength * np.trace(gram) / len(gram)
    weight = np.linalg.solve(gram + ridge * np.eye(len(gram)), x.T @ y)
    return PositionProbe(weight, mean_y - mean_x @ weight)


def position_scores(encoder: MixTransformer, images: Tensor) -> list[tuple[float, float]]:
    """R² of rows and of columns at each stage, of a probe fitted on the first half of the images
    and judged on the second.
    """
    half = len(images) // 2
    return [fit_probe(maps[:half]).score(maps[half:]) for maps in encoder_maps(encoder, images)]


def positions(height: int, width: int) -> np.ndarray:
    """The row and column of each token's place in a map, the middle of its cell, from 0 to 1:
    `(H, W, 2)`.
    """
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
