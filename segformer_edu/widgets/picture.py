"""A picture as a short list of shapes, written once and drawn twice: as SVG for a live widget, as
PNG for wherever no kernel runs.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segformer_edu.plots.style import INK, PAPER

WIDTH = 840  # units of every picture; a notebook's column shows them as pixels, or fewer
# Pixels for each unit that a PNG is painted with, and how many of them become one: smooth edges.
PNG_SCALE, SMOOTHING = 3, 2
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
# For screen readers only: the picture shows the same to the eye.
UNSEEN = (
    "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
)

Segment = tuple[float, float, float, float]  # x and y of one end, x and y of the other


class Shape(Protocol):
    def svg(self) -> str: ...
    def paint(self, canvas: Canvas) -> None: ...


class Canvas:
    """An image to paint on, in the units of the picture."""

    def __init__(self, width: float, height: float, scale: float) -> None:
        self.scale = scale
        self.image = Image.new("RGB", (round(width * scale), round(height * scale)), PAPER)
        self.draw = ImageDraw.Draw(self.image, "RGBA")

    def pixels(self, *lengths: float) -> tuple[float, ...]:
        return tuple(length * self.scale for length in lengths)


@dataclass(frozen=True)
class Rectangle:
    x: float
    y: float
    width: float
    height: float
    fill: str = "none"
    stroke: str = "none"
    thickness: float = 1

    def svg(self) -> str:
        return (
            f'<rect x="{self.x:.5g}" y="{self.y:.5g}" width="{self.width:.5g}" '
            f'height="{self.height:.5g}" fill="{self.fill}" stroke="{self.stroke}" '
            f'stroke-width="{self.thickness:.3g}"/>'
        )

    def paint(self, canvas: Canvas) -> None:
        right, bottom = self.x + self.width, self.y + self.height
        if self.fill != "none":
            canvas.draw.rectangle(canvas.pixels(self.x, self.y, right, bottom), self.fill)
        if self.stroke != "none":  # Pillow draws the frame inside its box, SVG on the box's edge
            out = self.thickness / 2
            box = canvas.pixels(self.x - out, self.y - out, right + out, bottom + out)
            thickness = max(1, round(self.thickness * canvas.scale))
            canvas.draw.rectangle(box, None, self.stroke, thickness)


@dataclass(frozen=True)
class Lines:
    """Straight segments of one colour."""

    segments: Sequence[Segment]
    stroke: str = INK
    thickness: float = 1

    def svg(self) -> str:
        path = "".join(f"M{a:.5g} {b:.5g}L{c:.5g} {d:.5g}" for a, b, c, d in self.segments)
        return f'<path d="{path}" stroke="{self.stroke}" stroke-width="{self.thickness:.3g}"/>'

    def paint(self, canvas: Canvas) -> None:
        for segment in self.segments:
            thickness = max(1, round(self.thickness * canvas.scale))
            canvas.draw.line(canvas.pixels(*segment), self.stroke, thickness)


@dataclass(frozen=True)
class Text:
    """One line of text; `anchor` says which of its ends stands at x: start, middle or end. A halo,
    in the picture's units, keeps it readable on lines.
    """

    x: float
    y: float
    text: str
    size: float = 12
    bold: bool = False
    anchor: str = "start"
    fill: str = INK
    halo: float = 0

    def svg(self) -> str:
        weight = ' font-weight="bold"' if self.bold else ""
        halo = f' stroke="{PAPER}" stroke-width="{2 * self.halo:.3g}" paint-order="stroke"'
        return (
            f'<text x="{self.x:.5g}" y="{self.y:.5g}" font-size="{self.size:.3g}"{weight} '
            f'text-anchor="{self.anchor}" fill="{self.fill}"{halo if self.halo else ""}>'
            f"{escape(self.text)}</text>"
        )

    def paint(self, canvas: Canvas) -> None:
        font = _font(self.bold, self.size * canvas.scale)
        where = {"start": "ls", "middle": "ms", "end": "rs"}[self.anchor]
        x, y = canvas.pixels(self.x, self.y)
        halo = round(self.halo * canvas.scale)
        canvas.draw.text(
            (x, y), self.text, self.fill, font, where, stroke_width=halo, stroke_fill=PAPER
        )


@dataclass(frozen=True)
class Raster:
    """An image file, from one of the functions below, stretched over a rectangle; cells of a `map_`
    keep their edges. What lies below shows through where the opacity is under 1.
    """

    x: float
    y: float
    width: float
    height: float
    file: bytes = field(repr=False)
    map_: bool = False
    opacity: float = 1

    def svg(self) -> str:
        kind = "png" if self.file.startswith(b"\x89PNG") else "jpeg"
        look = ' style="image-rendering:pixelated"' if self.map_ else ""
        look += f' opacity="{self.opacity:.3g}"' if self.opacity < 1 else ""
        return (
            f'<image x="{self.x:.5g}" y="{self.y:.5g}" width="{self.width:.5g}" '
            f'height="{self.height:.5g}" preserveAspectRatio="none" decoding="sync"{look} '
            f'href="data:image/{kind};base64,{base64.b64encode(self.file).decode()}"/>'
        )

    def paint(self, canvas: Canvas) -> None:
        left, top, width, height = map(
            round, canvas.pixels(self.x, self.y, self.width, self.height)
        )
        how = Image.Resampling.NEAREST if self.map_ else Image.Resampling.LANCZOS
        with Image.open(io.BytesIO(self.file)) as file:
            image = file.convert("RGB").resize((width, height), how)
        mask = Image.new("L", image.size, round(255 * self.opacity))
        canvas.image.paste(image, (left, top), mask)


@dataclass(frozen=True)
class Picture:
    """Shapes, and the words and numbers that say the same.

    Args:
        height: in units, of which every picture is `WIDTH` wide.
        shapes: from the bottom to the top.
        title: the finding, in one short sentence.
        description: what a reader who cannot see the picture would miss.
        table: the numbers in it, row by row, the first row naming the columns.
    """

    height: float
    shapes: Sequence[Shape]
    title: str
    description: str
    table: Sequence[Sequence[str]] = ()

    @property
    def alt(self) -> str:
        return f"{self.title} {self.description}"

    def svg(self) -> str:
        """The picture for a browser, with its title and description inside."""
        shapes = "".join(shape.svg() for shape in self.shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} '
            f'{self.height:.5g}" style="max-width:{WIDTH}px;width:100%;display:block" '
            f'font-family="DejaVu Sans,Verdana,sans-serif"><title>{escape(self.title)}</title>'
            f"<desc>{escape(self.description)}</desc>"
            f'<rect width="100%" height="100%" fill="{PAPER}"/>{shapes}</svg>'
        )

    def html(self) -> str:
        """The SVG; for screen readers, the alt text as it changes, and the table."""
        return (
            f'<div style="position:relative">{self.svg()}<div style="{UNSEEN}">'
            f'<p role="status">{escape(self.alt)}</p>{"".join(self._table_html())}</div></div>'
        )

    def _table_html(self) -> Iterator[str]:
        if not self.table:
            return
        names, *rows = ([escape(cell) for cell in row] for row in self.table)
        yield "<table><thead><tr>"
        yield from (f'<th scope="col">{name}</th>' for name in names)
        yield "</tr></thead><tbody>"
        for first, *cells in rows:
            yield f'<tr><th scope="row">{first}</th>'
            yield from (f"<td>{cell}</td>" for cell in cells)
            yield "</tr>"
        yield "</tbody></table>"

    def png(self) -> bytes:
        """The picture for where no browser draws it: a PNG of 256 colours, to keep notebooks
        small.
        """
        canvas = Canvas(WIDTH, self.height, PNG_SCALE)
        for shape in self.shapes:
            shape.paint(canvas)
        small = canvas.image.reduce(SMOOTHING)
        return _file(small.quantize(256, dither=Image.Dither.NONE), "png", optimize=True)


def sentence(text: str) -> Picture:
    """A picture of words alone, where there is nothing to draw."""
    lines = textwrap.wrap(text, 105)
    shapes: list[Shape] = [Text(16, 32 + 20 * row, line, size=14) for row, line in enumerate(lines)]
    shapes.append(Rectangle(1, 1, WIDTH - 2, 20 * len(lines) + 34, stroke=INK))
    return Picture(20 * len(lines) + 36, shapes, "Nothing to draw here.", text)


def jpeg(photo: np.ndarray) -> bytes:
    """A photograph, `(H, W, 3)` uint8, as a file for a `Raster`."""
    return _file(Image.fromarray(photo), "jpeg", quality=85)


def png(colors: np.ndarray) -> bytes:
    """Colours that must not change, `(H, W, 3)` uint8, as a file for a `Raster`."""
    return _file(Image.fromarray(colors), "png", compress_level=1)


def paletted(numbers: np.ndarray, palette: np.ndarray) -> bytes:
    """Numbers, `(h, w)` uint8, as a file for a `Raster`: each in its colour of the palette,
    `(256, 3)` uint8.
    """
    image = Image.fromarray(numbers, "P")
    image.putpalette(palette.tobytes())
    return _file(image, "png", compress_level=1)


def heat_map(values: np.ndarray, color_map: str) -> bytes:
    """A map of numbers, `(h, w)`, as a file for a `Raster`: the least in the first colour of the
    map, the greatest in its last.
    """
    low, high = values.min(), values.max()
    steps = (values - low) * (255 / (high - low if high > low else 1))
    return paletted(steps.round().astype(np.uint8), _palette(color_map))


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def frame(
    x: float,
    y: float,
    width: float,
    height: float,
    color: str,
    around: str = PAPER,
    thickness: tuple[float, float] = (4, 2),
) -> list[Shape]:
    """A frame in two colours, to be seen on any background."""
    return [
        Rectangle(x, y, width, height, stroke=stroke, thickness=each)
        for stroke, each in zip((around, color), thickness, strict=True)
    ]


def grid(x: float, y: float, rows: int, columns: int, cell: tuple[float, float]) -> list[Segment]:
    """The segments of a grid of `rows` × `columns` cells, each `cell` = (height, width)."""
    bottom, right = y + rows * cell[0], x + columns * cell[1]
    across = [(x, y + row * cell[0], right, y + row * cell[0]) for row in range(rows + 1)]
    down = [(x + col * cell[1], y, x + col * cell[1], bottom) for col in range(columns + 1)]
    return across + down


def hatch(x: float, y: float, width: float, height: float, gap: float = 6) -> list[Segment]:
    """The segments of a diagonal hatching that fills a rectangle."""
    segments = []
    for start in np.arange(gap / 2, width + height, gap):  # lines u + v = start, cut at the edges
        left, right = max(0.0, start - height), min(start, width)
        segments.append((x + left, y + start - left, x + right, y + start - right))
    return segments


@cache
def _font(bold: bool, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONTS / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"), size)


@cache
def _palette(color_map: str) -> np.ndarray:
    return matplotlib.colormaps[color_map](np.arange(256), bytes=True)[:, :3]
