"""The decoder as it was published, written out: eq. 4, one step after the other."""

import torch
from torch.nn import functional as F


def resized_projections(decoder, maps):
    """The maps of all stages, projected and then resized to the first: `(B, D, H/4, W/4)` each."""
    return [
        F.interpolate(
            torch.einsum("bchw,dc->bdhw", x, projection.weight) + projection.bias[:, None, None],
            maps[0].shape[2:],
            mode="bilinear",
            align_corners=False,
        )
        for x, projection in zip(maps, decoder.projections, strict=True)
    ]


def published_decoder(decoder, maps):
    """Project, resize, concatenate from stage 4 to stage 1, fuse, BatchNorm, ReLU, classify."""
    fused = F.conv2d(
        torch.cat(resized_projections(decoder, maps)[::-1], dim=1), decoder.fuse.weight
    )
    norm = decoder.norm
    if norm.training:
        mean, variance = fused.mean((0, 2, 3)), fused.var((0, 2, 3), correction=0)
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight / (variance + norm.eps).sqrt()
    normed = (fused - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    return F.conv2d(F.relu(normed), decoder.classifier.weight, decoder.classifier.bias)
