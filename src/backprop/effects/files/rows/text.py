"""Plain text: a row a line, as it stands. A text of several lines needs a format that can hold it: JSON Lines, CSV."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.effects.files.rows.lines import REMOVE_NUL, iter_lines
from backprop.effects.files.rows.raw_row import RawRow, broken, no_utf8


def read_text(path: str, data: bytes, first_line: int) -> Iterator[RawRow]:
    """The rows of whole lines."""
    for line, raw in iter_lines(data, first_line=first_line):
        if b"\0" in raw:
            yield broken(path, line, "has a NUL byte, which is no text", hint=REMOVE_NUL, raw=raw)
            continue
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError as wrong:
            yield no_utf8(path, line, wrong.start, raw=raw)
        else:
            yield RawRow(f"{path}:{line}", value, None, line, raw)
