"""What holds for every widget of the package, in every state."""

import dataclasses
import itertools
import math
import random
import re
import statistics
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest

from segformer_edu.extras import install_command
from segformer_edu.widgets.explorer import Choices, Explorer
from segformer_edu.widgets.picture import WIDTH, Text, _font

WIDGETS = Explorer.__subclasses__()
MOST_STATES = 3000
TEXT = re.compile(r"<text[^>]*>([^<]*)</text>")


def states(first: Choices) -> Iterator[Choices]:
    """The whole grid, or of a large one: every value of every slider at the first state, and a
    sample.
    """
    fields = dataclasses.fields(first)
    values = {field.name: field.metadata["values"] for field in fields}
    if math.prod(map(len, values.values())) <= MOST_STATES:
        for combination in itertools.product(*values.values()):
            yield type(first)(*combination)
        return
    for name, each in itertools.chain.from_iterable(
        itertools.product([name], values[name]) for name in values
    ):
        yield dataclasses.replace(first, **{name: each})
    chance = random.Random(0)
    for _ in range(MOST_STATES):
        yield type(first)(*(chance.choice(each) for each in values.values()))


@pytest.mark.parametrize("widget", WIDGETS)
def test_every_state_has_a_picture_with_words_and_numbers(widget: type[Explorer]) -> None:
    impossible = total = 0
    for state in states(widget.first):
        picture = widget.picture_of(state)
        root = ElementTree.fromstring(picture.svg())  # well-formed, whatever its texts hold
        assert root.get("role") == "img"
        words = {child.tag.rpartition("}")[2]: child.text for child in root[:2]}
        assert words == {"title": picture.title, "desc": picture.description}
        assert len(picture.title) > 10 and len(picture.description) > 20, state
        assert len({len(row) for row in picture.table}) <= 1, state
        impossible += not picture.table
        total += 1
    assert total > 20
    assert impossible < total / 2  # the sliders are there to be moved


@pytest.mark.parametrize("widget", WIDGETS)
def test_the_same_state_gives_the_same_picture(widget: type[Explorer]) -> None:
    first = [widget.render(state) for state in itertools.islice(states(widget.first), 30)]
    again = [widget.render(state) for state in itertools.islice(states(widget.first), 30)]
    assert first == again


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_picture_takes_milliseconds(widget: type[Explorer]) -> None:
    some = list(itertools.islice(states(widget.first), 40))
    for state in some:
        widget.render(state)  # what is computed once is computed now
    times = []
    for state in 3 * some:
        start = time.perf_counter()
        widget.render(state)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.010


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_notebook_stores_the_first_picture_and_its_words(widget: type[Explorer]) -> None:
    data, metadata = widget()._repr_mimebundle_()
    alt = widget.picture_of(widget.first).alt
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == alt == metadata["image/png"]["alt"]
    assert data["image/png"].startswith("iVBORw0KGgo")  # base64 of a PNG's first bytes
    assert len(data["image/png"]) < 250_000  # a lesson has a megabyte for all it shows


@pytest.mark.parametrize("widget", WIDGETS)
def test_every_slider_changes_picture_and_words(widget: type[Explorer]) -> None:
    explorer = widget()
    for name, slider in explorer.sliders.items():
        before, index = explorer.picture.value, slider.index
        slider.index = index + 1 if index + 1 < len(slider.options) else index - 1
        assert getattr(explorer.state, name) == slider.value
        assert explorer.picture.value != before, name
        assert explorer.picture_of(explorer.state).html() in explorer.picture.value
        slider.index = index
        assert explorer.picture.value == before, name


@pytest.mark.parametrize("widget", WIDGETS)
def test_texts_stay_inside_the_picture(widget: type[Explorer]) -> None:
    for state in itertools.islice(states(widget.first), 200):
        for text in widget.picture_of(state).shapes:
            if isinstance(text, Text):
                length = _font(text.bold, 100).getlength(text.text) * text.size / 100
                left = text.x - {"start": 0, "middle": length / 2, "end": length}[text.anchor]
                assert left >= 0 and left + length <= WIDTH, text


def test_an_impossible_state_shows_a_sentence() -> None:
    @dataclasses.dataclass(frozen=True)
    class Nothing(Choices):
        pass

    def refuse(state: Nothing) -> None:
        raise ValueError("r < 1 leaves no key. Choose another r.")

    refusing = type("Refusing", (), {"draw": staticmethod(refuse)})  # no subclass, or it is tested
    svg = Explorer.picture_of.__func__(refusing, Nothing()).svg()
    assert TEXT.findall(svg) == ["r &lt; 1 leaves no key. Choose another r."]


def test_a_state_holds_only_what_its_sliders_have() -> None:
    for widget in WIDGETS:
        name = dataclasses.fields(widget.first)[0].name
        with pytest.raises(ValueError, match=rf"{name} = -7: choose one of"):
            dataclasses.replace(widget.first, **{name: -7})


def test_without_the_lab_extra_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['ipywidgets'] = None; import segformer_edu.widgets"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert run.returncode == 1
    assert f"The widgets need ipywidgets, which is not installed: run {install_command('lab')}" in (
        run.stderr
    )
