"""JSON files: the elements of one list, of the list that one object holds, or values one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from backprop.effects.files.rows.json_line import SAVE_AS_UTF8, nothing, object_of
from backprop.effects.files.rows.lines import check_text
from backprop.effects.files.rows.raw_row import RawRow, broken
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_LIST_KEYS = ("data", "rows", "examples", "train")
"""Keys under which some files keep their list of rows."""


def read_json(path: Path, stream: IO[bytes]) -> Iterator[tuple[RawRow, int]]:
    """Every row with the length of its text."""
    text = _text(path, stream.read())
    decoder = json.JSONDecoder(object_pairs_hook=object_of, parse_constant=nothing)
    at = _past_blanks(text, 0)
    is_list = text[at : at + 1] == "["
    at = _past_blanks(text, at + 1) if is_list else at
    line, counted = 1 + text.count("\n", 0, at), at
    while at < len(text) and not (is_list and text[at] == "]"):
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as wrong:
            yield broken(str(path), wrong.lineno, f"is not JSON: {wrong.msg} at column {wrong.colno}"), 0
            return
        except (ValueError, RecursionError) as wrong:
            yield broken(str(path), line, f"cannot be used: {wrong or 'nested too deeply'}"), 0
            return
        num_bytes = at - counted
        at = _past_blanks(text, at)
        if is_list:
            if text[at : at + 1] not in (",", "]"):
                yield broken(str(path), line, "is followed by neither a comma nor the end of the list"), 0
                return
            at = _past_blanks(text, at + 1) if text[at] == "," else at
        yield from _inner_rows(path, line, value, num_bytes)


def _inner_rows(path: Path, line: int, value: Any, num_bytes: int) -> Iterator[tuple[RawRow, int]]:
    where = f"{path}:{line}"
    held = [value[key] for key in _LIST_KEYS if isinstance(value, dict) and isinstance(value.get(key), list)]
    if len(held) == 1 and held[0] and all(isinstance(row, dict) for row in held[0]):
        for number, row in enumerate(held[0], start=1):
            yield RawRow(f"{where} (row {number})", row, None, line), num_bytes // len(held[0])
    else:
        yield RawRow(where, value, None, line), num_bytes


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _text(path: Path, data: bytes) -> str:
    check_text(path, data[:4096])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        where = f"{path}:{data.count(10, 0, wrong.start) + 1}"
        problem = Problem("INPUT_DATASET_PARSE_FAILED", f"{where} is not UTF-8 text.", where=where, hint=SAVE_AS_UTF8)
        raise BackpropError(problem) from wrong
