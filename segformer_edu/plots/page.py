"""Pages of HTML in one file: light and dark, from 360 pixels wide, without script or network."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from segformer_edu.plots.labels import overlay
from segformer_edu.plots.show import check_alt, png
from segformer_edu.plots.style import class_colors

Element = ElementTree.Element
Node = Element | str

SHARP = 2  # dots of a picture for each pixel of the page, as most screens have them
SIDE = 480  # pixels that a photograph keeps on its longer side
TINT = 0.45  # opacity of labels over a photograph, which has to be seen through them
STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --paper: #ffffff; --soft: #5a6673;
  --panel: #f3f5f7; --line: #c5ccd3; --mark: #9cc9e6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --paper: #14191e; --soft: #a5b0bb;
  --panel: #1f262d; --line: #46525d; --mark: #1f5478; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
h1, h2, p, li, figcaption { overflow-wrap: anywhere; }
td, th { overflow-wrap: break-word; }
p, ul { max-width: 45rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; }
pre { margin: .4rem 0; padding: .8rem 1rem; background: var(--panel); border-radius: 6px; }
pre code { display: block; white-space: pre-wrap; overflow-wrap: anywhere;
  padding-left: 1.5rem; text-indent: -1.5rem; }
.flag { white-space: nowrap; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 45rem; }
th, td { padding: .3rem .7rem; text-align: left; border-top: 1px solid var(--line); }
th { font-weight: 600; } thead th { border-top: 0; vertical-align: bottom; }
td { min-width: 3rem; }
td.number, td.share, td.shade { white-space: nowrap; }
td.share { background: linear-gradient(var(--mark), var(--mark)) 0 / calc(var(--part) * 100%) 100%
  no-repeat; min-width: 8rem; }
td.shade { background: color-mix(in srgb, var(--mark) calc(var(--part) * 100%), transparent); }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
.sheet { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)); }
.sheet.threes { grid-template-columns: repeat(3, 1fr); gap: .6rem; max-width: 60rem; }
.sheet figure { margin: 0; } .sheet img { width: 100%; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none;
  max-width: none; }
.swatch { display: inline-block; width: 1em; height: 1em; margin-right: .5em; vertical-align: -.1em;
  border: 1px solid var(--soft); border-radius: 3px; }
"""


def html_page(title: str, *body: Node) -> bytes:
    """A page with a title and what stands below it, as the bytes of one file in UTF-8."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", STYLE),
    )
    main = element("main", element("h1", title), *body)
    page = element("html", head, element("body", main), lang="en")
    text = ElementTree.tostring(page, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n".encode(errors="backslashreplace")  # names may be no text


def element(tag: str, *children: Node, **attributes: str) -> Element:
    """An element of HTML with text and elements in it. Attributes are written as `aria_label`, and
    `class_` where Python has the word for itself.
    """
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    made = Element(tag, {names[name]: value for name, value in attributes.items()})
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def section(heading: str, *body: Node) -> Element:
    """A heading, and what stands below it; bare text becomes a paragraph."""
    parts = [element("p", each) if isinstance(each, str) else each for each in body]
    return element("section", element("h2", heading), *parts)


def listing(items: Iterable[Node]) -> Element:
    """A list with a point for each item."""
    return element("ul", *(element("li", item) for item in items))


def wide(content: Element, label: str) -> Element:
    """What may be wider than the page: it scrolls, also by the keyboard."""
    return element("div", content, class_="wide", role="region", tabindex="0", aria_label=label)


def commands(lines: Iterable[str]) -> Element:
    """What to type, ready to be copied."""

    def words(line: str) -> Iterator[Node]:
        for word in re.split("( )", line):
            yield element("span", word, class_="flag") if word.startswith("-") else word

    return element("pre", *(element("code", *words(line)) for line in lines))


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Node | float]],
    shares: Sequence[int] = (),
    shade: bool = False,
) -> Element:
    """A table whose first column names the rows.

    Args:
        caption: what the table says.
        columns: their headings.
        rows: words, elements, or numbers. Numbers stand as they are, shares as percentages.
        shares: the columns that are shares, 0 … 1, or nan for none.
        shade: shares colour their cells; if False, they are bars in them.
    """

    def cell(column: int, value: Node | float) -> Element:
        if not column:
            return element("th", value if isinstance(value, Element) else str(value), scope="row")
        if column in shares and not isinstance(value, str | Element):
            if np.isnan(value):
                return element("td", "–")
            part = {"style": f"--part: {value:.4f}", "class": "shade" if shade else "share"}
            return element("td", percent(value), **part)
        if isinstance(value, str | Element):
            return element("td", value)
        return element("td", f"{value:,}", class_="number")

    head = element("tr", *(element("th", name, scope="col") for name in columns))
    body = [element("tr", *(cell(*each) for each in enumerate(row))) for row in rows]
    made = element("table", element("thead", head), element("tbody", *body))
    return element("figure", element("figcaption", caption), wide(made, caption))


def percent(share: float) -> str:
    """A share in percent, with a digit that shows how little it is.

    >>> percent(0.5), percent(0.00213), percent(0.0000002), percent(0.0)
    ('50.0 %', '0.2 %', '< 0.1 %', '0 %')
    """
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{share:.1%}".replace("%", " %") if share else "0 %"


def picture(
    image: Figure | Image.Image, alt: str, caption: Node = "", narrow: Figure | None = None
) -> Element:
    """A picture with words for those who cannot see it.

    Args:
        image: a figure, which becomes a PNG, or a photograph, which becomes a JPEG.
        alt: what a reader who cannot see it would miss.
        caption: what to see in it.
        narrow: the same figure for a telephone.

    Raises:
        ValueError: an alt text with no words in it.
    """
    check_alt(alt)
    shown = element("img", src=address(image), alt=alt)
    if isinstance(image, Figure):
        shown.set("style", f"width: {100 * image.get_figwidth():.0f}px")
    if narrow:
        source = element("source", srcset=address(narrow), media="(max-width: 40rem)")
        shown = element("picture", source, shown)
    return element("figure", shown, *([element("figcaption", caption)] if caption else []))


def address(image: Figure | Image.Image) -> str:
    """The picture itself, as an address that needs no file."""
    if isinstance(image, Figure):
        kind, data = "png", png(image, dpi=100 * SHARP)
    else:
        file = io.BytesIO()
        image.save(file, "jpeg", quality=88)
        kind, data = "jpeg", file.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def sheet(figures: Iterable[Element], threes: bool = False) -> Element:
    """Pictures side by side, as many as the page is wide, or three."""
    return element("div", *figures, class_="sheet threes" if threes else "sheet")


def legend(names: Sequence[str], notes: Mapping[int, str] | None = None) -> Element:
    """The colours of classes 0, 1, 2, …: those with a note, or all."""
    colors = class_colors(len(names))
    shown = range(len(names)) if notes is None else notes
    entries = [
        element(
            "li",
            element("span", class_="swatch", style=f"background: rgb{tuple(map(int, colors[n]))}"),
            f"{n} {names[n]}{f', {notes[n]}' if notes and notes[n] else ''}",
        )
        for n in shown
    ]
    return element("ul", *entries, class_="legend")


def labelled(photo: np.ndarray, labels: np.ndarray, side: int = SIDE) -> Image.Image:
    """A photograph, no larger than a page needs it, tinted by its labels.

    Shape: `(H, W, 3)` uint8, `(H, W)` integers → at most `side` pixels a side.
    """
    small = shrunk(photo, side)
    nearest = Image.fromarray(labels.astype(np.uint8)).resize(small.size, Image.Resampling.NEAREST)
    return Image.fromarray(overlay(np.asarray(small), np.asarray(nearest), TINT))


def shrunk(photo: np.ndarray, side: int = SIDE) -> Image.Image:
    """A photograph of at most `side` pixels a side."""
    small = Image.fromarray(photo)
    small.thumbnail((side, side))
    return small
