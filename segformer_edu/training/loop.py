"""The training loop: one CPU, one GPU or many, the same code (Hugging Face accelerate)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from segformer_edu.loss import pixel_weight, summed_loss
from segformer_edu.segformer import SegFormer
from segformer_edu.training.evaluation import evaluate
from segformer_edu.training.interruption import Interruption
from segformer_edu.training.metrics import scores
from segformer_edu.training.optimizer import follow, learning_rate_factor, set_learning_rate
from segformer_edu.training.pictures import Datasets
from segformer_edu.training.run_folder import RunFolder
from segformer_edu.training.settings import Settings
from segformer_edu.training.setup import Parts, assemble, step_seed

Batch = tuple[Tensor, Tensor]  # images and labels


def train(
    settings: Settings,
    folder: str | Path,
    resume: bool = False,
    data: Datasets | None = None,
    progress: bool = True,
) -> SegFormer:
    """Train a SegFormer; its log, checkpoints and weights go to a folder (run_folder.py).

    All that is random is a function of the seed, the step and the process: a run that was killed
    and resumed goes on as if nothing had been, on the CPU bit for bit.

    Args:
        settings: what to train, on what, and how.
        folder: of this run alone.
        resume: continue the run that the folder holds, if it holds one.
        data: pictures to train on and to validate on, instead of those that the settings name.
        progress: show a bar on stderr.

    Returns:
        The model with its last weights, or their running average; in evaluation mode.

    Raises:
        ValueError: settings, data or a folder that do not go together.
        FloatingPointError: the loss or its gradient is no number any more.
        OSError: a full disk, an unwritable folder. What was saved before is whole.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, and a checkpoint.
    """
    run = RunFolder(folder, settings, resume)
    parts = assemble(settings, data, run.state)
    main = parts.accelerator.is_main_process
    parts.accelerator.wait_for_everyone()  # all have seen the folder as it was
    if main:
        run.begin(parts.validation.class_names)
    with (
        Interruption() as interruption,
        tqdm(
            total=settings.steps,
            initial=run.step,
            unit=" images",
            unit_scale=settings.batch_size,
            disable=not (progress and main),
        ) as bar,
    ):
        batches = iter(parts.loader)
        for step in range(run.step + 1, settings.steps + 1):
            torch.manual_seed(step_seed(settings.seed, step, parts.accelerator.process_index))
            share = learning_rate_factor(
                step - 1, settings.steps, settings.warmup_steps, settings.power
            )
            set_learning_rate(parts.optimizer, share)
            batch = [next(batches) for _ in range(settings.accumulation)]
            loss, norm, stop = compute_gradient(
                parts, batch, settings.clip_norm, interruption.asked
            )
            if not math.isfinite(loss) or (
                settings.precision != "fp16" and not math.isfinite(norm)
            ):
                raise FloatingPointError(
                    f"At step {step} the loss is {loss} and its gradient {norm} long: nothing can "
                    f"be learned from here. Lower learning_rate, or warm up for longer. "
                    f"{run.standing()}"
                )
            parts.optimizer.step()  # in fp16 accelerate leaves a step out whose gradient overflows
            parts.optimizer.zero_grad()
            last = step == settings.steps
            validating = last or is_due(step, settings.validate_every)
            if validating or settings.ema_decay:
                follow(parts.judged, parts.network, min(settings.ema_decay, step / (step + 9)))
            row = [step, loss, settings.learning_rate * share, norm]
            better = False
            if validating:
                found = scores(
                    evaluate(
                        parts.judged,
                        parts.validation,
                        settings.batch_size,
                        settings.workers,
                        parts.accelerator,
                    )
                )
                better = found.miou > parts.best
                parts.best = max(found.miou, parts.best)
                row += [found.miou, found.pixel_accuracy, *found.iou]
            if main:
                run.log(row)
                if last or stop or better or is_due(step, settings.save_every):
                    run.save(parts.state(step), parts.judged if better else None)
            score = f", mIoU {parts.best:.3f}" if math.isfinite(parts.best) else ""
            bar.set_postfix_str(f"loss {loss:.3f}, rate {row[2]:.1e}{score}", refresh=False)
            bar.update()
            if stop and not last:
                raise KeyboardInterrupt(f"Stopped after step {step}. {run.standing()}")
    if main:
        run.finish(parts.judged)
    return parts.judged.eval()


def compute_gradient(
    parts: Parts, batch: Sequence[Batch], clip_norm: float, asked: bool
) -> tuple[float, float, bool]:
    """Gradients of the mean loss over all valid pixels of a batch, wherever its parts are computed.

    Args:
        batch: this process's share, in as many parts as are computed in turn.
        clip_norm: longest gradient allowed; 0 for any.
        asked: whether this process was asked to stop.

    Returns:
        The loss, the length of its gradient before it was clipped, and whether any process was
        asked to stop: the same in all of them.
    """
    accelerator, weights = parts.accelerator, parts.class_weights
    num_classes = parts.network.config.num_classes
    here = sum(pixel_weight(labels, num_classes, class_weights=weights) for _, labels in batch)
    weight = accelerator.reduce(torch.as_tensor(here).float(), "sum").clamp(min=1e-6)
    total = torch.zeros(2, device=accelerator.device)  # the loss, and how many were asked to stop
    total[1] = asked
    for number, (images, labels) in enumerate(batch, start=1):
        more = number < len(batch)  # then processes exchange no gradients yet
        with accelerator.no_sync(parts.model) if more else contextlib.nullcontext():
            loss = summed_loss(parts.model(images), labels, class_weights=weights) / weight
            accelerator.backward(loss * accelerator.num_processes)  # they take the mean of theirs
        total[0] += loss.detach()
    norm = accelerator.clip_grad_norm_(parts.model.parameters(), clip_norm or math.inf)
    loss_value, number_asked = accelerator.reduce(total, "sum").tolist()
    return loss_value, float(norm), number_asked > 0


def is_due(step: int, every: int) -> bool:
    """Whether something done every so many steps, if at all, is done at this one."""
    return every > 0 and step % every == 0
