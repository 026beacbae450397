"""Packing: which rows share a sequence. Best fit, longest rows first; equal input gives equal output everywhere."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence


def pack(lengths: Sequence[int], capacity: int) -> tuple[tuple[int, ...], ...]:
    """Groups of row numbers, each at most ``capacity`` tokens in all; every row stands in exactly one group.

    A row that is longer than that is a group of its own. Best-fit decreasing, O(n log n). Rows of equal length keep
    their order, groups stand in the order of their longest row. No row may be empty.
    """
    rows_by_length: dict[int, list[int]] = defaultdict(list)
    for row, length in enumerate(lengths):
        rows_by_length[length].append(row)
    groups: list[list[int]] = []
    room = _Room()
    for length in sorted(rows_by_length, reverse=True):
        assert length, "no row is empty"
        rows = rows_by_length[length]
        placed = 0
        while placed < len(rows):
            space = room.smallest(length)
            if space is None:
                groups.append([])
                room.put(max(capacity, length), len(groups) - 1)
                continue
            group = room.take(space)
            # Filling the tightest group until the length no longer fits is what best fit does row by row.
            count = min(space // length, len(rows) - placed)
            groups[group].extend(rows[placed : placed + count])
            placed += count
            room.put(space - count * length, group)
    return tuple(tuple(group) for group in groups)


def count_packed(length_counts: Iterable[tuple[int, int]], capacity: int) -> int:
    """How many groups :func:`pack` makes of rows given as (length, rows); the cost is by distinct lengths."""
    num_groups = 0
    spaces: dict[int, int] = defaultdict(int)
    open_spaces: list[int] = []
    for length, rows in sorted(length_counts, reverse=True):
        assert length, "no row is empty"
        left = rows
        while left:
            at = bisect_left(open_spaces, length)
            if at == len(open_spaces):
                each = max(1, capacity // length)
                added = -(-left // each)
                num_groups += added
                _add(spaces, open_spaces, max(capacity, length), added)
                continue
            space = open_spaces[at]
            each = space // length
            full = min(spaces[space], left // each)
            moved, rows_each = (full, each) if full else (1, left)
            _remove(spaces, open_spaces, space, moved)
            _add(spaces, open_spaces, space - rows_each * length, moved)
            left -= moved * rows_each
    return num_groups


def _add(spaces: dict[int, int], open_spaces: list[int], space: int, groups: int) -> None:
    if not groups:
        return
    if not spaces[space]:
        insort(open_spaces, space)
    spaces[space] += groups


def _remove(spaces: dict[int, int], open_spaces: list[int], space: int, groups: int) -> None:
    spaces[space] -= groups
    if not spaces[space]:
        del open_spaces[bisect_left(open_spaces, space)]


class _Room:
    """Groups by the space they have left."""

    def __init__(self) -> None:
        self._groups: dict[int, list[int]] = defaultdict(list)
        self._spaces: list[int] = []

    def smallest(self, length: int) -> int | None:
        """The least space that still holds ``length``."""
        at = bisect_left(self._spaces, length)
        return self._spaces[at] if at < len(self._spaces) else None

    def put(self, space: int, group: int) -> None:
        groups = self._groups[space]
        if not groups:
            insort(self._spaces, space)
        groups.append(group)

    def take(self, space: int) -> int:
        groups = self._groups[space]
        group = groups.pop()
        if not groups:
            del self._spaces[bisect_left(self._spaces, space)]
        return group
