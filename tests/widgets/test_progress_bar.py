"""The progress bar: it yields what it is given, and says how far it is."""

import itertools
import re

import pytest

from segformer_edu.widgets import progress, progress_bar
from segformer_edu.widgets.progress_bar import ProgressBar


@pytest.fixture
def shown(monkeypatch):
    """The bars that were displayed, and a clock on which each item takes a second."""
    bars = []
    monkeypatch.setattr(progress_bar, "display", bars.append)
    monkeypatch.setattr(progress_bar, "monotonic", itertools.count(100.0).__next__)
    return bars


def reached(bar):
    return int(re.search(r'value="(\d+)"', bar.value).group(1))


def test_it_yields_every_item_and_no_more(shown):
    assert list(progress("abc", "letters")) == ["a", "b", "c"]
    source = iter(range(10))
    assert list(progress(itertools.islice(source, 4), "numbers", 4)) == [0, 1, 2, 3]
    assert next(source) == 4


def test_it_counts_what_was_asked_for_and_says_what_is_left(shown):
    items = progress("abcd", "letters")
    next(items)
    (bar,) = shown
    assert reached(bar) == 0 and "0 of 4 letters, 0 s" in bar.value
    next(items)
    assert reached(bar) == 1 and "1 of 4 letters, 1 s, about 3 s left" in bar.value
    list(items)
    assert reached(bar) == 4 and bar.value.endswith("4 of 4 letters, 4 s")
    assert 'max="4"' in bar.value and 'aria-label="letters"' in bar.value


def test_quick_items_move_the_bar_only_now_and_then(monkeypatch):
    moved = []
    monkeypatch.setattr(progress_bar, "display", lambda bar: None)
    monkeypatch.setattr(progress_bar, "monotonic", itertools.count(step=0.01).__next__)
    monkeypatch.setattr(ProgressBar, "show", lambda bar, done, seconds: moved.append(done))
    list(progress(range(103), "numbers"))
    assert moved[0] == 0 and moved[-1] == 103
    assert 4 <= len(moved) <= 7  # a second has gone by


def test_a_notebook_stores_the_bar_and_a_sentence(shown):
    stored = ProgressBar(1150, "steps")._repr_mimebundle_()
    assert stored["text/plain"] == "1,150 steps"
    assert "application/vnd.jupyter.widget-view+json" in stored
