"""Rows out of files, streamed with their line numbers: .jsonl, .json, .csv, .parquet and .txt, each also .gz or .zst.

A row that cannot be read is yielded as a problem, so that a scan finds them all; a file that cannot be read at all
raises ``BackpropError``.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

COMPRESSIONS = (".gz", ".zst")
_PACKAGED = {
    ".zst": ("zstandard", "backprop.effects.files.zstd"),
    ".parquet": ("pyarrow", "backprop.effects.files.parquet"),
}
"""Kinds of files whose package is imported only when such a file is read: (package, module of ours)."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_CSV_FIELD = 2**31 - 1
_LIST_KEYS = ("data", "rows", "examples", "train")
"""Keys under which some .json files keep their list of rows."""


@attrs.frozen
class RawRow:
    """A row as the file holds it, or the problem that stands in its place."""

    where: str
    """``file:line``."""
    value: Any = None
    problem: Problem | None = None


def read_rows(path: Path) -> Iterator[RawRow]:
    """The rows of a file in order, blank lines left out.

    Memory is that of the longest row, except for .json, whose text is held whole. Raises ``BackpropError`` for a file
    that is missing, a directory, empty, not of its kind, or of an unknown kind.
    """
    _check_file(path)
    reader = _READERS.get(kind_of(path))
    if reader is None:
        raise _unsupported(path)
    num_rows = 0
    with _translated(path), _opened(path) as stream:
        for row in reader(path, stream):
            num_rows += 1
            yield row
    if not num_rows:
        raise _invalid(path, "has no rows")


def kind_of(path: Path) -> str:
    """The suffix that tells the kind of file, compression aside; empty without one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def hash_files(paths: tuple[Path, ...]) -> tuple[str, int]:
    """(SHA-256 over the files' bytes, bytes in all)."""
    if len(paths) == 1:
        with paths[0].open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest(), paths[0].stat().st_size
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest(), sum(path.stat().st_size for path in paths)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise _invalid(path, "is a directory", hint="Name a file inside it.")
    if not path.exists():
        raise BackpropError(Problem("INPUT_DATASET_NOT_FOUND", f"There is no file {path}.", where="--data"))
    if not path.stat().st_size:
        raise _invalid(path, "is empty")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed as they are read."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path, "rb") as plain:
            yield plain  # type: ignore[misc]
    elif suffix == ".zst":
        with path.open("rb") as packed:
            yield _packaged(".zst").decompressed(packed)
    else:
        with path.open("rb") as stream:
            yield stream


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise BackpropError(
            Problem("RUNTIME_PERMISSION_DENIED", f"{path} cannot be read: {error.strerror}.")
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error, DamagedFile) as error:
        raise _invalid(path, f"is damaged or cut short ({error})", hint="Copy or compress the file again.") from error
    except OSError as error:
        raise _invalid(path, f"cannot be read: {error.strerror or error}") from error


class DamagedFile(Exception):
    """What the modules for packaged kinds raise in place of their libraries' errors."""


def _packaged(suffix: str) -> Any:
    package, module = _PACKAGED[suffix]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] != package:
            raise
        message = f"Reading {suffix} files takes the package {package}, which is not installed."
        raise BackpropError(Problem("DEP_PACKAGE_MISSING", message, hint=f"pip install {package}")) from missing


def _lines(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number, line without its end) of every line, byte order mark removed."""
    for number, raw in enumerate(stream, start=1):
        line = raw.removeprefix(_BOM) if number == 1 else raw
        if number == 1:
            if raw.startswith(_UTF16):
                raise _invalid(path, "is UTF-16 text", hint="Save it as UTF-8.")
            if b"\0" in line[:4096]:
                raise _invalid(path, "is not text", hint="The suffix says text; give the file the suffix of its kind.")
        yield number, line.rstrip(b"\r\n")


def _read_jsonl(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    for number, line in _lines(path, stream):
        if line and not line.isspace():
            yield _parsed(line, where=f"{path}:{number}")


def _parsed(line: bytes, *, where: str) -> RawRow:
    try:
        return RawRow(where, json.loads(line.decode("utf-8"), object_pairs_hook=_object, parse_constant=_nothing))
    except UnicodeDecodeError as wrong:
        return _broken(where, f"is not UTF-8 text (byte {wrong.start + 1})", hint="Save the file as UTF-8.")
    except json.JSONDecodeError as wrong:
        return _broken(where, f"is not JSON: {wrong.msg} at column {wrong.colno}")
    except RecursionError:
        return _broken(where, "is nested too deeply")
    except ValueError as wrong:
        return _broken(where, f"cannot be used: {wrong}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON lets a key stand twice, but one of its values would be lost without a word."""
    read = dict(pairs)
    if len(read) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'the key "{next(key for key in keys if keys.count(key) > 1)}" stands twice in one object')
    return read


def _nothing(_: str) -> None:
    """NaN and the infinities, which JSON has not: tables write them for empty cells."""


def _read_json(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    """The elements of one list, of the list that one object holds, or objects one after the other."""
    text = _text(path, stream.read())
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_nothing)
    at = _past_blanks(text, 0)
    is_list = text[at : at + 1] == "["
    at = _past_blanks(text, at + 1) if is_list else at
    line, counted = 1 + text.count("\n", 0, at), at
    while at < len(text) and not (is_list and text[at] == "]"):
        line, counted = line + text.count("\n", counted, at), at
        where = f"{path}:{line}"
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as wrong:
            yield _broken(f"{path}:{wrong.lineno}", f"is not JSON: {wrong.msg} at column {wrong.colno}")
            return
        except (ValueError, RecursionError) as wrong:
            yield _broken(where, f"cannot be used: {wrong or 'nested too deeply'}")
            return
        at = _past_blanks(text, at)
        if is_list:
            if text[at : at + 1] not in (",", "]"):
                yield _broken(where, "is followed by neither a comma nor the end of the list")
                return
            at = _past_blanks(text, at + 1) if text[at] == "," else at
        yield from _inner_rows(where, value)


def _inner_rows(where: str, value: Any) -> Iterator[RawRow]:
    held = [value[key] for key in _LIST_KEYS if isinstance(value, dict) and isinstance(value.get(key), list)]
    if len(held) == 1 and all(isinstance(row, dict) for row in held[0]):
        yield from (RawRow(f"{where} (row {number})", row) for number, row in enumerate(held[0], start=1))
    else:
        yield RawRow(where, value)


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _text(path: Path, data: bytes) -> str:
    if data.startswith(_UTF16):
        raise _invalid(path, "is UTF-16 text", hint="Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        line = data.count(b"\n", 0, wrong.start) + 1
        message = f"{path}:{line} is not UTF-8 text."
        problem = Problem("INPUT_DATASET_PARSE_FAILED", message, where=f"{path}:{line}", hint="Save the file as UTF-8.")
        raise BackpropError(problem) from wrong


def _read_txt(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    """A row a line."""
    for number, line in _lines(path, stream):
        if line and not line.isspace():
            where = f"{path}:{number}"
            try:
                yield RawRow(where, line.decode("utf-8"))
            except UnicodeDecodeError as wrong:
                yield _broken(where, f"is not UTF-8 text (byte {wrong.start + 1})", hint="Save the file as UTF-8.")


def _read_csv(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    """A row a record, named by the header; commas, semicolons or tabs between the fields."""
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    lines = _decoded_lines(path, stream)
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    records = csv.reader(_chained(first, lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    try:
        for record in records:
            where, line = f"{path}:{line}", records.line_num + 1
            if not header:
                header = _header(path, record)
            elif record and len(record) != len(header):
                yield _broken(where, f"has {len(record)} fields, the header {len(header)}")
            elif record:
                yield RawRow(where, {key: value for key, value in zip(header, record, strict=True) if value})
    except csv.Error as wrong:
        yield _broken(f"{path}:{line}", f"is not CSV: {wrong}")


def _header(path: Path, names: list[str]) -> list[str]:
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise _invalid(path, f'has two columns "{twice}"', hint="Rename one of them, or remove it.")
    return names


def _decoded_lines(path: Path, stream: IO[bytes]) -> Iterator[str]:
    for number, line in _lines(path, stream):
        try:
            yield line.decode("utf-8") + "\n"
        except UnicodeDecodeError as wrong:
            where = f"{path}:{number}"
            problem = Problem(
                "INPUT_DATASET_PARSE_FAILED", f"{where} is not UTF-8 text.", where=where, hint="Save the file as UTF-8."
            )
            raise BackpropError(problem) from wrong


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _read_parquet(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    for number, value in enumerate(_packaged(".parquet").rows(stream), start=1):
        yield RawRow(f"{path}:{number}", value)


_READERS: dict[str, Callable[[Path, IO[bytes]], Iterator[RawRow]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".txt": _read_txt,
    ".parquet": _read_parquet,
}
KINDS = tuple(_READERS)


def _broken(where: str, what: str, *, hint: str = "") -> RawRow:
    return RawRow(where, problem=Problem("INPUT_DATASET_PARSE_FAILED", f"{where} {what}.", where=where, hint=hint))


def _invalid(path: Path, what: str, *, hint: str = "") -> BackpropError:
    return BackpropError(Problem("INPUT_DATASET_INVALID", f"{path} {what}.", where=str(path), hint=hint))


def _unsupported(path: Path) -> BackpropError:
    message = f"{path} has a file type that cannot be read."
    hint = f"Use {', '.join(KINDS)}, each also compressed as {' or '.join(COMPRESSIONS)}."
    return BackpropError(Problem("INPUT_DATASET_FORMAT_UNSUPPORTED", message, where=str(path), hint=hint))
