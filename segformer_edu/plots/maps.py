"""Maps: a number for each token, drawn as a colour, in a row or beside the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

from segformer_edu.plots.checks import check_photo, check_stages
from segformer_edu.plots.style import (
    BLUE,
    BROWN,
    DIVERGING,
    GREY,
    INK,
    ORANGE,
    PAPER,
    SKY_BLUE,
    WIDTH,
    frame,
    new_figure,
    styled,
)

FAINTEST = 1e-4  # of a receptive field's strongest pixel: anything weaker is drawn black


@styled
def token_maps(
    maps: Sequence[np.ndarray],
    captions: Sequence[str],
    finding: str = "",
    mark: Sequence[tuple[int, int] | None] = (),
) -> Figure:
    """A number for each token, one panel per map, each on its own scale.

    Args:
        maps: `(H, W)` each.
        captions: what stands above each panel.
        finding: the title.
        mark: for each panel the row and column of a token to be framed, or None.

    Raises:
        ValueError: an array of the wrong rank, or not one caption or mark for each.
    """
    _check_maps(maps, captions)
    if mark and len(mark) != len(maps):
        raise ValueError(f"{len(mark)} marks for {len(maps)} maps: give one for each, or none.")
    figure, axes = _panels(maps, captions, finding)
    for ax, values in zip(axes, maps, strict=True):
        ax.imshow(values)
    for ax, token in zip(axes, mark, strict=False):
        if token:
            frame(ax, (token[1] - 0.5, token[0] - 0.5, 1, 1), BLUE, widths=(4, 2))
    return figure


@styled
def token_kinds(maps: Sequence[np.ndarray], captions: Sequence[str], finding: str = "") -> Figure:
    """The number of each token's kind, written on it, and a line wherever two kinds meet.

    Args:
        maps: `(H, W)` whole numbers each, as `analysis.position.kinds` gives them.
        captions: what stands above each panel.
        finding: the title.

    Raises:
        ValueError: an array of the wrong rank, or not one caption for each.
    """
    _check_maps(maps, captions)
    figure, axes = _panels(maps, captions, finding)
    for ax, kinds in zip(axes, maps, strict=True):
        ax.imshow(np.zeros(kinds.shape), cmap=ListedColormap([PAPER]))
        for (row, column), kind in np.ndenumerate(kinds):
            ax.text(column, row, f"{kind}", ha="center", va="center", fontsize=8)
        for row, column in np.argwhere(np.diff(kinds, axis=0)):
            ax.plot([column - 0.5, column + 0.5], [row + 0.5] * 2, color=BLUE, lw=1.5, ls="-")
        for row, column in np.argwhere(np.diff(kinds, axis=1)):
            ax.plot([column + 0.5] * 2, [row - 0.5, row + 0.5], color=BLUE, lw=1.5, ls="-")
    return figure


@styled
def deviations(
    maps: Sequence[np.ndarray], captions: Sequence[str], finding: str = "", least: float = 1e-8
) -> Figure:
    """How far each token is from the middle one, on one logarithmic scale for all panels.

    Tokens that do not differ from the middle one are left white and crossed out.

    Args:
        maps: `(H, W)` each, as `analysis.position.deviation` gives them.
        captions: what stands above each panel.
        finding: the title.
        least: where the scale begins; smaller values are drawn as this one.

    Raises:
        ValueError: an array of the wrong rank, a negative number, or not one caption for each.
    """
    _check_maps(maps, captions)
    if any((values < 0).any() for values in maps):
        raise ValueError("a deviation is a distance: give numbers of at least 0.")
    figure, axes = _panels(maps, captions, finding)
    scale = LogNorm(least, max(1.0, *(values.max() for values in maps)))
    for ax, values in zip(axes, maps, strict=True):
        shown = np.ma.masked_where(values == 0, np.maximum(values, least))
        image = ax.imshow(shown, norm=scale)
        row, column = np.nonzero(values == 0)
        size = 60 / max(values.shape)
        ax.plot(column, row, "x", color=GREY, markersize=size, markeredgewidth=size / 6)
    figure.colorbar(image, ax=axes, shrink=0.8, label="distance from the middle token")
    return figure


@styled
def compared_maps(
    maps: Mapping[str, np.ndarray], what: str, finding: str = "", most: float | None = None
) -> Figure:
    """A number for each place, 0 or more, a panel for each name, all on one scale.

    Args:
        maps: name → `(H, W)`.
        what: the numbers are, with their unit.
        finding: the title.
        most: where the scale ends; at the largest number if left out.

    Raises:
        ValueError: an array of the wrong rank.
    """
    shown = list(maps.values())
    _check_maps(shown, list(maps))
    figure, axes = _panels(shown, list(maps), finding)
    top = most or max(float(values.max()) for values in shown)
    for ax, values in zip(axes, shown, strict=True):
        image = ax.imshow(values, vmin=0, vmax=top)
    figure.colorbar(image, ax=axes, shrink=0.8, label=what)
    return figure


@styled
def probed_places(
    believed: Sequence[np.ndarray], captions: Sequence[str], finding: str = ""
) -> Figure:
    """Where a probe places every token: a dot for each, and a ring at the token's place in the map.

    Neighbours are joined, so a probe that is always right draws a square grid. The picture's
    outline stands around it.

    Args:
        believed: `(H, W, 2)` each, the rows and columns that it predicts, on a scale of 0 to 1.
        captions: what stands above each panel.
        finding: the title.

    Raises:
        ValueError: an array of another shape, or another number of captions.
    """
    _check_maps([places[..., 0] for places in believed], captions)
    if any(places.shape[-1] != 2 for places in believed):
        raise ValueError(f"shapes {[places.shape for places in believed]}: give (H, W, 2) arrays.")
    figure, axes = _panels([np.zeros((1, 1))] * len(believed), captions, finding)
    for ax, places in zip(axes, believed, strict=True):
        rows, columns = places[..., 0], places[..., 1]
        for x, y in ((columns, rows), (columns.T, rows.T)):
            ax.plot(x, y, color=GREY, lw=0.6, ls="-")
        ax.plot(columns.ravel(), rows.ravel(), "o", color=BLUE, markersize=2.5)
        down, right = ((np.indices(rows.shape).T + 0.5) / rows.shape).T  # the middles of the cells
        size = 40 / (len(rows) + 4)
        (rings,) = ax.plot(right.ravel(), down.ravel(), "o", markersize=size, zorder=1)
        rings.set(markerfacecolor="none", markeredgecolor=ORANGE, markeredgewidth=size / 12)
        ax.set(xlim=(-0.15, 1.15), ylim=(1.15, -0.15), aspect="equal", xlabel="column")
        ax.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color=ORANGE, lw=1, ls="-")
        ax.set_xticks([0, 1], ["left", "right"])
        ax.tick_params(length=2, labelsize=8)
    axes[0].set_yticks([0, 1], ["top", "bottom"])
    axes[0].set_ylabel("row")
    axes[0].text(0.5, 0.02, "outline of the picture", ha="center", va="top", size=7, color=BROWN)
    return figure


def _panels(
    maps: Sequence[np.ndarray], captions: Sequence[str], finding: str
) -> tuple[Figure, list[Axes]]:
    """A row of square-celled panels without axes, and the figure that holds them."""
    shapes = [values.shape[1] / values.shape[0] for values in maps]
    side = WIDTH / max(sum(shapes), 3)  # inches: a map alone takes a third of the page
    figure = new_figure(side + 0.6, finding, side * sum(shapes))
    axes = figure.subplots(1, len(maps), squeeze=False, width_ratios=shapes)[0]
    for ax, caption in zip(axes, captions, strict=True):
        ax.set(xticks=[], yticks=[])
        ax.set_title(caption, fontsize=9)
        ax.spines[:].set(visible=True, color=INK, linewidth=0.5)
    return figure, list(axes)


def _check_maps(maps: Sequence[np.ndarray], captions: Sequence[str]) -> None:
    """Refuse anything but a row of `(H, W)` arrays with a caption for each."""
    if not len(maps) or len(maps) != len(captions) or any(values.ndim != 2 for values in maps):
        raise ValueError(
            f"maps of shapes {[values.shape for values in maps]} and {len(captions)} captions: "
            f"give (H, W) arrays, and a caption for each."
        )


@styled
def receptive_fields(
    rows: Mapping[str, Sequence[np.ndarray]],
    captions: Mapping[str, Sequence[str]],
    finding: str = "",
    zoom: Sequence[int] = (),
) -> Figure:
    """Receptive fields, a row for each network and a column for each stage.

    Colours are logarithmic, each panel's own: from a ten-thousandth of its strongest pixel up.

    Args:
        rows: name → one `(H, W)` array per stage.
        captions: name → what stands above each panel of its row.
        finding: the title.
        zoom: for the first columns the side, in pixels, of the middle that is drawn once more, as
            over two fifths of the panel's width, in its upper left corner.

    Raises:
        ValueError: rows of different lengths, or captions that do not fit.
    """
    columns = {len(fields) for fields in rows.values()}
    lengths = {name: len(texts) for name, texts in captions.items()}
    if len(columns) != 1 or lengths != {name: len(fields) for name, fields in rows.items()}:
        raise ValueError("give every row as many fields as the others, and a caption for each.")
    (count,) = columns
    side = (WIDTH - 1) / count
    figure = new_figure(len(rows) * (side + 0.2) + 0.4, finding)
    axes = figure.subplots(len(rows), count, squeeze=False)
    for row, (name, fields) in zip(axes, rows.items(), strict=True):
        for ax, field, caption in zip(row, fields, captions[name], strict=True):
            _draw_field(ax, field)
            ax.set_title(caption, fontsize=8, loc="center")
        for ax, field, side in zip(row, fields, zoom, strict=False):
            _magnify_middle(ax, field, side)
        row[0].set_ylabel(name, fontsize=9)
    return figure


def _draw_field(ax: Axes, field: np.ndarray) -> None:
    strongest = float(field.max())
    shown = np.clip(field, FAINTEST * strongest, None)
    ax.imshow(shown, norm=LogNorm(FAINTEST * strongest, strongest))
    ax.set(xticks=[], yticks=[])


def _magnify_middle(ax: Axes, field: np.ndarray, side: int) -> None:
    """Draw the middle of a field once more in the panel's corner, with lines that lead to it."""
    height, width = field.shape
    inset = ax.inset_axes((0.0, 0.6, 0.4, 0.4))
    _draw_field(inset, field)
    left, top = (width - side) / 2 - 0.5, (height - side) / 2 - 0.5
    inset.set(xlim=(left, left + side), ylim=(top + side, top))
    inset.spines[:].set(visible=True, color=PAPER)
    ax.indicate_inset_zoom(inset, edgecolor=PAPER, alpha=1)


@styled
def feature_maps(maps: Sequence[np.ndarray], finding: str = "", channels: int = 5) -> Figure:
    """The channels of each stage that vary most, one row per stage.

    Each channel is drawn on its own scale, from its least value to its greatest.

    Args:
        maps: for each stage a `(C, H, W)` array, the finest first.
        finding: the title.
        channels: how many channels to draw, those that vary most over the picture.

    Raises:
        ValueError: arrays of other shapes, or no maps.
    """
    check_stages(maps)
    height, width = maps[0].shape[1:]
    cell = 1.25 * height / width  # inches
    figure = new_figure(len(maps) * (cell + 0.2) + 0.35 * bool(finding), finding)
    axes = figure.subplots(len(maps), channels + 1, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for stage, (row, stage_map) in enumerate(zip(axes, maps, strict=True), start=1):
        count, rows, columns = stage_map.shape
        row[0].text(
            1,
            0.5,
            f"stage {stage}\n{rows} × {columns} tokens\n{count} channels",
            ha="right",
            va="center",
            transform=row[0].transAxes,
            linespacing=1.6,
        )
        for ax, channel in zip(row[1:], liveliest(stage_map, channels), strict=False):
            ax.imshow(stage_map[channel])
            ax.set_title(f"channel {channel}", fontsize=7, color=GREY, pad=2)
    return figure


@styled
def maps_beside(
    photo: np.ndarray, maps: Sequence[np.ndarray], finding: str = "", channels: int = 4
) -> Figure:
    """The channels of each stage that vary most, one row per stage, beside the picture.

    Each channel is drawn on its own scale, from its least value to its greatest.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: for each stage a `(C, h, w)` array, the finest first.
        finding: the title.
        channels: how many channels to draw, those that vary most over the picture.

    Raises:
        ValueError: arrays of other shapes, or no maps.
    """
    check_photo(photo)
    check_stages(maps)
    cell = WIDTH / (channels + 1.2) * photo.shape[0] / photo.shape[1]  # inches
    figure = new_figure(len(maps) * (cell + 0.2) + 0.3, finding)
    axes = figure.subplots(len(maps), channels + 1)
    for ax in axes[:, 0]:
        ax.axis("off")
    axes[0, 0].imshow(photo, interpolation="antialiased")
    axes[0, 0].set_title("picture")
    scale = axes[1, 0].inset_axes((0.05, 0.6, 0.9, 0.1))
    scale.imshow(np.linspace(0, 1, 256)[None], extent=(0, 1, 0, 1), aspect="auto")
    scale.set_xticks((0, 1), ("least", "greatest"))
    scale.set(yticks=[], title="in its channel")
    for stage, (row, stage_map) in enumerate(zip(axes[:, 1:], maps, strict=True), start=1):
        row[0].set_ylabel("stage {}: {} × {}".format(stage, *stage_map.shape[1:]))
        for ax, channel in zip(row, liveliest(stage_map, channels), strict=True):
            ax.imshow(stage_map[channel])
            ax.set(xticks=[], yticks=[], title=f"channel {channel}")
    return figure


def liveliest(stage_map: np.ndarray, count: int) -> np.ndarray:
    """The channels that vary most over the picture, in their own order."""
    spread = stage_map.std(axis=(1, 2))
    return np.sort(np.argsort(-spread, kind="stable")[:count])


@styled
def attention_rows(
    photo: np.ndarray,
    maps: np.ndarray,
    queries: Sequence[tuple[int, int]],
    names: Sequence[str],
    finding: str = "",
) -> Figure:
    """Rows of an attention matrix, each laid out as a map, beside the photograph.

    Each map is drawn on its own scale, from its least weight to its greatest; a frame marks the
    query's own token.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: `(n, h, w)`, the weights of one query over all keys, n times.
        queries: for each map the row and column of its query.
        names: for each map what to write above it.
        finding: the title.

    Raises:
        ValueError: arrays of other shapes, or numbers that differ.
    """
    check_photo(photo)
    if maps.ndim != 3 or not len(maps) == len(queries) == len(names):
        raise ValueError(
            f"maps of shape {maps.shape}, {len(queries)} queries, {len(names)} names: give an "
            f"(n, h, w) array and as many queries and names as maps."
        )
    figure, first, others = _beside_photo(photo, len(maps), finding)
    extent = (0, maps.shape[2], maps.shape[1], 0)
    first.imshow(photo, extent=extent)
    first.set_title("photograph")
    for number, (ax, weights, (row, column), name) in enumerate(
        zip(others, maps, queries, names, strict=True)
    ):
        ax.imshow(weights, extent=extent)
        ax.set_title(name)
        for panel in (first, ax):
            frame(panel, (column - 0.5, row - 0.5, 2, 2), SKY_BLUE, widths=(3, 1.5))
        if queries.index((row, column)) == number:  # a query named once, however many maps it has
            first.annotate(
                name if len(set(queries)) > 1 else "query",
                (column + 1.5, row - 0.5),
                color="white",
                fontsize=8,
                weight="bold",
                bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.5, "linewidth": 0},
            )
    return figure


@styled
def attention_over_keys(
    photo: np.ndarray,
    maps: Sequence[np.ndarray],
    query: tuple[float, float],
    captions: Sequence[str],
    finding: str = "",
) -> Figure:
    """The attention of one query over keys of different sizes, beside the photograph.

    Each map is drawn on its own scale, from its least weight to its greatest.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: `(h, w)` each, a weight for each key.
        query: where it stands, in fractions of the height and of the width.
        captions: one for each map.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type, or another number of captions.
    """
    check_photo(photo)
    if len(maps) != len(captions) or any(weights.ndim != 2 for weights in maps):
        raise ValueError(
            f"maps of shapes {[weights.shape for weights in maps]} and {len(captions)} captions: "
            f"give (h, w) arrays, and a caption for each."
        )
    figure, first, others = _beside_photo(photo, len(maps), finding)
    for ax, shown, caption in zip(
        (first, *others), (photo, *maps), ("picture", *captions), strict=True
    ):
        ax.imshow(shown, extent=(0, 1, 1, 0), aspect=photo.shape[0] / photo.shape[1])
        ax.set_title(caption, fontsize=9)
        for color, size in ((PAPER, 5), (BLUE, 3)):  # smaller than a key, which it must not hide
            ax.plot(query[1], query[0], "o", color=color, ms=size, mew=0)
    return figure


@styled
def importance_maps(
    photo: np.ndarray,
    maps: Mapping[str, np.ndarray],
    place: tuple[float, float],
    finding: str = "",
    columns: int = 4,
) -> Figure:
    """Maps of what mattered for one place, after the picture; a dot marks the place.

    Each map is drawn on its own scale. A map that has numbers below zero is drawn for and against:
    orange, white, violet.

    Args:
        photo: `(H, W, 3)` uint8.
        maps: name → `(h, w)`.
        place: in fractions of the height and of the width.
        finding: the title.
        columns: panels in a row.

    Raises:
        ValueError: an array of another shape or type.
    """
    check_photo(photo)
    _check_maps(list(maps.values()), list(maps))
    ratio = photo.shape[0] / photo.shape[1]
    rows = -(-(len(maps) + 1) // columns)
    figure = new_figure(rows * (WIDTH / columns * ratio + 0.25) + 0.35, finding)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for ax in axes:
        ax.axis("off")
    panels = {"picture": photo, **maps}
    for ax, (name, shown) in zip(figure.axes, panels.items(), strict=False):
        limit = np.abs(shown).max()
        signed = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit} if shown.min() < 0 else {}
        ax.imshow(shown, extent=(0, 1, 1, 0), aspect=ratio, **signed)
        ax.set_title(name, fontsize=9)
        for color, size in ((PAPER, 6), (BLUE, 4)):
            ax.plot(place[1], place[0], "o", color=color, ms=size, mew=0)
    return figure


@styled
def attention_grid(
    pictures: Sequence[np.ndarray],
    maps: Sequence[Sequence[np.ndarray]],
    queries: Sequence[tuple[float, float]],
    captions: Sequence[str],
    finding: str = "",
) -> Figure:
    """A row for each picture: the picture, and what one query of it attends to in several maps, all
    on one scale from 0 to 1.

    Args:
        pictures: `(H, W, 3)` uint8 each.
        maps: for each picture an `(h, w)` array of weights for each caption.
        queries: for each picture where the query stands, in fractions of the height and width.
        captions: what stands above each column of maps.
        finding: the title.

    Raises:
        ValueError: an array of another shape or type, or numbers that differ.
    """
    for picture, row in zip(pictures, maps, strict=True):
        check_photo(picture)
        _check_maps(row, captions)
    columns = len(captions) + 1
    cell = WIDTH / columns * pictures[0].shape[0] / pictures[0].shape[1]  # inches
    figure = new_figure(len(pictures) * 0.9 * cell + 0.7, finding)
    axes = figure.subplots(len(pictures), columns, squeeze=False)
    for row, picture, weights, query in zip(axes, pictures, maps, queries, strict=True):
        for ax, shown in zip(row, (picture, *weights), strict=True):
            scale = {"extent": (0, 1, 1, 0), "aspect": picture.shape[0] / picture.shape[1]}
            image = ax.imshow(shown, vmin=0, vmax=1, **scale)
            ax.set(xticks=[], yticks=[])
            for color, size in ((PAPER, 6), (BLUE, 4)):
                ax.plot(query[1], query[0], "o", color=color, ms=size, mew=0)
    for ax, caption in zip(axes[0], ("the picture", *captions), strict=True):
        ax.set_title(caption, fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.9, aspect=12, label="weight")
    return figure


@styled
def contribution_maps(
    photo: np.ndarray, parts: np.ndarray, captions: Sequence[str], finding: str = ""
) -> Figure:
    """What each stage adds to the lead of one class, everywhere, after the photograph.

    The lead is the class's logit less the mean of all. Three panels stand in a row. All maps share
    one scale: orange counts for the class, violet against it, white for neither.

    Args:
        photo: `(H, W, 3)` uint8.
        parts: `(n, h, w)`, n summands.
        captions: one for each.
        finding: the title.

    Raises:
        ValueError: arrays of other shapes, or another number of captions.
    """
    check_photo(photo)
    if parts.ndim != 3 or len(parts) != len(captions):
        raise ValueError(f"parts of shape {parts.shape} and {len(captions)} captions: give (n, …).")
    rows = -(-(len(parts) + 1) // 3)
    panel = (WIDTH - 1) / 3 * photo.shape[0] / photo.shape[1]  # inches it is high
    figure = new_figure(rows * (panel + 0.3) + 0.4, finding)
    first, *others = figure.subplots(rows, 3, squeeze=False).flat
    for ax in (first, *others):
        ax.axis("off")
    first.imshow(photo, interpolation="antialiased")
    first.set_title("scene", fontsize=9)
    limit = np.abs(parts).max()
    for ax, part, caption in zip(others, parts, captions, strict=False):
        image = ax.imshow(part, cmap=DIVERGING, vmin=-limit, vmax=limit)
        ax.set_title(caption, fontsize=9)
    figure.colorbar(image, ax=[first, *others], fraction=0.04, label="added to the lead")
    return figure


def signed_colors(values: np.ndarray, limit: float) -> np.ndarray:
    """Numbers as colours, −limit violet, 0 white, limit orange: `(H, W)` → `(H, W, 3)` uint8."""
    return matplotlib.colormaps[DIVERGING](0.5 + values / (2 * limit), bytes=True)[..., :3]


def _beside_photo(photo: np.ndarray, count: int, finding: str) -> tuple[Figure, Axes, list[Axes]]:
    """A row of panels: one for the photograph, and `count` for its maps."""
    side = WIDTH / (count + 1)
    figure = new_figure(side * photo.shape[0] / photo.shape[1] + 0.6, finding)
    first, *others = figure.subplots(1, count + 1)
    for ax in (first, *others):
        ax.axis("off")
    return figure, first, others
