"""The table of the web page says what was measured; no test here asks how fast it was."""

from benchmarks.page import table


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
