"""The roof of a machine: what it does at most, and how far below it computations stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from segformer_edu.analysis.roofline import Ceilings
from segformer_edu.plots.style import GREY, INK, MARKERS, OKABE_ITO, PALE_BLUE, new_figure, styled

Point = tuple[float, float]  # operations a byte, operations a second


@styled
def roofline(
    points: Mapping[str, Point],
    ceilings: Ceilings,
    finding: str = "",
) -> Figure:
    """Computations under the roof of a machine, both axes logarithmic.

    Args:
        points: name → operations for each byte that it moves, and operations in a second.
        ceilings: of the machine; the slanted lines are those of memory and of cache.
        finding: the title.

    Raises:
        ValueError: a point that is not above zero: it has no logarithm.
    """
    if any(value <= 0 for point in points.values() for value in point):
        raise ValueError("logarithmic axes take operations and times above zero only.")
    figure = new_figure(4.2, finding)
    ax = figure.subplots()
    intensities, rates = np.transpose([*points.values()])
    left, right = min(0.06, intensities.min() / 2), max(300.0, 2 * intensities.max())
    x = np.geomspace(left, right, 200)
    memory = np.minimum(ceilings.operations, ceilings.memory * x) / 1e9
    cache = np.minimum(ceilings.operations, ceilings.cache * x) / 1e9
    ax.fill_between(x, memory, color=PALE_BLUE, lw=0, zorder=0)
    ax.plot(x, memory, color=INK, ls="-", label=f"memory, {ceilings.memory / 1e9:.0f} GB/s")
    ax.plot(x, cache, color=GREY, ls="--", label=f"cache, {ceilings.cache / 1e9:.0f} GB/s")
    for number, (name, (intensity, rate)) in enumerate(points.items()):
        look: dict[str, Any] = {"marker": MARKERS[number % len(MARKERS)]}
        if number >= len(MARKERS):  # the same shapes again, hollow
            look |= {"markerfacecolor": "none", "mew": 2}
        color = OKABE_ITO[number % 6]
        ax.plot(intensity, rate / 1e9, ls="", ms=8, label=name, color=color, **look)
    lowest = min(rates.min() / 1e9, ceilings.memory * left / 1e9)
    ax.set(xscale="log", yscale="log", xlim=(left, right))
    ax.set_ylim(lowest / 2, 2 * ceilings.operations / 1e9)
    ax.set(xlabel="operations for each byte moved", ylabel="billion operations a second")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure
