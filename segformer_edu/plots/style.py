"""How every picture of the course looks: one palette, one colour map, one set of line styles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segformer_edu.data.palette import BLUE, OKABE_ITO, ORANGE, SKY_BLUE, YELLOW
from segformer_edu.data.palette import VERMILLION as VERMILLION  # for those who draw
from segformer_edu.data.palette import class_colors as class_colors

Parameters = ParamSpec("Parameters")

INK, PAPER = "#1F2933", "#FFFFFF"  # text, background
GREY, PALE = "#7B8794", "#D5DBE1"  # in the background; empty, left out or behind a bar
BROWN, DARK_GREEN = "#A34700", "#00664B"  # like blue, dark enough for white letters
PALE_BLUE, PALE_BROWN, PALE_GREEN = "#E4F0F8", "#FBEDE2", "#E1F3EC"  # areas for dark letters
PALE_ORANGE = "#F7D5A8"  # a map with the same number everywhere, which has no dark and bright
PATCH_AND_NEIGHBOURS = (YELLOW, SKY_BLUE, ORANGE)  # a patch, the next to its right, the next below

SEQUENTIAL = "magma"  # attention and every other map of one quantity: even steps, dark is little
DIVERGING = "PuOr_r"  # for and against: orange and violet, apart for all eyes, white between
FOR, AGAINST = "#B35806", "#542788"  # the same, dark enough for a bar

# For readers who do not see the colours, in the order of the colours.
MARKERS = "osD^vP"
HATCHES = ("", "//", "..", "\\\\", "xx", "--")

WIDTH, DPI = 8.0, 100  # inches, dots per inch: a picture fills a notebook's column

# No curve is black, the colour of the axes; curves differ in style as well as in colour.
CURVES = cycler(color=OKABE_ITO[:6]) + cycler(
    linestyle=["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1))]
)
SETTINGS: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.prop_cycle": CURVES,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": DPI,
    "figure.facecolor": PAPER,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same letters on every machine
    "font.size": 9,
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",  # a token is a square; smoothing would hide it
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Give a drawing function the course's style, whatever the reader's own settings are."""

    @functools.wraps(draw)
    def drawn(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(SETTINGS)
            return draw(*args, **kwargs)

    return drawn


def new_figure(height: float, finding: str = "", width: float = WIDTH) -> Figure:
    """An empty figure, in inches, with its finding above it, of which pyplot does not know."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if finding:
        figure.suptitle(finding, x=0.01, ha="left")
    return figure


def digits(number: float) -> str:
    """A number that was measured, as far as that can be trusted: 0.0123, 4.57, 78.9, 1,230."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:#.3g}"


def write_plain_numbers(ax: Axes) -> None:
    """Mark a logarithmic y axis with 1, 2, 5, 10, … in place of powers of ten."""
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" * (f"{value:e}"[0] in "25"))


def frame(
    ax: Axes,
    box: tuple[float, float, float, float],
    color: str,
    around: str = PAPER,
    widths: tuple[float, float] = (3.5, 2),
) -> None:
    """Frame a box, `(x, y, width, height)`, in two colours, to be seen on any background."""
    for line, thickness in zip((around, color), widths, strict=True):
        ax.add_patch(
            Rectangle(box[:2], *box[2:], fill=False, edgecolor=line, lw=thickness, zorder=2)
        )


def dot(ax: Axes, place: tuple[float, float], size: float) -> None:
    """Mark a place, `(down, right)`, with a dot that is seen on any background."""
    down, right = place
    for color, diameter in ((PAPER, size + 2), (BLUE, size)):  # in points
        ax.plot(right, down, "o", color=color, ms=diameter, mew=0)


def ring(ax: Axes, place: tuple[float, float], size: float) -> None:
    """Circle a place, `(down, right)`: what lies there is seen, and the ring on any background."""
    down, right = place
    for color, thickness in ((PAPER, 3.5), (BLUE, 1.5)):  # in points, as size is
        ax.plot(right, down, "o", mfc="none", mec=color, ms=size, mew=thickness)
