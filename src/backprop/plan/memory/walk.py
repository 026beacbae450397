"""A recorded tape as a sum to run along: with the sizes put in, where it stands highest is the peak.

One middle layer stands for all between the first and the last. At the start of its forward and of its backward the
others' left-behind and given-back memory is added at once; what it frees elsewhere it frees for all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import attrs

from backprop.plan.memory.parameter import BLOCK
from backprop.plan.memory.tape import Symbol
from backprop.plan.memory.term import TermName

_SNAPSHOT_EVERY = 64
"""Events between two stored counts, so that what is alive at the peak is counted from nearby."""


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
class Peak:
    """The largest sum, when it stands, and what it is made of."""

    num_bytes: int
    moment: str
    terms: dict[TermName, int]


@attrs.frozen
class Walk:
    """Events as indices into a table of sizes: symbol i's size at i, the same taken away at ``~i``.

    Behind the symbols of the tape stand those that count for all layers left out, then the two sums over a segment.
    """

    symbols: tuple[Symbol, ...]
    dims: tuple[tuple[str, ...], ...]
    """The different products that the symbols' sizes are made of."""
    dims_of: tuple[tuple[int, int], ...]
    """For each symbol the index of its product, and its itemsize."""
    repeated: tuple[int, ...]
    """Symbols that also count for every layer left out."""
    segments: tuple[tuple[tuple[int, int], ...], ...]
    """(symbol, count) that one layer leaves behind in forward, and in backward."""
    events: tuple[int, ...]
    snapshots: tuple[tuple[int, ...], ...]
    moments: tuple[tuple[int, str], ...]

    def peak(self, products: Sequence[float], repeats: int) -> Peak:
        """The peak where ``dims[i]`` has ``products[i]`` elements and ``repeats`` layers are left out."""
        blocks = self._blocks(products, repeats)
        totals = self._totals(blocks)
        largest = max(totals)
        place = totals.index(largest)
        moment = next(name for start, name in reversed(self.moments) if start <= place)
        return Peak(largest * BLOCK, moment, self._terms(place, blocks, repeats))

    def _blocks(self, products: Sequence[float], repeats: int) -> list[int]:
        """Sizes in the allocator's blocks, which keeps the sums in one machine word."""
        blocks = [-(int(itemsize * products[index]) // -BLOCK) for index, itemsize in self.dims_of]
        once = blocks[:]
        blocks += [(1 + repeats) * once[symbol] for symbol in self.repeated]
        blocks += [repeats * sum([count * once[symbol] for symbol, count in net]) for net in self.segments]
        return blocks

    def _totals(self, blocks: list[int]) -> list[int]:
        changes = [*blocks, *[-num for num in reversed(blocks)]]
        return list(itertools.accumulate([changes[event] for event in self.events]))

    def _terms(self, place: int, blocks: list[int], repeats: int) -> dict[TermName, int]:
        """Bytes alive after the event at ``place``."""
        counts = list(self.snapshots[place // _SNAPSHOT_EVERY])
        for event in self.events[place // _SNAPSHOT_EVERY * _SNAPSHOT_EVERY : place + 1]:
            if event >= 0:
                counts[event] += 1
            else:
                counts[~event] -= 1
        num_symbols, first_segment = len(self.symbols), len(self.symbols) + len(self.repeated)
        for symbol, count in zip(self.repeated, counts[num_symbols:first_segment], strict=True):
            counts[symbol] += (1 + repeats) * count
        for net, count in zip(self.segments, counts[first_segment:], strict=True):
            for symbol, left in net:
                counts[symbol] += count * repeats * left
        terms: dict[TermName, int] = {}
        for part, count, num in zip(self.symbols, counts, blocks, strict=False):
            if count:
                terms[part.term] = terms.get(part.term, 0) + count * num * BLOCK
        return terms


def walk_of(tape: Events) -> Walk:
    """``tape`` prepared for any number of sizes."""
    dims = tuple(dict.fromkeys(tuple(sorted(symbol.dims)) for symbol in tape.symbols))
    place_of = {name: place for place, name in enumerate(dims)}
    repeated = tuple(sorted({_symbol(tape.events[place]) for place in tape.repeated}))
    first_segment = len(tape.symbols) + len(repeated)
    starts = {start: first_segment + i for i, (start, end) in enumerate((tape.forward, tape.backward)) if start < end}
    shortened = _without_repetition(tape)
    events: list[int] = []
    moved: list[int] = []
    for place, event in enumerate(tape.events):
        moved.append(len(events))
        if place in starts:
            events.append(starts[place])
        if place in shortened:
            events += shortened[place]
        else:
            events.append(_for_all_layers(event, repeated, len(tape.symbols)) if place in tape.repeated else event)
    return Walk(
        symbols=tape.symbols,
        dims=dims,
        dims_of=tuple((place_of[tuple(sorted(symbol.dims))], symbol.itemsize) for symbol in tape.symbols),
        repeated=repeated,
        segments=tuple(_net(tape.events[start:end]) for start, end in (tape.forward, tape.backward)),
        events=tuple(events),
        snapshots=_snapshots(events, first_segment + 2),
        moments=tuple((moved[place] if place < len(moved) else len(events), name) for place, name in tape.moments),
    )


def _without_repetition(tape: Events) -> dict[int, list[int]]:
    """Events to stand in the place of others: a layer that does what its neighbour does can not be the peak.

    In forward what layers leave behind only grows, so of equal layers the last is the highest. In backward it changes
    by the same amount from layer to layer, so of three that begin alike the middle is not above both others there.
    """
    shortened: dict[int, list[int]] = {}

    def shorten(start: int, end: int) -> None:
        shortened.update((place, []) for place in range(start, end))
        shortened[start] = _frees_first(tape.events[start:end])

    start, end = tape.forward
    size = end - start
    layer = tape.events[start:end]
    grows = all(count > 0 for _, count in _net(layer))
    if size and grows and tape.events[end : end + size] == layer:
        shorten(start, end)
        if start >= size and tape.events[start - size : start] == layer:
            shorten(start - size, start)
    start, end = tape.backward
    size = end - start
    alike = min(
        _common_prefix(tape.events[start:end], tape.events[end : end + size]),
        _common_prefix(tape.events[start:end], tape.events[start - size : start]) if start >= size else 0,
    )
    if alike:
        shorten(start, start + alike)
    return {} if any(place in shortened for place in tape.repeated) else shortened


def _common_prefix(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Events that both begin with."""
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _frees_first(events: tuple[int, ...]) -> list[int]:
    """The change that ``events`` make, with no sum on the way above both ends."""
    net = sorted(_net(events), key=lambda change: change[1])
    return [symbol if count > 0 else ~symbol for symbol, count in net for _ in range(abs(count))]


def _for_all_layers(event: int, repeated: tuple[int, ...], num_symbols: int) -> int:
    index = num_symbols + repeated.index(_symbol(event))
    return index if event >= 0 else ~index


def _symbol(event: int) -> int:
    return event if event >= 0 else ~event


def _net(events: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    counts: dict[int, int] = {}
    for event in events:
        counts[_symbol(event)] = counts.get(_symbol(event), 0) + (1 if event >= 0 else -1)
    return tuple((symbol, count) for symbol, count in sorted(counts.items()) if count)


def _snapshots(events: list[int], length: int) -> tuple[tuple[int, ...], ...]:
    """Counts before the events at 0, 64, 128, …"""
    counts = [0] * length
    found = []
    for place, event in enumerate(events):
        if place % _SNAPSHOT_EVERY == 0:
            found.append(tuple(counts))
        counts[_symbol(event)] += 1 if event >= 0 else -1
    return tuple(found)
