"""The loop of lesson 08: pictures in memory, one process, no checkpoints; `loop.py` has the rest.

A run is a generator, which trains as far as it is asked to:

    run = training_steps(model, make_optimizer(model, 8e-3), images, labels, weights, steps=1000)
    losses = list(itertools.islice(run, 250))  # the first 250 steps
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.loss import segmentation_loss
from segformer_edu.segformer import SegFormer
from segformer_edu.training.optimizer import learning_rate_factor, set_learning_rate


def in_memory(
    dataset: SegmentationDataset, workers: int = 2, watch: Callable[..., Iterable] = iter
) -> tuple[Tensor, Tensor]:
    """All pictures of a data set, each made once, by several processes.

    Args:
        dataset: of N pictures.
        workers: how many processes.
        watch: wraps the iterator over batches of twenty pictures, as a progress bar does.

    Shape: → `(N, 3, H, W)` float32, normalised, and `(N, H, W)` int64.
    """
    loader = DataLoader(dataset, batch_size=20, num_workers=workers)
    images, labels = zip(*watch(loader), strict=True)
    return torch.cat(images), torch.cat(labels)


def batches(count: int, batch_size: int, chance: torch.Generator) -> Iterator[Tensor]:
    """Which pictures go into each batch: all of them in a new order, again and again."""
    while True:
        yield from torch.randperm(count, generator=chance).split(batch_size)


def some_flipped(images: Tensor, labels: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """About half of the pictures of a batch with left and right exchanged, their labels with them.

    Shape: `(B, 3, H, W)`, `(B, H, W)` → the same.
    """
    flip = (torch.rand(len(images), generator=chance) < 0.5).to(images.device)
    images = torch.where(flip[:, None, None, None], images.flip(-1), images)
    return images, torch.where(flip[:, None, None], labels.flip(-1), labels)


def training_steps(
    model: SegFormer,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    class_weights: Tensor | None,
    steps: int,
    batch_size: int = 16,
    warmup_steps: int = 50,
    seed: int = 0,
) -> Iterator[float]:
    """Train a model, and yield the loss of each step.

    Args:
        model: changed in place.
        optimizer: its groups have an "initial_lr", of which the schedule gives a share.
        images: `(N, 3, H, W)`.
        labels: `(N, H, W)`.
        class_weights: `(K,)`, how much a pixel of each class counts.
        steps: over which the learning rate falls to nothing.
        seed: of the order of the pictures, and of which are flipped.
    """
    chance = torch.Generator().manual_seed(seed)
    choose = batches(len(images), batch_size, chance)
    for step in range(steps):
        rows = next(choose)
        x, y = some_flipped(images[rows], labels[rows], chance)
        set_learning_rate(optimizer, learning_rate_factor(step, steps, warmup_steps))
        loss = segmentation_loss(model.train()(x), y, class_weights=class_weights)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


@torch.no_grad()
def predictions(model: SegFormer, images: Tensor) -> Tensor:
    """The class of every pixel, by the model as it is in use: `(N, 3, H, W)` → `(N, H, W)`."""
    return torch.cat([model.eval().predict(part) for part in images.split(50)])
