"""The order in which an epoch visits its sequences: a permutation that depends on nothing but seed and epoch."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import shake_128


def epoch_order(num_sequences: int, *, seed: int, epoch: int, shuffle: bool) -> Sequence[int]:
    """Every number below ``num_sequences`` once; equal arguments give an equal order on every platform.

    Sorts by keys drawn from SHAKE-128 of seed and epoch, O(n log n); ties keep the lower number first.
    """
    if not shuffle:
        return range(num_sequences)
    keys = array("Q", shake_128(f"order {seed} {epoch}".encode()).digest(8 * num_sequences))
    if array("H", [1]).tobytes()[0] == 0:
        keys.byteswap()  # the digest is read as little-endian everywhere
    return array("q", sorted(range(num_sequences), key=keys.__getitem__))
