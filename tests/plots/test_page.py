"""Pages of HTML: everything in one file, and every name shown as it is."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from segformer_edu.plots.page import (
    STYLE,
    commands,
    element,
    html_page,
    labelled,
    legend,
    listing,
    percent,
    picture,
    section,
    sheet,
    table,
)
from segformer_edu.plots.style import class_colors, new_figure

EVIL = "<script>alert(1)</script> & \"Käse\" '☃'"


class Reader(HTMLParser):
    """The tags of a page with their attributes, and its text, of which a command is one piece."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.in_command = [], [], False
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "code":
            self.text.append("")
            self.in_command = True

    def handle_endtag(self, tag):
        self.in_command &= tag != "code"

    def handle_data(self, data):
        if self.in_command:
            self.text[-1] += data
        else:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_a_command_breaks_no_flag_and_is_copied_whole():
    line = "python -m segformer_edu train --out 'my run' --head-lr-factor 10"
    page = html_page("Title", commands([line]))
    assert line in Reader(page).text
    flags = re.findall('<span class="flag">(.*?)</span>', page.decode())
    assert flags == ["-m", "--out", "--head-lr-factor"]
    assert ".flag { white-space: nowrap; }" in STYLE


def test_a_page_needs_no_other_file_and_runs_nothing(photo):
    figure = new_figure(2)
    body = [picture(figure, "a figure", narrow=figure), picture(Image.fromarray(photo), "a photo")]
    page = html_page("Title", section("Heading", *body))
    read = Reader(page)
    assert page.startswith(b"<!DOCTYPE html>") and read.all("html") == [{"lang": "en"}]
    assert {tag for tag, _ in read.tags} & {"script", "link", "iframe"} == set()
    held = [*(each["src"] for each in read.all("img")), *(x["srcset"] for x in read.all("source"))]
    assert len(held) == 3
    for each in held:
        kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", each).groups()
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.format.lower() == kind and min(image.size) >= 60
    assert not re.search(r"https?:|url\(|@import", page.decode())


def test_names_are_shown_as_they_are_wherever_they_stand(photo):
    image = Image.fromarray(photo)
    body = [
        section(EVIL, EVIL, listing([EVIL]), commands([EVIL]), legend([EVIL])),
        table(EVIL, [EVIL, EVIL], [(EVIL, EVIL)]),
        sheet([picture(image, EVIL, EVIL)]),
    ]
    read = Reader(html_page(EVIL, *body))
    assert sum(EVIL in each for each in read.text) == 13
    assert read.all("script") == [] and read.all("img")[0]["alt"] == EVIL
    assert [each["aria-label"] for each in read.all("div") if "role" in each] == [EVIL]


def test_a_file_name_that_is_no_text_does_not_stop_a_page():
    assert b"\\udcff.png" in html_page("a", element("p", "\udcff.png"))


def test_text_after_an_element_stays_after_it():
    page = html_page("a", element("p", "one ", element("b", "two"), " three", " four"))
    assert b"<p>one <b>two</b> three four</p>" in page


def test_a_table_draws_shares_and_leaves_out_what_is_not_known():
    rows = [("sky", 0.25, 1200), ("road", float("nan"), 3)]
    page = html_page("a", table("b", ["class", "share", "pixels"], rows, shares=(1,)))
    read = Reader(page)
    assert "sky 25.0 % 1,200 road – 3" in " ".join(read.text)
    assert read.all("td")[0] == {"style": "--part: 0.2500", "class": "share"}
    assert [each["scope"] for each in read.all("th")] == ["col"] * 3 + ["row"] * 2


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0 %"), (1e-9, "< 0.1 %"), (0.001, "0.1 %"), (1, "100.0 %")]
)
def test_a_little_is_not_nothing(share, words):
    assert percent(share) == words


def test_a_legend_has_the_colours_of_the_classes():
    page = html_page("a", legend(["sky", "road", "tree"], {2: "7 %", 0: ""})).decode()
    colors = [tuple(map(int, color)) for color in class_colors(3)]
    assert re.findall(r"rgb\([^)]*\)", page) == [f"rgb{colors[2]}", f"rgb{colors[0]}"]
    assert [each for each in Reader(page.encode()).text if each[:1].isdigit()] == [
        "2 tree, 7 %",
        "0 sky",
    ]


def test_labels_are_picked_not_mixed_where_a_photograph_is_made_smaller(photo):
    labels = np.zeros((60, 90), dtype=np.int64)
    labels[:, 44:] = 2
    small = np.asarray(labelled(np.full_like(photo, 128), labels, side=30))
    assert small.shape == (20, 30, 3)
    white = (small == 255).all(-1)
    assert len(np.unique(small[~white], axis=0)) == 2
    assert white.sum() == 20  # one line between two regions; a third class would have two


def luminance(color):
    """WCAG 2's relative luminance of `#rrggbb`."""
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    "pair", ["ink paper", "ink panel", "ink mark", "soft paper"], ids=lambda pair: pair
)
def test_letters_stand_out_from_what_is_behind_them(pair, scheme):
    """By 4.5, as WCAG asks; axe does not see behind the bars."""
    one, other = (re.findall(rf"--{name}: (#\w{{6}})", STYLE)[scheme] for name in pair.split())
    low, high = sorted(map(luminance, (one, other)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_a_picture_without_words_is_refused(photo):
    with pytest.raises(ValueError, match="alt = ' '"):
        picture(Image.fromarray(photo), " ")
