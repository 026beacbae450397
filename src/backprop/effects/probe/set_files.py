"""Sets of shingles on the disk on their way to a join: counted, freed of boilerplate, and put in order of rarity.

Each step goes over the file once, window by window, in several processes; what they find is in memory that they share.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from backprop.effects.files.shingle_store import ArrayStore
from backprop.effects.processes.forked import in_processes
from backprop.plan.data.similarity import (
    BITMAP_WORDS,
    Ranking,
    bitmaps,
    bucket_bits,
    bucket_of,
    prefix_lengths,
)
from backprop.plan.data.words import Hashes, Places

WINDOW = 1 << 18
"""Shingles that a process holds at a time, and one set more."""
FEWEST_ROWS = 20
"""Boilerplate stands in as many rows."""
POSTING = np.dtype([("key", np.uint64), ("set", np.uint32), ("position", np.uint32)])
_PARTITION = 1 << 22
"""Postings that a process sorts at a time, about."""
_MOST_PARTITIONS = 64
_COUNTING_BYTES = 256 << 20
"""Memory for counts: each process that counts has its own, up to 64 MiB."""


@attrs.frozen(eq=False)
class StoredSets:
    """Sets in a store, in the order in which they stand there."""

    store: ArrayStore[np.uint64]
    starts: Places
    sizes: Places
    """(sets,): how many shingles each has; those of boilerplate no longer count after :func:`put_in_order`."""
    own: npt.NDArray[np.bool_]
    """(sets,): whether a row of the data set itself has this text; the others stand in the other data set only."""
    bitmaps: Hashes
    """(sets, 4): filled by :func:`put_in_order`."""

    def read(self, number: int) -> Hashes:
        """One set, ascending."""
        return self.store.read(int(self.starts[number]), int(self.sizes[number]))


def stored_sets(store: ArrayStore[np.uint64], starts: Places, sizes: Places, own: npt.NDArray[np.bool_]) -> StoredSets:
    """Sets whose sizes and bitmaps can be written by several processes."""
    shared: Places = _shared_array(len(sizes), np.int64)
    shared[:] = sizes
    maps: Hashes = _shared_array(BITMAP_WORDS * len(sizes), np.uint64)
    return StoredSets(store, starts, shared, own, maps.reshape(-1, BITMAP_WORDS))


def _shared_array(count: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros that forked processes write for each other to read."""
    size = np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(count * size, 1)), dtype, count)


def count_buckets(sets: StoredSets, num_processes: int) -> npt.NDArray[np.uint32]:
    """(buckets,): how many sets have each bucket's shingles."""
    bits = bucket_bits(int(sets.sizes.sum()))
    num_processes = min(num_processes, max(_COUNTING_BYTES // (np.dtype(np.uint32).itemsize << bits), 1))
    counts = _shared_array(num_processes << bits, np.uint32).reshape(num_processes, -1)

    def work(process: int) -> None:
        for window in _windows(sets, process, num_processes):
            np.add.at(counts[process], bucket_of(_read(sets, window).hashes, bits), np.uint32(1))

    in_processes(work, num_processes)
    total: npt.NDArray[np.uint32] = counts.sum(axis=0, dtype=np.uint32)
    return total


def fewest_for_boilerplate(num_rows: int) -> int:
    """The distinct rows that a shingle must stand in to be boilerplate."""
    return max(FEWEST_ROWS, -(-num_rows // 2))


def find_boilerplate(sets: StoredSets, counts: npt.NDArray[np.uint32], num_processes: int) -> Hashes:
    """The hashes that stand in at least half of the own sets and in at least 20, ascending."""
    least = fewest_for_boilerplate(int(np.count_nonzero(sets.own)))
    heavy = counts >= least
    if not heavy.any():
        return np.empty(0, np.uint64)
    bits = len(counts).bit_length() - 1

    def work(process: int) -> tuple[Hashes, npt.NDArray[np.int64]]:
        totals: tuple[Hashes, npt.NDArray[np.int64]] = np.empty(0, np.uint64), np.empty(0, np.int64)
        for window in _windows(sets, process, num_processes):
            part = _read(sets, window)
            hashes = part.hashes[np.repeat(sets.own[window], part.sizes)]
            found = np.unique(hashes[heavy[bucket_of(hashes, bits)]], return_counts=True)
            totals = _added(totals, found)
        return totals

    totals: tuple[Hashes, npt.NDArray[np.int64]] = np.empty(0, np.uint64), np.empty(0, np.int64)
    for found in in_processes(work, num_processes):
        totals = _added(totals, found)
    hashes, numbers = totals
    return hashes[numbers >= least]


@attrs.frozen(eq=False)
class Ordered:
    """What became of the sets."""

    postings: ArrayStore[np.void]
    """The prefixes, partition after partition of each window: equal keys stand in the same partition."""
    edges: Places
    """(windows, partitions + 1): where in the store the partitions begin and end."""
    left_out: int
    """Shingles of own sets that no longer count."""

    @property
    def num_partitions(self) -> int:
        """A power of two, and no fewer than there were processes."""
        return int(self.edges.shape[1]) - 1

    def partition(self, number: int) -> npt.NDArray[np.void]:
        """The postings of one partition."""
        runs = self.edges[:, number : number + 2]
        parts = [self.postings.read(start, end - start) for start, end in runs.tolist() if start < end]
        return np.concatenate([np.empty(0, POSTING), *parts])

    def close(self) -> None:
        """Give the space back."""
        self.postings.close()


def put_in_order(
    sets: StoredSets, ranking: Ranking, boilerplate: Hashes, *, threshold: float, num_processes: int
) -> Ordered:
    """Replace each set by its keys, ascending, without boilerplate; keep its prefix and its bitmap."""
    # A set without its boilerplate has no longer prefix than with it, so each window knows where it may write, and all
    # processes share one file however many they are.
    room = np.cumsum(prefix_lengths(sets.sizes, threshold))
    partitions = _num_partitions(int(room[-1]) if len(room) else 0, num_processes)
    postings: ArrayStore[np.void] = ArrayStore(POSTING)

    def work(process: int) -> tuple[int, list[Places]]:
        left_out, edges = 0, []
        for window in _windows(sets, process, num_processes):
            part = _read(sets, window)
            kept = _without(part, boilerplate)
            left_out += int((part.sizes - kept.sizes)[sets.own[window]].sum())
            keys = ranking.keys(kept.hashes)
            for start, end in zip(kept.starts.tolist(), (kept.starts + kept.sizes).tolist(), strict=True):
                keys[start:end].sort()
            kept = attrs.evolve(kept, hashes=keys)
            _write_back(sets, window, kept)
            sets.sizes[window] = kept.sizes
            sets.bitmaps[window] = bitmaps(keys, kept.starts)
            found, ends = _partitioned(_postings(kept, window.start, threshold), partitions)
            begin = int(room[window.start - 1]) if window.start else 0
            postings.write(begin, found)
            edges.append(begin + ends)
        return left_out, edges

    try:
        done = in_processes(work, num_processes)
    except BaseException:
        postings.close()
        raise
    edges = [edge for _, found in done for edge in found]
    table = np.stack(edges) if edges else np.zeros((0, partitions + 1), np.int64)
    return Ordered(postings, table, sum(left_out for left_out, _ in done))


def _num_partitions(num_postings: int, num_processes: int) -> int:
    partitions = 1
    while partitions < num_processes or (num_postings > partitions * _PARTITION and partitions < _MOST_PARTITIONS):
        partitions *= 2
    return partitions


@attrs.frozen(eq=False)
class _Part:
    """Some sets in memory, one after the other."""

    hashes: Hashes
    sizes: Places

    @property
    def starts(self) -> Places:
        return np.cumsum(self.sizes) - self.sizes


def _windows(sets: StoredSets, process: int, num_processes: int) -> Iterator[slice]:
    """The sets of this process, as runs that stand close to each other."""
    edges = np.flatnonzero(np.diff(sets.starts // WINDOW, prepend=-1, append=-1)).tolist()
    for first, last in list(pairwise(edges))[process::num_processes]:
        yield slice(first, last)


def _read(sets: StoredSets, window: slice) -> _Part:
    base, sizes = int(sets.starts[window.start]), sets.sizes[window].copy()
    offsets = sets.starts[window] - base
    hashes = sets.store.read(base, int(offsets[-1] + sizes[-1]))
    if len(hashes) != sizes.sum():
        hashes = hashes[ranges(offsets, sizes)]
    return _Part(hashes, sizes)


def _write_back(sets: StoredSets, window: slice, part: _Part) -> None:
    """Each set where it stood; what lies between them belongs to nobody."""
    base, offsets = int(sets.starts[window.start]), sets.starts[window] - int(sets.starts[window.start])
    image = np.zeros(int(offsets[-1] + part.sizes[-1]), np.uint64)
    image[ranges(offsets, part.sizes)] = part.hashes
    sets.store.write(base, image)


def _without(part: _Part, boilerplate: Hashes) -> _Part:
    """The sets without boilerplate; a set that is nothing else stays as it is."""
    if not len(boilerplate):
        return part
    kept = ~np.isin(part.hashes, boilerplate)
    left = np.add.reduceat(kept, part.starts, dtype=np.int64)
    kept |= np.repeat(left == 0, part.sizes)
    return _Part(part.hashes[kept], np.where(left == 0, part.sizes, left))


def _postings(part: _Part, first_set: int, threshold: float) -> npt.NDArray[np.void]:
    lengths = prefix_lengths(part.sizes, threshold)
    places = ranges(part.starts, lengths)
    found = np.empty(len(places), POSTING)
    found["key"] = part.hashes[places]
    found["set"] = np.repeat(np.arange(first_set, first_set + len(lengths)), lengths)
    found["position"] = places - np.repeat(part.starts, lengths)
    return found


def _partitioned(found: npt.NDArray[np.void], partitions: int) -> tuple[npt.NDArray[np.void], Places]:
    """(the postings partition after partition, (partitions + 1,): where each begins and the last ends)."""
    partition = (found["key"] & np.uint64(partitions - 1)).astype(np.uint16)
    edges = np.zeros(partitions + 1, np.int64)
    np.cumsum(np.bincount(partition, minlength=partitions), out=edges[1:])
    return found[np.argsort(partition, kind="stable")], edges


def ranges(starts: Places, sizes: Places) -> Places:
    """``starts[0], starts[0] + 1, ...``: sizes[0] of them, then those of the next."""
    ends = np.cumsum(sizes)
    places: Places = np.repeat(starts - (ends - sizes), sizes)
    places += np.arange(len(places))
    return places


def _added(
    totals: tuple[Hashes, npt.NDArray[np.int64]], found: tuple[Hashes, npt.NDArray[np.int64]]
) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """The sums of two counts."""
    hashes, inverse = np.unique(np.concatenate((totals[0], found[0])), return_inverse=True)
    sums = np.zeros(len(hashes), np.int64)
    np.add.at(sums, inverse, np.concatenate((totals[1], found[1])))
    return hashes, sums
