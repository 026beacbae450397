"""Other processes to test with: forked, so that they cost nothing, and ended by their own exit code or by a signal."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a child; its pid. The child exits with 0, or 1 when ``work`` raises."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def in_child(work: Callable[[], None]) -> bool:
    """Whether ``work`` ended without an exception in a child of its own."""
    return os.waitpid(fork(work), 0)[1] == 0


def kill(pid: int, *, after_seconds: float = 0.0) -> None:
    """kill -9, and wait until the process is gone."""
    time.sleep(after_seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def wait_for(path: Path, *, seconds: float = 10.0) -> None:
    """Wait until a file is there."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.002)
