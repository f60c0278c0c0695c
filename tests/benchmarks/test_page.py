"""The table of the web page says what was measured; no test here asks how fast it was."""

from benchmarks.__main__ import HERE
from benchmarks.page import BEGIN, END, table
from benchmarks.report import filled
from benchmarks.widgets import END as OTHER


def test_median_and_least_of_each_contender_at_each_size():
    times = {
        (128, "ours"): [30.2, 10.0, 20.4],
        (128, "other"): [5.0],
        (256, "ours"): [100.0, 300.0],
        (256, "other"): [70.0, 71.0, 90.0],
    }
    assert table(times).splitlines()[2:] == [
        "| 128² | 20 (10) | 5 (5) |",
        "| 256² | 200 (100) | 71 (70) |",
    ]


def test_the_table_has_its_own_place():
    text = (HERE / "README.md").read_text(encoding="utf-8")
    written = filled(text, "new\n", BEGIN, END)
    assert f"{BEGIN}\nnew\n{END}" in written
    assert written.partition(BEGIN)[0] == text.partition(BEGIN)[0]  # the other tables among it
    assert OTHER in text.partition(BEGIN)[0]
