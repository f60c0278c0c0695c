"""How loudly filters answer to an edge, against the bound of Cauchy and Schwarz."""

import pytest

from segformer_edu.analysis.edge import loudest_answer
from segformer_edu.analysis.patches import PatchRow


def loudest_possible(patch_size, padding, column):
    """Of a filter with mean 0 and length 1: the distance of a patch from its own mean."""
    row = PatchRow(64, patch_size, 4, padding)
    bright = [min(max(start + patch_size - column, 0), patch_size) for start in row.starts]
    return max(patch_size * (part / patch_size * (1 - part / patch_size)) ** 0.5 for part in bright)


@pytest.mark.parametrize(("patch_size", "padding"), [(4, 0), (5, 2), (7, 3)])
def test_the_loudest_answer_is_the_bounds_fifth_at_least_and_zero_where_the_bound_is(
    patch_size, padding
):
    for column in range(28, 37):
        bound = loudest_possible(patch_size, padding, column)
        assert bound * 0.2 - 1e-5 < loudest_answer(patch_size, padding, column) < bound + 1e-5


def test_a_flat_image_is_answered_by_silence_because_the_border_is_left_out():
    for column in (0, 64):
        assert loudest_answer(7, 3, column) < 1e-5
