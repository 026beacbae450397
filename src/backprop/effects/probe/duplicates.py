"""Which rows of a data set stand more than once, and which stand in another data set, too: exactly, at any size.

Use::

    # in worker processes, of each block of rows
    texts = [compared_text(example) for example in examples]
    digests, sets = digests_of(texts), shingles_of(texts)
    # in one process, in the order of the rows
    with DuplicateFinder(threshold=0.9) as finder:
        finder.add(digests, sets)
        finder.add_against(digests, sets)
        found = finder.finish()
"""

from __future__ import annotations

from array import array
from types import TracebackType

import attrs
import numpy as np
import numpy.typing as npt

from backprop.effects.files.shingle_store import ArrayStore
from backprop.effects.probe.set_files import (
    StoredSets,
    count_buckets,
    fewest_for_boilerplate,
    find_boilerplate,
    put_in_order,
    stored_sets,
)
from backprop.effects.probe.similarity_join import Joined, join
from backprop.effects.processes.cpus import num_cpus
from backprop.plan.data.clusters import Clusters, Rows, connected
from backprop.plan.data.compared import DIGEST_BYTES
from backprop.plan.data.shingles import ShingleSets
from backprop.plan.data.similarity import rank_buckets, similarity
from backprop.plan.data.words import Hashes

_FEW = 20_000
"""Fewer texts are compared in this process: starting others would take longer."""
_MOST_PROCESSES = 32
"""That compare; each takes three of the descriptors of which some systems give 256."""
_SHOWN, _CONSIDERED = 20, 256
"""Pairs for display, and members of a cluster among which the one most like the first is looked for."""


@attrs.frozen(eq=False)
class Boilerplate:
    """Shingles that stand in at least half of the distinct rows, and in at least 20: they tell no rows apart."""

    hashes: Hashes
    """Ascending; :func:`backprop.plan.data.shingles.shared_excerpt` shows what of a text they are."""
    share: float
    """Of all shingles of the distinct rows, those that were not compared."""
    most: int
    """The distinct rows that stand together behind one shingle, at most."""

    def is_settled(self, num_rows: int) -> bool:
        """Whether nothing is boilerplate, and nothing would be among ``num_rows`` of the distinct rows alone."""
        return not len(self.hashes) and self.most < fewest_for_boilerplate(num_rows)


@attrs.frozen
class SimilarPair:
    """Two rows of one cluster that are not equal."""

    row: int
    other: int
    similarity: float
    """Jaccard: shingles that both have / shingles that either has."""


@attrs.frozen(eq=False)
class Duplicates:
    """What stands more than once."""

    clusters: Clusters
    """Rows of equal text, and rows as similar as the threshold asks, with all that are linked by such pairs."""
    first_equal: Rows
    """(rows,): of each row the first one of the same text, itself if it is that."""
    boilerplate: Boilerplate
    pairs: tuple[SimilarPair, ...]
    """For display: of the largest clusters the first row and the one most like it; at most 20."""
    contaminated: Rows
    """Rows equal or similar to a row of the other data set, ascending."""

    @property
    def exact_removable(self) -> int:
        """Rows that repeat the text of an earlier row."""
        return int(np.count_nonzero(self.first_equal != np.arange(len(self.first_equal), dtype=np.uint32)))

    @property
    def near_removable(self) -> int:
        """Rows that are not the first of their cluster, beyond those."""
        return self.clusters.num_removable - self.exact_removable


class DuplicateFinder:
    """Takes rows block by block, then says which stand more than once.

    ``threshold`` is the similarity from which on rows are near duplicates: 1.0 asks for equal sets of shingles, 0 holds
    all rows for similar, None finds equal texts only and takes no shingles. The shingles are kept in a temporary file
    without a name, 8 bytes each; memory grows by some 150 bytes a row. Blocks and the number of processes change
    nothing of what is found.
    """

    def __init__(self, *, threshold: float | None, num_processes: int | None = None) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"a similarity is a number from 0 to 1, not {threshold}")
        self._threshold = threshold
        self._num_processes = num_processes or num_cpus()
        self._store: ArrayStore[np.uint64] = ArrayStore(np.uint64)
        self._own, self._other = _Side(), _Side()

    def add(self, digests: bytes, sets: ShingleSets | None) -> None:
        """Add rows: 16 bytes and a set of shingles each. Raises RUNTIME_DISK_FULL."""
        self._add(self._own, digests, sets)

    def add_against(self, digests: bytes, sets: ShingleSets | None) -> None:
        """Add rows of the other data set. They count for nothing but contamination. Raises RUNTIME_DISK_FULL."""
        self._add(self._other, digests, sets)

    def finish(self) -> Duplicates:
        """Compare all rows that were added; to be called once. Raises RUNTIME_DISK_FULL."""
        return _Finding(self._own, self._other).finish(self._store, self._threshold, self._num_processes)

    def close(self) -> None:
        """Give the space back."""
        self._store.close()

    def _add(self, side: _Side, digests: bytes, sets: ShingleSets | None) -> None:
        side.digests += digests
        if self._threshold is None:
            return
        assert sets is not None, "near duplicates are told by their shingles"
        assert len(sets) * DIGEST_BYTES == len(digests), "one digest a set"
        ends = sets.ends + len(self._store)
        self._store.append(sets.hashes)
        side.ends.frombytes(ends.tobytes())
        side.sizes.frombytes(np.diff(sets.ends, prepend=0).astype(np.uint32).tobytes())

    def __enter__(self) -> DuplicateFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@attrs.define(eq=False)
class _Side:
    """What is in memory of the rows of one data set."""

    digests: bytearray = attrs.field(factory=bytearray)
    ends: array[int] = attrs.field(factory=lambda: array("q"))
    """Where in the store each row's shingles end."""
    sizes: array[int] = attrs.field(factory=lambda: array("I"))

    def __len__(self) -> int:
        return len(self.digests) // DIGEST_BYTES


class _Finding:
    """The rows of both data sets under one numbering, the own ones first."""

    def __init__(self, own: _Side, other: _Side) -> None:
        self._num_own, num_rows = len(own), len(own) + len(other)
        digests = np.frombuffer(bytes(own.digests + other.digests), np.uint64).reshape(num_rows, 2)
        self._ends = np.concatenate([np.frombuffer(side.ends, np.int64) for side in (own, other)])
        self._sizes = np.concatenate([np.frombuffer(side.sizes, np.uint32) for side in (own, other)])
        self._first = _first_equal(digests)
        """Of each row the first one of the same text."""
        self._is_first = self._first == np.arange(num_rows, dtype=np.uint32)
        self._in_other = np.zeros(num_rows, bool)
        """Of each first row whether the other data set has its text."""
        self._in_other[self._first[self._num_own :]] = True

    def finish(self, store: ArrayStore[np.uint64], threshold: float | None, num_processes: int) -> Duplicates:
        nothing = Boilerplate(np.empty(0, np.uint64), 0.0, 0)
        if threshold is None:
            return self._duplicates(self._first.copy(), self._in_other, nothing)
        if threshold == 0:
            tainted = np.full(len(self._first), len(self._first) > self._num_own)
            return self._duplicates(np.zeros_like(self._first), tainted, nothing)
        rows = np.flatnonzero(self._is_first).astype(np.uint32)
        starts = (self._ends - self._sizes)[rows]
        # Blocks of the two data sets may have come in turn; sets are numbered as they stand in the file.
        order = np.argsort(starts)
        rows, starts = rows[order], starts[order]
        sets = stored_sets(store, starts, self._sizes[rows].astype(np.int64), rows < self._num_own)
        joined, boilerplate = _joined(sets, self._in_other[rows], threshold, num_processes)
        tainted = self._in_other.copy()
        tainted[rows[joined.contaminated]] = True
        near = connected(len(self._first), rows[joined.left], rows[joined.right]).first
        first = near[self._first]
        numbers = np.full(len(self._first), -1, np.int64)
        numbers[rows] = np.arange(len(rows))
        found = self._duplicates(first, tainted, boilerplate)
        return attrs.evolve(found, pairs=_pairs(found.clusters, self._first, numbers, sets))

    def _duplicates(self, first: Rows, tainted: npt.NDArray[np.bool_], boilerplate: Boilerplate) -> Duplicates:
        return Duplicates(
            clusters=Clusters(first[: self._num_own]),
            first_equal=self._first[: self._num_own],
            boilerplate=boilerplate,
            pairs=(),
            contaminated=np.flatnonzero(tainted[self._first[: self._num_own]]).astype(np.uint32),
        )


def _joined(
    sets: StoredSets, other: npt.NDArray[np.bool_], threshold: float, num_processes: int
) -> tuple[Joined, Boilerplate]:
    num_processes = 1 if len(sets.sizes) < _FEW else min(num_processes, _MOST_PROCESSES)
    counts = count_buckets(sets, num_processes)
    hashes = find_boilerplate(sets, counts, num_processes)
    total, most = int(sets.sizes[sets.own].sum()), int(counts.max(initial=0))
    ordered = put_in_order(sets, rank_buckets(counts), hashes, threshold=threshold, num_processes=num_processes)
    try:
        del counts
        joined = join(sets, other, ordered, threshold=threshold, num_processes=num_processes)
    finally:
        ordered.close()
    return joined, Boilerplate(hashes, ordered.left_out / max(total, 1), most)


def _first_equal(digests: npt.NDArray[np.uint64]) -> Rows:
    """Of each row the first one with the same digest."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(order), np.uint32)
    # The sort is stable: the first of equal ones comes first.
    first[order] = order[fresh][np.cumsum(fresh) - 1]
    return first


def _pairs(
    clusters: Clusters, first: Rows, numbers: npt.NDArray[np.int64], sets: StoredSets
) -> tuple[SimilarPair, ...]:
    """Of the largest clusters that hold different texts, the first row and the one most like it."""
    own = len(clusters.first)
    rows = np.flatnonzero(first[:own] == np.arange(own, dtype=np.uint32))
    counts = np.bincount(clusters.first[rows], minlength=own)
    heads = np.flatnonzero(counts > 1)
    heads = heads[np.argsort(-counts[heads], kind="stable")][:_SHOWN]
    pairs = []
    for head in heads.tolist():
        members = rows[clusters.first[rows] == head][1 : _CONSIDERED + 1].tolist()
        text = sets.read(int(numbers[head]))
        alike = [(similarity(text, sets.read(int(numbers[row]))), -row) for row in members]
        best, row = max(alike)
        pairs.append(SimilarPair(head, -row, best))
    return tuple(pairs)
