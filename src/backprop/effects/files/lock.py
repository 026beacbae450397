"""Locks between processes: a file that the operating system frees when its holder dies, kill -9 included."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from backprop.effects.files.atomic import make_directory, writing
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_POLL_SECONDS = 0.01


@contextlib.contextmanager
def locked(path: Path, *, timeout_seconds: float, busy: Problem) -> Iterator[None]:
    """Hold the lock at ``path`` while the block runs; raises ``busy`` when it cannot be had in time.

    ``timeout_seconds=0`` tries once. The file stays behind when the lock is let go: removing it would let two in.
    """
    make_directory(path.parent)
    lock = FileLock(path, timeout=timeout_seconds, poll_interval=_POLL_SECONDS)
    with writing(path):
        try:
            lock.acquire()
        except Timeout as held:
            raise BackpropError(busy) from held
    try:
        yield
    finally:
        lock.release()
