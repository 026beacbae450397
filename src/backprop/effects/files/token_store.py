"""Tokenized rows in an unlinked temporary file: written once while the data is read, then read in any order."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Sequence

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_ID_BYTES = 4
_ROW_BYTES_PER_TOKEN = _ID_BYTES + 1
_FLUSH_BYTES = 1 << 20


class TokenStore:
    """Rows of (int32 ids, 1-byte mask); memory grows by 9 bytes a row, not by tokens.

    The file has no name: it is gone when the store is closed or the process dies, however it dies.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="backprop-rows-", buffering=0)  # noqa: SIM115 (closed by close)
        self._ends = array("Q", [0])
        self._good = bytearray()
        self._pending = bytearray()
        self._written = 0

    def append(self, ids: Sequence[int], mask: Sequence[int], *, is_good: bool = True) -> None:
        """Add a row. Raises RUNTIME_DISK_FULL when the temporary directory has no room."""
        assert len(ids) == len(mask), "one mask byte a token"
        self._pending += array("i", ids).tobytes()
        self._pending += bytes(mask)
        self._ends.append(self._ends[-1] + _ROW_BYTES_PER_TOKEN * len(ids))
        self._good.append(is_good)
        if len(self._pending) >= _FLUSH_BYTES:
            self._flush()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def length(self, index: int) -> int:
        """Tokens of a row."""
        return (self._ends[index + 1] - self._ends[index]) // _ROW_BYTES_PER_TOKEN

    def row(self, index: int) -> tuple[memoryview, memoryview]:
        """(int32 token ids, one byte a token that is 1 where it is learned)."""
        if self._pending:
            self._flush()
        tokens = self.length(index)
        data = memoryview(bytearray(self._read(self._ends[index], _ROW_BYTES_PER_TOKEN * tokens)))
        return data[: _ID_BYTES * tokens].cast("i"), data[_ID_BYTES * tokens :]

    def is_good(self, index: int) -> bool:
        """Whether the row is a good answer; rows that nobody judged are."""
        return bool(self._good[index])

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def _flush(self) -> None:
        try:
            self._file.seek(self._written)
            view = memoryview(self._pending)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            message = f"The tokenized rows cannot be kept in {tempfile.gettempdir()}: {error.strerror}."
            hint = "Free some space there, or set TMPDIR to a directory that has room."
            raise BackpropError(Problem("RUNTIME_DISK_FULL", message, hint=hint)) from error
        self._written += len(self._pending)
        self._pending = bytearray()

    def _read(self, at: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            # Does not move the file's position, which forked readers share.
            return os.pread(self._file.fileno(), size, at)
        self._file.seek(at)
        return self._file.read(size)


@attrs.frozen
class RowSinks:
    """Where the rows go that are trained on, and those that are held out."""

    train: TokenStore = attrs.field(factory=TokenStore)
    heldout: TokenStore = attrs.field(factory=TokenStore)

    def close(self) -> None:
        """Give the space of both back."""
        self.train.close()
        self.heldout.close()
