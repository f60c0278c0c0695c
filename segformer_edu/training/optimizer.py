"""The optimizer's groups, the learning rate's schedule, and the running average of weights."""

from __future__ import annotations

import torch
from torch import nn

from segformer_edu.decoder import AllMLPDecoder
from segformer_edu.segformer import SegFormer


def make_optimizer(
    model: SegFormer, learning_rate: float, head_lr_factor: float = 1.0, weight_decay: float = 0.01
) -> torch.optim.AdamW:
    """AdamW that leaves norms and biases undecayed, and may teach the decoder faster.

    Decay pulls a matrix towards zero, and so towards the simpler map. A norm's scale or a bias
    pulled towards zero is not simpler, only smaller.

    The biases that BatchNorm cancels are not trained. Their gradient is zero but for rounding
    errors, and Adam, which scales every gradient to one length, would turn these into full steps,
    which differ from machine to machine.

    Args:
        model: its parameters are grouped: encoder and decoder, each with and without decay.
        learning_rate: the encoder's, at its highest.
        head_lr_factor: the decoder's rate as a multiple of that; 10 is usual where the encoder
            alone is pretrained.
        weight_decay: for matrices and kernels.

    Raises:
        ValueError: a folded model, which does not train.
    """
    if not isinstance(model.decoder, AllMLPDecoder):
        raise ValueError("A folded model is for inference: train the one that it was made from.")
    names = [f"decoder.projections.{stage}.bias" for stage in range(model.config.num_stages)]
    names.append(f"encoder.stages.{model.config.num_stages - 1}.norm.bias")
    kept_out = {id(model.get_parameter(name)) for name in names}
    groups = []
    for part, rate in (
        (model.encoder, learning_rate),
        (model.decoder, learning_rate * head_lr_factor),
    ):
        parameters = [x for x in part.parameters() if id(x) not in kept_out]
        matrices = [x for x in parameters if x.ndim > 1]
        vectors = [x for x in parameters if x.ndim == 1]  # norms and biases
        groups.append({"params": matrices, "lr": rate, "weight_decay": weight_decay})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    for group in groups:
        group["initial_lr"] = group["lr"]  # of which the schedule gives a share
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)  # fused: one pass, faster


def learning_rate_factor(step: int, steps: int, warmup_steps: int, power: float = 1.0) -> float:
    """The share of the full learning rate at a step, 0 … steps − 1.

    The product of two: a line that rises to 1 over the first steps, while AdamW's averages still
    rest on a few gradients, and (1 − step / steps)^power ("poly", section 4.1), almost 0 at the
    last step.
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return warm * (1 - step / steps) ** power


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group this share of its full learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move an average of the weights towards the model's: average · decay + model · (1 − decay).

    Args:
        average: a copy of the model, changed in place; counters are copied.
        model: the model whose weights are averaged.
        decay: the share of the average that is kept; 0 copies the model.
    """
    for ours, theirs in zip(
        average.state_dict().values(), model.state_dict().values(), strict=True
    ):
        if ours.is_floating_point():
            ours.lerp_(theirs, 1 - decay)
        else:
            ours.copy_(theirs)
