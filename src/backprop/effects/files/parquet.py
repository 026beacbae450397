"""Parquet files, read in batches of rows; imported only when there is one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import pyarrow
import pyarrow.parquet

from backprop.effects.files.readers import DamagedFile

_ROWS_AT_ONCE = 256


def rows(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The rows as objects. A compressed file is unpacked into a temporary one first: Parquet is read from its end."""
    try:
        with tempfile.TemporaryFile(prefix="backprop-parquet-") as unpacked:
            source = stream
            if type(stream).__module__ != "_io" or not stream.seekable():
                shutil.copyfileobj(stream, unpacked)
                unpacked.seek(0)
                source = unpacked
            with pyarrow.parquet.ParquetFile(source) as file:
                for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                    yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise DamagedFile(str(error).splitlines()[0]) from error
