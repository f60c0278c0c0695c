"""Lesson 01's widget: every state drawn, and its numbers against torch's own convolution."""

import itertools
import re

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from segformer_edu.widgets import Patches
from segformer_edu.widgets.patches import KERNELS, PADDINGS, SIZES, STRIDES, State, draw

GRID = [State(*values) for values in itertools.product(SIZES, KERNELS, STRIDES, PADDINGS)]


def possible(state):
    return state.padding < state.kernel <= min(state.size) + 2 * state.padding


def numbers(text):
    return [int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*", text)]


def rows(picture):
    return dict(row for row in picture.table if len(row) == 2)


def test_every_state_has_a_picture_with_words_and_no_state_a_traceback():
    for state in GRID:
        picture = Patches.picture_of(state)
        assert picture.title and picture.description
        assert Patches.render(state).startswith("<svg")
        assert (picture.title == "Nothing to draw here.") == (not possible(state))


def test_tokens_overlap_and_coverage_are_those_of_torch():
    for state in GRID[::7]:
        if not possible(state):
            continue
        padded = F.pad(torch.ones(1, 1, *state.size), [state.padding] * 4)
        kernel = torch.ones(1, 1, state.kernel, state.kernel)
        cut = F.conv2d(padded, kernel, stride=state.stride)
        reached = F.conv_transpose2d(torch.ones_like(cut), kernel, stride=state.stride)
        counts = torch.zeros_like(padded)
        counts[..., : reached.shape[2], : reached.shape[3]] = reached
        inside = [slice(state.padding, state.padding + side) for side in state.size]
        counts = counts[0, 0][tuple(inside)].numpy()
        table = rows(draw(state))
        assert numbers(table["tokens"]) == [cut.numel()]
        assert numbers(table["tokens down"])[-1] == cut.shape[2]
        assert numbers(table["tokens across"])[-1] == cut.shape[3]
        assert numbers(table["patches over a pixel, least"]) == [counts.min()]
        assert numbers(table["patches over a pixel, most"]) == [counts.max()]
        share = 100 * np.mean(counts > 0)
        shown = float(table["pixels in at least one patch"].rstrip(" %"))
        assert shown == pytest.approx(share, abs=0.1) and (shown == 100) == (share == 100)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(kernel=7, stride=4, padding=3), "share 3 px"),
        (State(kernel=4, stride=4), "touch, and share nothing"),
        (State(kernel=3, stride=5), "leave a gap of 2 px"),
    ],
)
def test_the_finding_says_what_neighbours_share(state, words):
    assert words in draw(state).title
    assert ("Hatched" in Patches.render(state)) == (state.kernel > state.stride)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State(kernel=4, padding=8), "see zeros and no pixel"),
        (State(kernel=1, padding=1), "half a patch is usual"),
    ],
)
def test_an_impossible_combination_shows_a_sentence_that_teaches(state, words):
    assert words in Patches.picture_of(state).description


def test_its_first_task_has_an_answer():
    answers = [
        state
        for state in GRID
        if state.size == (32, 32)
        and possible(state)
        and "become 8 × 8" in draw(state).title
        and "share 3 px" in draw(state).title
    ]
    assert State((32, 32), 7, 4, 3) in answers


def test_its_second_task_has_an_answer():
    lost = {
        padding: rows(draw(State((33, 47), 7, 4, padding)))["pixels in at least one patch"]
        for padding in (3, 2, 1)
    }
    assert lost[3] == lost[2] == "100 %" and lost[1] != "100 %"


def test_the_shell_redraws_when_a_slider_moves():
    widget = Patches()
    before = widget.picture.value
    widget.sliders["kernel"].value = 7
    assert widget.picture.value != before and "share 3 px" in widget.picture.value
