"""Tables: a row a record, named by the header; tabs between the fields of .tsv, commas, semicolons or tabs in .csv."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from backprop.effects.files.rows.lines import (
    BOM,
    LONGEST_LINE,
    REMOVE_NUL,
    LongLine,
    cut_lines,
    long_line,
)
from backprop.effects.files.rows.opening import kind_of
from backprop.effects.files.rows.raw_row import RawRow, broken, invalid, no_utf8

_BLOCK_BYTES = 256 << 10
_DELIMITERS = ",;\t"
"""Guessed from by the header of .csv; where two stand as often, the earlier."""


def read_csv(path: Path, stream: IO[bytes]) -> Iterator[tuple[RawRow, int]]:
    """Every record with its bytes; fields without text are left out. One that cannot be read is a problem."""
    csv.field_size_limit(LONGEST_LINE)
    lines = _Lines(path, stream)
    is_tabbed = kind_of(path) == ".tsv"
    delimiter = "\t" if is_tabbed else max(_DELIMITERS, key=lines.first.count)
    records = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = lines.begin_record()
        try:
            record = next(records)
        except StopIteration:
            return
        except _BrokenLine as wrong:
            yield wrong.row, lines.record_bytes
            continue
        except csv.Error as wrong:
            yield broken(str(path), line, f"is not CSV: {wrong}"), lines.record_bytes
            continue
        if header is None:
            header = _header(path, record)
        elif record:
            yield _row(path, line, header, record), lines.record_bytes


class _BrokenLine(Exception):
    """A line that csv must not see, as the problem that it is."""

    def __init__(self, row: RawRow) -> None:
        super().__init__(row.where)
        self.row = row


class _Lines:
    """The lines that the csv module asks for, counted; it goes on after an error."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path = str(path)
        self._lines = _numbered_lines(path, stream)
        self._ahead = next(self._lines, None)
        self._line = 0
        self.record_bytes = 0
        self.first = ""
        if self._ahead is not None and isinstance(self._ahead[1], bytes):
            self.first = self._ahead[1].decode("utf-8", "replace")

    def begin_record(self) -> int:
        """The line in which the next record begins."""
        self.record_bytes = 0
        return self._line + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._ahead is None:
            raise StopIteration
        (self._line, line), self._ahead = self._ahead, next(self._lines, None)
        if isinstance(line, LongLine):
            raise _BrokenLine(long_line(self._path, line))
        self.record_bytes += len(line)
        if self.record_bytes > LONGEST_LINE:
            what = f"is in a record that is longer than {LONGEST_LINE >> 20} MiB"
            raise _BrokenLine(broken(self._path, self._line, what, hint="Look for a quote that is not closed."))
        if b"\0" in line:
            raise _BrokenLine(broken(self._path, self._line, "has a NUL byte, which is no text", hint=REMOVE_NUL))
        try:
            return line.decode("utf-8") + "\n"
        except UnicodeDecodeError as wrong:
            raise _BrokenLine(no_utf8(self._path, self._line, wrong.start)) from wrong


def _numbered_lines(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes | LongLine]]:
    for cut in cut_lines(path, stream, block_bytes=_BLOCK_BYTES):
        if isinstance(cut, LongLine):
            yield cut.line, cut
            continue
        data = cut.data.removeprefix(BOM) if cut.first_line == 1 else cut.data
        for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), start=cut.first_line):
            yield number, line.rstrip(b"\r")


def _header(path: Path, names: list[str]) -> list[str]:
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise invalid(path, f'has two columns "{twice}"', hint="Rename one of them, or remove it.")
    return names


def _row(path: Path, line: int, header: list[str], record: list[str]) -> RawRow:
    if len(record) != len(header):
        return broken(str(path), line, f"has {len(record)} fields, the header {len(header)}")
    value = {key: field for key, field in zip(header, record, strict=True) if field}
    return RawRow(f"{path}:{line}", value, None, line)
