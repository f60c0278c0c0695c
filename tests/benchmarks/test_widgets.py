"""The table of the widgets says what was measured; no test here asks how fast any is."""

from benchmarks.widgets import table
from segformer_edu.widgets import Patches


def test_median_and_ninth_decile_worked_by_hand():
    """Of 1, 2, … 19 the tenth is in the middle, and nine tenths of 20 is 18."""
    times = [float(x) for x in range(19, 0, -1)]
    assert table([(Patches, times, [10 * x for x in times])]).splitlines()[-1] == (
        "| Patches | 10 (18) | 100 (180) |"
    )
