"""Zstandard files, read as a stream; imported only when there is one."""

from __future__ import annotations

import io
from typing import IO

import zstandard

from backprop.effects.files.readers import DamagedFile


class _Reader(io.RawIOBase):
    """The decompressed bytes, with the library's errors translated."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        try:
            return self._reader.readinto(buffer)
        except zstandard.ZstdError as error:
            raise DamagedFile(str(error)) from error


def decompressed(packed: IO[bytes]) -> IO[bytes]:
    """The decompressed bytes of a file opened for reading."""
    return io.BufferedReader(_Reader(packed), 1 << 17)
