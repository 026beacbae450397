"""A recorded tape as a sum to run along: with the sizes put in, where it stands highest is the peak.

One middle layer stands for all between the first and the last. At the start of its forward and of its backward the
others' left-behind and given-back memory is added at once; what it frees elsewhere it frees for all of them.
"""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

import attrs

from backprop.plan.memory.parameter import BLOCK
from backprop.plan.memory.tape import Symbol
from backprop.plan.memory.term import TermName

SHORTEST_STRETCH = 64
"""Events that two layers' backward must have in common to be summed once; of fewer that costs more than it saves."""
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


@attrs.define
class _Stretch:
    """Events that stand at one or more places of a walk, and are summed once for all of them."""

    changes_of: Callable[[Sequence[float]], Iterable[float]]
    tops: tuple[int, ...]
    """Places of events, counted from the first one, where the largest sum may stand."""
    tops_of: Callable[[Sequence[float]], tuple[float, ...]]

    @classmethod
    def of(cls, events: tuple[int, ...], tops: tuple[int, ...]) -> _Stretch:
        """What ``events`` and the places of their ``tops`` make."""
        # With one index alone an itemgetter would give no tuple; the last place is no harm twice.
        return cls(itemgetter(*events, events[-1]), tops, itemgetter(*tops, tops[-1]))

    def summed(self, sizes: Sequence[float]) -> tuple[float, int, float]:
        """The largest sum at a top, the place of the first top that has it, and the sum of all."""
        totals = list(itertools.accumulate(self.changes_of(sizes)))
        tops = self.tops_of(totals)
        largest = max(tops)
        return largest, self.tops[tops.index(largest)], totals[-2]


@attrs.frozen
class Walk:
    """Events as indices into a table of sizes: symbol i's size at i, the same taken away at ``~i``.

    Behind the symbols of the tape stand those that count for all layers left out, then the two sums over a segment.
    """

    symbols: tuple[Symbol, ...]
    dims: tuple[tuple[str, ...], ...]
    """The different products that the symbols' sizes are made of."""
    sizes: tuple[tuple[int, int], ...]
    """The different sizes: index of the product, and itemsize."""
    size_of: tuple[int, ...]
    """For each symbol the index of its size; symbols of other terms may share it."""
    repeated: tuple[int, ...]
    """Symbols that also count for every layer left out."""
    segments: tuple[tuple[tuple[int, int], ...], ...]
    """(symbol, count) that one layer leaves behind in forward, and in backward."""
    events: tuple[int, ...]
    snapshots: tuple[tuple[int, ...], ...]
    """How often each index was counted before the events at 0, 32, 64, …"""
    tops: tuple[int, ...]
    """Places of events, one of which is the peak: behind allocations, before frees."""
    moments: tuple[tuple[int, str], ...]
    starts: tuple[int, ...]
    """Places of events where a stretch begins that may be the same as another."""
    _stretches: tuple[_Stretch, ...] = attrs.field(init=False, eq=False)
    _order: tuple[int, ...] = attrs.field(init=False, eq=False)
    """Which stretch begins at each of ``starts``."""

    def __attrs_post_init__(self) -> None:
        parts = [
            (self.events[start:end], tuple([top - start for top in self._tops_in(start, end)]))
            for start, end in itertools.pairwise([*self.starts, len(self.events)])
        ]
        different = {part: place for place, part in enumerate(dict.fromkeys(parts))}
        object.__setattr__(self, "_stretches", tuple(_Stretch.of(*part) for part in different))
        object.__setattr__(self, "_order", tuple(different[part] for part in parts))

    def _tops_in(self, start: int, end: int) -> tuple[int, ...]:
        return self.tops[bisect.bisect_left(self.tops, start) : bisect.bisect_left(self.tops, end)]

    def peak(self, products: Sequence[float], repeats: int) -> Peak:
        """The peak where ``dims[i]`` has ``products[i]`` elements and ``repeats`` layers are left out."""
        blocks = self._blocks(products, repeats)
        sizes = [*blocks, *[-num for num in reversed(blocks)]]
        summed = [stretch.summed(sizes) for stretch in self._stretches]
        largest, place, base = -1.0, 0, 0.0
        for start, stretch in zip(self.starts, self._order, strict=True):
            highest, top, change = summed[stretch]
            if base + highest > largest:
                largest, place = base + highest, start + top
            base += change
        moment = next(name for start, name in reversed(self.moments) if start <= place)
        return Peak(int(largest) * BLOCK, moment, self._terms(place, blocks, repeats))

    def _blocks(self, products: Sequence[float], repeats: int) -> list[float]:
        """Sizes in the allocator's blocks: whole numbers, as floats because those are added faster."""
        sizes = [float(-(int(itemsize * products[index]) // -BLOCK)) for index, itemsize in self.sizes]
        blocks = [sizes[index] for index in self.size_of]
        blocks += [(1 + repeats) * blocks[symbol] for symbol in self.repeated]
        blocks += [repeats * sum([count * blocks[symbol] for symbol, count in net]) for net in self.segments]
        return blocks

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
    sizes = [(place_of[tuple(sorted(symbol.dims))], symbol.itemsize) for symbol in tape.symbols]
    different = {size: index for index, size in enumerate(dict.fromkeys(sizes))}
    repeated = tuple(sorted({_symbol(tape.events[place]) for place in tape.repeated}))
    events = _for_all_layers(tape, repeated)
    first_segment = len(tape.symbols) + len(repeated)
    edits = _edits(tape, first_segment=first_segment)
    starts = _starts(events, *tape.backward)
    for edit in reversed(edits):
        events[edit.start : edit.end] = edit.events
    return Walk(
        symbols=tape.symbols,
        dims=dims,
        sizes=tuple(different),
        size_of=tuple(different[size] for size in sizes),
        repeated=repeated,
        segments=tuple(_net(tape.of_each_layer(*segment)) for segment in (tape.forward, tape.backward)),
        events=tuple(events),
        snapshots=_snapshots(events, first_segment + 2),
        tops=_tops(events, first_segment=first_segment),
        moments=tuple((place + _shift(edits, place), name) for place, name in tape.moments),
        starts=tuple(place + _shift(edits, place) for place in starts),
    )


def _for_all_layers(tape: Events, repeated: tuple[int, ...]) -> list[int]:
    """The events, where those that count for every layer left out have indices behind the symbols'."""
    events = list(tape.events)
    for place in tape.repeated:
        index = len(tape.symbols) + repeated.index(_symbol(events[place]))
        events[place] = index if events[place] >= 0 else ~index
    return events


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


def _shift(edits: list[_Edit], place: int) -> int:
    return sum(edit.shift(place) for edit in edits)


def _starts(events: list[int], start: int, end: int) -> list[int]:
    """Places that cut what backward of the last layer and of the first have in common out of ``events``.

    ``start``, ``end``: where the middle layer's stands, between them.
    """
    before = 2 * start - end
    alike = _common_prefix(events[before:start], events[end : 2 * end - start])
    return [0, before, before + alike, end, end + alike] if alike >= SHORTEST_STRETCH else [0]


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


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Events that both begin with."""
    differ = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _frees_first(events: tuple[int, ...]) -> list[int]:
    """The change that ``events`` make, with no sum on the way above both ends."""
    net = sorted(_net(events), key=lambda change: change[1])
    return [symbol if count > 0 else ~symbol for symbol, count in net for _ in range(abs(count))]


def _tops(events: list[int], *, first_segment: int) -> tuple[int, ...]:
    """Places where allocations end and frees begin; around a segment every place, for its sum may be negative."""
    following = [*events[1:], -1]
    return tuple(
        [
            place
            for place, (one, other) in enumerate(zip(events, following, strict=True))
            if other < 0 <= one or one >= first_segment or other >= first_segment
        ]
    )


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
