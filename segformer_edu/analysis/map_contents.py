"""What the encoder's maps hold: read by one Linear, and compared with those of another window
of the scene (lesson 06).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.analysis.grids import class_shares, through_a_grid
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import Scenes
from segformer_edu.encoder import MixTransformer

Picture = tuple[np.ndarray, np.ndarray]  # a scene, (H, W, 3) uint8, and its labels, (H, W)
PENALTY = 1e-6  # just enough to keep the fits steady
FINEST = 4  # pixels between the tokens of the finest map
READERS = {f"stage {i + 1}": [i] for i in range(4)} | {
    "1 to 3": [0, 1, 2],
    "all four": [0, 1, 2, 3],
}


@dataclass(frozen=True)
class LinearReader:
    """One Linear from the channels of a token to a score for each class.

    Args:
        weight: `(C + 1, K)`; the last row is the bias.
    """

    weight: Tensor

    def read(self, maps: Sequence[Tensor]) -> Tensor:
        """The label of every pixel: maps `(B, H/4, W/4, C_i)`, C channels in all → `(B, H, W)`."""
        scores = (_with_ones(maps) @ self.weight).permute(0, 3, 1, 2)  # (B, K, H/4, W/4)
        return F.interpolate(scores, scale_factor=FINEST, mode="bilinear").argmax(dim=1)


def fit_reader(maps: Sequence[Tensor], labels: Tensor, strength: float = PENALTY) -> LinearReader:
    """The ridge regression from tokens to the shares of the classes under each.

    It minimises the mean squared error plus `strength` times the squares of the weights.

    Args:
        maps: `(B, H/4, W/4, C_i)` each, to be read side by side.
        labels: `(B, H, W)`.
        strength: of the penalty on large weights.
    """
    shares = torch.cat([class_shares(each, FINEST) for each in labels])
    wanted = shares.permute(0, 2, 3, 1).flatten(0, 2).double()
    rows = _with_ones(maps).flatten(0, 2).double()
    ridge = strength * len(rows) * torch.eye(rows.shape[1])
    return LinearReader(torch.linalg.solve(rows.T @ rows + ridge, rows.T @ wanted).float())


def maps_of(encoder: MixTransformer, pictures: Sequence[Picture]) -> tuple[list[Tensor], Tensor]:
    """The maps of some scenes, all resized to the finest, and the labels.

    Shape: → a list of `(B, H/4, W/4, C_i)`, and `(B, H, W)`.
    """
    with torch.no_grad():
        maps = encoder(torch.cat([normalize(image) for image, _ in pictures]))
    resized = [F.interpolate(each, maps[0].shape[2:], mode="bilinear") for each in maps]
    labels = torch.stack([torch.as_tensor(each).long() for _, each in pictures])
    return [each.permute(0, 2, 3, 1) for each in resized], labels


def near_a_border(labels: Tensor) -> Tensor:
    """Whether a pixel has another class within two pixels of it: `(B, H, W)` → the same of bool."""
    x = labels[:, None].float()
    return (F.max_pool2d(x, 5, 1, 2) != -F.max_pool2d(-x, 5, 1, 2))[:, 0]


def rightly_labelled(
    encoder: MixTransformer, seed: int, strength: float = PENALTY, side: int = 256
) -> dict[str, tuple[float, float]]:
    """What readers of one map or several reach on ten scenes, fitted to twenty others.

    Args:
        encoder: in evaluation.
        seed: of the thirty scenes.
        strength: of the penalty on large weights.
        side: of a scene, in pixels.

    Returns:
        For each reader, and for the true shares at 1/32, the percentage of pixels that are labelled
        rightly: far from borders, and within two pixels of one.
    """
    scenes = Scenes(30, side, seed)
    pictures = [scenes.picture(index) for index in range(30)]
    (seen, seen_labels), (maps, labels) = (
        maps_of(encoder, some) for some in (pictures[:20], pictures[20:])
    )
    answers = {}
    for caption, stages in READERS.items():
        reader = fit_reader([seen[stage] for stage in stages], seen_labels, strength)
        answers[caption] = reader.read([maps[stage] for stage in stages])
    answers["true shares at 1/32"] = torch.stack([through_a_grid(each, 32) for each in labels])
    right = {caption: each == labels for caption, each in answers.items()}
    border = near_a_border(labels)
    return {caption: (_percent(x[~border]), _percent(x[border])) for caption, x in right.items()}


def gain(trials: Sequence[dict[str, tuple[float, float]]], one: str, other: str) -> list[str]:
    """How much better one reader is than another, draw by draw: mean ± standard error, twice."""
    gains = np.array([np.subtract(trial[one], trial[other]) for trial in trials])
    errors = gains.std(axis=0, ddof=1) / len(trials) ** 0.5
    return [f"{m:+.1f} ± {e:.1f}" for m, e in zip(gains.mean(axis=0), errors, strict=True)]


def alike(maps: Tensor, others: Tensor) -> float:
    """The correlation of two maps, `(C, H, W)` each, a mean over their channels."""
    one, other = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (maps, others))
    return torch.cosine_similarity(one, other, dim=1).mean().item()


def _with_ones(maps: Sequence[Tensor]) -> Tensor:
    """The maps side by side, and a channel of ones for the bias: `(B, H, W, C + 1)`."""
    return F.pad(torch.cat(list(maps), dim=-1), (0, 1), value=1)


def _percent(right: Tensor) -> float:
    return 100 * right.float().mean().item()
