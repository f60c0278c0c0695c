"""Means with their intervals, as scipy computes them, and tables of runs read by what they say."""

import hashlib

import numpy as np
import pytest
from scipy import stats

from segformer_edu.analysis.seeds import Interval, Table, bootstrap, interval, redrawn

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


def test_the_interval_over_places_is_scipys_bootstrap():
    values = np.random.default_rng(1).exponential(size=50)
    found = bootstrap(values)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=2)
    low, high = theirs.confidence_interval
    assert found.mean == values.mean()
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert found.shows and not bootstrap(values - values.mean()).shows
    assert bootstrap(values - 5).shows


def test_pictures_are_drawn_as_often_as_by_index():
    times = redrawn(7, 4000, np.random.default_rng(0))
    chosen = np.random.default_rng(1).integers(7, size=(4000, 7))
    by_index = np.stack([np.bincount(row, minlength=7) for row in chosen])
    assert times.shape == (4000, 7) and (times.sum(1) == 7).all()
    assert np.cov(times.T) == pytest.approx(np.cov(by_index.T), abs=0.1)
