"""Bars: a few amounts, side by side, end to end, or as a distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segformer_edu.plots.checks import check_lengths, shared_names
from segformer_edu.plots.style import (
    HATCHES,
    INK,
    OKABE_ITO,
    PAPER,
    SKY_BLUE,
    VERMILLION,
    digits,
    new_figure,
    styled,
)

LONGEST_ROW = 5  # names beside each other in a legend


@styled
def class_bars(
    names: Sequence[str], series: Mapping[str, Sequence[float]], finding: str = ""
) -> Figure:
    """IoU of each class, a bar for each series.

    Args:
        names: of the classes.
        series: name → IoU of each class, 0 to 1.
        finding: the title.

    Raises:
        ValueError: a series that does not have one value for each name.
    """
    check_lengths(series, len(names), "classes")
    figure = new_figure(2.8, finding)
    ax = figure.subplots()
    _side_by_side(ax, series)
    ax.set(xticks=range(len(names)), xticklabels=names, ylabel="IoU", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=len(series))
    return figure


@styled
def grouped_bars(
    groups: Mapping[str, Mapping[str, float]], y_label: str, finding: str = ""
) -> Figure:
    """A few numbers for each of a few choices: groups of upright bars, each with its number.

    Args:
        groups: for each group its bars, the same names in the same order in every group.
        y_label: what is counted.
        finding: the title.

    Raises:
        ValueError: groups with different bars.
    """
    names = shared_names(groups)
    figure = new_figure(3.2, finding)
    ax = figure.subplots()
    series = {name: [group[name] for group in groups.values()] for name in names}
    for bars, values in zip(_side_by_side(ax, series), series.values(), strict=True):
        ax.bar_label(bars, [f"{value:.0f}" for value in values], fontsize=8)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.set(ylabel=y_label)
    ax.tick_params(axis="x", length=0)
    figure.legend(loc="outside lower center", ncols=len(names))
    return figure


def _side_by_side(ax: Axes, series: Mapping[str, Sequence[float]]) -> list[BarContainer]:
    """Upright bars around 0, 1, 2, …, one for every series at each of them."""
    width = 0.8 / len(series)
    drawn = []
    for number, (name, values) in enumerate(series.items()):
        places = np.arange(len(values)) + (number - (len(series) - 1) / 2) * width
        drawn.append(ax.bar(places, values, width, label=name, **_look(number)))
    return drawn


def _look(number: int) -> dict[str, Any]:
    """How the bars of one name differ from those of the others: in colour and in hatch."""
    return {
        "color": OKABE_ITO[number % 7],
        "edgecolor": PAPER,
        "hatch": HATCHES[number % len(HATCHES)],
    }


@styled
def stacked_bars(
    bars: Mapping[str, Mapping[str, float]], x_label: str, finding: str = ""
) -> Figure:
    """What each of a few choices costs, part by part, as horizontal bars.

    Args:
        bars: for each bar its parts, the same ones and in the same order in every bar.
        x_label: what is counted.
        finding: the title.

    Raises:
        ValueError: bars of different parts.
    """
    ends = {name: digits(sum(parts.values())) for name, parts in bars.items()}
    return _end_to_end(bars, ends, x_label, finding)


@styled
def stacked_shares(
    bars: Mapping[str, Mapping[str, float]], quantity: str, unit: str, finding: str = ""
) -> Figure:
    """What each of a few choices consists of, in percent, as horizontal bars of equal length; its
    total stands at the end.

    Args:
        bars: for each bar its parts, the same ones and in the same order in every bar.
        quantity: of which these are shares.
        unit: of the totals.
        finding: the title.

    Raises:
        ValueError: bars of different parts.
    """
    totals = {name: sum(parts.values()) for name, parts in bars.items()}
    shares = {
        name: {part: 100 * value / totals[name] for part, value in parts.items()}
        for name, parts in bars.items()
    }
    ends = {name: f"{total:.1f} {unit}" for name, total in totals.items()}
    return _end_to_end(shares, ends, f"share of the {quantity}, %", finding)


@styled
def parts_of_each(bars: Mapping[str, Mapping[str, float]], finding: str = "") -> Figure:
    """What each of a few quantities consists of, in percent, as horizontal bars of equal length.

    Args:
        bars: for each bar its parts, the same ones and in the same order in every bar. The name of
            a bar says what it measures and its total.
        finding: the title.

    Raises:
        ValueError: bars of different parts.
    """
    shares = {
        name: {part: 100 * value / sum(parts.values()) for part, value in parts.items()}
        for name, parts in bars.items()
    }
    return _end_to_end(shares, dict.fromkeys(bars, ""), "share, %", finding)


def _end_to_end(
    bars: Mapping[str, Mapping[str, float]], ends: Mapping[str, str], x_label: str, finding: str
) -> Figure:
    """Horizontal bars of parts, and what is written at the end of each."""
    parts = shared_names(bars)
    figure = new_figure(0.42 * len(bars) + 1.3, finding)
    ax = figure.subplots()
    left = np.zeros(len(bars))
    for number, part in enumerate(parts):
        values = np.array([bar[part] for bar in bars.values()])
        ax.barh(list(bars), values, left=left, height=0.7, label=part, **_look(number))
        left += values
    for row, (length, end) in enumerate(zip(left, ends.values(), strict=True)):
        ax.text(length, row, f" {end}", va="center")
    ax.set(xlabel=x_label, xlim=(0, 1.08 * left.max()))
    ax.invert_yaxis()
    if len(parts) > 1:
        figure.legend(loc="outside lower center", ncols=min(len(parts), LONGEST_ROW))
    return figure


@styled
def survivors(law: np.ndarray, counts: np.ndarray, finding: str = "") -> Figure:
    """How many blocks survive: drawn, as bars, and computed, as dots.

    Args:
        law: `(L + 1,)`, the probability of 0, 1, …, L.
        counts: how many survived in each of many draws.
        finding: the title.
    """
    shares = np.bincount(counts, minlength=len(law)) / len(counts)
    shown = np.flatnonzero((law > 1e-4) | (shares > 0))  # the rest would be flat
    blocks = np.arange(shown[0], shown[-1] + 1)
    figure = new_figure(3.0, finding)
    ax = figure.subplots()
    ax.bar(blocks, shares[blocks], color=SKY_BLUE, label=f"{len(counts):,} draws")
    ax.plot(blocks, law[blocks], "o", color=INK, markersize=4, label="computed")
    average = float(law @ np.arange(len(law)))
    ax.axvline(average, color=VERMILLION, ls="--", label=f"expected: {average:.2f}")
    ax.set(xlabel="blocks that survive", ylabel="share")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return figure
