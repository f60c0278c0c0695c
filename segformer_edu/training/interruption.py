"""Ctrl-C, and a cluster's request to stop: noticed at once, obeyed between two steps."""

from __future__ import annotations

import signal
import threading
from time import monotonic
from types import FrameType, TracebackType


class Interruption:
    """A context in which the first SIGINT or SIGTERM sets `asked`; a later one stops the program.

    A signal within a second of the first is ignored as its echo, because a launcher passes Ctrl-C
    on to processes that have received it themselves. Outside the main thread, where Python receives
    no signals, the context changes nothing.
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
