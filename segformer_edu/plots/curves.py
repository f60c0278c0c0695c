"""Curves: how a quantity depends on a size, a shift, a block or an amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation

from segformer_edu.analysis.scaling import Errors, PowerLaw
from segformer_edu.analysis.seeds import interval
from segformer_edu.plots.checks import check_lengths, shared_names
from segformer_edu.plots.style import (
    BLUE,
    GREY,
    MARKERS,
    ORANGE,
    PAPER,
    SKY_BLUE,
    new_figure,
    styled,
    write_plain_numbers,
)

Curve = tuple[Sequence[float], Sequence[float]]  # x and y

FEWEST = 1e-4  # of all answers, that a bin needs to be drawn
ASIDE = 3.0  # points from the bar of one name to that of the next, at the same amount


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
    write_plain_numbers(ax)


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
        write_plain_numbers(ax)
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
    write_plain_numbers(amounts)
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
def over_amounts(
    panels: Mapping[str, tuple[Sequence[float], Mapping[str, np.ndarray]]],
    labels: tuple[str, str],
    finding: str = "",
    log: bool = False,
) -> Figure:
    """How runs come out as one thing grows: means over seeds, each with Student's interval of 95 %.

    The bars of several names stand beside each other, so that none hides another.

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
            means, low, high = np.transpose([interval(of_seeds) for of_seeds in values.T])
            shift = ASIDE / 72 * (number - (len(runs) - 1) / 2)  # inches
            look = {"marker": MARKERS[number % len(MARKERS)], "ms": 4, "elinewidth": 1.2}
            bars = means - low, high - means
            aside = ax.transData + ScaledTranslation(shift, 0, figure.dpi_scale_trans)
            ax.errorbar(amounts, means, bars, **look, capsize=2, label=name, transform=aside)
            # The limits of the axes leave out what is moved aside, unless they are told.
            ax.update_datalim([*zip(amounts, low, strict=True), *zip(amounts, high, strict=True)])
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
