"""The report of a run: one page with its scores, its pictures, and how to use its weights."""

from __future__ import annotations

import platform
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm.auto import tqdm

from segformer_edu.data.bands import visible
from segformer_edu.data.dataset import SegmentationDataset
from segformer_edu.doctor import describe
from segformer_edu.extras import PACKAGE, installed_version
from segformer_edu.files import typed, write_atomically
from segformer_edu.plots import training_curves
from segformer_edu.plots.page import (
    Element,
    commands,
    html_page,
    labelled,
    legend,
    percent,
    picture,
    section,
    sheet,
    shrunk,
    table,
)
from segformer_edu.segformer import SegFormer
from segformer_edu.tiles import predict_in_tiles
from segformer_edu.training.curves import read_log
from segformer_edu.training.metrics import confusion_matrix, mious, scores
from segformer_edu.training.own_pictures import picture_names
from segformer_edu.training.parts import Parts
from segformer_edu.training.run_folder import LOG, SETTINGS, RunFolder
from segformer_edu.training.settings import Settings

REPORT = "report.html"
SHOWN = 3  # of the best pictures, and of the worst
LARGEST_MATRIX = 20  # classes; of more, only the most frequent mistakes are listed
MISTAKES = 15


class Answers(NamedTuple):
    """What a model says of pictures.

    Attributes:
        confusion: `(K, K)` int64 over all of them, a row for each true class.
        mious: of each picture, over the classes that it or the answer shows; nan if none counts.
    """

    confusion: np.ndarray
    mious: np.ndarray


def write_report(run: RunFolder, parts: Parts, progress: bool) -> None:
    """Write report.html into the run's folder.

    Args:
        run: the folder, with all that the run has written so far.
        parts: what the run works with.
        progress: show a bar while the best weights label the validation pictures.
    """
    if not run.owner:
        return
    log = read_log(run.path / LOG) if run.step else {}
    sections = [*_results(run, parts, log, progress), _settings(parts), _machine(run, parts)]
    title = f"{run.path.resolve().name}: {int(run.step):,} of {parts.settings.steps:,} steps"
    write_atomically(run.path / REPORT, html_page(title, *sections))


def _results(
    run: RunFolder, parts: Parts, log: dict[str, np.ndarray], progress: bool
) -> list[Element]:
    """What the best weights do, and how training got there."""
    best = run.path / "best"
    found: list[Element] = []
    if best.exists():
        model = SegFormer.from_pretrained(best).to(parts.accelerator.device)
        answers = label_each(model, parts.validation, parts.settings.tile, progress)
        found.append(_scores(best, parts, log, answers))
        finished = run.step == parts.settings.steps
        found.append(section("Use it", _commands(run, parts.settings, finished)))
    else:
        text = "The run was stopped before its first validation, so there are no weights to use."
        found.append(section("No result yet", text, _commands(run, parts.settings, finished=False)))
    if log:
        alt = (
            f"The loss of each step goes from {log['loss'][0]:.3g} to {log['loss'][-1]:.3g}. "
            f"mIoU, pixel accuracy and the IoU of each class stand beside it, at each validation."
        )
        wide, narrow = (training_curves(log, columns=columns) for columns in (2, 1))
        found.append(section("Curves", picture(wide, alt, narrow=narrow)))
    if best.exists():
        found += [*_classes(parts, answers), *_pictures(parts, answers, model)]
    return found


def label_each(
    model: SegFormer, pictures: SegmentationDataset, tile: int, progress: bool
) -> Answers:
    """Label pictures one by one, at their full size, as `evaluate` does."""
    classes = len(pictures.class_names)
    device = next(model.parameters()).device
    total, each = np.zeros((classes, classes), dtype=np.int64), []
    bar = tqdm(range(len(pictures)), "report", unit=" pictures", disable=not progress, leave=False)
    for index in bar:
        image, labels = pictures[index]
        predicted = predict_in_tiles(model, image[None].to(device), tile)[0].cpu()
        confusion = confusion_matrix(predicted, labels, classes).numpy()
        total += confusion
        each.append(float(mious(confusion)) if confusion.any() else np.nan)
    return Answers(total, np.array(each))


def _scores(best: Path, parts: Parts, log: dict[str, np.ndarray], answers: Answers) -> Element:
    """The scores of the best weights in a sentence."""
    reached = scores(torch.from_numpy(answers.confusion))
    step = int(log["step"][np.nanargmax(log["miou"])])
    return section(
        f"mIoU {reached.miou:.3f}",
        f"The best weights, {best}, are those of step {step:,}. On the {len(parts.validation):,} "
        f"validation pictures, which the run never trained on, they give "
        f"{percent(reached.pixel_accuracy)} of the pixels their class. The IoU of a class is the "
        f"number of pixels that are of it and are called so, over those that are either; mIoU is "
        f"the mean over the classes.",
    )


def _commands(run: RunFolder, settings: Settings, finished: bool) -> Element:
    """What to type next."""
    best = ("--weights", run.path / "best")
    fit = ("--fit", settings.fit) if settings.fit else ()
    lines = [
        ("evaluate", *best, "--config", run.path / SETTINGS),
        ("segment", "photo.jpg", *best, *fit, "--out", "labels.png"),
        ("export", *best, "--out", "model.onnx"),
    ]
    if not finished:
        lines = [("train", "--out", run.path, "--resume"), *lines * (run.path / "best").exists()]
    return commands(typed(("python", "-m", PACKAGE, *line)) for line in lines)


def _classes(parts: Parts, answers: Answers) -> list[Element]:
    """The scores of each class, and which classes are taken for which."""
    names, confusion = parts.validation.class_names, answers.confusion
    both, true, given = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):  # nan for a class that does not occur
        columns = both / (true + given - both), both / true, both / given, true / true.sum()
        rows = confusion / true[:, None]
    scored = table(
        "Of each class: IoU; recall, the part of its pixels that was found; precision, the part of "
        "the pixels called so that are; and its share of all pixels.",
        ["class", "IoU", "recall", "precision", "share"],
        [(name, *each) for name, *each in zip(names, *columns, strict=True)],
        shares=(1, 2, 3, 4),
    )
    if len(names) <= LARGEST_MATRIX:
        matrix = table(
            "Each row is a true class, and says which part of its pixels got which class.",
            ["class", *names],
            [(name, *row) for name, row in zip(names, rows, strict=True)],
            shares=range(1, 1 + len(names)),
            shade=True,
        )
    else:
        wrong = confusion * ~np.eye(len(names), dtype=bool)
        most = np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]
        pairs = [divmod(int(place), len(names)) for place in most if wrong.flat[place]]
        matrix = table(
            "The mistakes that most pixels show, and their part of the true class.",
            ["true class", "called", "pixels", "part"],
            [(names[a], names[b], int(wrong[a, b]), float(rows[a, b])) for a, b in pairs],
            shares=(3,),
        )
    return [section("Classes", scored), section("What is taken for what", matrix)]


def _pictures(parts: Parts, answers: Answers, model: SegFormer) -> list[Element]:
    """The pictures with the highest and the lowest mIoU: each with its truth and the answer."""
    order = [int(n) for n in np.argsort(-answers.mious) if not np.isnan(answers.mious[n])]
    best, worst = order[:SHOWN], order[SHOWN:][-SHOWN:][::-1]
    names = picture_names(parts.validation) or [f"picture {n}" for n in range(len(answers.mious))]
    device = next(model.parameters()).device
    found = []
    for heading, chosen in (("Best pictures", best), ("Worst pictures", worst)):
        shown = []
        for index in chosen:
            photo, truth = parts.validation.picture(index)
            photo = visible(photo)
            image, _ = parts.validation[index]
            image = image[None].to(device)
            answer = predict_in_tiles(model, image, parts.settings.tile)[0].cpu().numpy()
            name = f"{names[index]}, mIoU {answers.mious[index]:.3f}"
            shown += [
                picture(shrunk(photo), f"The validation picture {name}.", name),
                picture(labelled(photo, truth), f"The true classes of {names[index]}.", "truth"),
                picture(labelled(photo, answer), f"The answer to {names[index]}.", "answer"),
            ]
        if shown:
            legends = legend(parts.validation.class_names, _shown_classes(parts, chosen))
            found.append(section(heading, legends, sheet(shown, threes=True)))
    return found


def _shown_classes(parts: Parts, chosen: list[int]) -> dict[int, str]:
    """The classes that some pictures show, in order."""
    seen = np.unique(np.concatenate([np.unique(parts.validation.picture(n)[1]) for n in chosen]))
    return {int(label): "" for label in seen if label < len(parts.validation.class_names)}


def _settings(parts: Parts) -> Element:
    settings = parts.settings
    rows = [(each.name, _in_words(getattr(settings, each.name))) for each in fields(settings)]
    caption = f"Every setting, as {SETTINGS} has it."
    return section("Settings", table(caption, ["setting", "value"], rows))


def _in_words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {each}" for name, each in value.items()) or "–"
    return (", ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or "–"


def _machine(run: RunFolder, parts: Parts) -> Element:
    """Versions, device and time."""
    now = datetime.now(UTC)
    begun = datetime.fromtimestamp((run.path / SETTINGS).stat().st_mtime, UTC)
    rows = [
        ("written", f"{now:%d %B %Y, %H:%M} UTC"),
        ("since training began, or was last resumed", str(now - begun).split(".")[0]),
        ("device", describe(parts.accelerator.device)),
        ("processes", str(parts.accelerator.num_processes)),
        ("parameters", f"{sum(x.numel() for x in parts.network.parameters()):,}"),
        ("pictures trained on", f"{len(parts.pictures):,}"),
        ("Python", f"{platform.python_version()} on {platform.system()}"),
        *((name, installed_version(name) or "–") for name in (PACKAGE, "torch", "accelerate")),
    ]
    return section("Machine", table("What it ran on, and when.", ["what", "value"], rows))
