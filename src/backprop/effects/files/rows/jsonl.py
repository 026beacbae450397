"""JSON Lines: a row a line."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.effects.files.rows.json_line import read_json_line
from backprop.effects.files.rows.lines import iter_lines
from backprop.effects.files.rows.raw_row import RawRow


def read_jsonl(path: str, data: bytes, first_line: int) -> Iterator[RawRow]:
    """The rows of whole lines."""
    for line, raw in iter_lines(data, first_line=first_line):
        yield read_json_line(path, line, raw)
