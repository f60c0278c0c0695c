"""Ctrl-C, and a cluster's request to leave: heard at once, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
from time import monotonic
from types import FrameType, TracebackType


class Interruption:
    """While it lasts, the first SIGINT or SIGTERM sets `asked`; another, later, stops the program.

    What comes within a second of the first is its echo: a launcher repeats Ctrl-C to processes that
    heard it themselves. In a thread that is not the main one, where Python hears no signals,
    nothing is changed.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    ECHO = 1.0  # seconds

    def __init__(self) -> None:
        self.asked, self._since = False, 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._hear) for each in self.SIGNALS}
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        if self.asked and now - self._since > self.ECHO:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._since = True, now

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
