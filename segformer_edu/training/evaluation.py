"""How well a model does on a data set, counted on one device or on many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.segformer import SegFormer
from segformer_edu.tiles import TILE, predict_in_tiles
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.samples import shares, validation_batches

if TYPE_CHECKING:
    from accelerate import Accelerator


@torch.no_grad()
def evaluate(
    model: SegFormer,
    dataset: SegmentationDataset,
    batch_size: int = 16,
    workers: int = 0,
    accelerator: Accelerator | None = None,
    progress: bool = False,
    tile: int = TILE,
) -> Tensor:
    """The confusion matrix of a model's predictions at full size, over a whole data set.

    Args:
        model: predicts in evaluation mode, and gets its own mode back.
        dataset: pictures of any sizes; those of one size are predicted together.
        batch_size: pictures at a time.
        workers: processes that read pictures.
        accelerator: shares the work among its processes. All of them get the matrix of the whole,
            the same to the unit as one process finds.
        tile: side of the tiles in which large pictures are predicted, as `predict_in_tiles` does.
        progress: show a bar on stderr, from the first second on; below another, it goes at the end.

    Shape: → `(K, K)` int64, a row for each true class; on the model's device.
    """
    rank, processes = 0, 1
    if accelerator:
        rank, processes = accelerator.process_index, accelerator.num_processes
    num_classes = len(dataset.class_names)
    device = next(model.parameters()).device
    total = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
    shown = progress and rank == 0
    parts = shares(len(dataset), batch_size, rank, processes)
    bar = tqdm(
        total=sum(map(len, parts)),
        desc="validation",
        unit=" pictures",
        delay=1,
        leave=None,
        disable=not shown,
    )
    with bar:
        for images, labels in validation_batches(dataset, parts, workers):
            predicted = predict_in_tiles(model, images.to(device), tile, progress=shown)
            total += confusion_matrix(predicted, labels.to(device), num_classes)
            bar.update(len(images))
    return accelerator.reduce(total, "sum") if accelerator else total
