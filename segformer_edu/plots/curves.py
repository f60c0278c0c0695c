"""Curves: how a quantity depends on a size, a shift, a block or a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from segformer_edu.analysis.scaling import Errors, PowerLaw
from segformer_edu.analysis.seeds import interval
from segformer_edu.plots.checks import check_lengths, shared_names
from segformer_edu.plots.style import (
    BLUE,
    GREY,
    INK,
    MARKERS,
    ORANGE,
    PAPER,
    SKY_BLUE,
    WIDTH,
    new_figure,
    styled,
)

Curve = tuple[Sequence[float], Sequence[float]]  # x and y

MANY_CLASSES = 12  # more curves than that would be a tangle
FEWEST = 1e-4  # of all answers, that a bin needs to be drawn
LINE = 0.045  # height of a line of text, as a share of the axis


@styled
def growth(
    panels: Mapping[str, Mapping[str, Curve]],
    x_label: str,
    ticks: Mapping[float, str],
    finding: str = "",
) -> Figure:
    """Curves on two logarithmic axes, where a power law is a straight line: its slope is the power.

    Args:
        panels: for each panel what its y axis measures, and its curves by name.
        x_label: what the x axis counts, the same in all panels.
        ticks: the places marked on the x axis, and their labels.
        finding: the title.

    Raises:
        ValueError: a value that is not above zero: it has no logarithm.
    """
    for curves in panels.values():
        _check_positive(curves)
    figure = new_figure(3.4, finding)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (label, curves) in zip(axes, panels.items(), strict=True):
        for name, (x, y) in curves.items():
            ax.plot(x, y, marker="o", markersize=4, label=name)
        ax.set(xlabel=x_label, title=label)
        _scale_logarithmically(ax, ticks)
        ax.grid(color=GREY, alpha=0.25, linewidth=0.6)
        if len(curves) > 1 or len(panels) == 1:
            ax.legend()
    return figure


@styled
def equal_budgets(
    points: Mapping[str, Curve], labels: tuple[str, str], finding: str = ""
) -> Figure:
    """What one budget buys, on two logarithmic axes: each name a marker, its points joined.

    Every point carries its second number: above it where no other is higher, else below it.

    Args:
        points: name → x and y.
        labels: of the horizontal and of the vertical axis.
        finding: the title.

    Raises:
        ValueError: a value that is not above zero: it has no logarithm.
    """
    _check_positive(points)
    figure = new_figure(3.4, finding)
    ax = figure.subplots()
    places = [place for x, y in points.values() for place in zip(x, y, strict=True)]
    for number, (name, (x, y)) in enumerate(points.items()):
        ax.plot(x, y, marker=MARKERS[number], markersize=8, label=name)
        for place in zip(x, y, strict=True):
            highest = place[1] == max(every[1] for every in places if every[0] == place[0])
            side, start = ((-8, 6), "right") if highest else ((8, -14), "left")
            ax.annotate(
                f"{place[1]:,.0f}",
                place,
                xytext=side,
                textcoords="offset points",
                ha=start,
                bbox={"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.5},
            )
    ax.set(xlabel=labels[0], ylabel=labels[1])
    _scale_logarithmically(ax, {x: f"{x:g}" for x, _ in sorted(places)})
    ax.margins(x=0.08, y=0.12)
    ax.legend()
    return figure


def _check_positive(curves: Mapping[str, Curve]) -> None:
    for name, curve in curves.items():
        if any(min(values) <= 0 for values in curve):
            raise ValueError(f"{name}: a logarithmic axis takes numbers above zero only.")


def _scale_logarithmically(ax: Axes, ticks: Mapping[float, str]) -> None:
    """Make both axes logarithmic, the horizontal one with these ticks alone."""
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", length=0)
    _write_plain_numbers(ax)


def _write_plain_numbers(ax: Axes) -> None:
    """Mark a logarithmic y axis with 1, 2, 5, 10, … in place of powers of ten."""
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" * (f"{value:e}"[0] in "25"))


@styled
def shift_curves(
    shifts: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    what: str,
    stride: int,
    where: str = "shift",
    finding: str = "",
) -> Figure:
    """What a shift of the image does to its tokens, one curve for each kind of patches.

    Args:
        shifts: pixels.
        curves: name → a value for each shift.
        what: label of the vertical axis.
        stride: pixels from token to token; whole multiples are marked.
        where: label of the horizontal axis, without its unit.
        finding: the title.

    Raises:
        ValueError: a curve that does not have one value for each shift.
    """
    check_lengths(curves, len(shifts), "shifts")
    figure = new_figure(3.2, finding)
    ax = figure.subplots()
    _mark_multiples(ax, shifts, stride)
    for name, values in curves.items():
        ax.plot(shifts, values, marker="o", linewidth=0.8, label=name)  # the dots are what counts
    label = f"{where} in pixels (a line at each whole token)"
    ax.set(xlabel=label, ylabel=what, xticks=list(shifts))
    ax.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=len(curves))
    return figure


@styled
def shares(
    sides: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    multiple: int,
    finding: str = "",
) -> Figure:
    """A share, 0 to 1, over the side of a square photograph, one curve for each name.

    Args:
        sides: pixels.
        curves: name → a share for each side.
        multiple: sides that it divides are marked.
        finding: the title.

    Raises:
        ValueError: a curve that does not have one value for each side.
    """
    check_lengths(curves, len(sides), "sides")
    figure = new_figure(3.0, finding)
    ax = figure.subplots()
    ticks = _mark_multiples(ax, sides, multiple)
    for name, values in curves.items():
        ax.plot(sides, 100 * np.asarray(values), label=name, drawstyle="steps-mid")
    ax.set(xlabel="side of the photograph, pixels", ylabel="tokens that a key sees, %")
    ax.set(xticks=ticks, ylim=(0, 105))
    ax.legend(loc="lower right")
    return figure


def _mark_multiples(ax: Axes, places: Sequence[int], number: int) -> list[int]:
    """Draw a line at each place that the number divides; return these places."""
    marked = [place for place in places if place % number == 0]
    for place in marked:
        ax.axvline(place, color=GREY, lw=0.6, ls="-", zorder=0)
    return marked


@styled
def schedules(rates: Mapping[str, Sequence[float]], finding: str = "") -> Figure:
    """The drop probability of every block under several rules; on the right, survival.

    Args:
        rates: name of the rule → a drop probability for each block, the same number of them.
        finding: the title.

    Raises:
        ValueError: rules of different depths.
    """
    if len({len(values) for values in rates.values()}) != 1:
        raise ValueError(f"all rules must have one depth; got {rates}.")
    figure = new_figure(3.0, finding)
    ax = figure.subplots()
    for number, (name, values) in enumerate(rates.items()):
        blocks = range(1, len(values) + 1)
        ax.plot(blocks, values, marker=MARKERS[number], label=name)
    ax.set(xlabel="block l", ylabel="drop probability", xticks=blocks)
    survival = ax.twinx()  # the same points, counted from the other end
    survival.set(ylim=[1 - end for end in ax.get_ylim()], ylabel="survival probability")
    survival.spines["right"].set_visible(True)
    ax.legend()
    return figure


@styled
def bands(
    x: Sequence[float],
    runs: Mapping[str, np.ndarray],
    labels: tuple[str, str],
    finding: str = "",
    log: bool = False,
) -> Figure:
    """Curves with the spread of their runs: the mean, and a band of one standard deviation.

    Args:
        x: where each curve has a value.
        runs: name → `(n, len(x))`, n runs; a single run has no band.
        labels: of the horizontal and of the vertical axis.
        finding: the title.
        log: whether the vertical axis is logarithmic; it then shows geometric means, and the band
            is that of the logarithms.

    Raises:
        ValueError: runs that do not have one value for each of x.
    """
    figure = new_figure(3.2, finding)
    ax = figure.subplots()
    for number, (name, values) in enumerate(runs.items()):
        if values.ndim != 2 or values.shape[1] != len(x):
            raise ValueError(f"{name}: give an (n, {len(x)}) array; got {values.shape}.")
        seen = np.log(values) if log else values
        back = np.exp if log else np.asarray
        middle = seen.mean(axis=0)
        (curve,) = ax.plot(x, back(middle), marker=MARKERS[number], markersize=4, label=name)
        if len(values) > 1:
            deviation = seen.std(axis=0, ddof=1)
            edges = back(middle - deviation), back(middle + deviation)
            ax.fill_between(x, *edges, color=curve.get_color(), alpha=0.2, lw=0)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    if log:
        ax.set_yscale("log")
        _write_plain_numbers(ax)
    else:
        ax.set_ylim(bottom=0)
    ax.legend()
    return figure


@styled
def reliability_diagram(
    models: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], finding: str = ""
) -> Figure:
    """How often answers are right over how sure they were, and how many there are of each.

    On the diagonal a model is right as often as it says; below it, it is too sure. Bins with less
    than a ten-thousandth of the answers are left out.

    Args:
        models: name → for each bin the mean confidence, the share of right answers and the number
            of answers.
        finding: the title.
    """
    figure = new_figure(3.6, finding)
    curve, amounts = figure.subplots(1, 2, width_ratios=(3, 2))
    curve.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="-", label="as sure as right")
    for number, (name, (sure, right, counts)) in enumerate(models.items()):
        filled = counts >= FEWEST * counts.sum()
        look = {"marker": MARKERS[number], "markersize": 4, "label": name}
        curve.plot(sure[filled], right[filled], **look)
        amounts.plot(sure[filled], 100 * counts[filled] / counts.sum(), **look)
    curve.set(xlabel="confidence", ylabel="share of pixels that are right", aspect="equal")
    curve.set(xlim=(0, 1), ylim=(0, 1))
    amounts.set(xlabel="confidence", ylabel="pixels, %", yscale="log")
    _write_plain_numbers(amounts)
    curve.legend(loc="upper left")
    return figure


@styled
def removal_curves(
    shares: Sequence[float],
    panels: Mapping[str, Mapping[str, np.ndarray]],
    labels: tuple[str, str],
    finding: str = "",
) -> Figure:
    """What is left of an answer as parts of a picture go, or come: means, with their intervals.

    Args:
        shares: of the picture, 0 to 1.
        panels: caption → name → `(3, shares)`, the mean and the ends of its interval; the same
            names in all panels.
        labels: of the horizontal and of the vertical axis.
        finding: the title.

    Raises:
        ValueError: panels with different names, or arrays of another shape.
    """
    names = shared_names(panels)
    figure = new_figure(3.6, finding)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, (caption, curves) in zip(axes, panels.items(), strict=True):
        for number, (name, values) in enumerate(curves.items()):
            if values.shape != (3, len(shares)):
                raise ValueError(f"{name}: give a (3, {len(shares)}) array; got {values.shape}.")
            mean, low, high = values
            marker = MARKERS[number % len(MARKERS)]
            (curve,) = ax.plot(shares, mean, marker=marker, markersize=3, label=name)
            ax.fill_between(shares, low, high, color=curve.get_color(), alpha=0.15, lw=0)
        ax.set(xlabel=labels[0], title=caption, ylim=(0, 1))
    axes[0].set_ylabel(labels[1])
    handles = axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 4))
    return figure


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
    _write_plain_numbers(ax)
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


@styled
def over_amounts(
    panels: Mapping[str, tuple[Sequence[float], Mapping[str, np.ndarray]]],
    labels: tuple[str, str],
    finding: str = "",
    log: bool = False,
) -> Figure:
    """How runs come out as one thing grows: means over seeds, each with Student's interval of 95 %.

    Args:
        panels: caption → the amounts, and name → `(seeds, amounts)`; in all panels the same names.
        labels: of the horizontal and of the vertical axis.
        finding: the title.
        log: whether amounts are on a logarithmic axis, each marked with its number.

    Raises:
        ValueError: panels with different names, or runs without a value for each amount.
    """
    names = shared_names({caption: runs for caption, (_, runs) in panels.items()})
    figure = new_figure(3.4, finding)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, (caption, (amounts, runs)) in zip(axes, panels.items(), strict=True):
        check_lengths({name: values.T for name, values in runs.items()}, len(amounts), "amounts")
        for number, (name, values) in enumerate(runs.items()):
            found = [interval(of_seeds) for of_seeds in values.T]
            means = [each.mean for each in found]
            marker = MARKERS[number % len(MARKERS)]
            (curve,) = ax.plot(amounts, means, marker=marker, markersize=4, label=name)
            low, high = [each.low for each in found], [each.high for each in found]
            ax.fill_between(amounts, low, high, color=curve.get_color(), alpha=0.15, lw=0)
        if log:
            ax.set_xscale("log")
            ax.set_xticks(list(amounts), [f"{amount:,g}" for amount in amounts], rotation=45)
            ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(xlabel=labels[0], title=caption)
    axes[0].set_ylabel(labels[1])
    handles = axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 4))
    return figure


@styled
def power_laws(
    panels: Mapping[str, tuple[Errors, Sequence[PowerLaw]]],
    y_label: str,
    finding: str = "",
    beyond: float = 10.0,
) -> Figure:
    """Errors of single runs, and laws fitted to them, drawn on beyond the largest size.

    The band holds the middle 95 % of the laws; a dotted line ends what was measured.

    Args:
        panels: what the size counts → the errors of each size, and laws fitted to runs drawn again.
        y_label: what the error is.
        finding: the title.
        beyond: how many times the largest size the laws are drawn to.
    """
    figure = new_figure(3.4, finding)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, (label, (errors, laws)) in zip(axes, panels.items(), strict=True):
        n = np.geomspace(min(errors), beyond * max(errors), 60)
        drawn = np.array([[law.at(size) for size in n] for law in laws])
        low, median, high = np.quantile(drawn, [0.025, 0.5, 0.975], axis=0)
        ax.fill_between(n, low, high, color=SKY_BLUE, alpha=0.35, lw=0)
        ax.plot(n, median, color=BLUE, ls="-")
        for size, runs in errors.items():
            ax.plot([size] * len(runs), runs, "o", color=ORANGE, ms=4, alpha=0.7, mew=0)
        ax.axvline(max(errors), color=GREY, lw=1, ls=":")
        ax.set(xlabel=label, xscale="log")
    axes[0].set_ylabel(y_label)
    axes[0].set_ylim(bottom=0)
    return figure
