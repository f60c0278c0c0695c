"""The training loop: the same code for one CPU, one GPU or many (Hugging Face accelerate)."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path

import torch
from tqdm.auto import tqdm

from segformer_edu.data.views import Datasets
from segformer_edu.doctor import crowding
from segformer_edu.segformer import SegFormer
from segformer_edu.training.gradient import compute_gradient
from segformer_edu.training.interruption import Interruption
from segformer_edu.training.optimizer import learning_rate_factor, set_learning_rate, update_average
from segformer_edu.training.own_pictures import picture_names
from segformer_edu.training.parts import assemble, start_accelerator, step_seed
from segformer_edu.training.run_folder import RunFolder
from segformer_edu.training.settings import Settings


def train(
    settings: Settings,
    folder: str | Path,
    resume: bool = False,
    data: Datasets | None = None,
    model: SegFormer | None = None,
    progress: bool = True,
) -> SegFormer:
    """Train a SegFormer; its log, checkpoints and weights go to a folder (run_folder.py).

    All that is random is a function of the seed, the step and the process. So a run that was killed
    and resumed ends as if it had never stopped; on the CPU, bit for bit.

    Args:
        settings: what to train, on what, and how.
        folder: for this run alone.
        resume: continue the run that the folder holds, if it holds one.
        data: pictures to train on and to validate on, instead of those that the settings name.
        model: the model to train, instead of the one that the settings describe.
        progress: show a bar on stderr and, before it, what to set if the machine is busy.

    Returns:
        The model with its last weights, or their running average; in evaluation mode.

    Raises:
        ValueError: settings, data or a folder that do not go together.
        FloatingPointError: the loss or its gradient is no longer finite.
        OSError: a full disk or an unwritable folder; what was saved before is intact.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was written first.
    """
    from accelerate.utils import broadcast_object_list

    accelerator = start_accelerator(settings)
    run = RunFolder(folder, settings, resume, owner=accelerator.is_main_process)
    # Only one process may see the folder.
    state, same, continued = broadcast_object_list([run.state, settings, run.settings])
    if same != settings:
        raise ValueError("The processes have different settings: start all by the same command.")
    settings = continued
    parts = assemble(settings, data, accelerator, state, model)
    names = [picture_names(each) for each in (parts.pictures, parts.validation)]
    run.begin(parts.validation.class_names, state, names)
    speaks = progress and accelerator.is_main_process
    if speaks and accelerator.device.type == "cpu" and (advice := crowding()):
        print(advice, file=sys.stderr)
    bar = tqdm(
        total=settings.steps,
        initial=run.step,
        unit=" images",
        unit_scale=settings.batch_size,
        disable=not speaks,
    )
    with contextlib.closing(run), bar, Interruption() as interruption:
        batches = iter(parts.loader)
        for step in range(run.step + 1, settings.steps + 1):
            last = step == settings.steps
            batch = [next(batches) for _ in range(settings.accumulation)]
            torch.manual_seed(step_seed(settings.seed, step, accelerator.process_index))  # dropout
            share = learning_rate_factor(
                step - 1, settings.steps, settings.warmup_steps, settings.power
            )
            set_learning_rate(parts.optimizer, share)
            loss, norm, stop = compute_gradient(parts, batch, interruption.asked)
            if not (math.isfinite(loss) and (math.isfinite(norm) or accelerator.scaler)):
                raise FloatingPointError(
                    f"At step {step} the loss is {loss:.3g} and the length of its gradient "
                    f"{norm:.3g}: nothing can be learned from here. {run.path} keeps step "
                    f"{run.step}. Start a new run with a lower learning_rate or a longer warm-up."
                )
            parts.optimizer.step()  # which accelerate skips if a gradient overflowed in fp16
            parts.optimizer.zero_grad()

            validating = last or is_due(step, settings.validate_every)
            if validating or settings.ema_decay:
                decay = min(settings.ema_decay, step / (step + 9))
                update_average(parts.evaluated, parts.network, decay)
            row, better = [step, loss, settings.learning_rate * share, norm], False
            if validating:
                found = parts.validate()
                row += [found.miou, found.pixel_accuracy, *found.iou]
                better = found.miou > parts.best
                parts.best = max(found.miou, parts.best)
            run.log(row)
            if last or stop or better or is_due(step, settings.save_every):
                run.save(parts.state(step), parts.evaluated if better else None)
            score = f", mIoU {parts.best:.3f}" if parts.best >= 0 else ""
            bar.set_postfix_str(f"loss {loss:.3f}, rate {row[2]:.1e}{score}", refresh=False)
            bar.update()
            if stop and not last:
                raise KeyboardInterrupt(f"Stopped after step {step}. {run.how_to_resume()}")
    run.finish(parts.evaluated)
    accelerator.wait_for_everyone()  # until the weights are written
    return parts.evaluated.eval()


def is_due(step: int, every: int) -> bool:
    """Whether something that is done every so many steps (0: never) is due after this one."""
    return every > 0 and step % every == 0
