"""The moments of a tape that can be its peak, whatever the sizes: what is alive then, as counts of symbols.

A moment at which no matrix is alive more often than at another can not be the peak alone, so it is left out. What
remains, a few dozen of thousands, is all that a prediction has to add up. Vectors and scalars are left out of this
choice, not of the sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import ge, mul

import attrs

from backprop.plan.memory.tape import Symbol


@attrs.frozen
class Events:
    """A recorded tape, and where the middle layer's forward and backward stand in it, as ``[start, end)``."""

    symbols: tuple[Symbol, ...]
    events: tuple[int, ...]
    repeated: frozenset[int]
    """Positions of events that count once for every layer that the middle one stands for."""
    moments: tuple[tuple[int, str], ...]
    forward: tuple[int, int]
    backward: tuple[int, int]


@attrs.frozen
class Candidate:
    """What is alive at one moment: of each symbol ``once``, and ``repeated`` more for each layer left out."""

    symbols: tuple[Symbol, ...]
    once: tuple[int, ...]
    repeated: tuple[int, ...]
    moment: str


@attrs.frozen
class Candidates:
    """The moments that can be the peak, with the matrices that tell which it is.

    Row ``i`` of ``once`` holds candidate i's bytes for one element of each of ``dims``; ``repeated`` the same for each
    layer left out, of which there are few different rows: ``repeated_of[i]`` is candidate i's.
    """

    dims: tuple[tuple[str, ...], ...]
    once: tuple[tuple[float, ...], ...]
    repeated: tuple[tuple[float, ...], ...]
    repeated_of: tuple[int, ...]
    candidates: tuple[Candidate, ...]

    def largest(self, products: list[float], repeats: int) -> Candidate:
        """The peak where one of ``dims`` has ``products`` elements and ``repeats`` layers are left out."""
        left_out = [repeats * sum(map(mul, row, products)) for row in self.repeated]
        totals = [
            sum(map(mul, row, products), left_out[index])
            for row, index in zip(self.once, self.repeated_of, strict=True)
        ]
        return self.candidates[totals.index(max(totals))]


@attrs.frozen
class _Moment:
    place: int
    once: list[int]
    repeated: list[int]


def peak_candidates(tape: Events, *, order: tuple[str, ...] = ()) -> Candidates:
    """All moments of ``tape`` that no other dominates, where the sizes of ``order`` are known to ascend."""
    columns: dict[tuple[str, ...], int] = {}
    for symbol in tape.symbols:
        if len(symbol.dims) > 1:
            columns.setdefault(tuple(sorted(symbol.dims)), len(columns))
    column_of = [columns.get(tuple(sorted(symbol.dims))) for symbol in tape.symbols]
    itemsizes = [symbol.itemsize for symbol in tape.symbols]
    rows: dict[tuple[int, ...], _Moment] = {}
    for moment in _local_maxima(tape):
        row = [0] * (2 * len(columns))
        for offset, counts in ((0, moment.once), (len(columns), moment.repeated)):
            for column, count, itemsize in zip(column_of, counts, itemsizes, strict=True):
                if count and column is not None:
                    row[offset + column] += count * itemsize
        rows.setdefault(tuple(row), moment)
    kept = _undominated(list(rows), _chains(columns, order))
    once = [tuple(map(float, row[: len(columns)])) for row in kept]
    repeated = [tuple(map(float, row[len(columns) :])) for row in kept]
    distinct = tuple(dict.fromkeys(repeated))
    return Candidates(
        dims=tuple(columns),
        once=tuple(once),
        repeated=distinct,
        repeated_of=tuple(distinct.index(row) for row in repeated),
        candidates=tuple(_candidate(tape, rows[row]) for row in kept),
    )


def _chains(columns: dict[tuple[str, ...], int], order: tuple[str, ...]) -> list[list[int]]:
    """Columns of sizes that are known to ascend, each chain from the largest to the smallest.

    With K <= Q, what holds k of K and q of Q is no larger than what holds q' of Q and k' of K where q <= q' and
    q + k <= q' + k': the sums along a chain tell all that the order tells.
    """
    chains: dict[str, list[tuple[int, int]]] = {}
    single: list[list[int]] = []
    for dims, column in columns.items():
        known = [dim for dim in dims if dim in order]
        rest = [dim for dim in dims if dim not in order]
        if len(dims) == 2 and known:
            # Of two known widths the narrower names the chain, the wider the place in it.
            known.sort(key=order.index)
            chains.setdefault((rest or known)[0], []).append((order.index(known[-1]), column))
        else:
            single.append([column])
    ordered = [[column for _, column in sorted(chain, reverse=True)] for chain in chains.values()]
    offset = len(columns)
    return [part for chain in ordered + single for part in (chain, [offset + column for column in chain])]


def _undominated(rows: list[tuple[int, ...]], chains: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    """Rows that no other reaches in all sums along the chains; only rows of a larger total can."""
    sums = {
        row: tuple(total for chain in chains for total in itertools.accumulate(row[column] for column in chain))
        for row in rows
    }
    kept: list[tuple[int, ...]] = []
    reached: list[tuple[int, ...]] = []
    for row in sorted(rows, key=lambda row: sum(sums[row]), reverse=True):
        if not any(all(map(ge, other, sums[row])) for other in reached):
            kept.append(row)
            reached.append(sums[row])
    return tuple(kept)


def _local_maxima(tape: Events) -> Iterator[_Moment]:
    """Counts of live symbols after each allocation that a release follows."""
    once = [0] * len(tape.symbols)
    repeated = [0] * len(tape.symbols)
    last = len(tape.events) - 1
    for place, event in enumerate(tape.events):
        # The layers that the middle one stands for come before it, forward and backward.
        for start, end in (tape.forward, tape.backward):
            if place == start < end:
                for inner in tape.events[start:end]:
                    _change(repeated, inner)
        _change(once, event)
        if place in tape.repeated:
            _change(repeated, event)
        if event >= 0 and (place == last or tape.events[place + 1] < 0):
            yield _Moment(place, list(once), list(repeated))


def _change(counts: list[int], event: int) -> None:
    if event >= 0:
        counts[event] += 1
    else:
        counts[~event] -= 1


def _candidate(tape: Events, moment: _Moment) -> Candidate:
    alive = [symbol for symbol in range(len(tape.symbols)) if moment.once[symbol] or moment.repeated[symbol]]
    return Candidate(
        symbols=tuple(tape.symbols[symbol] for symbol in alive),
        once=tuple(moment.once[symbol] for symbol in alive),
        repeated=tuple(moment.repeated[symbol] for symbol in alive),
        moment=next(name for start, name in reversed(tape.moments) if start <= moment.place),
    )
