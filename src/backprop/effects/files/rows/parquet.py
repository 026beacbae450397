"""Parquet files, read in batches of rows; imported only when there is one."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from backprop.effects.files.rows.raw_row import DamagedFile, UnreadableValue

_ROWS_AT_ONCE = 256
_BUFFER_BYTES = 1 << 20


def rows(stream: IO[bytes]) -> Iterator[tuple[dict[str, Any] | UnreadableValue, int]]:
    """The rows as objects, each with its share of the bytes.

    A compressed file is unpacked into a temporary one first: Parquet is read from its end. Memory is that of the pages
    being read, and of 256 rows.
    """
    try:
        with tempfile.TemporaryFile(prefix="backprop-parquet-") as unpacked:
            source = stream
            if type(stream).__module__ != "_io" or not stream.seekable():
                shutil.copyfileobj(stream, unpacked)
                unpacked.seek(0)
                source = unpacked
            with pyarrow.parquet.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
                _check_columns(file.schema_arrow.names)
                for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                    row_bytes = batch.nbytes // max(batch.num_rows, 1)
                    for row in _values(batch):
                        yield row, row_bytes
    except pyarrow.ArrowException as error:
        raise DamagedFile(_first_line(error)) from error
    except OSError as error:
        # pyarrow's own findings come as such too, without a number.
        if error.errno is not None:
            raise
        raise DamagedFile(_first_line(error)) from error


def _values(batch: Any) -> Iterator[dict[str, Any] | UnreadableValue]:
    try:
        yield from batch.to_pylist()
    except _UNREADABLE:
        for number in range(batch.num_rows):
            yield _value(batch.slice(number, 1))


def _value(row: Any) -> dict[str, Any] | UnreadableValue:
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            column.to_pylist()
        except _UNREADABLE as error:
            return UnreadableValue(str(name), _first_line(error))
    value: dict[str, Any] = row.to_pylist()[0]
    return value


_UNREADABLE = (ValueError, OverflowError)
"""Text that is not UTF-8, and dates beyond what Python has."""


def _check_columns(names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DamagedFile(f'two columns are named "{twice[0]}"')


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
