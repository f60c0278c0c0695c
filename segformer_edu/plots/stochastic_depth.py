"""Lesson 05: what is dropped together, how many blocks are left, and what several seeds say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segformer_edu.plots.style import GREY, INK, OKABE_ITO, PAPER, new_figure, styled, title

KEPT_OR_NOT = ListedColormap(["#D5DBE1", OKABE_ITO[0]])
MARKERS = "osD^vP"  # in the order of the colours, for those who do not see them

Points = tuple[Sequence[float], Sequence[float]]  # x and y


@styled
def dropped_together(kept: Mapping[str, np.ndarray], finding: str = "") -> Figure:
    """Which numbers of a batch are kept, a panel for each way to drop, the samples one below
    another.

    Args:
        kept: caption → `(B, C, N)` bool: samples, channels, tokens.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type.
    """
    check_masks(kept, axes=("B", "C", "N"))
    figure = new_figure(3.4)
    title(figure, finding)
    panels = figure.subplots(1, len(kept), squeeze=False)[0]
    for ax, (caption, mask) in zip(panels, kept.items(), strict=True):
        samples, channels, tokens = mask.shape
        tops = [sample * (channels + 1) for sample in range(samples)]
        for top, sample in zip(tops, mask, strict=True):
            _squares(ax, sample, top)
        names = [f"sample {number}" for number in range(1, samples + 1)]
        ax.set_yticks([top + channels / 2 for top in tops], names)
        ax.set(xlim=(0, tokens), ylim=(tops[-1] + channels, 0), aspect="equal", title=caption)
        ax.set(xlabel=f"{tokens} tokens", xticks=[])
        ax.tick_params(length=0, labelleft=ax is panels[0])
        ax.spines[:].set_visible(False)
    return figure


@styled
def gates(kept: Mapping[str, np.ndarray], finding: str = "") -> Figure:
    """Which blocks each sample of a batch goes through, a panel for each way to draw the gates.

    Beside each row stands how many there are.

    Args:
        kept: caption → `(B, L)` bool: samples, blocks.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type.
    """
    check_masks(kept, axes=("B", "L"))
    figure = new_figure(0.25 * max(len(mask) for mask in kept.values()) + 1.1)
    title(figure, finding)
    panels = figure.subplots(1, len(kept), squeeze=False)[0]
    for ax, (caption, mask) in zip(panels, kept.items(), strict=True):
        samples, depth = mask.shape
        _squares(ax, mask, top=0)
        for row, count in enumerate(mask.sum(axis=1)):
            ax.text(depth + 0.3, row + 0.5, str(count), va="center")
        ax.set(xlim=(0, depth), ylim=(samples, 0), title=caption, xlabel="block")
        ax.set_xticks([0.5, depth - 0.5], ["1", str(depth)])
        ax.set_yticks(np.arange(samples) + 0.5, [f"sample {n}" for n in range(1, samples + 1)])
        ax.tick_params(length=0, labelleft=ax is panels[0])
        ax.spines[:].set_visible(False)
    return figure


def check_masks(kept: Mapping[str, np.ndarray], axes: Sequence[str]) -> None:
    """Refuse masks of other axes or another type."""
    for caption, mask in kept.items():
        if mask.ndim != len(axes) or mask.dtype != bool:
            raise ValueError(
                f"{caption}: give a ({', '.join(axes)}) array of bool; got shape {mask.shape} of "
                f"{mask.dtype}."
            )


def _squares(ax: Axes, kept: np.ndarray, top: float) -> None:
    """A square for each entry of `(rows, columns)`: dark where it is kept, crossed where not."""
    rows, columns = kept.shape
    edges = np.arange(columns + 1), top + np.arange(rows + 1)
    ax.pcolormesh(*edges, kept, cmap=KEPT_OR_NOT, vmin=0, vmax=1, edgecolors=PAPER, linewidth=1)
    row, column = np.nonzero(~kept)
    ax.plot(column + 0.5, row + top + 0.5, "x", color=GREY, markersize=3, markeredgewidth=0.8)


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
        raise ValueError(f"rules of one depth are compared; got {rates}.")
    figure = new_figure(3.0)
    title(figure, finding)
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
    figure = new_figure(3.0)
    title(figure, finding)
    ax = figure.subplots()
    ax.bar(blocks, shares[blocks], color=OKABE_ITO[5], label=f"{len(counts):,} draws")
    ax.plot(blocks, law[blocks], "o", color=INK, markersize=4, label="computed")
    average = float(law @ np.arange(len(law)))
    ax.axvline(average, color=OKABE_ITO[4], ls="--", label=f"expected: {average:.2f}")
    ax.set(xlabel="blocks that survive", ylabel="share")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return figure


@styled
def seeds(panels: Mapping[str, Mapping[str, Sequence[float]]], finding: str = "") -> Figure:
    """Every seed as a dot, those of one number joined; beside them mean and standard deviation.

    Args:
        panels: what is measured → name → one value a seed, in the order of the seeds.
        finding: the title.

    Raises:
        ValueError: names with different numbers of seeds.
    """
    figure = new_figure(3.2)
    title(figure, finding)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, (label, by_name) in zip(axes, panels.items(), strict=True):
        if len({len(values) for values in by_name.values()}) != 1:
            raise ValueError(f"{label}: every name has a value for every seed; got {by_name}.")
        places = np.arange(len(by_name))
        ax.plot(places, list(by_name.values()), color=GREY, lw=0.7, ls="-", alpha=0.7, zorder=1)
        for place, values in zip(places, by_name.values(), strict=True):
            color = OKABE_ITO[place % 6]
            marker = MARKERS[place % len(MARKERS)]
            ax.plot([place] * len(values), values, marker, color=color, markersize=4)
            middle, deviation = np.mean(values), np.std(values, ddof=1)
            ax.errorbar(place + 0.2, middle, deviation, fmt="_", color=INK, capsize=4, ms=12)
        ax.set_xticks(places, list(by_name))
        ax.set(title=label, xlim=(-0.4, len(by_name) - 0.5))
        ax.set_ylim(bottom=0)
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
        runs: name → `(n, len(x))`, n runs; one alone has no band.
        labels: of the horizontal and of the vertical axis.
        finding: the title.
        log: whether the vertical axis is logarithmic; it then shows geometric means, and the band
            is that of the logarithms.

    Raises:
        ValueError: runs of another length than x.
    """
    figure = new_figure(3.2)
    title(figure, finding)
    ax = figure.subplots()
    for number, (name, values) in enumerate(runs.items()):
        if values.ndim != 2 or values.shape[1] != len(x):
            raise ValueError(f"{name}: give an (n, {len(x)}) array; got {values.shape}.")
        seen = np.log(values) if log else values
        back = np.exp if log else np.asarray
        middle = seen.mean(axis=0)
        (curve,) = ax.plot(x, back(middle), marker=MARKERS[number], markersize=4, label=name)
        if len(values) > 1:
            spread = seen.std(axis=0, ddof=1)
            edges = back(middle - spread), back(middle + spread)
            ax.fill_between(x, *edges, color=curve.get_color(), alpha=0.2, lw=0)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    if log:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    ax.legend()
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
    figure = new_figure(3.4)
    title(figure, finding)
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
