"""Ctrl-C: the first one asks the run to save and stop, the second one stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether the user, or the system by SIGTERM, has asked the run to stop."""

    def __init__(self) -> None:
        self.is_set = False
        self.at_once = False

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        """Remember the first; the next one raises ``KeyboardInterrupt`` wherever the program is."""
        self.at_once = self.is_set
        self.is_set = True
        self.check()

    def check(self) -> None:
        """Raise again what Python drops when it is raised in a finalizer or in a callback of a library."""
        if self.at_once:
            raise KeyboardInterrupt


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within it SIGINT and SIGTERM ask; outside the main thread, where signals never come, nothing does."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
