"""The pairs of similar sets among those on the disk, as far as they say something new: what stands together, and what
stands in the other data set, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise

import attrs
import numpy as np
import numpy.typing as npt

from backprop.effects.probe.set_files import Ordered, StoredSets
from backprop.effects.processes.forked import in_processes
from backprop.plan.data.clusters import Rows, Union
from backprop.plan.data.similarity import Sharing, may_be_similar, sharing, similarity
from backprop.plan.data.words import Hashes, Places

_LARGE = 64
"""Groups up to here are turned into pairs all at once; larger ones member by member, skipping what is known."""
_PAIRS = 1 << 18
"""Pairs in memory at a time."""
_CACHED = 4096
"""Sets in memory, for those that are compared again and again."""

_REMEMBERED = 1 << 19
"""Pairs that turned out not to be similar."""

_Flags = npt.NDArray[np.bool_]


@attrs.frozen(eq=False)
class Joined:
    """What the similar pairs say."""

    left: Rows
    """Sets that stand together with the one at the same place in ``right``; what other pairs imply is left out."""
    right: Rows
    contaminated: Rows
    """Own sets that are similar to one of the other data set."""


def join(sets: StoredSets, other: _Flags, ordered: Ordered, *, threshold: float, num_processes: int) -> Joined:
    """Find similar pairs. ``other``: (sets,), whether a row of the other data set has this text."""

    def work(process: int) -> Joined:
        matcher = _Matcher(sets, other, threshold)
        for partition in range(process, ordered.num_partitions, num_processes):
            matcher.match(_group(ordered, partition, sets.sizes, threshold))
        return matcher.found()

    parts = in_processes(work, num_processes)
    return Joined(
        np.concatenate([part.left for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.unique(np.concatenate([part.contaminated for part in parts])),
    )


def _group(ordered: Ordered, partition: int, sizes: Places, threshold: float) -> Sharing:
    postings = ordered.partition(partition)
    members = postings["set"].astype(np.int64)
    positions = postings["position"].astype(np.int64)
    return sharing(postings["key"], members, positions, sizes[members], threshold)


class _Matcher:
    """The work of one process."""

    def __init__(self, sets: StoredSets, other: _Flags, threshold: float) -> None:
        self._sets, self._other, self._threshold = sets, other, threshold
        self._own = sets.own
        self._union = Union(len(sets.sizes))
        self._contaminated: _Flags = np.zeros(len(sets.sizes), bool)
        self._pairs: list[tuple[int, int]] = []
        self._different: set[int] = set()
        self._cache: OrderedDict[int, Hashes] = OrderedDict()

    def found(self) -> Joined:
        pairs = np.array(self._pairs, np.uint32).reshape(-1, 2)
        return Joined(pairs[:, 0], pairs[:, 1], np.flatnonzero(self._contaminated).astype(np.uint32))

    def match(self, groups: Sharing) -> None:
        starts = np.flatnonzero(np.diff(groups.ends, prepend=-1))
        large = groups.ends[starts] - starts > _LARGE
        self._match_small(groups, np.repeat(large, groups.ends[starts] - starts))
        for start in starts[large].tolist():
            self._match_large(groups, start, int(groups.ends[start]))

    def _match_small(self, groups: Sharing, is_large: _Flags) -> None:
        for left, right in _pairs(groups, ~is_large):
            a, b = groups.sets[left], groups.sets[right]
            wanted = (groups.reach[right] >= groups.sizes[left]) & self._concern(a, b)
            a, b = a[wanted], b[wanted]
            codes = np.unique(np.minimum(a, b) << 32 | np.maximum(a, b))
            a, b = codes >> 32, codes & 0xFFFFFFFF
            maps, sizes = self._sets.bitmaps, self._sets.sizes
            open_ = may_be_similar(maps[a], maps[b], sizes[a] + sizes[b], self._threshold)
            for one, another in zip(a[open_].tolist(), b[open_].tolist(), strict=True):
                self._compare(one, another)

    def _match_large(self, groups: Sharing, start: int, end: int) -> None:
        """Some members at a time with those after them that are not known to belong to them.

        One at a time while there is something to unite, so that the rest of a cluster is skipped; more and more after.
        """
        members = groups.sets[start:end]
        labels = np.array([self._union.root(number) for number in members.tolist()])
        has_other = bool(self._other[members].any())
        place, step = start, 1
        while place < end and (has_other or (labels != labels[0]).any()):
            until = min(place + step, end)
            left, right = self._of_interest(groups, place, until, labels, start)
            a, b = groups.sets[left], groups.sets[right]
            concern = self._concern(a, b)
            united = [
                number
                for one, another in zip(a[concern].tolist(), b[concern].tolist(), strict=True)
                if self._compare(one, another)
                for number in (one, another)
            ]
            self._relabel(labels, united, members)
            step = 1 if united else min(2 * step, max(_PAIRS // (end - start), 1))
            place = until

    def _of_interest(
        self, groups: Sharing, place: int, until: int, labels: Places, start: int
    ) -> tuple[Places, Places]:
        """Pairs of an entry from ``place`` to ``until`` and a later one of the group that it could be similar to."""
        stop = int(groups.stops[place:until].max())
        if stop <= place + 1:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        one, after = slice(place, until), slice(place + 1, stop)
        a, b = groups.sets[one], groups.sets[after]
        sizes = groups.sizes
        wanted = labels[place - start : until - start, None] != labels[place + 1 - start : stop - start]
        wanted |= self._other[a][:, None] | self._other[b]
        wanted &= groups.reach[after] >= sizes[one, None]
        wanted &= groups.stops[one, None] > np.arange(place + 1, stop)
        if until > place + 1:
            wanted &= np.arange(place, until)[:, None] < np.arange(place + 1, stop)
        left, right = np.nonzero(wanted)
        maps = self._sets.bitmaps
        open_ = may_be_similar(maps[a][left], maps[b][right], sizes[one][left] + sizes[after][right], self._threshold)
        return left[open_] + place, right[open_] + place + 1

    def _relabel(self, labels: Places, united: list[int], members: Places) -> None:
        """Follow what was united; ``labels`` are those of ``members``."""
        if not united:
            return
        old = np.unique(labels[np.isin(members, united)])
        new = np.array([self._union.root(number) for number in old.tolist()])
        at = np.minimum(np.searchsorted(old, labels), len(old) - 1)
        hit = old[at] == labels
        labels[hit] = new[at[hit]]

    def _concern(self, a: Places, b: Places) -> _Flags:
        """Whether a pair could say something: not both of the other data set only, and not known already."""
        own_a, own_b, other_a, other_b = self._own[a], self._own[b], self._other[a], self._other[b]
        known = self._contaminated
        return (own_a & own_b) | (own_a & other_b & ~known[a]) | (own_b & other_a & ~known[b])

    def _compare(self, a: int, b: int) -> bool:
        """Compare two sets unless nothing would come of it; whether that united them."""
        own = bool(self._own[a] and self._own[b])
        apart = own and self._union.root(a) != self._union.root(b)
        taints = [x for x, y in ((a, b), (b, a)) if self._own[x] and self._other[y] and not self._contaminated[x]]
        if not (apart or taints) or not self._is_similar(a, b):
            return False
        self._contaminated[taints] = True
        if apart:
            self._union.unite(a, b)
            self._pairs.append((a, b))
        return apart

    def _is_similar(self, a: int, b: int) -> bool:
        """Sets that are not similar may share several of their rarest shingles: they are remembered for a while."""
        pair = min(a, b) << 32 | max(a, b)
        if pair in self._different:
            return False
        if similarity(self._read(a), self._read(b)) >= self._threshold:
            return True
        if len(self._different) == _REMEMBERED:
            self._different.clear()
        self._different.add(pair)
        return False

    def _read(self, number: int) -> Hashes:
        found = self._cache.get(number)
        if found is None:
            found = self._cache[number] = self._sets.read(number)
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return found


def _pairs(groups: Sharing, wanted: _Flags) -> Iterator[tuple[Places, Places]]:
    """Each entry that is wanted with each one within its reach after it, some at a time."""
    entries = np.arange(len(groups.sets))
    counts = np.where(wanted, np.maximum(groups.stops - entries - 1, 0), 0)
    ends = np.cumsum(counts)
    firsts = np.arange(0, int(ends[-1]) if len(ends) else 0, _PAIRS)
    edges = [*np.searchsorted(ends, firsts, side="right").tolist(), len(entries)]
    for first, last in pairwise(edges):
        sizes = counts[first:last]
        left = np.repeat(entries[first:last], sizes)
        begin = np.cumsum(sizes) - sizes
        yield left, left + 1 + np.arange(len(left)) - np.repeat(begin, sizes)
