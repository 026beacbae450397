"""What holds for every process that helps this one: which signals it obeys, and what it is called when it is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Start processes in here: no interrupt reaches them before :func:`obey_parent`; this one sees it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent() -> None:
    """The first thing that a helping process does.

    Ctrl-C reaches every process of the terminal, but the one that waits ends the others; what it does when it is asked
    to end is not theirs to do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def lost(what: str) -> BackpropError:
    """The error that a process which ``what`` (such as "read rows") ended before its work: it was killed."""
    return BackpropError(Problem("RUNTIME_WORKER_LOST", f"A process that {what} was killed."))
