"""Numbers in an unlinked temporary file: appended, then read and replaced in any order, by forked processes too."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from backprop.effects.files.os_errors import os_code
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_Item = TypeVar("_Item", bound=np.generic)


class ArrayStore(Generic[_Item]):
    """One long array on the disk; memory does not grow with it.

    The file has no name: it is gone when the store is closed or the process dies, however it dies. Places and counts
    are those of items. Raises RUNTIME_DISK_FULL, RUNTIME_PERMISSION_DENIED or RUNTIME_WRITE_FAILED when no file can be
    opened.
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="backprop-shingles-", buffering=0)  # noqa: SIM115 (see close)
        except OSError as error:
            raise BackpropError(_problem(error)) from error
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, items: npt.NDArray[_Item]) -> None:
        """Add items at the end. Raises RUNTIME_DISK_FULL when the temporary directory has no room."""
        self.write(self._count, items)
        self._count += len(items)

    def write(self, start: int, items: npt.NDArray[_Item]) -> None:
        """Replace the items from ``start`` on. Raises RUNTIME_DISK_FULL."""
        data = _bytes_of(np.ascontiguousarray(items))
        at = start * self._dtype.itemsize
        try:
            while data:
                written = self._write_at(data, at)
                data, at = data[written:], at + written
        except OSError as error:
            raise BackpropError(_problem(error)) from error

    def read(self, start: int, count: int) -> npt.NDArray[_Item]:
        """``count`` items from ``start`` on, in memory of their own."""
        items = np.empty(count, self._dtype)
        data = _bytes_of(items)
        at = start * self._dtype.itemsize
        while data:
            got = self._read_at(len(data), at)
            assert got, "what is read was written"
            data[: len(got)] = got
            data, at = data[len(got) :], at + len(got)
        return items

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def _write_at(self, data: memoryview, at: int) -> int:
        if hasattr(os, "pwrite"):
            # Does not move the file's position, which forked processes share.
            return os.pwrite(self._file.fileno(), data, at)
        self._file.seek(at)
        return self._file.write(data)

    def _read_at(self, size: int, at: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), size, at)
        self._file.seek(at)
        return self._file.read(size)


def _bytes_of(items: npt.NDArray[_Item]) -> memoryview:
    return items.view(np.uint8).data


def _problem(error: OSError) -> Problem:
    message = f"The shingles of the rows cannot be kept in {_directory()}: {error.strerror}."
    hint = _HINTS.get(error.errno or 0, "Free some space there, or set TMPDIR to a directory that has room.")
    return Problem(os_code(error) or "RUNTIME_WRITE_FAILED", message, hint=hint)


_HINTS = {
    errno.EMFILE: "Allow more open files, for instance with: ulimit -n 4096",
    errno.ENFILE: "End programs that hold many files open.",
    errno.ENOENT: "Set TMPDIR to a directory that can be written to.",
}


def _directory() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "a temporary directory"
