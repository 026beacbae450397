"""Work in several processes that see what this one has in memory, without a copy of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")


def num_cpus() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(work: Callable[[int], T], num_processes: int) -> list[T]:
    """``work(0)``, ``work(1)``, ...: each in a process of its own, which is gone when this returns or raises.

    What is returned is pickled, what is raised is raised here; a process that dies raises ``ChildProcessError``. Where
    no process can be forked everything is done in this one.
    """
    may_fork = "fork" in multiprocessing.get_all_start_methods() and not multiprocessing.current_process().daemon
    if num_processes == 1 or not may_fork:
        return [work(number) for number in range(num_processes)]
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(num_processes)]
    children = [
        context.Process(target=_child, args=(work, number, sender), daemon=True)
        for number, (_, sender) in enumerate(pipes)
    ]
    try:
        with _without_interrupts():
            for child, (_, sender) in zip(children, pipes, strict=True):
                child.start()
                sender.close()
        return [_received(receiver) for receiver, _ in pipes]
    finally:
        for child in children:
            if child.pid is not None:
                child.kill()
                child.join()
        for receiver, _ in pipes:
            receiver.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of the terminal, but the one that waits ends the others.

    Processes that are forked in here never see it; what comes meanwhile is seen afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _child(work: Callable[[int], T], number: int, sender: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        answer: tuple[T | None, BaseException | None] = (work(number), None)
    except BaseException as error:
        answer = (None, error)
    sender.send(answer)
    sender.close()


def _received(receiver: Connection) -> T:  # type: ignore[type-var]
    try:
        value, error = receiver.recv()
    except EOFError:
        raise ChildProcessError("a process that compared rows was killed") from None
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]
