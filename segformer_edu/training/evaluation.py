"""How well a model does on a data set, counted on one device or on many."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.segformer import SegFormer
from segformer_edu.training.metrics import confusion_matrix
from segformer_edu.training.samples import validation_batches


@torch.no_grad()
def evaluate(
    model: SegFormer,
    dataset: SegmentationDataset,
    batch_size: int = 16,
    workers: int = 0,
    accelerator: Accelerator | None = None,
) -> Tensor:
    """The confusion matrix of a model's predictions at full size, over a whole data set.

    Args:
        model: predicts in evaluation mode, and gets its own mode back.
        dataset: pictures of any sizes; those of one size are predicted together.
        batch_size: pictures at a time.
        workers: processes that read pictures.
        accelerator: shares the work among its processes. All of them get the matrix of the whole,
            the same to the unit as one process finds.

    Shape: → `(K, K)` int64, a row for each true class; on the model's device.
    """
    rank, processes = (
        (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    )
    num_classes = len(dataset.class_names)
    device = next(model.parameters()).device
    total = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
    was_training = model.training
    model.eval()
    for images, labels in validation_batches(dataset, batch_size, workers, rank, processes):
        total += confusion_matrix(model.predict(images.to(device)), labels.to(device), num_classes)
    model.train(was_training)
    return accelerator.reduce(total, "sum") if accelerator else total
