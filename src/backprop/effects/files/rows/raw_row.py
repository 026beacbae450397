"""A row as a file holds it, and how files and rows that cannot be read are spoken of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from backprop.plan.data.check import Check
from backprop.plan.data.excerpt import excerpt, printable
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

SAVE_AS_UTF8 = "Save the file as UTF-8."


@attrs.frozen
class RawRow:
    """A row as the file holds it, or the problem that stands in its place."""

    where: str
    """``file:line``, with the row's number where a line may hold several."""
    value: Any = None
    problem: Problem | None = None
    line: int = 0
    """The line, from 1, that the row begins in; for Parquet the number of the row."""
    raw: bytes | None = None
    """The line without its end, where a line is a row: .jsonl, .ndjson and .txt."""
    row: int | None = None
    """The number of the row, from 1, where a line may hold several: .json."""
    check: Check = Check.UNREADABLE
    """Which check a row with a problem fails."""


class DamagedFile(Exception):
    """What the modules for packaged kinds raise in place of their libraries' errors."""


@attrs.frozen
class UnreadableValue:
    """What stands in place of a row of which a column cannot be read."""

    column: str
    why: str


def place_of(path: str, line: int, row: int | None = None) -> str:
    """``file:line``, or ``file:line (row 7)``."""
    return f"{path}:{line}" if row is None else f"{path}:{line} (row {row})"


def broken(
    path: str,
    line: int,
    what: str,
    *,
    shown: str = "",
    hint: str = "",
    raw: bytes | None = None,
    row: int | None = None,
    check: Check = Check.UNREADABLE,
) -> RawRow:
    """A row that cannot be read; ``shown`` is the text around the mistake."""
    where, what = place_of(path, line, row), printable(what)
    seen = excerpt(shown)
    message = f'{where} {what}: "{seen}".' if seen else f"{where} {what}."
    problem = Problem("INPUT_DATASET_PARSE_FAILED", message, where=where, hint=hint)
    return RawRow(where, None, problem, line, raw, row, check)


def no_utf8(
    path: str, line: int, at: int, *, shown: str = "", raw: bytes | None = None, row: int | None = None
) -> RawRow:
    """A row whose bytes are not UTF-8, the first wrong one at ``at``, counted from 0."""
    what = f"is not UTF-8 text (byte {at + 1})"
    return broken(path, line, what, shown=shown, hint=SAVE_AS_UTF8, raw=raw, row=row, check=Check.ENCODING)


def invalid(path: Path, what: str, *, hint: str = "") -> BackpropError:
    """A file that cannot be read as a whole."""
    return BackpropError(Problem("INPUT_DATASET_INVALID", f"{path} {printable(what)}.", where=str(path), hint=hint))
