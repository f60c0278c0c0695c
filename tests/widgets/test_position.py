"""Lesson 04's widget: position travels k // 2 tokens per block, and only from zeros."""

import itertools
import sys

import numpy as np
import pytest

from segformer_edu.widgets import Position
from segformer_edu.widgets.picture import Lines, Raster, Text

module = sys.modules[Position.__module__]
State = module.State


@pytest.mark.parametrize("padding", module.PADDING_MODES)
def test_the_border_reaches_one_radius_further_with_each_block_and_from_zeros_only(padding):
    choices = itertools.product(module.KERNELS, module.SIDES, (False, True))
    for kernel, side, attention in choices:
        maps = module.flat_map_deviations(padding, kernel, side, attention)
        heard = [module.travelled(tokens > 0) for tokens in maps]
        reach = [min(depth * (kernel // 2), side // 2) for depth in module.DEPTHS]
        assert heard == (reach if padding == "zeros" else [0] * len(reach))


def numbers(state) -> dict[str, str]:
    return dict(Position.picture_of(state).table[1:])


def test_the_table_counts_the_tokens_that_differ_from_the_middle():
    for depth, side in itertools.product((0, 1, 3, 5), (8, 12)):
        state = State(depth=depth, side=side)
        tokens = module.flat_map_deviations("zeros", 3, side, False)[depth]
        shown = numbers(state)
        assert shown["rings that know of the border"] == str(min(depth, side // 2))
        expected = (tokens > 0).sum() if 2 * depth < side else side**2
        assert shown["tokens that know of the border"] == str(expected)


def test_rings_are_told_from_the_border_inward():
    for depth in (1, 3):
        shown = numbers(State(depth=depth, kernel=3, side=12))
        rings = [shown[f"ring {ring}"] for ring in range(1, 7)]
        assert [ring == "nothing" for ring in rings] == [False] * depth + [True] * (6 - depth)


def test_attention_changes_by_how_much_tokens_differ_and_not_which():
    without, with_ = (module.flat_map_deviations("zeros", 3, 12, each)[3] for each in (False, True))
    assert np.array_equal(without > 0, with_ > 0)
    assert not np.allclose(without, with_, rtol=1e-3)


def test_the_task_can_be_solved():
    """16 × 16: 8 blocks of 3 × 3, or 3 of 7 × 7; attention does not help."""

    def fewest(kernel: int, attention: bool) -> int:
        return next(
            depth
            for depth in module.DEPTHS
            if "every token"
            in Position.picture_of(State(kernel=kernel, depth=depth, attention=attention)).title
        )

    assert fewest(3, False) == fewest(3, True) == 8
    assert fewest(7, False) == 3
    assert fewest(5, False) == 4


def test_what_is_like_the_middle_is_hatched_and_the_rest_is_a_map():
    def kinds(state) -> tuple[int, int]:
        shapes = module.token_panel(
            0,
            state,
            module.flat_map_deviations(state.padding, state.kernel, state.side, state.attention)[
                state.depth
            ],
        )
        hatchings = sum(isinstance(shape, Lines) for shape in shapes) - 1  # the grid is one
        return hatchings, sum(isinstance(shape, Raster) for shape in shapes)

    assert kinds(State()) == (1, 1)
    assert kinds(State(depth=0)) == (1, 0)
    assert kinds(State(depth=8)) == (0, 1)


@pytest.mark.parametrize("state", [State(side=8), State(depth=8, side=20, kernel=7)])
def test_the_token_with_which_all_others_are_compared_is_marked(state):
    tokens = module.flat_map_deviations("zeros", state.kernel, state.side, False)[state.depth]
    (mark,) = [
        shape
        for shape in module.token_panel(0, state, tokens)
        if isinstance(shape, Text) and shape.text == "×"
    ]
    cell = module.SIDE / state.side
    place = int((mark.y - module.TOP) // cell), int(mark.x // cell)
    assert place == (state.side // 2, state.side // 2)
    assert tokens[place] == 0
