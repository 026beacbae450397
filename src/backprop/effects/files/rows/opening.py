"""Opening a file of rows: what is refused before a byte is read, decompression, and the errors of reading."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

from backprop.effects.files.rows.raw_row import DamagedFile, invalid
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

COMPRESSIONS = (".gz", ".zst")
_PACKAGED = {
    ".zst": ("zstandard", "backprop.effects.files.rows.zstd"),
    ".parquet": ("pyarrow", "backprop.effects.files.rows.parquet"),
}
"""Kinds of files whose package is imported only when such a file is read: (package, module of ours)."""

_NOT_FILES = (
    (stat.S_ISDIR, "is a directory", "Name a file inside it."),
    (stat.S_ISFIFO, "is a pipe", "Write it into a file first: data is read more than once."),
    (stat.S_ISCHR, "is a device", "Name a file."),
    (stat.S_ISBLK, "is a device", "Name a file."),
    (stat.S_ISSOCK, "is a socket", "Name a file."),
)


@attrs.frozen
class Stamp:
    """What changes about a file when it is written to or replaced."""

    device: int
    inode: int
    num_bytes: int
    modified_ns: int


def kind_of(path: Path) -> str:
    """The suffix that tells the kind of file, compression aside; empty without one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def stem_of(path: Path) -> str:
    """The file's name without the suffixes of its kind and compression."""
    name = path.name
    for suffix in (path.suffix if is_compressed(path) else "", kind_of(path)):
        name = name[: len(name) - len(suffix)] if suffix and name.lower().endswith(suffix) else name
    return name


def is_compressed(path: Path) -> bool:
    """Whether the file's bytes are not those of its rows."""
    return path.suffix.lower() in COMPRESSIONS


def hash_files(paths: tuple[Path, ...]) -> tuple[str, int]:
    """(SHA-256 over the files' bytes, bytes in all). Raises INPUT_DATASET_CHANGED when one changes meanwhile."""
    digest = hashlib.sha256()
    num_bytes = 0
    for path in paths:
        with opened(path, unpack=False) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                num_bytes += len(block)
    return digest.hexdigest(), num_bytes


def check_file(path: Path) -> Stamp:
    """The stamp of a regular file that has bytes. Raises ``BackpropError`` for anything else, without opening it."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise _missing(path) from missing
    except OSError as error:
        raise _refused(path, error) from error
    for is_kind, what, hint in _NOT_FILES:
        if is_kind(found.st_mode):
            raise invalid(path, what, hint=hint)
    if not found.st_size:
        raise invalid(path, "is empty", hint="Name a file with rows.")
    return _stamp(found)


@contextmanager
def opened(path: Path, *, expected: Stamp | None = None, unpack: bool = True) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed as they are read if ``unpack``.

    Raises INPUT_DATASET_CHANGED when the file is not the ``expected`` one, or another at the end than at the beginning;
    errors of the system and of decompression are translated.
    """
    expected = expected or check_file(path)
    with translated(path), path.open("rb") as stream:
        if _stamp(os.fstat(stream.fileno())) != expected:
            raise _changed(path)
        yield _unpacked(path, stream) if unpack else stream
        if _stamp(os.fstat(stream.fileno())) != expected or _stamp(path.stat()) != expected:
            raise _changed(path)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors while a file is read, as ``BackpropError``."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error, DamagedFile) as error:
        raise invalid(path, f"is damaged or cut short ({error})", hint="Copy or compress the file again.") from error
    except OSError as error:
        raise _refused(path, error) from error


def packaged(suffix: str) -> Any:
    """The module of ours that reads a kind for which a package must be installed."""
    package, module = _PACKAGED[suffix]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] != package:
            raise
        message = f"Reading {suffix} files takes the package {package}, which is not installed."
        raise BackpropError(Problem("DEP_PACKAGE_MISSING", message, hint=f"pip install {package}")) from missing


def _unpacked(path: Path, stream: IO[bytes]) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=stream)  # type: ignore[return-value]
    if suffix == ".zst":
        unpacked: IO[bytes] = packaged(".zst").decompressed(stream)
        return unpacked
    return stream


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _missing(path: Path) -> BackpropError:
    message = f"There is no file {path}."
    if path.is_symlink():
        message = f"{path} is a symbolic link to {path.readlink()}, which does not exist."
    return BackpropError(Problem("INPUT_DATASET_NOT_FOUND", message, where=str(path)))


def _changed(path: Path) -> BackpropError:
    message = f"{path} changed while it was read."
    return BackpropError(Problem("INPUT_DATASET_CHANGED", message, where=str(path)))


def _refused(path: Path, error: OSError) -> BackpropError:
    if isinstance(error, PermissionError):
        message = f"{path} cannot be read: {error.strerror}."
        return BackpropError(Problem("RUNTIME_PERMISSION_DENIED", message, where=str(path)))
    return invalid(path, f"cannot be read: {error.strerror or error}")
