"""How long a computation takes, and by which power of its size it grows (lesson 02)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def processor_seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """The processor's own seconds for a call, the best of three: other programs hardly count.

    Args:
        function: what is called.
        arguments: what it is called with.
    """
    times = []
    for _ in range(3):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def fitted_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power by which values grow with sizes.

    A power law is a straight line on two logarithmic axes, and its slope is the power: this is the
    slope of the line that fits best.
    """
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
