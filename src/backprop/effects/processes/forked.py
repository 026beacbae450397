"""Work in several processes that see what this one has in memory, without a copy of it."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import TypeVar

from backprop.effects.processes.children import lost, obey_parent, without_interrupts

T = TypeVar("T")


def in_processes(work: Callable[[int], T], num_processes: int) -> list[T]:
    """``work(0)``, ``work(1)``, ...: each in a process of its own, which is gone when this returns or raises.

    What is returned is pickled, what is raised is raised here. Raises RUNTIME_WORKER_LOST when a process dies, and
    ``TypeError`` when an answer cannot be pickled. Where no process can be forked everything is done in this one. A
    process takes three descriptors.
    """
    may_fork = "fork" in multiprocessing.get_all_start_methods() and not multiprocessing.current_process().daemon
    if num_processes == 1 or not may_fork:
        return [work(number) for number in range(num_processes)]
    children: list[ForkProcess] = []
    receivers: list[Connection] = []
    try:
        with without_interrupts():
            for number in range(num_processes):
                child, receiver = _started(work, number)
                children.append(child)
                receivers.append(receiver)
        return [_received(receiver) for receiver in receivers]
    finally:
        for child in children:
            child.kill()
            child.join()
            child.close()
        for receiver in receivers:
            receiver.close()


def _started(work: Callable[[int], T], number: int) -> tuple[ForkProcess, Connection]:
    """A process at work, and where its answer comes; no other process holds the end that it writes to."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(work, number, sender), daemon=True)
    try:
        child.start()
    except BaseException:
        receiver.close()
        raise
    finally:
        sender.close()
    return child, receiver


def _child(work: Callable[[int], T], number: int, sender: Connection) -> None:
    obey_parent()
    try:
        answer: tuple[T | None, BaseException | None] = (work(number), None)
    except BaseException as error:
        answer = (None, error)
    sender.send_bytes(_pickled(answer))
    sender.close()


def _pickled(answer: tuple[T | None, BaseException | None]) -> bytes:
    """The answer, or in its place the error that it cannot be sent: a process that only dies does not say why."""
    try:
        data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        if answer[1] is not None:
            pickle.loads(data)  # an exception may be pickled and yet not be made again
    except Exception as error:
        return pickle.dumps((None, TypeError(f"{answer[1] or answer[0]!r} cannot be sent to another process: {error}")))
    return data


def _received(receiver: Connection) -> T:  # type: ignore[type-var]
    try:
        value, error = pickle.loads(receiver.recv_bytes())
    except EOFError:
        raise lost("compared rows") from None
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]
