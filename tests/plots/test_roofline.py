"""Points lie where their numbers say, under a roof that bends where it should."""

import numpy as np
import pytest

from segformer_edu import plots
from segformer_edu.analysis.roofline import Ceilings

CEILINGS = Ceilings(operations=100e9, memory=10e9, cache=50e9)


def lines(points):
    (ax,) = plots.roofline(points, CEILINGS, "x").axes
    return ax, {line.get_label(): line.get_xydata() for line in ax.lines}


def test_points_lie_at_operations_a_byte_and_billions_a_second():
    ax, drawn = lines({"norm": (0.125, 1e9), "product": (100.0, 90e9)})
    assert drawn["norm"].tolist() == [[0.125, 1.0]]
    assert drawn["product"].tolist() == [[100.0, 90.0]]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert ax.get_xlim()[0] < 0.125 and ax.get_xlim()[1] > 100


def test_each_roof_is_the_lower_of_its_two_limits():
    _, drawn = lines({"norm": (0.125, 1e9)})
    for label, rate in (("memory, 10 GB/s", 10), ("cache, 50 GB/s", 50)):
        x, y = drawn[label].T
        np.testing.assert_allclose(y, np.minimum(100, rate * x))


def test_seven_and_more_points_look_different():
    (ax,) = plots.roofline({str(n): (n + 1.0, 1e9) for n in range(8)}, CEILINGS).axes
    points = [line for line in ax.lines if line.get_label().isdigit()]
    looks = {(p.get_marker(), p.get_color(), str(p.get_markerfacecolor())) for p in points}
    assert len(looks) == 8


@pytest.mark.parametrize("point", [(0.0, 1e9), (1.0, 0.0)])
def test_what_has_no_logarithm_is_refused(point):
    with pytest.raises(ValueError, match="above zero"):
        plots.roofline({"nothing": point}, CEILINGS)
