"""A progress bar that leaves a sentence where no kernel runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

import ipywidgets
from IPython.display import display

Item = TypeVar("Item")
BETWEEN = 0.2  # seconds from one picture of the bar to the next


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items under a bar that says how many are done, and how long they took.

    Args:
        items: what to go through; an item is done when the next one is asked for.
        what: what the items are called, such as "steps" or "pictures".
        total: how many items fill the bar; `len(items)` by default.
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
        """Show how many items are done, and after how many seconds."""
        words = f"{done:,} of {self.total:,} {self.what}, {seconds:.0f} s"
        if 0 < done < self.total:
            words += f", about {seconds / done * (self.total - done):.0f} s left"
        self.value = (
            f'<progress aria-label="{self.what}" max="{self.total}" value="{done}"></progress> '
            f"{words}"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """What a notebook stores: the live bar, and what was done in words."""
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": f"{self.total:,} {self.what}"}
