"""A bar above what takes a while, which leaves a sentence where no kernel runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

import ipywidgets
from IPython.display import display

Item = TypeVar("Item")
BETWEEN = 0.2  # seconds from one picture of the bar to the next


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The items as they come, under a bar that says how many were asked for and how long it takes.

    Args:
        items: what is gone through; each counts when the next is asked for.
        what: the items' name, "steps" or "pictures".
        total: for which the bar is full; `len(items)` if it is not given.
    """
    total = len(items) if total is None else total  # type: ignore[arg-type]
    bar = ProgressBar(total, what)
    display(bar)
    begun = shown = monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if (now := monotonic()) - shown > BETWEEN or done == total:
            bar.show(done, now - begun)
            shown = now


class ProgressBar(ipywidgets.HTML):
    """The bar: a `<progress>` of the page, and its words."""

    def __init__(self, total: int, what: str) -> None:
        super().__init__()
        self.total, self.what = total, what
        self.show(0, 0.0)

    def show(self, done: int, seconds: float) -> None:
        """So many are through, after so many seconds."""
        words = f"{done:,} of {self.total:,} {self.what}, {seconds:.0f} s"
        if 0 < done < self.total:
            words += f", about {seconds / done * (self.total - done):.0f} s left"
        self.value = (
            f'<progress aria-label="{self.what}" max="{self.total}" value="{done}"></progress> '
            f"{words}"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """What a notebook stores: the live bar, and one word on what was done."""
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": f"{self.total:,} {self.what}"}
