"""Points: a dot for every result, seed by seed or in a cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from segformer_edu.analysis.pareto import pareto_front
from segformer_edu.analysis.seeds import interval
from segformer_edu.plots.checks import shared_names
from segformer_edu.plots.style import BLUE, GREY, INK, MARKERS, OKABE_ITO, new_figure, styled

Points = tuple[Sequence[float], Sequence[float]]  # x and y


@styled
def seeds(panels: Mapping[str, Mapping[str, Sequence[float]]], finding: str = "") -> Figure:
    """Every run as a dot, those of one seed joined, with mean and standard deviation beside them.

    Equal values lie side by side.

    Args:
        panels: what is measured → name → one value per seed, in the order of the seeds.
        finding: the title.

    Raises:
        ValueError: names with different numbers of seeds.
    """
    figure = new_figure(3.2, finding)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (label, by_name) in zip(axes, panels.items(), strict=True):
        if len({len(values) for values in by_name.values()}) != 1:
            raise ValueError(f"{label}: give every name a value for every seed; got {by_name}.")
        places = np.arange(len(by_name))
        runs = [list(values) for values in by_name.values()]
        dots = [
            [place - 0.04 * values[:seed].count(value) for seed, value in enumerate(values)]
            for place, values in zip(places, runs, strict=True)
        ]
        ax.plot(dots, runs, color=GREY, lw=0.7, ls="-", alpha=0.7, zorder=1)
        for place, x, values in zip(places, dots, runs, strict=True):
            color = OKABE_ITO[place % 6]
            marker = MARKERS[place % len(MARKERS)]
            ax.plot(x, values, marker, color=color, markersize=4)
            middle, deviation = np.mean(values), np.std(values, ddof=1)
            ax.errorbar(place + 0.2, middle, deviation, fmt="_", color=INK, capsize=4, ms=12)
        ax.set_xticks(places, list(by_name))
        ax.set(title=label, xlim=(-0.4, len(by_name) - 0.5))
        ax.set_ylim(bottom=0)
    return figure


@styled
def score_ranges(
    scores: Mapping[str, Mapping[str, Sequence[float]]],
    y_label: str,
    finding: str = "",
    chance: float = 0.0,
) -> Figure:
    """Groups of scores, every seed a dot, and a line from the least to the greatest.

    Args:
        scores: group → name → one value per seed; every group has the same names.
        y_label: what is scored.
        finding: the title.
        chance: the score of guessing; a line is drawn there.

    Raises:
        ValueError: groups of different names.
    """
    names = shared_names(scores)
    figure = new_figure(3.2, finding)
    ax = figure.subplots()
    ax.axhline(chance, color=GREY, lw=0.8, ls="-", zorder=0)
    step = 0.7 / len(names)
    for number, name in enumerate(names):
        color, marker = OKABE_ITO[number % 6], MARKERS[number % len(MARKERS)]
        for place, group in enumerate(scores.values()):
            x = place + step * (number - (len(names) - 1) / 2)
            values = group[name]
            ax.plot([x, x], [min(values), max(values)], color=color, lw=1.2, ls="-")
            label = name if place == 0 else "_"
            ax.plot([x] * len(values), values, marker, color=color, ms=5, label=label)
    ax.set_xticks(range(len(scores)), list(scores))
    ax.set(ylabel=y_label, xlim=(-0.5, len(scores) - 0.5))
    figure.legend(loc="outside lower center", ncols=len(names))
    return figure


@styled
def intervals(
    panels: Mapping[str, Mapping[str, tuple[float, float, float]]],
    labels: Sequence[str],
    finding: str = "",
    reference: float = 0.0,
) -> Figure:
    """A mean and its interval for each name, below each other; grey where it holds the reference.

    Args:
        panels: caption → name → the mean and the ends of its interval; the same names in all.
        labels: of each panel's horizontal axis; if they are the same, so is the scale.
        finding: the title.
        reference: where a line stands.

    Raises:
        ValueError: panels with different names, or not one label for each.
    """
    names = shared_names(panels)
    if len(labels) != len(panels):
        raise ValueError(f"{len(labels)} labels for {len(panels)} panels: give one for each.")
    figure = new_figure(0.24 * len(names) + 1.2, finding)
    alike = len(set(labels)) == 1
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=alike, sharey=True)[0]
    for ax, label, (caption, rows) in zip(axes, labels, panels.items(), strict=True):
        ax.axvline(reference, color=GREY, lw=1, ls="-", zorder=0)
        for row, (mean, low, high) in enumerate(rows.values()):
            color = GREY if low <= reference <= high else BLUE
            ends = [[mean - low], [high - mean]]
            ax.errorbar([mean], [row], xerr=ends, fmt="o", ms=5, color=color, capsize=3)
        ax.set(xlabel=label, title=caption, ylim=(len(names) - 0.5, -0.5))
    axes[0].set_yticks(range(len(names)), names)
    return figure


@styled
def trade_off(
    points: Mapping[str, tuple[float, float]],
    marked: Mapping[str, str],
    labels: tuple[str, str],
    finding: str = "",
) -> Figure:
    """What each choice costs and scores: on the left from 0 to 1, on the right enlarged, with the
    Pareto front, the choices than which none is both cheaper and better.

    Args:
        points: choice → cost and score.
        marked: legend → the choice to be marked.
        labels: of the axis of the cost, which is logarithmic, and of that of the score.
        finding: the title.

    Raises:
        ValueError: a cost that is not above zero: it has no logarithm.
    """
    costs, scores = zip(*points.values(), strict=True)
    if min(costs) <= 0:
        raise ValueError("a logarithmic axis takes costs above zero only.")
    figure = new_figure(3.4, finding)
    whole, enlarged = figure.subplots(1, 2)
    front = pareto_front(costs, scores)
    for ax in (whole, enlarged):
        ax.plot(costs, scores, "o", color=GREY, ms=3, alpha=0.7)
        ax.set(xscale="log", xlabel=labels[0])
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" * (f"{value:e}"[0] in "25"))
        for number, choice in enumerate(marked.values(), start=1):
            ax.plot(*points[choice], MARKERS[number], color=OKABE_ITO[number + 1], ms=8, mec=INK)
    enlarged.plot([costs[i] for i in front], [scores[i] for i in front], color=BLUE, ls="-")
    whole.set(ylim=(0, 1), ylabel=labels[1], title="from 0 to 1")
    enlarged.set(title="enlarged, with the Pareto front")
    names = ["each combination", *marked]
    figure.legend(whole.lines, names, loc="outside lower center", ncols=len(names))
    return figure


@styled
def clouds(
    panels: Mapping[str, Mapping[str, Points]],
    labels: tuple[str, str],
    finding: str = "",
    log: bool = False,
) -> Figure:
    """Points of several kinds, a panel for each caption, all on the same axes.

    Args:
        panels: caption → name → x and y.
        labels: of the horizontal and of the vertical axis.
        finding: the title.
        log: whether both axes are logarithmic.
    """
    figure = new_figure(3.4, finding)
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    for ax, (caption, kinds) in zip(axes, panels.items(), strict=True):
        for number, (name, (x, y)) in enumerate(kinds.items()):
            marker = MARKERS[number]
            ax.plot(x, y, marker, markersize=4, alpha=0.6, markeredgewidth=0, label=name)
        ax.set(xlabel=labels[0], title=caption)
        if len(kinds) > 1:
            ax.legend()
    axes[0].set_ylabel(labels[1])
    if log:
        axes[0].set(xscale="log", yscale="log")
    return figure


@styled
def by_block(
    panels: Mapping[str, Sequence[Sequence[tuple[float, float, float]]]],
    blocks: Sequence[str],
    finding: str = "",
) -> Figure:
    """A dot for each head, block by block, with a bar for how uncertain or how spread it is.

    Args:
        panels: what is measured, one below the other → for each block its heads → the value and
            the ends of its bar.
        blocks: their names, below the last panel.
        finding: the title.

    Raises:
        ValueError: a panel without a list of heads for each block.
    """
    figure = new_figure(1.9 * len(panels) + 0.6, finding)
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for ax, (label, heads_of) in zip(axes, panels.items(), strict=True):
        if len(heads_of) != len(blocks):
            raise ValueError(f"{label}: {len(heads_of)} blocks, but {len(blocks)} names.")
        for place, heads in enumerate(heads_of):
            x = place + 0.09 * (np.arange(len(heads)) - (len(heads) - 1) / 2)
            middle, low, high = np.transpose(heads)
            bars = [middle - low, high - middle]
            look = OKABE_ITO[place // 2 % 6], MARKERS[place % len(MARKERS)]
            ax.errorbar(x, middle, bars, color=look[0], fmt=look[1], ms=4, lw=1)
        ax.axhline(0, color=GREY, lw=0.8, ls="-", zorder=0)
        ax.set_title(label, fontsize=9)
    axes[-1].set_xticks(range(len(blocks)), list(blocks))
    return figure


@styled
def differences(
    panels: Mapping[str, Mapping[str, Sequence[float]]], label: str, finding: str = ""
) -> Figure:
    """Is it more than nothing? A difference for every seed as a dot, with the mean's interval.

    The interval is Student's, of 95 %: grey where it holds zero.

    Args:
        panels: caption → what is compared → one difference for each seed; every panel compares the
            same.
        label: what differs.
        finding: the title.

    Raises:
        ValueError: panels that compare different things.
    """
    names = shared_names(panels)
    figure = new_figure(0.34 * len(names) + 1.2, finding)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True, sharex=True)[0]
    for ax, (caption, rows) in zip(axes, panels.items(), strict=True):
        ax.axvline(0, color=GREY, lw=1, ls="-", zorder=0)
        for row, values in enumerate(rows.values()):
            found = interval(values)
            color = BLUE if found.shows else GREY
            ax.plot(values, [row + 0.18] * len(values), "o", ms=3, color=color, alpha=0.6, mew=0)
            ends = [[found.mean - found.low], [found.high - found.mean]]
            ax.errorbar([found.mean], [row - 0.1], xerr=ends, fmt="D", ms=5, color=color, capsize=3)
        ax.set(xlabel=label, title=caption, ylim=(len(names) - 0.5, -0.5))
    axes[0].set_yticks(range(len(names)), names)
    return figure


@styled
def trade_offs(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    labels: tuple[str, str],
    finding: str = "",
) -> Figure:
    """What is gained over what it costs, each with an interval; names have one marker throughout.

    Args:
        panels: caption → name → rows of cost, gain, and the two ends of the gain's interval.
        labels: of the horizontal and of the vertical axis.
        finding: the title.
    """
    names = list(dict.fromkeys(name for kinds in panels.values() for name in kinds))
    figure = new_figure(3.6, finding)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for ax, (caption, kinds) in zip(axes, panels.items(), strict=True):
        ax.axhline(0, color=GREY, lw=0.8, ls="-", zorder=0)
        for name, rows in kinds.items():
            number = names.index(name)
            cost, gain, low, high = np.transpose(rows)
            look = {"color": OKABE_ITO[number % 6], "marker": MARKERS[number % len(MARKERS)]}
            ends = gain - low, high - gain
            ax.errorbar(cost, gain, ends, **look, ls="", ms=5, lw=1.2, capsize=2, label=name)
        ax.set(xlabel=labels[0], title=caption)
    axes[0].set_ylabel(labels[1])
    handles: dict[str, Any] = {}
    for ax in axes:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    order = [handles[name] for name in names]
    figure.legend(order, names, loc="outside lower center", ncols=min(len(names), 3))
    return figure


@styled
def size_scatter(sides: np.ndarray, finding: str = "") -> Figure:
    """The width and height of pictures: a dot for each size, the larger the more have it.

    Args:
        sides: `(n, 2)` widths and heights in pixels.
        finding: the title.

    Raises:
        ValueError: no picture, or another shape.
    """
    if np.ndim(sides) != 2 or np.shape(sides)[1] != 2 or not len(sides):
        raise ValueError(f"sides has the shape {np.shape(sides)}: give (n, 2), a row a picture.")
    sizes, counts = np.unique(sides, axis=0, return_counts=True)
    figure = new_figure(4, finding, 4.5)
    ax = figure.subplots()
    widths, heights = sizes.T
    areas = 20 + 180 * counts / counts.max()
    ax.scatter(widths, heights, s=areas, color=BLUE, alpha=0.6, linewidths=0)
    ax.set(xlabel="width in pixels", ylabel="height in pixels", aspect="equal")
    ax.set(xlim=(0, 1.1 * sides.max()), ylim=(0, 1.1 * sides.max()))
    return figure
