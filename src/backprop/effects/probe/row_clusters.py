"""Which rows of a data set belong together, with what is needed to write some of them out again as they stand."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeAlias

import attrs
import numpy as np

from backprop.effects.files.rows import Block, RawRow, blocks_of, rows_of
from backprop.effects.probe.duplicates import DuplicateFinder, Duplicates
from backprop.effects.probe.row_places import RowPlaces, pack_place
from backprop.effects.probe.row_source import RowSource
from backprop.effects.processes.block_workers import map_blocks
from backprop.effects.processes.cpus import num_cpus
from backprop.plan.data.certain import is_usual_row
from backprop.plan.data.clusters import Rows
from backprop.plan.data.compared import DIGEST_BYTES, compared_text, compared_text_of_usual, digests_of
from backprop.plan.data.dividing import Digests, Mask
from backprop.plan.data.shingles import ShingleSets, shingles_of
from backprop.plan.decision import Problem

_BATCH_ROWS = 1024
NUM_NAMED = 3
"""Broken rows that are named; the others are counted."""

Tell: TypeAlias = Callable[[str], None]


@attrs.frozen(eq=False)
class ClusteredRows:
    """A data set's rows and the clusters of those that can be read, in the order of the files."""

    is_read: Mask
    """Of every row, broken ones included, whether it could be read."""
    places: RowPlaces
    """Of every row that could be read."""
    digests: Digests
    duplicates: Duplicates
    broken: tuple[Problem, ...]
    """The first broken rows."""

    def where(self, row: int) -> str:
        """The place of a row that could be read, by its number."""
        return self.places.where(row)

    @property
    def num_broken(self) -> int:
        """Rows that could not be read."""
        return int(np.count_nonzero(~self.is_read))

    def chosen(self, rows: Mask) -> Mask:
        """A choice among the rows that could be read, as one among all of them; broken rows are not chosen."""
        among_all = np.zeros(len(self.is_read), bool)
        among_all[self.is_read] = rows
        return among_all


@attrs.frozen(eq=False)
class _BlockRows:
    is_read: bytes
    places: bytes
    batches: tuple[tuple[bytes, ShingleSets | None], ...]
    broken: tuple[Problem, ...]


def cluster_rows(
    source: RowSource,
    *,
    threshold: float | None,
    tell: Tell,
    only: Mask | None = None,
    num_processes: int | None = None,
) -> ClusteredRows:
    """Read every row in several processes and find which are equal, or as similar as ``threshold``; None: equal alone.

    ``only``: (rows that can be read,), those that are compared; None for all. Raises ``BackpropError`` when a file
    cannot be read, and RUNTIME_DISK_FULL when there is no room for the shingles.
    """
    num_processes = num_processes or num_cpus()
    is_read, digests, places = bytearray(), bytearray(), RowPlaces()
    broken: list[Problem] = []
    work = partial(_block_rows, source=source, has_shingles=threshold is not None)
    with DuplicateFinder(threshold=threshold, num_processes=num_processes) as finder:
        tell("reading the rows")
        with closing(map_blocks(work, source_blocks(source), num_processes=num_processes)) as done:
            for block, found in done:
                is_read += found.is_read
                places.begin(block.path)
                places.extend(found.places)
                broken += found.broken[: NUM_NAMED - len(broken)]
                for batch, sets in found.batches:
                    start = len(digests) // DIGEST_BYTES
                    digests += batch
                    finder.add(*_among(batch, sets, only, start))
        tell("comparing rows")
        duplicates = finder.finish()
    return ClusteredRows(
        is_read=np.frombuffer(bytes(is_read), np.bool_),
        places=places,
        digests=np.frombuffer(bytes(digests), np.uint64).reshape(-1, DIGEST_BYTES // 8),
        duplicates=duplicates,
        broken=tuple(broken),
    )


def first_rows(source: RowSource, *, threshold: float | None, tell: Tell) -> tuple[ClusteredRows, Rows]:
    """The rows, and of each that can be read the first of its cluster, such that these have no duplicates among them.

    What counts as boilerplate depends on all rows; where it may be other among the first rows alone, these are read
    once more. Raises as :func:`cluster_rows`.
    """
    found = cluster_rows(source, threshold=threshold, tell=tell)
    first, boilerplate = found.duplicates.clusters.first.copy(), found.duplicates.boilerplate
    while True:
        heads = np.flatnonzero(first == np.arange(len(first), dtype=np.uint32)).astype(np.uint32)
        if len(heads) == len(first) or boilerplate.is_settled(len(heads)):
            return found, first
        tell("comparing what is left once more")
        is_head = np.zeros(len(first), bool)
        is_head[heads] = True
        again = cluster_rows(source, threshold=threshold, tell=tell, only=is_head).duplicates
        if not again.clusters.num_removable:
            return found, first
        of_heads = np.arange(len(first), dtype=np.uint32)
        of_heads[heads] = heads[again.clusters.first]
        first, boilerplate = of_heads[first], again.boilerplate


def _among(digests: bytes, sets: ShingleSets | None, only: Mask | None, start: int) -> tuple[bytes, ShingleSets | None]:
    """The digests and shingles of a batch that begins with row ``start``, of those rows that are compared."""
    if only is None:
        return digests, sets
    chosen = only[start : start + len(digests) // DIGEST_BYTES]
    kept = np.frombuffer(digests, f"V{DIGEST_BYTES}")[chosen].tobytes()
    return kept, None if sets is None else sets.chosen(chosen)


def source_blocks(source: RowSource) -> Iterator[Block]:
    """The blocks of all files of a data set, as they were when it was opened."""
    for path, stamp in zip(source.paths, source.stamps, strict=True):
        yield from blocks_of(path, expected=stamp)


def _block_rows(block: Block, *, source: RowSource, has_shingles: bool) -> _BlockRows:
    is_read, places = bytearray(), array("q")
    batches: list[tuple[bytes, ShingleSets | None]] = []
    broken: list[Problem] = []
    rows = rows_of(block)
    while batch := list(itertools.islice(rows, _BATCH_ROWS)):
        texts = []
        for row in batch:
            text = _compared(row, source)
            is_read.append(not isinstance(text, Problem))
            if isinstance(text, Problem):
                broken += [text] if len(broken) < NUM_NAMED else []
            else:
                texts.append(text)
                pack_place(places, row)
        batches.append((digests_of(texts), shingles_of(texts) if has_shingles else None))
    return _BlockRows(bytes(is_read), places.tobytes(), tuple(batches), tuple(broken))


def _compared(row: RawRow, source: RowSource) -> str | Problem:
    if row.problem is None and is_usual_row(row.value, source.layout, text_column=source.text_column):
        text = compared_text_of_usual(row.value, source.layout)
        if text is not None:
            return text
    read = source.read(row)
    if read.example is None:
        assert read.problem is not None, "a row is read or says why not"
        return read.problem
    return compared_text(read.example)
