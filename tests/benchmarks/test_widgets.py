"""The table of the widgets says what was measured; no test here asks how fast any is."""

from benchmarks.__main__ import BEGIN as OTHER
from benchmarks.__main__ import HERE
from benchmarks.report import filled
from benchmarks.widgets import BEGIN, END, table
from segformer_edu.widgets import Patches


def test_median_and_ninth_decile_worked_by_hand():
    """Of 1, 2, … 19 the tenth is in the middle, and nine tenths of 20 is 18."""
    times = [float(x) for x in range(19, 0, -1)]
    assert table([(Patches, times, [10 * x for x in times])]).splitlines()[-1] == (
        "| Patches | 10 (18) | 100 (180) |"
    )


def test_the_table_has_its_own_place():
    text = (HERE / "README.md").read_text(encoding="utf-8")
    written = filled(text, "new\n", BEGIN, END)
    assert f"{BEGIN}\nnew\n{END}" in written
    assert written.partition(BEGIN)[0] == text.partition(BEGIN)[0]  # the other table among it
    assert OTHER in text.partition(BEGIN)[0]
