"""Which sets of shingles are similar: an exact join, by what similar sets must have in common.

Sets are ordered by how rare their shingles are. Two sets of a similarity of at least t then share one of the first
n - ceil(t n) + 1 of each (prefix filter: Chaudhuri et al., ICDE 2006); what can still follow the first shared one
bounds the similarity from above (positional filter: Xiao et al., WWW 2008), and so do small bitmaps of the sets (Sandes
et al., 2017). What passes is compared, so that no pair is missed and none is false.
"""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from backprop.plan.data.words import Hashes, Places

Counts = npt.NDArray[np.uint32]

BITMAP_WORDS = 4
"""64 bits each."""
_SLACK = 1e-9
"""Bounds leave this much for rounding; they may let too much pass, never too little."""
_FEWEST_BITS, _MOST_BITS = 10, 24


@attrs.frozen(eq=False)
class Ranking:
    """An order of all shingles from rare to common: each hash has a key, another for another hash."""

    ranks: Counts
    """(buckets,): the place of each bucket of hashes."""
    bits: int

    def keys(self, hashes: Hashes) -> Hashes:
        """The keys of hashes: the bits that name the bucket are replaced by its place, the others kept."""
        kept = np.uint64(64 - self.bits)
        low = np.uint64((1 << (64 - self.bits)) - 1)
        return (self.ranks[bucket_of(hashes, self.bits)].astype(np.uint64) << kept) | (hashes & low)


def bucket_bits(num_shingles: int) -> int:
    """How many bits of a hash name the bucket in which it is counted: 2 to 4 shingles a bucket, up to 2**24 of them.

    Counts need not be exact: any order will do that puts what many sets have last.
    """
    return min(max(num_shingles.bit_length() - 2, _FEWEST_BITS), _MOST_BITS)


def bucket_of(hashes: Hashes, bits: int) -> Places:
    """The bucket of each hash: its first bits."""
    buckets: Places = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    return buckets


def rank_buckets(counts: Counts) -> Ranking:
    """Order hashes by how many stand in their bucket. ``counts`` has a power of two of buckets."""
    bits = len(counts).bit_length() - 1
    # 16 bits are sorted by radix, in a tenth of the time; how far beyond a shingle is common orders nothing of use.
    order = np.argsort(np.minimum(counts, 0xFFFF).astype(np.uint16), kind="stable")
    ranks = np.empty(len(counts), np.uint32)
    ranks[order] = np.arange(len(counts), dtype=np.uint32)
    return Ranking(ranks, bits)


def prefix_lengths(sizes: Places, threshold: float) -> Places:
    """How many of the rarest shingles of each set, of which similar sets share one."""
    needed = np.ceil(threshold * sizes - _SLACK).astype(np.int64)
    lengths: Places = np.minimum(sizes - needed + 1, sizes)
    return lengths


def bitmaps(keys: Hashes, starts: Places) -> Hashes:
    """(sets, 4): 256 bits a set, each turned over by every shingle that it falls to. No set is empty."""
    bits = np.uint64(1) << (keys & np.uint64(63))
    words = (keys >> np.uint64(6)) & np.uint64(BITMAP_WORDS - 1)
    columns = (np.bitwise_xor.reduceat(bits * (words == word), starts) for word in range(BITMAP_WORDS))
    return np.stack(tuple(columns), axis=1)


def may_be_similar(left: Hashes, right: Hashes, sizes: Places, threshold: float) -> npt.NDArray[np.bool_]:
    """Whether bitmaps, (..., 4), leave it open that sets are similar; ``sizes``, (...), are those of both together.

    A shingle that only one of them has turns over one bit.
    """
    # Column by column: three times as fast as a sum over the last axis.
    different = np.zeros(np.shape(sizes), np.int16)
    for word in range(BITMAP_WORDS):
        different += np.bitwise_count(left[..., word] ^ right[..., word])
    shared: npt.NDArray[np.float64] = np.ceil(threshold / (1 + threshold) * sizes - _SLACK)
    possible: npt.NDArray[np.bool_] = different <= sizes - 2 * shared
    return possible


def similarity(left: Hashes, right: Hashes) -> float:
    """Shingles that both have / shingles that either has (Jaccard). None stands twice in a set."""
    both = np.concatenate((left, right))
    both.sort()
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared)


@attrs.frozen(eq=False)
class Sharing:
    """Sets that share one of their rarest shingles, group after group; within a group by size."""

    sets: Places
    """(entries,): numbers of sets."""
    sizes: Places
    reach: Places
    """The largest size of a set that is similar to this one and shares no rarer shingle with it."""
    stops: Places
    """Entries from the next one up to this belong to the group and are within reach."""
    ends: Places
    """Where the group ends."""


def sharing(keys: Hashes, sets: Places, positions: Places, sizes: Places, threshold: float) -> Sharing:
    """Group the prefixes of sets: ``keys[i]`` stands at ``positions[i]`` of ``sets[i]``, a set of ``sizes[i]``."""
    order = np.argsort(keys)
    same = keys[order[1:]] == keys[order[:-1]]
    in_group = np.zeros(len(keys), bool)
    in_group[1:] |= same
    in_group[:-1] |= same
    order = order[in_group]
    order = order[np.lexsort((sets[order], sizes[order], keys[order]))]
    own, groups = sizes[order], np.zeros(len(order), np.int64)
    np.cumsum(keys[order[1:]] != keys[order[:-1]], out=groups[1:])
    ends = np.searchsorted(groups, groups, side="right")
    # Two sets that share no rarer shingle share what is left of either at most, and have to share
    # t / (1 + t) (own + other).
    left = own - positions[order]
    largest = int(own.max(initial=0))
    reach = np.minimum(left * ((1 + threshold) / threshold) - own + _SLACK, largest).astype(np.int64)
    return Sharing(sets[order], own, reach, _stops(ends, own, reach, largest), ends)


def _stops(ends: Places, sizes: Places, reach: Places, largest: int) -> Places:
    """Where in each group, which is ordered by size, the entries are beyond reach."""
    scale = largest + 1
    by_group_and_size = ends * scale + sizes
    return np.searchsorted(by_group_and_size, ends * scale + np.maximum(reach, 0), side="right")
