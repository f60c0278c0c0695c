"""How much memory a computation holds at one time (lesson 02)."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.profiler import profile


def peak_bytes(function: Callable[..., Any], *arguments: Any) -> int:
    """The most bytes that torch holds at one time during a call, beyond the arguments.

    torch's profiler writes down every allocation and every release: the peak is the largest of
    their running sums.

    Args:
        function: what is called, once.
        arguments: what it is called with.
    """
    with profile(profile_memory=True, acc_events=True) as record:  # or torch 2.12 warns
        function(*arguments)
    with TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    return max(accumulate(event["args"]["Bytes"] for event in changes), default=0)
