"""Work on the blocks of a file in several processes, its results in the order of the blocks."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeAlias, TypeVar

from backprop.effects.files.rows import Block
from backprop.effects.processes.children import lost, obey_parent, without_interrupts
from backprop.plan.errors import BackpropError

T = TypeVar("T")
Worked: TypeAlias = Generator[tuple[Block, T], None, None]
"""Each block with what was made of it."""

_AHEAD = 2
"""Blocks given out for each process: one at work, one waiting, so that memory stays bounded."""


def map_blocks(work: Callable[[Block], T], blocks: Iterable[Block], *, num_processes: int) -> Worked[T]:
    """(block, ``work`` of it) in the order of the blocks. A single block, or one process, is worked on here.

    ``work`` and its results are pickled. What it raises is raised in its place, and so is what ``blocks`` raises,
    however far it was read ahead. Closing the generator ends the processes. Raises RUNTIME_WORKER_LOST when one of
    them was killed.
    """
    ahead = _Ahead(blocks)
    first = ahead.take(2)
    if num_processes == 1 or len(first) < 2:
        while first:
            yield from ((block, work(block)) for block in first)
            first = ahead.take(1)
    else:
        yield from _in_processes(work, first, ahead, num_processes)
    if ahead.error is not None:
        raise ahead.error


class _Ahead:
    """Blocks read ahead of the work; an error in reading is kept until the blocks before it are done."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = iter(blocks)
        self.error: BackpropError | None = None

    def take(self, count: int) -> list[Block]:
        """Up to ``count`` blocks; fewer at the end, or before an error."""
        taken: list[Block] = []
        try:
            taken.extend(itertools.islice(self._blocks, count))
        except BackpropError as error:
            self.error = error
        return taken


def _in_processes(work: Callable[[Block], T], first: list[Block], ahead: _Ahead, num_processes: int) -> Worked[T]:
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(num_processes, mp_context=context, initializer=_begin)
    waiting: deque[tuple[Block, Future[T]]] = deque()
    try:
        with without_interrupts():
            waiting.extend((block, pool.submit(work, block)) for block in first)
        waiting.extend((block, pool.submit(work, block)) for block in ahead.take(_AHEAD * num_processes - len(first)))
        while waiting:
            block, future = waiting.popleft()
            done = future.result()
            waiting.extend((more, pool.submit(work, more)) for more in ahead.take(1))
            yield block, done
    except BrokenProcessPool as broken:
        raise lost("read rows") from broken
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    obey_parent()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
