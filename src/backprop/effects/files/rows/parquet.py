"""Parquet files, read in batches of rows; imported only when there is one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from backprop.effects.files.rows.raw_row import DamagedFile

_ROWS_AT_ONCE = 256


def rows(stream: IO[bytes]) -> Iterator[tuple[dict[str, Any], int]]:
    """The rows as objects, each with its share of the bytes.

    A compressed file is unpacked into a temporary one first: Parquet is read from its end.
    """
    try:
        with tempfile.TemporaryFile(prefix="backprop-parquet-") as unpacked:
            source = stream
            if type(stream).__module__ != "_io" or not stream.seekable():
                shutil.copyfileobj(stream, unpacked)
                unpacked.seek(0)
                source = unpacked
            with pyarrow.parquet.ParquetFile(source) as file:
                for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                    row_bytes = batch.nbytes // max(batch.num_rows, 1)
                    for row in batch.to_pylist():
                        yield row, row_bytes
    except pyarrow.ArrowException as error:
        raise DamagedFile(str(error).splitlines()[0]) from error
