"""A stream of bytes cut into whole lines, in bounded memory whatever the stream holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeAlias

import attrs

from backprop.effects.files.rows.raw_row import RawRow, broken, invalid

LONGEST_LINE = 64 << 20
"""Bytes of the longest line that is read. A row of a million tokens takes some 5 MB."""
LONGEST_SKIPPED = 1 << 30
"""Bytes after which a line that is not read makes its file one that is not read either: its end may never come."""
REMOVE_NUL = "Remove it, for instance with: tr -d '\\000' < FILE > NEW"
BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
HEAD_BYTES = 4096


@attrs.frozen
class WholeLines:
    """Lines as they stand in the stream, ends included."""

    first_line: int
    offset: int
    data: bytes


@attrs.frozen
class LongLine:
    """A line that is longer than ``LONGEST_LINE`` and was passed over."""

    line: int
    num_bytes: int


Cut: TypeAlias = WholeLines | LongLine


def cut_lines(path: Path, stream: IO[bytes], *, block_bytes: int) -> Iterator[Cut]:
    """Pieces of about ``block_bytes`` that end where lines end; memory is three pieces and the longest line.

    Which lines are too long does not depend on ``block_bytes``. Raises ``BackpropError`` for a stream that is no text,
    or has a line beyond ``LONGEST_SKIPPED``.
    """
    assert block_bytes <= LONGEST_LINE, "of a piece only the first line needs measuring"
    cutter = _Cutter(path)
    for chunk in _chunks(path, stream, block_bytes):
        yield from cutter.take(chunk)
    yield from cutter.finish()


def _chunks(path: Path, stream: IO[bytes], block_bytes: int) -> Iterator[bytes]:
    """The stream's bytes, its head checked first, as long as it is whatever ``block_bytes``."""
    head = stream.read(HEAD_BYTES)
    check_text(path, head)
    for at in range(0, len(head), block_bytes):
        yield head[at : at + block_bytes]
    while chunk := stream.read(block_bytes):
        yield chunk


class _Cutter:
    """Where the cutting stands: what has been read of a line that is not at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line, self._offset = 1, 0
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._is_skipping = False

    def take(self, chunk: bytes) -> Iterator[Cut]:
        end = chunk.find(b"\n")
        if end < 0:
            self._hold(chunk)
            return
        if self._is_skipping or self._begun_bytes + end > LONGEST_LINE:
            yield self._skipped(self._begun_bytes + end, end_bytes=1)
            chunk = chunk[end + 1 :]
        end = chunk.rfind(b"\n") + 1
        if end:
            yield self._whole(b"".join((*self._begun, chunk[:end])))
        if end < len(chunk):
            self._hold(chunk[end:])

    def finish(self) -> Iterator[Cut]:
        if self._is_skipping:
            yield self._skipped(self._begun_bytes, end_bytes=0)
        elif self._begun:
            yield self._whole(b"".join(self._begun))

    def _hold(self, part: bytes) -> None:
        self._begun_bytes += len(part)
        self._is_skipping = self._is_skipping or self._begun_bytes > LONGEST_LINE
        if self._begun_bytes > LONGEST_SKIPPED:
            what = f"has a line that does not end within {LONGEST_SKIPPED >> 20} MiB (line {self._line})"
            raise invalid(self._path, what, hint="Write a row a line, each ended by a line feed.")
        if self._is_skipping:
            self._begun.clear()
        else:
            self._begun.append(part)

    def _skipped(self, num_bytes: int, *, end_bytes: int) -> LongLine:
        skipped = LongLine(self._line, num_bytes)
        self._advance(num_bytes + end_bytes, lines=1)
        return skipped

    def _whole(self, data: bytes) -> WholeLines:
        whole = WholeLines(self._line, self._offset, data)
        self._advance(len(data), lines=data.count(b"\n"))
        return whole

    def _advance(self, num_bytes: int, *, lines: int) -> None:
        self._line, self._offset = self._line + lines, self._offset + num_bytes
        self._begun, self._begun_bytes, self._is_skipping = [], 0, False


def iter_lines(data: bytes, *, first_line: int) -> Iterator[tuple[int, bytes]]:
    """(number, line without its end) of whole lines, byte order mark removed, blank lines left out."""
    data = data.removeprefix(BOM) if first_line == 1 else data
    for number, line in enumerate(data.split(b"\n"), start=first_line):
        if line and not line.isspace():
            yield number, line.rstrip(b"\r")


def long_line(path: str, cut: LongLine) -> RawRow:
    """The problem that stands in the place of a line that was passed over."""
    what = f"is {cut.num_bytes:,} bytes long, and no line may be longer than {LONGEST_LINE >> 20} MiB"
    return broken(path, cut.line, what, hint="Cut the row into several, or write each row on a line of its own.")


def check_text(path: Path, head: bytes) -> None:
    """Refuse what the first bytes of a file show not to be UTF-8 text."""
    if head.startswith(_UTF16) or _is_wide(head):
        raise invalid(path, "is UTF-16 text", hint="Save it as UTF-8.")
    if b"\0" in head.partition(b"\n")[0]:
        raise invalid(path, "is not text", hint="The suffix says text; give the file the suffix of its kind.")


def _is_wide(head: bytes) -> bool:
    """Every other byte of Latin text in UTF-16 is NUL."""
    halves = (head[0::2], head[1::2])
    nuls = [half.count(0) for half in halves]
    return max(nuls) > 0.4 * len(head) / 2 and min(nuls) == 0
