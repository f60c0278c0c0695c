"""Means of a few runs with Student's interval, and tables of them read by what they say."""

import hashlib

import numpy as np
import pytest
from scipy import stats

from segformer_edu.analysis.seeds import Interval, Table, interval

TEXT = """arm,seed,pictures,amount,miou,seconds
one,10,scene,1.0,0.5,3
one,2,scene,1.0,0.4,4
one,10,scene,2.0,0.25,3
one,2,scene,2.0,0.3,4
two,2,scene,1.0,0.1,5
"""


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_is_scipys(level):
    values = np.random.default_rng(0).normal(0.1, 0.02, 5)
    low, high = stats.t.interval(level, 4, values.mean(), stats.sem(values))
    found = interval(values, level)
    assert found == pytest.approx((values.mean(), low, high))
    assert found.shows and interval(-values, level).shows and not interval(values - 0.1).shows
    assert str(Interval(0.01234, -0.2, 0.3)) == "+0.012 (-0.200 to +0.300)"


def test_about_95_of_100_intervals_hold_the_mean():
    draws = np.random.default_rng(0).normal(3, 1, (2000, 5))
    held = [found.low < 3 < found.high for found in map(interval, draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("values", "level"), [([1.0], 0.95), (1.0, 0.95), ([1.0, 2.0], 95)])
def test_what_has_no_interval_is_refused(values, level):
    with pytest.raises(ValueError, match="give"):
        interval(values, level)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text(TEXT, encoding="utf-8", newline="\n")
    return Table(path)


def test_a_table_gives_values_in_the_order_of_their_seeds(table):
    assert table.arms == ["one", "two"]
    assert table.values("one").tolist() == [0.4, 0.5]  # of seeds 2 and 10
    assert table.values("one", amount=2, column="seconds").tolist() == [4, 3]
    assert table.over("one", "scene", (1, 2)).tolist() == [[0.4, 0.3], [0.5, 0.25]]
    assert table.kept("one", "scene", (2,)) == pytest.approx(np.array([[0.75], [0.5]]))
    assert hashlib.sha256(TEXT.encode()).hexdigest().startswith(table.checksum)


@pytest.mark.parametrize(
    "wanted", [("three",), ("one", "mosaic"), ("one", "scene", 3), ("one", "scene", 1, "iou")]
)
def test_what_a_table_lacks_is_named(table, wanted):
    with pytest.raises(ValueError, match=r"some.csv has no .* arms: \['one', 'two'\]"):
        table.values(*wanted)
