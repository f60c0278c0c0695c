"""The least time that a forward pass can take on a machine of known rates."""

from __future__ import annotations

from benchmarks.job import CLASSES, Job
from segformer_edu import SegFormerConfig
from segformer_edu.analysis import cost

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def multiply_adds(job: Job) -> int:
    """Of a forward pass of our model; the matrices of its decoder are composed once a batch."""
    config = SegFormerConfig.named(job.model, num_classes=CLASSES)
    found = cost(config, (job.size, job.size))
    once = found.decoder.multiply_adds - found.decoder.folded_multiply_adds
    return job.batch * (found.multiply_adds - once) + once


def bytes_moved(job: Job) -> int:
    """If nothing but these leaves the cache: the weights are read once, the image is read, each of
    the two branches of a block reads its map and writes it, the logits are written.
    """
    config = SegFormerConfig.named(job.model, num_classes=CLASSES)
    found = cost(config, (job.size, job.size))
    maps = zip(found.stages, config.embed_dims, config.depths, strict=True)
    moved = sum(4 * depth * stage.tokens * c for stage, c, depth in maps)
    moved += 3 * job.size**2 + CLASSES * found.stages[0].tokens
    return BYTES[job.dtype] * (found.parameters + job.batch * moved)
