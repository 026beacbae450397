"""A file of rows in blocks that processes can share, and the rows of a block."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeAlias, assert_never

import attrs

from backprop.effects.files.rows.csv_table import read_csv
from backprop.effects.files.rows.json_list import read_json
from backprop.effects.files.rows.json_row import json_row
from backprop.effects.files.rows.jsonl import read_jsonl
from backprop.effects.files.rows.lines import BOM, LongLine, cut_lines, iter_lines, long_line
from backprop.effects.files.rows.opening import (
    COMPRESSIONS,
    Stamp,
    check_file,
    is_compressed,
    kind_of,
    opened,
    packaged,
)
from backprop.effects.files.rows.raw_row import RawRow, UnreadableValue, broken, invalid
from backprop.effects.files.rows.text import read_text
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

BLOCK_BYTES = 4 << 20
_STREAM_BYTES = 256 << 10


@attrs.frozen
class FileRange:
    """Whole lines of a file that is not compressed; whoever wants the rows reads the bytes."""

    path: Path
    first_line: int
    offset: int
    num_bytes: int
    stamp: Stamp


@attrs.frozen
class HeldLines:
    """Whole lines that had to be decompressed."""

    path: Path
    first_line: int
    data: bytes

    @property
    def num_bytes(self) -> int:
        """Bytes of the lines."""
        return len(self.data)


@attrs.frozen
class HeldRows:
    """Rows of a kind whose rows are no lines, or the problem of a line that is too long to be held."""

    path: Path
    rows: tuple[RawRow, ...]
    num_bytes: int
    """About what the rows took in the file, decompressed."""


Block: TypeAlias = FileRange | HeldLines | HeldRows
"""Some neighbouring rows of a file; can be pickled."""


def read_rows(path: Path, *, expected: Stamp | None = None) -> Iterator[RawRow]:
    """The rows of a file in order, blank lines left out; a row that cannot be read is a problem in its place.

    Memory is bounded: by the longest row that is read (``LONGEST_LINE``), for Parquet by a group of rows. Raises
    ``BackpropError`` for a file that is missing, no regular file, empty, not of its kind, of an unknown kind, damaged,
    or changed while it is read; with ``expected`` also since that stamp was taken.
    """
    for block in _blocks(path, block_bytes=_STREAM_BYTES, hold=True, stamp=expected or check_file(path)):
        yield from rows_of(block)


def blocks_of(path: Path, *, block_bytes: int = BLOCK_BYTES, expected: Stamp | None = None) -> Iterator[Block]:
    """The file in blocks of about ``block_bytes``, in order; their rows are those of :func:`read_rows`.

    Memory and errors are as there; the rows of a ``FileRange`` are checked against a change of the file too.
    """
    return _blocks(path, block_bytes=block_bytes, hold=False, stamp=expected or check_file(path))


def rows_of(block: Block) -> Iterator[RawRow]:
    """The rows of a block, in any process. Raises ``BackpropError`` when the file changed since it was cut."""
    if isinstance(block, HeldRows):
        yield from block.rows
    else:
        yield from _LINE_READERS[kind_of(block.path)](str(block.path), _data(block), block.first_line)


def lines_of(block: Block) -> Iterator[tuple[int, bytes]]:
    """(number, line without its end) of a file whose rows are lines, blank ones left out.

    Blocks of other kinds have none, nor has the problem of a line that is too long, which only ``rows_of`` tells.
    """
    if not isinstance(block, HeldRows):
        yield from iter_lines(_data(block), first_line=block.first_line)


def written_rows(block: Block) -> Iterator[bytes]:
    """Each row as a line of its own: the bytes that stand in the file where rows are lines, else as JSON.

    As many as :func:`rows_of` has; of a row that was not held, nothing. A last line without an end gets one.
    """
    if isinstance(block, HeldRows):
        for row in block.rows:
            yield b"" if row.problem else json_row(row.value)
        return
    data = _data(block)
    lines = io.BytesIO(data.removeprefix(BOM) if block.first_line == 1 else data).readlines()
    if not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"
    yield from (line for line in lines if not line.isspace())


def _blocks(path: Path, *, block_bytes: int, hold: bool, stamp: Stamp) -> Iterator[Block]:
    kind = kind_of(path)
    has_rows = False
    with opened(path, expected=stamp) as stream:
        if kind in _LINE_READERS:
            blocks = _line_blocks(path, stream, stamp if not hold and not is_compressed(path) else None, block_bytes)
        elif kind in _ROW_READERS:
            blocks = _row_blocks(path, _ROW_READERS[kind](path, stream), 1 if hold else block_bytes)
        else:
            raise _unsupported(path)
        for block in blocks:
            has_rows = True
            yield block
    if not has_rows:
        raise invalid(path, "has no rows", hint="Name a file with rows.")


def _line_blocks(path: Path, stream: IO[bytes], stamp: Stamp | None, block_bytes: int) -> Iterator[Block]:
    """Blocks that hold their lines, or with a stamp only say where they are."""
    for cut in cut_lines(path, stream, block_bytes=block_bytes):
        if isinstance(cut, LongLine):
            yield HeldRows(path, (long_line(str(path), cut),), cut.num_bytes)
        elif _is_blank(cut.data):
            continue
        elif stamp is None:
            yield HeldLines(path, cut.first_line, cut.data)
        else:
            yield FileRange(path, cut.first_line, cut.offset, len(cut.data), stamp)


def _is_blank(data: bytes) -> bool:
    return not data.removeprefix(BOM) or data.removeprefix(BOM).isspace()


def _row_blocks(path: Path, rows: Iterator[tuple[RawRow, int]], block_bytes: int) -> Iterator[HeldRows]:
    held: list[RawRow] = []
    num_bytes = 0
    for row, row_bytes in rows:
        held.append(row)
        num_bytes += row_bytes
        if num_bytes >= block_bytes:
            yield HeldRows(path, tuple(held), num_bytes)
            held, num_bytes = [], 0
    if held:
        yield HeldRows(path, tuple(held), num_bytes)


def _data(block: FileRange | HeldLines) -> bytes:
    match block:
        case HeldLines():
            return block.data
        case FileRange():
            with opened(block.path, expected=block.stamp) as stream:
                stream.seek(block.offset)
                return stream.read(block.num_bytes)
        case _:
            assert_never(block)


def _read_parquet(path: Path, stream: IO[bytes]) -> Iterator[tuple[RawRow, int]]:
    for number, (value, num_bytes) in enumerate(packaged(".parquet").rows(stream), start=1):
        if isinstance(value, UnreadableValue):
            yield (
                broken(str(path), number, f'has a column "{value.column}" that cannot be read: {value.why}'),
                num_bytes,
            )
        else:
            yield RawRow(f"{path}:{number}", value, None, number), num_bytes


_LINE_READERS: dict[str, Callable[[str, bytes, int], Iterator[RawRow]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".txt": read_text,
}
_ROW_READERS: dict[str, Callable[[Path, IO[bytes]], Iterator[tuple[RawRow, int]]]] = {
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": _read_parquet,
}
KINDS = (*_LINE_READERS, *_ROW_READERS)


def _unsupported(path: Path) -> BackpropError:
    message = f"{path} has a file type that cannot be read."
    hint = f"Use {', '.join(KINDS)}, each also compressed as {' or '.join(COMPRESSIONS)}."
    return BackpropError(Problem("INPUT_DATASET_FORMAT_UNSUPPORTED", message, where=str(path), hint=hint))
