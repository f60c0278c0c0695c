"""The shell of every widget: sliders, and one picture that responds to them.

A widget is a frozen dataclass, its state, whose fields are the sliders, and a pure function from a
state to a `Picture`; a subclass of `Explorer` puts them together:

    @dataclass(frozen=True)
    class State(Choices):
        side: int = choice("Side", (2, 4, 8), default=4)

    def draw(state: State) -> Picture: ...

    class Squares(Explorer):
        first, draw, task = State(), staticmethod(draw), "Find the side for which …"
"""

from __future__ import annotations

import base64
import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets

from segformer_edu.widgets.picture import WIDTH, Picture, sentence

# ipywidgets leaves its sliders without a name, tells a screen reader the index of the value, lets
# the tab key stop at every readout, and cuts off what is longer than a short word. Each picture
# carries this script: when it appears, every slider takes its name from its label and its value
# from its readout, which becomes read-only, and as wide as the longest of its values.
NAME_SLIDERS = """<style data-lengths="{lengths}" onload="(function name(root, lengths) {{
    const sliders = [...root.querySelectorAll('.widget-hslider')];
    const handles = sliders.map(slider => slider.querySelector('[role=slider]'));
    if (!sliders.length || handles.includes(null))
        return requestAnimationFrame(() => name(root, lengths));
    sliders.forEach((slider, index) => {{
        const [label, readout] = slider.querySelectorAll('.widget-label, .widget-readout');
        handles[index].setAttribute('aria-label', label.textContent);
        handles[index].setAttribute('aria-valuetext', readout.textContent);
        readout.contentEditable = false;
        readout.style.maxWidth = 'none';
        readout.style.minWidth = `${{lengths[index]}}ch`;
    }});
}})(this.closest('.segformer-explorer'), JSON.parse(this.dataset.lengths))"></style>"""


def choice(
    label: str, values: Sequence[Any], default: Any, show: Callable[[Any], str] = str
) -> Any:
    """A field of a state: what its slider is called, which values it has, and how it shows them."""
    return dataclasses.field(
        default=default, metadata={"label": label, "values": tuple(values), "show": show}
    )


@dataclasses.dataclass(frozen=True)
class Choices:
    """The state of a widget; each field is a `choice`.

    Raises:
        ValueError: a value that the slider does not have.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, values = getattr(self, field.name), field.metadata["values"]
            if value not in values:
                raise ValueError(f"{field.name} = {value!r}: choose one of {values}.")


class Explorer(ipywidgets.VBox):
    """Sliders over a picture of the state they set; where no kernel runs, the first picture alone.

    A subclass gives:
        first: the state to begin with.
        draw: state → picture, pure. A ValueError becomes the sentence that is shown instead.
        task: what to find out with the sliders, in a sentence or two.
        slow: cached function → the sliders whose values are its arguments, in order. It is called
            with all their values when the widget is made, so that no first move is slow.
    """

    first: Choices
    draw: Callable[[Any], Picture]
    task: str
    slow: Mapping[Callable[..., object], Sequence[str]] = {}

    def __init__(self) -> None:
        fields = dataclasses.fields(self.first)
        values = {field.name: field.metadata["values"] for field in fields}
        for function, names in self.slow.items():
            for arguments in itertools.product(*(values[name] for name in names)):
                function(*arguments)
        self.sliders = {field.name: slider(field) for field in fields}
        self.picture = ipywidgets.HTML(self._page(self.first))
        for each in self.sliders.values():
            each.observe(self._redraw, "value")
        columns = ipywidgets.Layout(
            grid_template_columns="repeat(auto-fill, minmax(380px, 1fr))", max_width=f"{WIDTH}px"
        )
        controls = ipywidgets.GridBox(list(self.sliders.values()), layout=columns)
        task = ipywidgets.HTML(f"<p><strong>Task.</strong> {escape(self.task)}</p>")
        super().__init__([task, controls, self.picture])
        self.add_class("segformer-explorer")

    @property
    def state(self) -> Choices:
        """The values of the sliders."""
        values = {name: slider.value for name, slider in self.sliders.items()}
        return dataclasses.replace(self.first, **values)

    @classmethod
    def picture_of(cls, state: Choices) -> Picture:
        """The picture of any state; of an impossible one, the sentence that says why."""
        try:
            return cls.draw(state)
        except ValueError as error:
            return sentence(str(error))

    @classmethod
    def render(cls, state: Choices) -> str:
        """The picture of any state as SVG."""
        return cls.picture_of(state).svg()

    def _page(self, state: Choices) -> str:
        lengths = [
            max(len(shown) for shown, _ in each.options) + 2 for each in self.sliders.values()
        ]
        return self.picture_of(state).html() + NAME_SLIDERS.format(lengths=lengths)

    def _redraw(self, change: Any) -> None:
        self.picture.value = self._page(self.state)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What a notebook stores: the live widget, and the first picture with its words."""
        picture = self.picture_of(self.first)
        png = base64.b64encode(picture.png()).decode("ascii")
        data = super()._repr_mimebundle_(**kwargs)
        data |= {"image/png": png, "text/plain": picture.alt}
        return data, {"image/png": {"alt": picture.alt}}


def slider(field: dataclasses.Field) -> ipywidgets.SelectionSlider:
    """The slider of one choice."""
    label, values, show = (field.metadata[key] for key in ("label", "values", "show"))
    return ipywidgets.SelectionSlider(
        options=[(show(value), value) for value in values],
        value=field.default,
        description=label,
        style={"description_width": "14em"},
        layout=ipywidgets.Layout(width="auto"),
    )


def token_at(size: tuple[int, ...], down: int, across: int) -> tuple[int, int]:
    """Row and column of the token, of a map of `size`, at a point that sliders give in percent."""
    row, column = (
        min(part * side // 100, side - 1) for part, side in zip((down, across), size, strict=True)
    )
    return row, column
