"""How well a model does on a data set, counted on one device or on many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.segformer import SegFormer
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.samples import validation_loader

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
) -> Tensor:
    """The confusion matrix of a model's predictions at full size, over a whole data set.

    Args:
        model: predicts in evaluation mode, and gets its own mode back.
        dataset: pictures of any sizes; those of one size are predicted together.
        batch_size: pictures at a time.
        workers: processes that read pictures.
        accelerator: shares the work among its processes. All of them get the matrix of the whole,
            the same to the unit as one process finds.
        progress: show a bar on stderr.

    Shape: → `(K, K)` int64, a row for each true class; on the model's device.
    """
    rank, processes = 0, 1
    if accelerator:
        rank, processes = accelerator.process_index, accelerator.num_processes
    num_classes = len(dataset.class_names)
    device = next(model.parameters()).device
    total = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
    loader = validation_loader(dataset, batch_size, workers, rank, processes)
    for batches in tqdm(loader, unit=" batches", disable=rank > 0 or not progress):
        for images, labels in batches:
            predicted = model.predict(images.to(device))
            total += confusion_matrix(predicted, labels.to(device), num_classes)
    return accelerator.reduce(total, "sum") if accelerator else total
