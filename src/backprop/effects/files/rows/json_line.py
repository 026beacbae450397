"""One line of JSON to a value, exactly: what JSON leaves open or lets be lost is a problem here, never a guess."""

from __future__ import annotations

import json
from typing import Any

from backprop.effects.files.rows.raw_row import RawRow, broken

SAVE_AS_UTF8 = "Save the file as UTF-8."


def read_json_line(path: str, line: int, raw: bytes) -> RawRow:
    """The row that a line holds, or the problem that it is."""
    try:
        return RawRow(f"{path}:{line}", parse_exactly(raw.decode("utf-8")), None, line, raw)
    except UnicodeDecodeError as wrong:
        return broken(path, line, f"is not UTF-8 text (byte {wrong.start + 1})", hint=SAVE_AS_UTF8, raw=raw)
    except json.JSONDecodeError as wrong:
        return broken(path, line, f"is not JSON: {wrong.msg} at column {wrong.colno}", raw=raw)
    except RecursionError:
        return broken(path, line, "is nested too deeply", raw=raw)
    except ValueError as wrong:
        return broken(path, line, f"cannot be used: {wrong}", raw=raw)


def parse_exactly(text: str) -> Any:
    """The value of a JSON text."""
    return json.loads(text, object_pairs_hook=object_of, parse_constant=nothing)


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON lets a key stand twice, but one of its values would be lost without a word."""
    read = dict(pairs)
    if len(read) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'the key "{next(key for key in keys if keys.count(key) > 1)}" stands twice in one object')
    return read


def nothing(_: str) -> None:
    """NaN and the infinities, which JSON has not: tables write them for empty cells."""
