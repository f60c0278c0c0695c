"""How a run went (lesson 08)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segformer_edu.plots.style import GREY, INK, OKABE_ITO, new_figure, styled, title

MANY_CLASSES = 12  # more lines than that are a tangle
LINE = 0.045  # of the axis: what a line of text needs


@styled
def training_curves(log: Mapping[str, np.ndarray], finding: str = "") -> Figure:
    """Loss and learning rate of every step; the scores of every validation, class by class.

    Args:
        log: the columns of a run's log.csv, as `training.curves.read_log` returns them.
        finding: the title; by default the last mIoU.

    Raises:
        ValueError: a column is missing, or there is no step.
    """
    for name in ("step", "loss", "learning_rate", "miou", "pixel_accuracy"):
        if name not in log or not len(log[name]):
            raise ValueError(f"log has no {name!r}, or no step: give what read_log returns.")
    validated = ~np.isnan(log["miou"])
    if not finding and validated.any():
        finding = f"mIoU {log['miou'][validated][-1]:.3f} after {log['step'][-1]:.0f} steps"
    figure = new_figure(3.6)
    title(figure, finding)
    losses, found = figure.subplots(1, 2)
    _draw_losses(losses, log)
    _draw_scores(found, log, validated)
    return figure


def _draw_losses(ax: Axes, log: Mapping[str, np.ndarray]) -> None:
    step, loss = log["step"], log["loss"]
    ax.plot(step, loss, "-", color=OKABE_ITO[5], linewidth=0.8, alpha=0.6, label="of each step")
    ax.plot(step, running_mean(loss), "-", color=OKABE_ITO[0], label="running mean")
    ax.set(xlabel="step", title="loss", yscale="log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" * (f"{value:e}"[0] in "25"))
    rates = ax.twinx()
    rates.plot(step, log["learning_rate"], ":", color=GREY, label="learning rate")
    rates.set_ylim(0)
    rates.ticklabel_format(axis="y", scilimits=(0, 0))
    rates.spines[["right"]].set_visible(True)
    rates.set_ylabel("learning rate", color=GREY)
    handles = ax.get_legend_handles_labels()[0] + rates.get_legend_handles_labels()[0]
    ax.legend(handles=handles, loc="upper right")


def _draw_scores(ax: Axes, log: Mapping[str, np.ndarray], validated: np.ndarray) -> None:
    step = log["step"][validated]
    classes = [name for name in log if name.startswith("iou ")]
    if len(step) and len(classes) <= MANY_CLASSES:
        ends = spread([np.nan_to_num(log[name][validated][-1]) for name in classes], LINE)
        for name, end in zip(classes, ends, strict=True):
            values = log[name][validated]
            ax.plot(step, values, "-", color=GREY, linewidth=0.8, marker=".", markersize=3)
            text = "  " + name.removeprefix("iou ")
            ax.text(step[-1], end, text, va="center", fontsize=7, color=INK)
    ax.plot(step, log["miou"][validated], "o-", color=OKABE_ITO[0], label="mIoU")
    accuracy = log["pixel_accuracy"][validated]
    ax.plot(step, accuracy, "s--", color=OKABE_ITO[1], label="pixel accuracy")
    ax.set(xlabel="step", title="validation; IoU of each class in grey", ylim=(0, 1))
    ax.legend(loc="lower right")


def running_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the last twentieth of the run at each step, of what there is at its beginning."""
    window = max(len(values) // 20, 1)
    total = np.cumsum(values)
    before = np.concatenate([np.zeros(min(window, len(values))), total[:-window]])
    return (total - before) / np.minimum(np.arange(1, len(values) + 1), window)


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Values moved upwards where they lie closer than a gap, so that labels beside them read."""
    moved = list(values)
    lowest = -np.inf
    for index in np.argsort(values, kind="stable"):
        moved[index] = lowest = max(values[index], lowest + gap)
    return moved
