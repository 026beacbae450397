"""The tape: every allocation and every free of one training step, in order, with sizes still in symbols.

A buffer stands on the tape from the moment it is made until the last Python reference to it goes, exactly as the
storage of a torch tensor does in CPython; so code that mirrors a library's forward frees what the library frees.
"""

from __future__ import annotations

import attrs

from backprop.plan.memory.term import TermName


@attrs.frozen
class Symbol:
    """A size in symbols: the product of ``dims`` elements of ``itemsize`` bytes each, booked under ``term``."""

    term: TermName
    dims: tuple[str, ...]
    itemsize: int


class Buffer:
    """Memory of one tensor; leaving the last reference writes its release on the tape."""

    __slots__ = ("is_shared", "repeated", "symbol", "tape")

    def __init__(self, tape: Tape, symbol: int, *, repeated: bool) -> None:
        self.tape = tape
        self.symbol = symbol
        self.repeated = repeated
        self.is_shared = False

    def __del__(self) -> None:
        if not self.tape.is_closed:
            self.tape.release(self)


class Tape:
    """Records events; an event is the index of a symbol, or its complement when the memory is given back.

    A middle layer stands for all layers between the first and the last. What its forward leaves behind and a later
    moment outside of its backward frees (the casts that autocast keeps) is freed for all of them: ``repeated`` events.
    What all layers share is freed once, also where the last to hold it is the middle one's backward: ``single`` events.
    """

    def __init__(self) -> None:
        self.symbols: list[Symbol] = []
        self.events: list[int] = []
        self.repeated_events: list[int] = []
        """Positions in ``events`` that count once for every layer that the middle one stands for."""
        self.single_events: list[int] = []
        """Positions in ``events`` within the middle layer that count once, however many layers it stands for."""
        self.moments: list[tuple[int, str]] = []
        """Position from which on a moment lasts."""
        self.term = TermName.ACTIVATIONS
        self.in_middle = False
        self.in_backward = False
        self.is_closed = False
        self._index: dict[tuple[TermName, tuple[str, ...], int], int] = {}

    def allocate(self, dims: tuple[str, ...], itemsize: int, *, term: TermName | None = None) -> Buffer:
        """Memory for ``dims`` elements, booked under ``term`` or what the tape currently books."""
        key = (term or self.term, dims, itemsize)
        index = self._index[key] if key in self._index else self._symbol(*key)
        self.events.append(index)
        return Buffer(self, index, repeated=self.in_middle and not self.in_backward)

    def _symbol(self, term: TermName, dims: tuple[str, ...], itemsize: int) -> int:
        key = (term, dims, itemsize)
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self.symbols)
            self.symbols.append(Symbol(term, dims, itemsize))
        return index

    def release(self, buffer: Buffer) -> None:
        """Write that ``buffer`` is free again."""
        if buffer.repeated and not self.in_middle:
            self.repeated_events.append(len(self.events))
        if buffer.is_shared and self.in_middle:
            self.single_events.append(len(self.events))
        self.events.append(~buffer.symbol)

    def rebook(self, buffer: Buffer, term: TermName) -> Buffer:
        """The same memory under another term; gives the buffer that now holds it."""
        old = self.symbols[buffer.symbol]
        index = self._symbol(term, old.dims, old.itemsize)
        self.events += [~buffer.symbol, index]
        buffer.symbol = index
        return buffer

    def mark(self, moment: str) -> None:
        """From here on the step is in ``moment``."""
        self.moments.append((len(self.events), moment))
