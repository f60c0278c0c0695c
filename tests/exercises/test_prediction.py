"""A prediction stands beside what came out, and nothing stands where there was none."""

import pytest

from segformer_edu.exercises import compare


def test_a_prediction_stands_above_what_came_out(capsys):
    compare((64, "more"), (16, "more"))
    assert capsys.readouterr().out.splitlines() == [
        "you predicted  (64, 'more')",
        "it came out    (16, 'more')",
    ]


@pytest.mark.parametrize("none", [..., (..., "more"), [...]])
def test_nothing_is_said_where_nothing_was_predicted(none, capsys):
    compare(none, 3)
    assert capsys.readouterr().out == ""
