"""Rows that stand more than once: which belong together, and how many could go."""

from __future__ import annotations

from array import array
from itertools import pairwise

import attrs
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint32]
"""Row numbers, from 0 in the order of the file."""


@attrs.frozen(eq=False)
class Clusters:
    """A partition of the rows."""

    first: Rows
    """(rows,): of each row the first row of its cluster; itself for a row that stands alone. Keeping the rows with
    ``first[row] == row`` keeps one of each cluster."""

    @property
    def num_removable(self) -> int:
        """Rows that are not the first of their cluster."""
        return int(np.count_nonzero(self.first != _numbers(len(self.first))))

    def groups(self) -> tuple[Rows, ...]:
        """The clusters of two rows and more, each ascending, in the order of their first rows."""
        order = np.argsort(self.first, kind="stable").astype(np.uint32)
        edges = np.flatnonzero(np.diff(self.first[order].astype(np.int64), prepend=-1, append=-1))
        return tuple(order[start:end] for start, end in pairwise(edges.tolist()) if end - start > 1)


def connected(num_rows: int, left: Rows, right: Rows) -> Clusters:
    """The clusters in which ``left[i]`` and ``right[i]`` stand together, for every i.

    Each round hangs every root that has a smaller neighbour below the least of them; a round leaves no two roots that
    are neighbours in the order of their numbers, so there are few.
    """
    roots = _numbers(num_rows)
    while True:
        low, high = np.minimum(roots[left], roots[right]), np.maximum(roots[left], roots[right])
        apart = low != high
        if not apart.any():
            return Clusters(roots)
        np.minimum.at(roots, high[apart], low[apart])
        while not np.array_equal(roots, above := roots[roots]):
            roots = above


class Union:
    """Numbers that are united one pair after the other."""

    def __init__(self, count: int) -> None:
        self._above = array("I", range(count))

    def root(self, number: int) -> int:
        """The number that stands for all those united with this one."""
        above = self._above
        while above[number] != number:
            above[number] = number = above[above[number]]
        return number

    def unite(self, number: int, other: int) -> bool:
        """Unite two; False when they were united already."""
        number, other = self.root(number), self.root(other)
        self._above[max(number, other)] = min(number, other)
        return number != other


def _numbers(count: int) -> Rows:
    return np.arange(count, dtype=np.uint32)
