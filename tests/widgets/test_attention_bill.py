"""Lesson 02's widget: every state is drawn, and its numbers are those of real matrices."""

import itertools
import os
import re

import numpy as np
import pytest
import torch

from segformer_edu import SegFormerConfig, SpatialReductionAttention
from segformer_edu.analysis import cost
from segformer_edu.widgets import AttentionBill, attention_bill
from segformer_edu.widgets.attention_bill import (
    HEADS,
    LARGEST,
    LEFT,
    MEMORIES,
    PATCHES,
    RULER,
    SIDES,
    State,
    binary,
    draw,
    nearest_memory,
    place,
    rows_of,
)
from segformer_edu.widgets.picture import WIDTH, Canvas, Rectangle, Text

GRID = [State(*values) for values in itertools.product(SIDES, PATCHES, HEADS, MEMORIES)]


def table(state):
    return {name: value for name, value, _ in draw(state).table}


def test_every_state_has_a_picture_with_words_that_stays_inside_its_frame():
    for state in GRID:
        picture = AttentionBill.picture_of(state)
        assert picture.title and picture.title != "Nothing to draw here." and picture.description
        for shape in picture.shapes:
            if isinstance(shape, Rectangle):
                assert shape.x + shape.width <= WIDTH + 1 and shape.width >= 0
    for state in GRID[::97]:
        assert AttentionBill.render(state).startswith("<svg")


def test_a_halo_clears_what_lies_around_the_letters_and_nothing_else():
    def dark(halo):
        canvas = Canvas(100, 30, 1)
        Rectangle(40, 0, 2, 30, "#000000").paint(canvas)
        text = Text(10, 20, "matrices", halo=halo)
        text.paint(canvas)
        assert ("paint-order" in text.svg()) == (halo > 0)
        return np.array(canvas.image.convert("L"))[:, 40:43] < 128

    assert dark(0)[4].all() and dark(3)[4].all()  # above the letters the line is whole
    assert dark(3).sum() < dark(0).sum() - 5


def test_every_patch_size_divides_every_side():
    assert not any(side % patch for side in SIDES for patch in PATCHES)


@pytest.mark.parametrize(("side", "patch", "heads"), [(64, 4, 2), (64, 8, 5), (128, 16, 12)])
def test_entries_and_bytes_are_those_of_matrices_that_are_made(side, patch, heads):
    tokens = torch.zeros(1, side // patch, side // patch, 4 * heads)
    made = SpatialReductionAttention(4 * heads, heads, 1).weights(tokens)
    state = State(side, patch, heads)
    assert table(state)["tokens N"] == f"{tokens[0, ..., 0].numel():,}"
    assert table(state)["entries, heads × N²"] == f"{made.numel():,}"
    assert state.matrix_bytes == made.nbytes
    q = torch.zeros(1, heads, state.tokens, attention_bill.HEAD_CHANNELS)
    assert state.fused_bytes == 4 * q.nbytes


def test_patch_4_and_one_head_is_stage_1_of_b1_unreduced():
    for side in SIDES[:6]:
        config = SegFormerConfig.named("b1", reduction_ratios=(1, 1, 1, 1))
        stage = cost(config, (side, side)).stages[0]
        assert State(side, 4, 1).entries == stage.attention_entries_per_block
        assert State(side, 4, 1).tokens == stage.tokens
    assert config.embed_dims[0] // config.num_heads[0] == attention_bill.HEAD_CHANNELS


def test_twice_the_side_is_sixteen_times_the_matrix_and_twice_the_patch_brings_it_back():
    assert State(1024, 4, 1).matrix_bytes == 16 * State(512, 4, 1).matrix_bytes
    assert State(1024, 8, 1).matrix_bytes == State(512, 4, 1).matrix_bytes


def test_what_does_not_fit_says_so_in_words_and_its_bar_passes_the_line():
    for state in GRID[::53]:
        words = [shape.text for shape in draw(state).shapes if isinstance(shape, Text)]
        too_large = [size for _, size in rows_of(state) if size > state.memory_bytes]
        assert sum("too large" in text for text in words) == len(too_large)
        assert all(place(size) > place(state.memory_bytes) for size in too_large)


def test_each_doubling_is_the_same_step_on_the_ruler():
    assert place(2**21) - place(2**20) == pytest.approx(place(2**41) - place(2**40))
    assert place(2**LARGEST) == RULER and LEFT + RULER < WIDTH
    assert max(size for state in GRID for _, size in rows_of(state)) <= 2**LARGEST


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (1, "1 B"),
        (1023, "1,023 B"),
        (1024, "1 KiB"),
        (1536 * 2**20, "1.5 GiB"),
        (2**50, "1 PiB"),
        (4 * 196**2, "150 KiB"),
    ],
)
def test_bytes_in_three_digits(size, words):
    assert binary(size) == words


def test_the_live_widget_starts_at_this_machines_memory_and_the_stored_picture_does_not(
    monkeypatch,
):
    monkeypatch.setattr(attention_bill, "main_memory", lambda: int(7.6 * 2**30))
    widget = AttentionBill()
    assert widget.state == State(memory=8)
    assert "of 8 GiB" in widget.picture.value
    data, metadata = widget._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == draw(State()).alt
    assert "16 GiB" in data["text/plain"]


def test_unknown_memory_falls_back_to_the_nominal_value(monkeypatch):
    assert nearest_memory(None) == State().memory
    assert [nearest_memory(gib * 2**30) for gib in (0.4, 23, 4096)] == [1, 24, 2048]
    monkeypatch.delattr(os, "sysconf")
    assert attention_bill.main_memory() is None


@pytest.mark.parametrize("values", [{"side": 500}, {"patch": 3}, {"heads": 0}, {"memory": 3}])
def test_a_value_that_no_slider_has_is_refused(values):
    with pytest.raises(ValueError, match=re.escape(f"{next(iter(values))} = ")):
        State(**values)
