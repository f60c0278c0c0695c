"""What each stage adds to a pixel's logits: exact, because the decoder is linear up to its ReLU."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from segformer_edu.analysis.attention_maps import check_model
from segformer_edu.decoder import AllMLPDecoder
from segformer_edu.layers import evaluation
from segformer_edu.segformer import SegFormer, labels_from_logits


@torch.no_grad()
def contributions(model: SegFormer, images: Tensor) -> Tensor:
    """The logits in evaluation mode as a sum: one summand per stage, the last for all constants.

    What reaches the ReLU is a sum (`fused_parts`), in which each stage's part is counted from its
    mean (`centred`). At each pixel, the ReLU either passes a channel or blocks it; with those
    decisions fixed, the classifier is linear and takes each summand alone. Another picture has
    other decisions, so the summands explain these logits and predict no others.

    Args:
        model: a SegFormer, not folded.
        images: `(B, in_channels, H, W)`, as the model takes them; the means are taken over them.

    Shape: → `(B, stages + 1, K, H_1, W_1)`; the sum over axis 1 is the logits, up to rounding.

    Raises:
        ValueError: the model is not a SegFormer, is folded, or refuses the images.
    """
    decoder = _whole_decoder(model)
    with evaluation(model):
        parts = centred(fused_parts(decoder, model.encoder(images)))
    passed = parts.sum(1, keepdim=True) > 0  # (B, 1, D, H_1, W_1)
    weight = decoder.classifier.weight[:, :, 0, 0]  # (K, D)
    logits = torch.einsum("kd,bsdhw->bskhw", weight, parts * passed)
    assert decoder.classifier.bias is not None
    logits[:, -1] += decoder.classifier.bias[:, None, None]
    return logits


def _whole_decoder(model: SegFormer) -> AllMLPDecoder:
    check_model(model)
    if not isinstance(model.decoder, AllMLPDecoder):
        raise ValueError("model is folded: give the model from which it was folded.")
    return model.decoder


@torch.no_grad()
def fused_parts(decoder: AllMLPDecoder, maps: list[Tensor]) -> Tensor:
    """The map in front of the ReLU as a sum: one summand per stage, the last for all biases.

    Args:
        decoder: in evaluation mode, where BatchNorm is a scale and a shift.
        maps: what the encoder returns, the finest first.

    Shape: → `(B, stages + 1, D, H_1, W_1)`.

    Raises:
        ValueError: a decoder in training mode.
    """
    if decoder.norm.training:
        raise ValueError(
            "decoder is in training mode, where BatchNorm mixes the pixels: call decoder.eval()."
        )
    weights, bias = decoder.composed()
    size = maps[0].shape[2:]
    parts = [
        F.interpolate(torch.einsum("dc,bchw->bdhw", weight, x), size, mode="bilinear")
        for weight, x in zip(weights, maps, strict=True)
    ]
    parts.append(bias[:, None, None].expand_as(parts[0]))
    return torch.stack(parts, dim=1)


def centred(parts: Tensor) -> Tensor:
    """The same sum, each stage's part less its mean over images and pixels; the last holds those.

    A constant can be moved from one summand to another, and no logit changes. So how much a stage
    adds means something only once it is said from where it is counted. A stage that says the same
    everywhere tells no two pixels apart; counted from its mean, it adds nothing.

    Args:
        parts: as `fused_parts` returns them.

    Shape: `(B, stages + 1, D, H_1, W_1)` → the same.
    """
    stages, constants = parts[:, :-1], parts[:, -1:]
    means = stages.mean(dim=(0, 3, 4), keepdim=True)  # (1, stages, D, 1, 1)
    return torch.cat([stages - means, constants + means.sum(1, keepdim=True)], dim=1)


def leads(shares: Tensor, labels: Tensor) -> Tensor:
    """What each summand adds to the lead of the true class, its logit less the mean of all.

    Args:
        shares: `(B, summands, K, h, w)`, as `contributions` returns them.
        labels: `(B, h, w)`, the true class at each of these places.

    Shape: → `(B, summands, h, w)`.
    """
    return _of_class(shares, labels) - shares.mean(2)


def leads_over_the_next(shares: Tensor, labels: Tensor) -> Tensor:
    """What each summand adds to the lead of the true class over its strongest rival there.

    Args:
        shares: `(B, summands, K, h, w)`, as `contributions` returns them.
        labels: `(B, h, w)`, the true class at each of these places.

    Shape: → `(B, summands, h, w)`.
    """
    others = shares.sum(1).scatter(1, labels[:, None], -torch.inf)  # the true class is no rival
    return _of_class(shares, labels) - _of_class(shares, others.argmax(1))


def _of_class(shares: Tensor, labels: Tensor) -> Tensor:
    index = labels[:, None, None].expand(-1, shares.shape[1], 1, -1, -1)
    return shares.gather(2, index)[:, :, 0]


def mean_by_class(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """The mean over all places where each class is true; nan for a class that is nowhere.

    Args:
        values: `(B, summands, h, w)`.
        labels: `(B, h, w)`.
        num_classes: how many classes there are.

    Shape: → `(K, summands)`.
    """
    by_place = values.movedim(1, -1)  # (B, h, w, summands)
    return torch.stack([by_place[labels == label].mean(0) for label in range(num_classes)])


@torch.no_grad()
def without_a_stage(model: SegFormer, images: Tensor) -> Tensor:
    """The label of every pixel when the decoder gets a stage's mean in place of its map.

    Later stages still get the map. The mean is taken over images and pixels.

    Args:
        model: a SegFormer, not folded.
        images: `(B, in_channels, H, W)`.

    Shape: → `(stages, B, H, W)`, one stage silenced at a time.

    Raises:
        ValueError: the model is not a SegFormer, is folded, or refuses the images.
    """
    decoder = _whole_decoder(model)
    with evaluation(model):
        parts = centred(fused_parts(decoder, model.encoder(images)))
    fused = parts.sum(1)
    return torch.stack(
        [
            labels_from_logits(decoder.classifier(F.relu(fused - part)), images.shape[-2:])
            for part in parts[:, :-1].unbind(1)
        ]
    )
