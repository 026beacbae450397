"""JSON files: the elements of one list, of the list that one object holds, or values one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from backprop.effects.files.rows.json_line import (
    DEEPEST,
    check_depth,
    check_pairs,
    nothing,
    number,
    object_of,
    text_around,
)
from backprop.effects.files.rows.json_stream import JsonStream, TooLong
from backprop.effects.files.rows.lines import LONGEST_LINE
from backprop.effects.files.rows.raw_row import RawRow, broken, place_of

_LIST_KEYS = ("data", "rows", "examples", "train")
"""Keys under which some files keep their list of rows."""
_UNREAD = "What follows it was not read."
_AS_LINES = "Write a row a line (.jsonl), for instance with: jq -c '.[]' FILE.json > FILE.jsonl"


def read_json(path: Path, stream: IO[bytes]) -> Iterator[tuple[RawRow, int]]:
    """Every row with the length of its text. After a mistake that hides where the next row begins, reading ends.

    Rows are numbered: many files hold all of them in one line.
    """
    text = JsonStream(path, stream)
    num_rows = 0
    is_list = text.skip_blanks() == "["
    if is_list:
        text.skip(1)
    while (char := text.skip_blanks()) and not (is_list and char == "]"):
        line, start = text.line, text.position
        try:
            value = text.value(_Decoding().raw_decode)
        except _MISTAKES as wrong:
            yield _mistake(path, text, wrong, num_rows + 1), 0
            return
        num_bytes = text.position - start
        for row in _inner_rows(path, line, value, num_bytes, num_rows + 1):
            num_rows += 1
            yield row
        following = text.skip_blanks() if is_list else ""
        if is_list and following not in (",", "]"):
            what = f"is followed by neither a comma nor the end of the list. {_UNREAD[:-1]}"
            yield broken(str(path), line, what, row=num_rows), 0
            return
        if following == ",":
            text.skip(1)
    if is_list:
        yield from _after_list(path, text)


_MISTAKES = (ValueError, RecursionError, TooLong)


class _Decoding:
    """One value's reading; what is wrong with it without hiding where it ends waits until it has ended."""

    def raw_decode(self, text: str, at: int) -> tuple[Any, int]:
        """(the value or a :class:`_Unusable` in its place, where it ends)."""
        self._wrong: list[str] = []
        decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=nothing, parse_float=self._number)
        value, end = decoder.raw_decode(text, at)
        if not self._wrong:
            self._check(text[at:end], value)
        return (_Unusable(self._wrong[0], text_around(text[at:end], 0)) if self._wrong else value), end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        try:
            return object_of(pairs)
        except ValueError as wrong:
            self._wrong.append(str(wrong))
            return {}

    def _number(self, digits: str) -> float:
        try:
            return number(digits)
        except ValueError as wrong:
            self._wrong.append(str(wrong))
            return 0.0

    def _check(self, text: str, value: Any) -> None:
        try:
            check_depth(text)
            check_pairs(text, value)
        except ValueError as wrong:
            self._wrong.append(str(wrong))


class _Unusable:
    """A value that was read and may not be used."""

    def __init__(self, why: str, shown: str) -> None:
        self.why, self.shown = why, shown


def _mistake(path: Path, text: JsonStream, wrong: Exception, row: int) -> RawRow:
    """The problem of a value whose end is not known."""
    if isinstance(wrong, TooLong):
        what = f"begins a value longer than {LONGEST_LINE >> 20} MiB, and what follows it was not read"
        return broken(str(path), text.line, what, hint=_AS_LINES, row=row)
    if isinstance(wrong, json.JSONDecodeError):
        line, column, shown = text.place_of(wrong)
        return broken(
            str(path),
            line,
            f"is not JSON: {wrong.msg.removesuffix(' at')} at column {column}",
            shown=shown,
            hint=_UNREAD,
            row=row,
        )
    why = f"it is nested more than {DEEPEST} deep" if isinstance(wrong, RecursionError) else str(wrong)
    return broken(str(path), text.line, f"cannot be used: {why}", shown=text.ahead(), hint=_UNREAD, row=row)


def _inner_rows(path: Path, line: int, value: Any, num_bytes: int, first: int) -> Iterator[tuple[RawRow, int]]:
    """The rows that a value is, or holds; ``first`` is the number of the first of them."""
    if isinstance(value, _Unusable):
        yield broken(str(path), line, f"cannot be used: {value.why}", shown=value.shown, row=first), num_bytes
        return
    held = [value[key] for key in _LIST_KEYS if isinstance(value, dict) and isinstance(value.get(key), list)]
    is_list = len(held) == 1 and held[0] and all(isinstance(row, dict) for row in held[0])
    rows = held[0] if is_list else [value]
    for nth, row in enumerate(rows, start=first):
        yield RawRow(place_of(str(path), line, nth), row, None, line, row=nth), num_bytes // len(rows)


def _after_list(path: Path, text: JsonStream) -> Iterator[tuple[RawRow, int]]:
    if not text.skip_blanks():
        yield broken(str(path), text.line, "ends within its list", hint="The file may be cut short."), 0
        return
    text.skip(1)
    if text.skip_blanks():
        what = "has more after the end of its list, which was not read"
        yield broken(str(path), text.line, what, shown=text.ahead(), hint="Write all rows in one list."), 0
