"""Zstandard files, read as a stream; imported only when there is one."""

from __future__ import annotations

import io
from typing import IO

import zstandard

from backprop.effects.files.rows.raw_row import DamagedFile

_CHUNK_BYTES = 1 << 11
"""Packed bytes taken at once: 4 of them can stand for 128 KiB, so that these are 64 MiB at worst."""


class _Reader(io.RawIOBase):
    """The decompressed bytes; unlike the library's own reader it notices a file that was cut short."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame = self._decompressor.decompressobj()
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._ready:
            if not self._advance():
                return 0
        part = self._ready[: len(buffer)]
        self._ready = self._ready[len(part) :]
        buffer[: len(part)] = part
        return len(part)

    def _advance(self) -> bool:
        """Decompress another chunk; False at the end of the file."""
        rest = self._frame.unused_data if self._frame.eof else b""
        chunk = rest or self._packed.read(_CHUNK_BYTES)
        if not chunk:
            if not self._frame.eof:
                raise DamagedFile("it ends within a frame")
            return False
        if self._frame.eof:
            self._frame = self._decompressor.decompressobj()
        try:
            self._ready = memoryview(self._frame.decompress(chunk))
        except zstandard.ZstdError as error:
            raise DamagedFile(str(error)) from error
        return True


def decompressed(packed: IO[bytes]) -> IO[bytes]:
    """The decompressed bytes of a file opened for reading."""
    return io.BufferedReader(_Reader(packed), 1 << 17)  # type: ignore[type-var]
