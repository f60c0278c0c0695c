"""Curves over the steps of training: losses, rates and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segformer_edu.plots.curves import Curve
from segformer_edu.plots.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    SKY_BLUE,
    WIDTH,
    new_figure,
    styled,
    write_plain_numbers,
)

MANY_CLASSES = 12  # more curves than that would be a tangle
LINE = 0.045  # height of a line of text, as a share of the axis


@styled
def step_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    levels: Mapping[str, float] | None = None,
    finding: str = "",
    smooth: int = 1,
) -> Figure:
    """Curves over the steps of training, a panel for each quantity.

    Args:
        panels: quantity → name of a curve → its steps and values.
        levels: heights to compare the last panel with, by name.
        finding: the title.
        smooth: how many steps the curves of the first panel are averaged over.

    Raises:
        ValueError: no panel, or steps and values that differ in number.
    """
    if not panels:
        raise ValueError("There is nothing to draw: give a panel with a curve.")
    figure = new_figure(3.3, finding)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (quantity, curves) in zip(axes, panels.items(), strict=True):
        for name, (steps, values) in curves.items():
            if len(steps) != len(values):
                raise ValueError(f"{name} has {len(steps)} steps and {len(values)} values.")
            window = smooth if ax is axes[0] else 1
            marker = "o" if len(steps) < 20 else None
            ax.plot(
                steps[window - 1 :], rolling_mean(values, window), label=name, marker=marker,
                markersize=4,
            )  # fmt: skip
        ax.set(xlabel="step", title=quantity)
        ax.set_xlim(0)
        if levels and ax is axes[-1]:
            ax.set_ylim(0, 1.1 * max(levels.values()))
            for name, height in levels.items():
                ax.axhline(height, color=GREY, linewidth=1)
                ax.text(0, height, f" {name}", va="bottom", fontsize=8, color=INK)
        if len(curves) > 1:
            ax.legend()
    return figure


def rolling_mean(values: Sequence[float], window: int) -> np.ndarray:
    """The mean of every `window` neighbouring values, one for each place where a window fits."""
    return np.convolve(values, np.full(window, 1 / window), "valid")


@styled
def training_curves(log: Mapping[str, np.ndarray], finding: str = "", columns: int = 2) -> Figure:
    """Loss and learning rate of every step; the scores of every validation, class by class.

    Args:
        log: the columns of a run's log.csv, as `training.curves.read_log` returns them.
        finding: the title; by default the last mIoU.
        columns: 2 has the scores beside the loss, 1 below it, for a narrow page.

    Raises:
        ValueError: a column is missing, or there is no step.
    """
    for name in ("step", "loss", "learning_rate", "miou", "pixel_accuracy"):
        if name not in log or not len(log[name]):
            raise ValueError(f"log has no {name!r}, or no step: give what read_log returns.")
    validated = ~np.isnan(log["miou"])
    if not finding and validated.any():
        finding = f"mIoU {log['miou'][validated][-1]:.3f} after {log['step'][-1]:.0f} steps"
    figure = new_figure(7.2 / columns, finding, WIDTH * columns / 2)
    losses, found = figure.subplots(2 // columns, columns)
    _draw_losses(losses, log)
    _draw_scores(found, log, validated)
    return figure


def _draw_losses(ax: Axes, log: Mapping[str, np.ndarray]) -> None:
    step, loss = log["step"], log["loss"]
    ax.plot(step, loss, "-", color=SKY_BLUE, linewidth=0.8, alpha=0.6, label="of each step")
    ax.plot(step, running_mean(loss), "-", color=BLUE, label="running mean")
    ax.set(xlabel="step", title="loss", yscale="log")
    write_plain_numbers(ax)
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
    ax.plot(step, log["miou"][validated], "o-", color=BLUE, label="mIoU")
    accuracy = log["pixel_accuracy"][validated]
    ax.plot(step, accuracy, "s--", color=ORANGE, label="pixel accuracy")
    ax.set(xlabel="step", title="validation; IoU of each class in grey", ylim=(0, 1))
    ax.legend(loc="lower right")


def running_mean(values: np.ndarray) -> np.ndarray:
    """At each step, the mean over the last twentieth of the run, or over all steps so far."""
    window = max(len(values) // 20, 1)
    total = np.cumsum(values)
    before = np.concatenate([np.zeros(min(window, len(values))), total[:-window]])
    return (total - before) / np.minimum(np.arange(1, len(values) + 1), window)


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Values, moved upwards where they are closer than a gap, so that their labels stay apart."""
    moved = list(values)
    lowest = -np.inf
    for index in np.argsort(values, kind="stable"):
        moved[index] = lowest = max(values[index], lowest + gap)
    return moved
