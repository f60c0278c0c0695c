"""Diagrams: the architecture with its lessons, and how a row of numbers is enlarged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from segformer_edu.plots.checks import check_labels, check_stages
from segformer_edu.plots.labels import overlay
from segformer_edu.plots.stages import liveliest
from segformer_edu.plots.style import (
    BLUE,
    BROWN,
    DARK_GREEN,
    GREY,
    INK,
    PALE_BLUE,
    PALE_BROWN,
    PALE_GREEN,
    PAPER,
    VERMILLION,
    new_figure,
    styled,
)

ENCODER, DECODER, SKILL = BLUE, BROWN, DARK_GREEN
PALER = {ENCODER: PALE_BLUE, DECODER: PALE_BROWN, SKILL: PALE_GREEN}
CENTRES, SIDES = (27.2, 42.4, 54.7, 65.2), (14, 11, 8.5, 6.5)  # of the stages' maps
MIDDLE = 40.5  # the height at which photograph, stages and labels stand
HEIGHT = 57
SHIFT = 0.4  # between the sheets of a stack


@styled
def course_map(photo: np.ndarray, maps: Sequence[np.ndarray], labels: np.ndarray) -> Figure:
    """SegFormer from photograph to labels, each part marked with its lesson's number.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: the outputs of the four stages, each `(C, H_i, W_i)`.
        labels: `(H, W)` integers, drawn at the end.

    Raises:
        ValueError: not four maps, or arrays of the wrong shape.
    """
    if len(maps) != len(CENTRES):
        raise ValueError(f"The map shows {len(CENTRES)} stages; got {len(maps)} feature maps.")
    check_labels(photo, labels)
    check_stages(maps)
    figure = new_figure(5.8, "What you will build, and in which lesson", width=9.5)
    ax = figure.subplots()
    ax.set(xlim=(0, 100), ylim=(0, HEIGHT), aspect="equal")
    ax.axis("off")
    _box(ax, 18.5, 27, 52.5, 29, ENCODER)
    _lesson(ax, 20.5, 53.6, "06", "the encoder: a pyramid of four stages", ENCODER)
    _draw_picture(ax, photo, 8, 13)
    _write(ax, 8, 32.3, "a photograph\nH × W\n3 channels")
    _arrow(ax, (15, MIDDLE), (19.5, MIDDLE))
    for stage, stage_map in enumerate(maps):
        _draw_stage(ax, stage, stage_map, stride=round(len(photo) / stage_map.shape[1]))
    _draw_decoder(ax)
    _arrow(ax, (83.2, MIDDLE), (85.8, MIDDLE))
    _draw_picture(ax, overlay(photo, labels, 0.8), 92.5, 13)
    _write(ax, 92.5, 32.3, "a class for\nevery pixel")
    _draw_block(ax)
    _draw_skills(ax)
    return figure


def _draw_stage(ax: Axes, stage: int, stage_map: np.ndarray, stride: int) -> None:
    """One map as a stack of channels, taller stacks for more of them."""
    x, side = CENTRES[stage], SIDES[stage]
    sheets = 2 + stage
    for sheet in range(sheets, 0, -1):
        corner = (x - side / 2 + SHIFT * sheet, MIDDLE - side / 2 + SHIFT * sheet)
        ax.add_patch(Rectangle(corner, side, side, facecolor=PAPER, edgecolor=INK, lw=0.6))
    _draw_picture(ax, stage_map[liveliest(stage_map, 1)[0]], x, side)
    count = len(stage_map)
    _write(ax, x, 32.3, f"stage {stage + 1}\nH/{stride} × W/{stride}\n{count} channels")
    if stage + 1 < len(CENTRES):
        following = CENTRES[stage + 1] - SIDES[stage + 1] / 2
        _arrow(ax, (x + side / 2 + SHIFT * sheets, MIDDLE), (following, MIDDLE))
    top = MIDDLE + side / 2 + SHIFT * sheets
    ax.plot([x, x], [top, 51], color=DECODER, ls="-", lw=1.2)  # up, and along to the decoder


def _draw_decoder(ax: Axes) -> None:
    ax.plot([CENTRES[0], 78], [51, 51], color=DECODER, ls="-", lw=1.2)
    _arrow(ax, (78, 51), (78, 48.7), DECODER)
    _box(ax, 73.2, 30, 9.8, 18.5, DECODER)
    _lesson(ax, 76.8, 45.6, "07", "", DECODER)
    _write(ax, 78.1, 42.8, "all-MLP\ndecoder\n\nproject,\nresize,\nfuse,\nclassify")


def _draw_block(ax: Axes) -> None:
    """What every stage is made of, under a magnifying glass."""
    for x, corner in ((CENTRES[0] - 7, 2), (CENTRES[0] + 7, 98)):
        ax.plot([x, corner], [27, 24.5], color=ENCODER, lw=1, ls=":")
    _box(ax, 1, 10, 98, 14.5, ENCODER)
    _write(ax, 3, 22.5, "inside every stage: patches, then blocks like this", ha="left")
    steps = (
        (4, 17, "01", "overlapping\npatches"),
        (34.8, 27, "02", "attention,\nits bill"),
        (73, 15, "04", "Mix-FFN"),
    )
    for x, width, number, name in steps:
        _box(ax, x, 12, width, 6.8, ENCODER, PAPER)
        _lesson(ax, x + 1.2, 15.4, number, name, ENCODER)
    _lesson(ax, 49.8, 15.4, "03", "fewer\nkeys", ENCODER)
    _arrow(ax, (21.2, 15.4), (34.6, 15.4))
    for x in (65.5, 92.5):
        ax.add_patch(Circle((x, 15.4), 1.2, facecolor=PAPER, edgecolor=INK))
        ax.plot([x - 0.6, x + 0.6], [15.4, 15.4], [x, x], [14.8, 16], color=INK, ls="-", lw=1)
    for start, plus, following in ((27.5, 65.5, 72.8), (68.8, 92.5, 97.5)):
        _arrow(ax, (plus - 3.5 if plus < 70 else 88.2, 15.4), (plus - 1.2, 15.4))
        _arrow(ax, (plus + 1.2, 15.4), (following, 15.4))
        ax.plot([start, start, plus], [15.4, 20.8, 20.8], color=INK, ls="-", lw=1)
        _arrow(ax, (plus, 20.8), (plus, 16.6))
    _lesson(ax, 41, 22.4, "05", "skip connections, and branches that training drops", ENCODER)


def _draw_skills(ax: Axes) -> None:
    """What the course does with the whole model."""
    skills = (
        (1, "00", "start here"),
        (18, "08", "train it"),
        (33, "09", "look inside"),
        (51, "10", "make it fast"),
        (70, "11", "test the paper's claims"),
    )
    _box(ax, 1, 1, 98, 6.2, SKILL)
    for x, number, name in skills:
        _lesson(ax, x + 1.5, 4.1, number, name, SKILL)


def _box(
    ax: Axes, x: float, y: float, width: float, height: float, color: str, face: str = ""
) -> None:
    style = "round,pad=0,rounding_size=1"
    ax.add_patch(
        FancyBboxPatch(
            (x, y), width, height, style, facecolor=face or PALER[color], edgecolor=color, lw=0.8
        )
    )


def _lesson(ax: Axes, x: float, y: float, number: str, name: str, color: str) -> None:
    """A lesson's number on a badge, and what it is about."""
    badge = {"boxstyle": "round,pad=0.3", "facecolor": color, "edgecolor": "none"}
    ax.text(x, y, number, color=PAPER, weight="bold", va="center", bbox=badge)
    ax.text(x + 3.7, y, name, va="center")


def _write(ax: Axes, x: float, y: float, text: str, ha: str = "center") -> None:
    ax.text(x, y, text, fontsize=8, ha=ha, va="top", linespacing=1.3)


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str = INK
) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=9, color=color, lw=1, shrinkA=0, shrinkB=0
        )
    )


def _draw_picture(ax: Axes, picture: np.ndarray, x: float, side: float) -> None:
    """A picture whose longer side measures `side`, its centre at x and the common height."""
    height, width = (side * each / max(picture.shape[:2]) for each in picture.shape[:2])
    extent = (x - width / 2, x + width / 2, MIDDLE - height / 2, MIDDLE + height / 2)
    ax.imshow(picture, extent=extent, interpolation="antialiased", zorder=2)
    ax.add_patch(Rectangle(extent[::2], width, height, fill=False, edgecolor=INK, lw=0.6, zorder=3))
    ax.set(xlim=(0, 100), ylim=(0, HEIGHT))  # imshow moves them


def sample_positions(small: int, large: int, align_corners: bool) -> np.ndarray:
    """Where each of `large` new samples lies on a row of `small` old ones, 0 to small − 1.

    With aligned corners the first and last samples coincide, and steps are (small − 1) /
    (large − 1). Otherwise pixels are squares, whose centres are mapped, and kept inside.
    """
    index = np.arange(large)
    if align_corners:
        return index * (small - 1) / (large - 1)
    return np.clip((index + 0.5) * small / large - 0.5, 0, small - 1)


@styled
def resized_rows(values: Sequence[float], large: int, finding: str = "") -> Figure:
    """A row of numbers enlarged with and without aligned corners.

    Old pixels are squares of `large / len(values)` new ones. A line leads from each new pixel to
    the point of the old row that it reads; the new pixel holds what it reads there.

    Args:
        values: the old row.
        large: new samples.
        finding: the title.

    Raises:
        ValueError: fewer than two values, or a row that would shrink.
    """
    small = len(values)
    if small < 2 or large <= small:
        raise ValueError(f"{small} values to {large}: give two or more, and enlarge them.")
    figure = new_figure(2.6, finding)
    scale = large / small
    new = np.arange(large) + 0.5
    for ax, aligned in zip(figure.subplots(1, 2), (False, True), strict=True):
        read = (sample_positions(small, large, aligned) + 0.5) * scale
        for old in range(small):
            square = Rectangle((old * scale, 1), scale, 0.28, facecolor=PALE_BLUE, edgecolor=BLUE)
            ax.add_patch(square)
            ax.text((old + 0.5) * scale, 1.14, f"{values[old]:g}", ha="center", va="center")
        for x, there in zip(new, read, strict=True):
            ax.plot([x, there], [0.3, 1], color=VERMILLION if aligned else GREY, lw=1, ls="-")
            ax.add_patch(Rectangle((x - 0.5, 0), 1, 0.28, facecolor=PAPER, edgecolor=INK, lw=0.6))
        result = np.interp(sample_positions(small, large, aligned), np.arange(small), values)
        for x, value in zip(new, result, strict=True):
            ax.text(x, 0.14, f"{value:.1f}", ha="center", va="center", fontsize=8)
        ax.set(xlim=(-0.2, large + 0.2), ylim=(-0.05, 1.35))
        ax.set_title(f"align_corners={aligned}", fontsize=9)
        ax.axis("off")
    return figure
