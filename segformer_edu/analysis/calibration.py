"""Whether a model is right as often as it says: reliability, its error, temperature (lesson 09)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.analysis.seeds import redrawn


def at_full_size(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits for every pixel of the labels: `(B, K, h, w)`, `(B, H, W)` → `(B, K, H, W)`."""
    return F.interpolate(logits, labels.shape[1:], mode="bilinear")


def confidence(logits: Tensor) -> Tensor:
    """The probability that a model gives to its answer: `(B, K, H, W)` → `(B, H, W)`."""
    return logits.softmax(1).amax(1)


def equal_width(bins: int) -> np.ndarray:
    """The edges of bins as wide as each other, from 0 to 1."""
    return np.linspace(0, 1, bins + 1)


def equal_mass(confidence: Tensor, bins: int) -> np.ndarray:
    """The edges of bins that hold as many pixels as each other."""
    inner = np.quantile(confidence.numpy(), np.linspace(0, 1, bins + 1)[1:-1])
    return np.array([0.0, *inner, 1.0])


@dataclass(frozen=True)
class Reliability:
    """What a reliability diagram is drawn from: sums of pixels, by picture and by bin.

    Args:
        pixels: how many pixels there are, `(pictures, bins)`.
        confidence: the sum of their confidences.
        right: how many of them are right.
    """

    pixels: np.ndarray
    confidence: np.ndarray
    right: np.ndarray

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean confidence and share of right pixels in each bin, nan where it is empty."""
        pixels = self.pixels.sum(0)
        pixels = np.where(pixels, pixels, np.nan)
        return self.confidence.sum(0) / pixels, self.right.sum(0) / pixels

    def error(self) -> float:
        """The expected calibration error: how far confidence and share of right pixels lie apart, a
        mean over bins, each weighing as much as it has pixels (Guo et al. 2017, arXiv:1706.04599).
        """
        gap = (self.confidence - self.right).sum(0)
        return float(np.abs(gap).sum() / self.pixels.sum())

    def errors(self, draws: int = 1000, seed: int = 0, calibrated: bool = False) -> np.ndarray:
        """The error of as many pictures, drawn again and again from these, with replacement.

        Pixels of one picture are wrong together, so whole pictures are drawn.

        Args:
            draws: how often.
            seed: of the draws.
            calibrated: take each bin's gap out of its pictures first. What is left is the error
                that a calibrated model would show on as many such pictures.
        """
        gap = self.confidence - self.right
        if calibrated:
            mean = gap.sum(0) / np.maximum(self.pixels.sum(0), 1)
            gap = gap - mean * self.pixels
        often = redrawn(len(gap), draws, np.random.default_rng(seed))
        return np.abs(often @ gap).sum(1) / (often @ self.pixels).sum(1)


def reliability(confidence: Tensor, right: Tensor, edges: np.ndarray) -> Reliability:
    """Pixels put into bins by their confidence; an edge belongs to the bin below it.

    Args:
        confidence, right: `(B, H, W)`.
        edges: of the bins, increasing, one more than there are bins.

    Raises:
        ValueError: edges that do not increase, or a confidence that lies outside them.
    """
    if not (np.diff(edges) > 0).all():
        raise ValueError(f"edges {edges} do not increase: take fewer bins.")
    low, high = float(confidence.min()), float(confidence.max())
    if not edges[0] <= low <= high <= edges[-1]:
        raise ValueError(f"confidences from {low} to {high} lie outside the edges {edges}.")
    pictures, bins = len(confidence), len(edges) - 1
    values = confidence.flatten(1).double().numpy()
    place = np.searchsorted(edges[1:-1], values, side="left")
    place += bins * np.arange(pictures)[:, None]

    def total(weights: np.ndarray | None) -> np.ndarray:
        flat = None if weights is None else weights.ravel()
        return np.bincount(place.ravel(), flat, pictures * bins).reshape(pictures, bins)

    return Reliability(total(None), total(values), total(right.flatten(1).double().numpy()))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The number to divide logits by so that the labels get the least cross-entropy.

    Args:
        logits: `(B, K, H, W)`, of pictures other than those that it is judged on.
        labels: `(B, H, W)`.
    """

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits / np.exp(log_temperature), labels).item()

    found = minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def gaps(confidence: Tensor, right: Tensor, group: Tensor, groups: int) -> np.ndarray:
    """Mean confidence less the share of right pixels, in percentage points, for each group of them:
    above zero a model is too sure. nan where a group is empty.

    Args:
        confidence, right: `(B, H, W)`.
        group: `(B, H, W)`, the number of each pixel's group, from 0.
        groups: how many there are.
    """
    numbers = group.flatten()
    gap = (confidence.double() - right.double()).flatten()
    sums = torch.zeros(groups, dtype=torch.double).index_add_(0, numbers, gap)
    return (100 * sums / numbers.bincount(minlength=groups)).numpy()
