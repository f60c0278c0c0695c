"""Lesson 06: what coarse maps lose, what fine ones cost, and what a pyramid has of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from segformer_edu.plots.segmentation import check_labels
from segformer_edu.plots.spatial_reduction import HATCHES
from segformer_edu.plots.stochastic_depth import MARKERS
from segformer_edu.plots.style import (
    GREY,
    OKABE_ITO,
    PAPER,
    WIDTH,
    check_names,
    class_colors,
    new_figure,
    styled,
    title,
)

Points = tuple[Sequence[float], Sequence[float]]  # x and y


@styled
def label_maps(
    photo: np.ndarray,
    maps: Mapping[str, np.ndarray],
    names: Sequence[str],
    finding: str = "",
) -> Figure:
    """A photograph, and several label maps of it side by side in the colours of the classes.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: caption → `(H, W)` integers.
        names: what classes 0, 1, 2, … are called.
        finding: the title.

    Raises:
        ValueError: arrays that do not fit together, or too few names.
    """
    for labels in maps.values():
        check_labels(photo, labels)
        check_names(names, int(labels.max()) + 1)
    colors = class_colors(len(names))
    side = WIDTH / (len(maps) + 1)
    figure = new_figure(side * photo.shape[0] / photo.shape[1] + 0.9)
    title(figure, finding)
    shown = [photo, *(colors[labels] for labels in maps.values())]
    axes = figure.subplots(1, len(shown))
    for ax, picture, caption in zip(axes, shown, ["photograph", *maps], strict=True):
        ax.imshow(picture)
        ax.set_title(caption, fontsize=9)
        ax.axis("off")
    for name, color in zip(names, colors, strict=True):
        axes[0].plot([], [], "s", color=color / 255, markeredgecolor=GREY, label=name)
    figure.legend(loc="outside lower center", ncols=len(names), fontsize=8, handletextpad=0.2)
    return figure


@styled
def equal_budgets(
    points: Mapping[str, Points], labels: tuple[str, str], finding: str = ""
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
    if any(min(*x, *y) <= 0 for x, y in points.values()):
        raise ValueError(f"logarithmic axes take numbers above zero only; got {points}.")
    figure = new_figure(3.4)
    title(figure, finding)
    ax = figure.subplots()
    places = [place for x, y in points.values() for place in zip(x, y, strict=True)]
    for number, (name, (x, y)) in enumerate(points.items()):
        ax.plot(x, y, marker=MARKERS[number], markersize=8, label=name)
        for place in zip(x, y, strict=True):
            highest = place[1] == max(every[1] for every in places if every[0] == place[0])
            side, start = ((-8, 6), "right") if highest else ((8, -14), "left")
            text = f"{place[1]:,.0f}"
            ax.annotate(
                text,
                place,
                xytext=side,
                textcoords="offset points",
                ha=start,
                bbox={"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.5},
            )
    ticks = sorted({value for x, _ in points.values() for value in x})
    ax.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1])
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.margins(x=0.08, y=0.12)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", length=0)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" * (f"{value:e}"[0] in "25"))
    ax.legend()
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
    names = list(next(iter(groups.values()), ()))
    if not names or any(list(group) != names for group in groups.values()):
        raise ValueError(f"every group has the same bars in the same order; got {groups}.")
    figure = new_figure(3.2)
    title(figure, finding)
    ax = figure.subplots()
    places, width = np.arange(len(groups)), 0.8 / len(names)
    for number, name in enumerate(names):
        values = [group[name] for group in groups.values()]
        bars = ax.bar(
            places + (number - (len(names) - 1) / 2) * width,
            values,
            width,
            color=OKABE_ITO[number % 7],
            edgecolor=PAPER,
            hatch=HATCHES[number % len(HATCHES)],
            label=name,
        )
        ax.bar_label(bars, [f"{value:.0f}" for value in values], fontsize=8)
    ax.set_xticks(places, list(groups))
    ax.set(ylabel=y_label)
    ax.tick_params(axis="x", length=0)
    figure.legend(loc="outside lower center", ncols=len(names))
    return figure
