"""How every picture of the course looks: one palette, one colour map, one set of line styles."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

Parameters = ParamSpec("Parameters")

# Okabe and Ito's eight colours, chosen to stay apart in every kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY_BLUE, YELLOW, BLACK = "#D55E00", "#56B4E9", "#F0E442", "#000000"
OKABE_ITO = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY_BLUE, YELLOW, BLACK)

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


def class_colors(count: int) -> np.ndarray:
    """Colours of `count` classes, the same for a class however many follow it.

    Okabe and Ito's eight, then one after another the colour that lies furthest from all before it,
    for the least favourable of four kinds of colour vision.

    Shape: → `(count, 3)` uint8.

    Raises:
        ValueError: a count outside 1 … 256.
    """
    if not 1 <= count <= 256:
        raise ValueError(f"count = {count}: there are colours for 1 to 256 classes.")
    return _all_class_colors()[:count].copy()


@functools.cache
def _all_class_colors() -> np.ndarray:
    first = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in OKABE_ITO])
    steps = np.linspace(0, 255, 16).round().astype(int)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    seen = _as_seen(candidates)
    nearest = np.min([_distance(seen, look) for look in np.moveaxis(_as_seen(first), 1, 0)], axis=0)
    chosen = list(first)
    while len(chosen) < 256:
        furthest = int(nearest.argmax())
        chosen.append(candidates[furthest])
        nearest = np.minimum(nearest, _distance(seen, seen[:, furthest]))
    return np.array(chosen, dtype=np.uint8)


# Colour blindness on linear RGB, severity 1: Machado, Oliveira and Fernandes 2009, table 1.
EYES = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)
# Linear RGB to Oklab, where a distance is about how different two colours look: Ottosson 2020.
TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _as_seen(colors: np.ndarray) -> np.ndarray:
    """Oklab of each colour, `(n, 3)` of 0 … 255, for each kind of colour vision: `(4, n, 3)`."""
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ EYES.transpose(0, 2, 1), 0, 1)
    return np.cbrt(seen @ TO_LMS.T) @ TO_OKLAB.T


def _distance(seen: np.ndarray, color: np.ndarray) -> np.ndarray:
    """The least distance of each colour from one: `(4, n, 3)`, `(4, 3)` → `(n,)`."""
    return np.linalg.norm(seen - color[:, None], axis=-1).min(axis=0)
