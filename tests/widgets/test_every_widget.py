"""What holds for every widget of the package, in every state."""

import dataclasses
import itertools
import math
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import comm
import numpy as np
import pytest
from torch import nn

from segformer_edu.data.photos import sample_photo
from segformer_edu.data.scenes import scene
from segformer_edu.extras import install_command
from segformer_edu.widgets.explorer import Choices, Explorer
from segformer_edu.widgets.picture import WIDTH, Text, _font, jpeg

WIDGETS = Explorer.__subclasses__()
MOST_STATES = 3000
TEXT = re.compile(r"<text[^>]*>([^<]*)</text>")
ELEMENT = re.compile("<[a-z]")
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# How long a picture takes differs between machines, and `make bench` measures it. What makes it
# slow does not differ, and is counted here. For each widget: the kilobytes and elements of its
# largest picture, a quarter more than over all its states in November 2026, and the most function
# calls for one picture, twice as many as then, because they vary with the versions of libraries.
LIMITS = {
    "Attention": (62, 216, 5_800),
    "AttentionBill": (41, 90, 1_100),
    "Branches": (44, 155, 1_700),
    "Contributions": (53, 175, 1_100),
    "Pyramid": (17, 272, 17_000),
    "Patches": (402, 89, 13_000),
    "Position": (13, 120, 2_200),
    "Roofline": (9, 115, 1_400),
    "SpatialReduction": (67, 203, 5_500),
    "StochasticDepth": (123, 399, 16_000),
    "TrainingRun": (29, 133, 2_500),
}
SLOW = (nn.Module._call_impl, scene, sample_photo, jpeg, np.load)
# What may run at the first touch of a slider: one pass of nano, for ratios that are new; two nanos,
# once, without branches that were not left out before.
AT_FIRST_TOUCH = {
    "Branches": {nn.Module._call_impl: 290},
    "SpatialReduction": {nn.Module._call_impl: 180},
}


def states(first: Choices) -> Iterator[Choices]:
    """All states; if there are too many, every value of every slider from the first state, and a
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
    sample = [
        type(first)(*(chance.choice(each) for each in values.values())) for _ in range(MOST_STATES)
    ]
    yield from sorted(sample, key=repr)  # neighbours share what a widget keeps


def some_states(widget: type[Explorer], count: int) -> list[Choices]:
    every = list(states(widget.first))
    return random.Random(0).sample(every, min(count, len(every)))


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
def test_a_change_sends_one_message_with_one_picture(
    widget: type[Explorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, drawn = [], []

    class Wire(comm.base_comm.BaseComm):
        def publish_msg(self, msg_type: str, data: dict, *rest: object, **more: object) -> None:
            sent.append((self.comm_id, data.get("method"), list(data.get("state", []))))

    monkeypatch.setattr(comm, "create_comm", Wire)
    explorer, draw = widget(), widget.draw
    monkeypatch.setattr(widget, "draw", lambda state: drawn.append(state) or draw(state))
    for slider in explorer.sliders.values():
        here = slider.index
        for index in (here + 1 if here + 1 < len(slider.options) else here - 1, here):
            sent.clear(), drawn.clear()
            change = {"method": "update", "state": {"index": index}}  # as the browser sends it
            slider.comm.handle_msg({"content": {"data": change}, "buffers": []})
            echo = (slider.model_id, "echo_update", ["index"])
            assert [message for message in sent if message != echo] == [
                (explorer.picture.model_id, "update", ["value"])
            ]
            assert drawn == [explorer.state]


@pytest.mark.parametrize("widget", WIDGETS)
def test_no_picture_is_too_heavy_for_a_browser(widget: type[Explorer]) -> None:
    kilobytes, elements, _ = LIMITS[widget.__name__]
    for state in some_states(widget, 300):
        page = widget.picture_of(state).html()
        assert len(page.encode()) <= 1000 * kilobytes, state
        assert len(ELEMENT.findall(page)) <= elements, state


def calls(function: Callable[[], object]) -> Counter:
    """How often each function runs during a call, by its code; those written in C, by name."""
    found: Counter = Counter()

    def note(frame: object, event: str, argument: object) -> None:
        if event == "call":
            found[frame.f_code] += 1
        elif event == "c_call":
            found[argument.__name__] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return found


@pytest.mark.parametrize("widget", WIDGETS)
def test_what_is_slow_is_computed_once(widget: type[Explorer]) -> None:
    """When a slider moves, no model runs, no scene is drawn and no photograph is read or packed:
    that is done when the widget is made. And what a picture needs again is kept.
    """
    for value in vars(sys.modules[widget.__module__]).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    widget()
    allowed = AT_FIRST_TOUCH.get(widget.__name__, {})
    for state in some_states(widget, 100):
        first = calls(lambda state=state: widget.render(state))
        for slow in SLOW:
            assert first[slow.__code__] <= allowed.get(slow, 0), (slow, state)
        again = calls(lambda state=state: widget.render(state))
        assert not any(again[slow.__code__] for slow in SLOW), state
        assert again.total() <= LIMITS[widget.__name__][2], state


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


def test_every_widget_belongs_to_a_lesson() -> None:
    lessons = "".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS.glob("*.ipynb"))
    assert [each for each in WIDGETS if f"{each.__name__}()" not in lessons] == []


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
