"""Labels: the class of every pixel as a colour, over a photograph, beside it or below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segformer_edu.plots.checks import check_labels
from segformer_edu.plots.style import (
    GREY,
    INK,
    WIDTH,
    class_colors,
    new_figure,
    styled,
)

LEGEND_WIDTH = 2.2  # inches
MIN_BADGE_RADIUS = 0.02  # of the photograph's width: smaller regions get no number


@styled
def segmentation(
    photo: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str] = (),
    finding: str = "",
    strength: float = 0.6,
    max_classes: int = 12,
) -> Figure:
    """Labels over a photograph, with a legend of the classes that occur, the largest first.

    A region carries the number of its class, as the legend does, so that nobody needs to tell the
    colours apart.

    Args:
        photo: `(H, W, 3)` uint8.
        labels: `(H, W)` integers from 0; negative ones and those from 255, which mean "ignore", are
            left bare.
        names: the names of the classes; if empty, they are called "class 7" and so on.
        finding: the title.
        strength: opacity of the labels, 0 to 1.
        max_classes: how many classes the legend lists before it sums up the rest.

    Raises:
        ValueError: arrays of the wrong shape or type, or too few names.
    """
    check_labels(photo, labels)
    counts = _count(labels)
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    if names:
        _check_names(names, max(ranked, default=-1) + 1)
    height, width = labels.shape
    tall = (WIDTH - LEGEND_WIDTH) * height / width + 0.3 * bool(finding)
    figure = new_figure(tall, finding)
    picture, legend = figure.subplots(1, 2, width_ratios=(WIDTH - LEGEND_WIDTH, LEGEND_WIDTH))
    picture.imshow(overlay(photo, labels, strength), interpolation="antialiased")
    picture.axis("off")
    legend.axis("off")
    colors = class_colors(256)
    entries = []
    for label in ranked[:max_classes]:
        name = f"{label}  {names[label]}" if names else f"class {label}"
        share = _percent(counts[label] / labels.size)
        entries.append(_entry(colors[label], f"{name}, {share}"))
        _draw_badge(picture, labels == label, str(label))
    if rest := ranked[max_classes:]:
        share = _percent(sum(counts[label] for label in rest) / labels.size)
        entries.append(Patch(facecolor="none", label=f"{len(rest)} more classes, {share}"))
    legend.legend(handles=entries, loc="upper left", borderaxespad=0, labelspacing=0.8)
    return figure


def overlay(photo: np.ndarray, labels: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """The photograph tinted by its labels, a white line between regions: `(H, W, 3)` uint8."""
    is_class = (labels >= 0) & (labels < 255)
    tint = class_colors(256)[np.where(is_class, labels, 0)]
    grey = photo.mean(axis=-1, keepdims=True)  # the tint alone carries colour
    mixed = np.where(is_class[..., None], strength * tint + (1 - strength) * grey, photo)
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    mixed[border] = 255
    return mixed.round().astype(np.uint8)


def _draw_badge(picture: Axes, region: np.ndarray, text: str) -> None:
    """Write a number into the widest part of a region, if it is wide enough."""
    step = max(1, region.shape[1] // 128)  # a coarse search is precise enough for a badge
    coarse = region[::step, ::step]
    if not coarse.any():  # a speck between the pixels that the search looks at
        return
    row, column, radius = innermost(coarse)
    if radius < MIN_BADGE_RADIUS * region.shape[1] / step:
        return
    circle = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": INK, "lw": 0.8}
    picture.text(column * step, row * step, text, ha="center", va="center", fontsize=8, bbox=circle)


def innermost(region: np.ndarray) -> tuple[int, int, int]:
    """The pixel of a region furthest from its edge, and how many pixels away the edge is."""
    inside, radius = np.pad(region, 1), 0
    while True:
        eroded = inside.copy()
        for axis in (0, 1):
            eroded &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
        if not eroded.any():
            break
        inside, radius = eroded, radius + 1
    rows, columns = inside.nonzero()
    middle = len(rows) // 2
    return int(rows[middle]) - 1, int(columns[middle]) - 1, radius


@styled
def labelled_pictures(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    names: Sequence[str],
    columns: int = 6,
    finding: str = "",
) -> Figure:
    """A grid of pictures, each with its labels below it, and a legend of all classes.

    The legend says what share of the pixels shown each class has.

    Args:
        images: `(H, W, 3)` uint8 each, all of one size.
        labels: `(H, W)` integers each; negative ones and those from 255 stay white.
        names: what classes 0, 1, 2, … are called.
        columns: pictures per row.
        finding: the title.

    Raises:
        ValueError: no pictures, arrays that do not fit together, or too few names.
    """
    if not images or len(images) != len(labels) or columns < 1:
        raise ValueError(
            f"{len(images)} pictures, {len(labels)} label maps and {columns} columns: give a label "
            f"map for each picture, and one or more of all three."
        )
    for image, label in zip(images, labels, strict=True):
        check_labels(image, label)
        if image.shape != images[0].shape:
            raise ValueError(
                f"Pictures are {images[0].shape} and {image.shape}: give all of them one size."
            )
    shown = np.stack(labels)
    counts = _count(shown)
    _check_names(names, max(counts, default=-1) + 1)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height, width = shown.shape[1:]
    tall = 2 * rows * WIDTH / columns * height / width + 0.5 + 0.3 * bool(finding)
    figure = new_figure(tall, finding)
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    for ax in grid.flat:
        ax.axis("off")
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(index, columns)
        grid[2 * row, column].imshow(image, interpolation="antialiased")
        grid[2 * row + 1, column].imshow(color_labels(label))
    total = max(sum(counts.values()), 1)
    entries = [
        _entry(color, f"{name}, {_percent(counts.get(index, 0) / total)}")
        for index, (name, color) in enumerate(zip(names, class_colors(len(names)), strict=True))
    ]
    figure.legend(handles=entries, loc="outside lower left", ncols=4)
    return figure


@styled
def label_maps(
    photo: np.ndarray,
    maps: Mapping[str, np.ndarray],
    names: Sequence[str],
    finding: str = "",
) -> Figure:
    """A picture, and several label maps of it side by side in the colours of the classes.

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
        _check_names(names, int(labels.max()) + 1)
    colors = class_colors(len(names))
    side = WIDTH / (len(maps) + 1)
    figure = new_figure(side * photo.shape[0] / photo.shape[1] + 0.9, finding)
    shown = [photo, *(colors[labels] for labels in maps.values())]
    axes = figure.subplots(1, len(shown))
    for ax, picture, caption in zip(axes, shown, ["picture", *maps], strict=True):
        ax.imshow(picture)
        ax.set_title(caption, fontsize=9)
        ax.axis("off")
    for name, color in zip(names, colors, strict=True):
        axes[0].plot([], [], "s", color=color / 255, markeredgecolor=GREY, label=name)
    figure.legend(loc="outside lower center", ncols=len(names), fontsize=8, handletextpad=0.2)
    return figure


@styled
def label_rows(
    images: Sequence[np.ndarray],
    columns: Mapping[str, Sequence[np.ndarray]],
    names: Sequence[str],
    finding: str = "",
) -> Figure:
    """A row for each picture: the picture, then label maps side by side; and a legend.

    Args:
        images: `(H, W, 3)` uint8 each.
        columns: caption → a label map `(H, W)` for each picture; 255 stays white.
        names: what classes 0, 1, 2, … are called.
        finding: the title.

    Raises:
        ValueError: no pictures or columns, arrays that do not fit together, or too few names.
    """
    if not len(images) or not columns:
        raise ValueError(f"{len(images)} pictures, {len(columns)} columns: give one or more.")
    for caption, maps in columns.items():
        if len(maps) != len(images):
            raise ValueError(f"{caption!r} has {len(maps)} label maps for {len(images)} pictures.")
        for image, labels in zip(images, maps, strict=True):
            check_labels(image, labels)
            _check_names(names, int(labels[labels < 255].max(initial=0)) + 1)
    across = len(columns) + 1
    tall = len(images) * WIDTH / across + 0.6 + 0.3 * bool(finding)
    figure = new_figure(tall, finding)
    grid = figure.subplots(len(images), across, squeeze=False)
    for row, image in enumerate(images):
        grid[row, 0].imshow(image, interpolation="antialiased")
        for ax, maps in zip(grid[row, 1:], columns.values(), strict=True):
            ax.imshow(color_labels(maps[row]))
        for ax in grid[row]:
            ax.set(xticks=[], yticks=[])
    for ax, caption in zip(grid[0], ("the picture", *columns), strict=True):
        ax.set_title(caption, fontsize=9)
    entries = map(_entry, class_colors(len(names)), names)
    figure.legend(handles=list(entries), loc="outside lower left", ncols=5)
    return figure


Crop = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # picture, truth, answer, marked


@styled
def error_gallery(
    rows: Mapping[str, Sequence[Crop]], names: Sequence[str], finding: str = ""
) -> Figure:
    """Errors by kind, a row for each: of each error the picture, the truth and the answer.

    In the answer all is pale but the wrong pixels.

    Args:
        rows: kind → for each error four arrays of one size: `(H, W, 3)` uint8, the true and the
            given labels, `(H, W)`, and which pixels are meant, `(H, W)` bool.
        names: what classes 0, 1, 2, … are called.
        finding: the title.

    Raises:
        ValueError: rows of different lengths.
    """
    counts = {len(crops) for crops in rows.values()}
    if len(counts) != 1:
        raise ValueError("give every kind as many errors as the others.")
    (count,) = counts
    _check_names(names, 1 + max(int(x.max()) for row in rows.values() for x in _labels_of(row)))
    side = (WIDTH - 1) / (3 * count)
    figure = new_figure(len(rows) * (side + 0.05) + 1.1, finding)
    grid = figure.subplots(len(rows), 3 * count, squeeze=False)
    for axes, (kind, crops) in zip(grid, rows.items(), strict=True):
        for number, (picture, truth, answer, marked) in enumerate(crops):
            given = color_labels(answer)
            pale = (given * 0.25 + 255 * 0.75).astype(np.uint8)
            panels = picture, color_labels(truth), np.where(marked[..., None], given, pale)
            for ax, shown in zip(axes[3 * number :], panels, strict=False):
                ax.imshow(shown)
                ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel(kind.replace(" ", "\n", 1), rotation=0, ha="right", va="center")
    for ax, caption in zip(grid[0], ("picture", "truth", "answer") * count, strict=True):
        ax.set_title(caption, loc="center")
    entries = list(map(_entry, class_colors(len(names)), names))
    figure.legend(handles=entries, loc="outside lower center", ncols=-(-len(names) // 2))
    return figure


def _labels_of(crops: Sequence[Crop]) -> list[np.ndarray]:
    return [labels for _, truth, answer, _ in crops for labels in (truth, answer)]


def color_labels(labels: np.ndarray) -> np.ndarray:
    """A label map in the colours of its classes, white where none is: `(H, W, 3)` uint8."""
    is_class = (labels >= 0) & (labels < 255)
    colored = class_colors(256)[np.where(is_class, labels, 0)]
    return np.where(is_class[..., None], colored, np.uint8(255))


def _check_names(names: Sequence[str], count: int) -> None:
    """Refuse names that do not cover labels 0 … count − 1."""
    if len(names) < count:
        raise ValueError(f"{len(names)} names, but the labels reach {count - 1}: name {count}.")


def _count(labels: np.ndarray) -> dict[int, int]:
    """How many pixels each class has. Labels outside 0 … 254 are not classes."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if 0 <= v < 255}


def _percent(share: float) -> str:
    """A share of the picture, in whole percent."""
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def _entry(color: np.ndarray, text: str) -> Patch:
    """A legend's entry: a patch in the colour of a class, `(3,)` uint8, and its words."""
    return Patch(facecolor=tuple(color / 255), edgecolor=INK, label=text)
