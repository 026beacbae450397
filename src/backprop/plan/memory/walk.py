"""A recorded tape as a sum to run along: with the sizes put in, where it stands highest is the peak.

One middle layer stands for all between the first and the last. At the start of its forward and of its backward the
others' left-behind and given-back memory is added at once; what it frees elsewhere it frees for all of them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

import attrs

from backprop.plan.memory.parameter import BLOCK
from backprop.plan.memory.tape import Symbol
from backprop.plan.memory.term import TermName

SNAPSHOT_EVERY = 32
"""Events between two stored counts, so that what is alive at the peak is counted from nearby."""


@attrs.frozen
class Events:
    """A recorded tape, and where the middle layer's forward and backward stand in it, as ``[start, end)``."""

    symbols: tuple[Symbol, ...]
    events: tuple[int, ...]
    repeated: frozenset[int]
    """Positions of events that count once for every layer that the middle one stands for."""
    single: frozenset[int]
    """Positions of events of the middle layer that count once."""
    moments: tuple[tuple[int, str], ...]
    forward: tuple[int, int]
    backward: tuple[int, int]

    def of_each_layer(self, start: int, end: int) -> tuple[int, ...]:
        """The events of ``[start, end)`` that every layer that the middle one stands for repeats."""
        return tuple(self.events[place] for place in range(start, end) if place not in self.single)


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
    """How often each index was counted before the events at 0, 32, 64, …"""
    tops: tuple[int, ...]
    """Places of events after which memory is given back: the peak stands at one of them."""
    moments: tuple[tuple[int, str], ...]
    _changes_of_events: Callable[[Sequence[float]], Iterable[float]] = attrs.field(init=False, eq=False)
    _tops_of: Callable[[Sequence[float]], tuple[float, ...]] = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_changes_of_events", itemgetter(*self.events))
        # With one index alone an itemgetter would give no tuple; the last place is no harm twice.
        object.__setattr__(self, "_tops_of", itemgetter(*self.tops, self.tops[-1]))

    def peak(self, products: Sequence[float], repeats: int) -> Peak:
        """The peak where ``dims[i]`` has ``products[i]`` elements and ``repeats`` layers are left out."""
        blocks = self._blocks(products, repeats)
        totals = self._totals(blocks)
        tops = self._tops_of(totals)
        largest = max(tops)
        place = self.tops[tops.index(largest)]
        moment = next(name for start, name in reversed(self.moments) if start <= place)
        return Peak(int(largest) * BLOCK, moment, self._terms(place, blocks, repeats))

    def _blocks(self, products: Sequence[float], repeats: int) -> list[float]:
        """Sizes in the allocator's blocks: whole numbers, as floats because those are added faster."""
        blocks = [float(-(int(itemsize * products[index]) // -BLOCK)) for index, itemsize in self.dims_of]
        once = blocks[:]
        blocks += [(1 + repeats) * once[symbol] for symbol in self.repeated]
        blocks += [repeats * sum([count * once[symbol] for symbol, count in net]) for net in self.segments]
        return blocks

    def _totals(self, blocks: list[float]) -> list[float]:
        changes = [*blocks, *[-num for num in reversed(blocks)]]
        return list(itertools.accumulate(self._changes_of_events(changes)))

    def _terms(self, place: int, blocks: list[float], repeats: int) -> dict[TermName, int]:
        """Bytes alive after the event at ``place``."""
        counts = list(self.snapshots[place // SNAPSHOT_EVERY])
        for event in self.events[place // SNAPSHOT_EVERY * SNAPSHOT_EVERY : place + 1]:
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
                terms[part.term] = terms.get(part.term, 0) + count * int(num) * BLOCK
        return terms


def walk_of(tape: Events) -> Walk:
    """``tape`` prepared for any number of sizes."""
    dims = tuple(dict.fromkeys(tuple(sorted(symbol.dims)) for symbol in tape.symbols))
    place_of = {name: place for place, name in enumerate(dims)}
    repeated = tuple(sorted({_symbol(tape.events[place]) for place in tape.repeated}))
    num_symbols = len(tape.symbols)
    events = list(tape.events)
    for place in tape.repeated:
        index = num_symbols + repeated.index(_symbol(events[place]))
        events[place] = index if events[place] >= 0 else ~index
    edits = _edits(tape, first_segment=num_symbols + len(repeated))
    for edit in reversed(edits):
        events[edit.start : edit.end] = edit.events
    return Walk(
        symbols=tape.symbols,
        dims=dims,
        dims_of=tuple((place_of[tuple(sorted(symbol.dims))], symbol.itemsize) for symbol in tape.symbols),
        repeated=repeated,
        segments=tuple(_net(tape.of_each_layer(*segment)) for segment in (tape.forward, tape.backward)),
        events=tuple(events),
        snapshots=_snapshots(events, num_symbols + len(repeated) + 2),
        tops=tuple(
            place
            for place, (event, following) in enumerate(zip(events, [*events[1:], -1], strict=True))
            if following < 0 or max(event, following) >= num_symbols  # what stands for many layers may be negative
        ),
        moments=tuple((place + sum(edit.shift(place) for edit in edits), name) for place, name in tape.moments),
    )


@attrs.frozen
class _Edit:
    """Events that stand in the place of ``[start, end)``."""

    start: int
    end: int
    events: list[int]

    def shift(self, place: int) -> int:
        """How far what begins at ``place`` moves."""
        if place <= self.start:
            return 0
        return len(self.events) - (self.end - self.start) if place >= self.end else self.start - place


def _edits(tape: Events, *, first_segment: int) -> list[_Edit]:
    """The layers left out, added where the middle one begins, and shorter events for layers that repeat others.

    In forward what layers leave behind only grows, so of equal layers the last is the highest. In backward it changes
    by the same amount from layer to layer, so of three that begin alike the middle is not above both others there.
    """
    edits: list[_Edit] = []
    start, end = tape.forward
    if start < end:
        layer = tape.events[start:end]
        size, grows = end - start, all(count > 0 for _, count in _net(layer))
        is_repeated = grows and tape.events[end : end + size] == layer
        if is_repeated and start >= size and tape.events[start - size : start] == layer:
            edits.append(_Edit(start - size, start, _frees_first(layer)))
        edits.append(_Edit(start, end if is_repeated else start, [first_segment]))
        edits[-1].events.extend(_frees_first(layer) if is_repeated else [])
    start, end = tape.backward
    if start < end:
        layer, before, behind = (tape.events[place : place + end - start] for place in (start, 2 * start - end, end))
        alike = min(_common_prefix(layer, before), _common_prefix(layer, behind))
        edits.append(_Edit(start, start + alike, [first_segment + 1, *_frees_first(layer[:alike])]))
    assert not any(edit.start <= place < edit.end for edit in edits for place in tape.repeated)
    return edits


def _common_prefix(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Events that both begin with."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _frees_first(events: tuple[int, ...]) -> list[int]:
    """The change that ``events`` make, with no sum on the way above both ends."""
    net = sorted(_net(events), key=lambda change: change[1])
    return [symbol if count > 0 else ~symbol for symbol, count in net for _ in range(abs(count))]


def _snapshots(events: list[int], num_indices: int) -> tuple[tuple[int, ...], ...]:
    counts = [0] * num_indices
    found = []
    for start in range(0, len(events), SNAPSHOT_EVERY):
        found.append(tuple(counts))
        for event in events[start : start + SNAPSHOT_EVERY]:
            if event >= 0:
                counts[event] += 1
            else:
                counts[~event] -= 1
    return tuple(found)


def _symbol(event: int) -> int:
    return event if event >= 0 else ~event


def _net(events: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(symbol, how many more of it there are after ``events``), where that is not zero."""
    counts = Counter(events)
    symbols = sorted({_symbol(event) for event in counts})
    return tuple((symbol, net) for symbol in symbols if (net := counts[symbol] - counts[~symbol]))
