"""Work on blocks in which every process that could help does: what several processes change is seen only then."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from unittest.mock import patch

from backprop.effects.files.rows import Block
from backprop.effects.processes.block_workers import map_blocks

_PATIENCE_SECONDS = 60


@contextmanager
def working_together(module: ModuleType) -> Iterator[set[int]]:
    """Within, two processes at least share the blocks that ``module`` maps, if it asks for two and there are two.

    Yields the ids of the processes, this one aside, which grow as they work.
    """
    helpers: set[int] = set()

    def mapped(
        work: Callable[[Block], Any], blocks: Iterable[Block], *, num_processes: int
    ) -> Generator[tuple[Block, Any], None, None]:
        with TemporaryDirectory() as directory:
            waiting = partial(_work_with_another, work=work, seen=Path(directory), parent=os.getpid())
            with closing(map_blocks(waiting, blocks, num_processes=num_processes)) as done:
                for block, found in done:
                    helpers.update(int(entry.name) for entry in Path(directory).iterdir())
                    yield block, found

    with patch.object(module, "map_blocks", mapped):
        yield helpers


def _work_with_another(block: Block, *, work: Callable[[Block], Any], seen: Path, parent: int) -> Any:
    """The work, begun when another process has begun its own."""
    if os.getpid() != parent:
        (seen / str(os.getpid())).touch()
        end = time.monotonic() + _PATIENCE_SECONDS
        while len(list(seen.iterdir())) < 2:
            assert time.monotonic() < end, "no other process began to work"
            time.sleep(0.001)
    return work(block)
