"""The training loop: the same code for one CPU, one GPU or many (Hugging Face accelerate)."""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
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
from segformer_edu.training.parts import Parts, assemble, start_accelerator, step_seed
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

    A run that has ended can be resumed with more steps (or epochs), or another patience. The
    schedule then is that of the new number of steps, taken up where the run stands, so the rate
    rises again. The same commands give the same weights, though others than those of a run that
    had all these steps before it from the start.

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
    parts = assemble(continued, data, accelerator, state, model)
    settings = parts.settings  # epochs have become steps
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
            if parts.ended:
                break
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
            rate, better = settings.learning_rate * share, False
            row = [step, parts.epoch(step), loss, rate, norm]
            if validating:
                found = parts.validate(speaks)
                row += [found.miou, found.pixel_accuracy, *found.iou]
                better = found.miou > parts.best
                parts.best = max(found.miou, parts.best)
                parts.stale = 0 if better else parts.stale + 1
            parts.ended = last or 0 < settings.patience <= parts.stale
            run.log(row)
            if parts.ended or stop or better or is_due(step, settings.save_every):
                run.save(parts.state(step), parts.evaluated if better else None)
            score = f", mIoU {parts.best:.3f}" if parts.best >= 0 else ""
            place = f"step {step}, epoch {parts.epoch(step):.1f}"
            bar.set_postfix_str(f"{place}, loss {loss:.3f}, rate {rate:.1e}{score}", refresh=False)
            bar.update()
            if stop and not parts.ended:
                report(run, parts, speaks)
                raise KeyboardInterrupt(f"Stopped after step {step}. {run.how_to_resume()}")
    run.finish(parts.evaluated)
    report(run, parts, speaks)
    if run.step < settings.steps and accelerator.is_main_process:
        warnings.warn(
            f"The run ended after step {run.step} of {settings.steps}, because patience = "
            f"{settings.patience}: so many validations in a row were no better than an mIoU of "
            f"{parts.best:.3f}. To extend it, give resume=True and more steps or another patience.",
            stacklevel=2,
        )
    accelerator.wait_for_everyone()  # until the weights are written
    return parts.evaluated.eval()


def is_due(step: int, every: int) -> bool:
    """Whether something that is done every so many steps (0: never) is due after this one."""
    return every > 0 and step % every == 0


def report(run: RunFolder, parts: Parts, progress: bool) -> None:
    """Write report.html if matplotlib is installed; a run does not fail without it."""
    try:
        from segformer_edu.training.report import write_report
    except ModuleNotFoundError:
        return
    write_report(run, parts, progress)
