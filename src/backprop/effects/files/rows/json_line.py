"""One line of JSON to a value: a fast reading takes only what is certainly fine, an exact one judges the rest.

What JSON leaves open, or lets be lost without a word, is a problem here: a key that stands twice, half of a surrogate
pair, a number beyond all range, nesting that later work could not follow. NaN and the infinities are no value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from backprop.effects.files.rows.raw_row import RawRow, broken, no_utf8

DEEPEST = 200
"""Objects and lists within each other that are read; everything after reading may go down as deep by recursion."""
_SHOWN_BEFORE, _SHOWN = 20, 60
_STRING = r'"(?:[^"\\]|\\.)*+"?'
_NESTING = re.compile(rf"{_STRING}|[\[{{]|[\]}}]", re.DOTALL)
_MAYBE_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")

_decode = msgspec.json.Decoder().decode


def read_json_line(path: str, line: int, raw: bytes) -> RawRow:
    """The row that a line holds, or the problem that it is."""
    try:
        value = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return read_json_line_exactly(path, line, raw)
    if _is_certain(raw, value):
        return RawRow(f"{path}:{line}", value, None, line, raw)
    return read_json_line_exactly(path, line, raw)


def read_json_line_exactly(path: str, line: int, raw: bytes) -> RawRow:
    """The same, some two times slower: it says what is wrong, and tells suspects from mistakes."""
    try:
        return RawRow(f"{path}:{line}", parse_exactly(raw.decode("utf-8")), None, line, raw)
    except UnicodeDecodeError as wrong:
        return no_utf8(path, line, wrong.start, shown=text_around(raw.decode("utf-8", "replace"), wrong.start), raw=raw)
    except json.JSONDecodeError as wrong:
        what, at = f"is not JSON: {wrong.msg.removesuffix(' at')} at column {wrong.colno}", wrong.pos
    except ValueError as wrong:
        what, at = f"cannot be used: {wrong}", 0
    except RecursionError:
        what, at = "cannot be used: it is nested too deep for what is running", 0
    return broken(path, line, what, shown=text_around(raw.decode("utf-8", "replace"), at), raw=raw)


def parse_exactly(text: str) -> Any:
    """The value of a JSON text. Raises ``ValueError``, for what is no JSON its ``JSONDecodeError``."""
    check_depth(text)
    value = _EXACT.decode(text)
    check_pairs(text, value)
    return value


def text_around(text: str, at: int) -> str:
    """Some characters before a mistake and some after it, on one line."""
    start = max(at - _SHOWN_BEFORE, 0)
    return ("…" if start else "") + text[start : start + _SHOWN]


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON lets a key stand twice, but one of its values would be lost without a word."""
    read = dict(pairs)
    if len(read) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f'the key "{text_around(twice, 0)}" stands twice in one object')
    return read


def number(digits: str) -> float:
    """A number with a fraction or an exponent."""
    read = float(digits)
    if math.isinf(read):
        raise ValueError(f"the number {digits[:_SHOWN]} is too large")
    return read


def nothing(_: str) -> None:
    """NaN and the infinities, which JSON has not: tables write them for empty cells."""


_EXACT = json.JSONDecoder(object_pairs_hook=object_of, parse_constant=nothing, parse_float=number)


def check_depth(text: str) -> None:
    """Raises ``ValueError`` for brackets deeper than ``DEEPEST``, whether or not the text is JSON."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for found in _NESTING.finditer(text):
        mark = found[0]
        depth += (mark in "[{") - (mark in "]}")
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")


def check_pairs(text: str, value: Any) -> None:
    """Raises ``ValueError`` if a string of ``value`` has half of a surrogate pair, which no file can hold as text."""
    if "\\u" not in text or _MAYBE_HALF_PAIR.search(text) is None:
        return
    for string in _strings(value):
        try:
            string.encode("utf-8")
        except UnicodeEncodeError as wrong:
            half = ord(string[wrong.start])
            raise ValueError(f"\\u{half:04x} is half of a surrogate pair, which no text can hold") from wrong


def _is_certain(raw: bytes, value: Any) -> bool:
    """Whether no key can stand twice and the nesting is not too deep.

    Every string in the text has two quotes. If there are no more quotes than those of the strings in the value, then
    no string of the text was lost, and so no key.
    """
    strings, containers = _counted(value)
    if containers > DEEPEST and _depth(value) > DEEPEST:
        return False
    quotes = raw.count(b'"')
    if quotes == 2 * strings:
        return True
    # A quote after a backslash is part of a string, unless that backslash is itself escaped.
    return quotes - raw.count(b'\\"') == 2 * strings and b'\\\\"' not in raw


def _counted(value: Any) -> tuple[int, int]:
    """(strings, keys among them; objects and lists), without recursion."""
    containers = [value]
    members: Iterable[Any]
    strings = 0
    for container in containers:
        if container.__class__ is dict:
            strings += len(container)
            members = container.values()
        elif container.__class__ is list:
            members = container
        else:
            return int(container.__class__ is str), 0
        for member in members:
            kind = member.__class__
            if kind is str:
                strings += 1
            elif kind is dict or kind is list:
                containers.append(member)
    return strings, len(containers)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [member for member in level if isinstance(member, dict | list)]:
        depth += 1
        level = [inner for member in level for inner in (member.values() if isinstance(member, dict) else member)]
    return depth


def _strings(value: Any) -> list[str]:
    members, strings = [value], []
    for member in members:
        if isinstance(member, str):
            strings.append(member)
        elif isinstance(member, dict):
            strings.extend(member)
            members.extend(member.values())
        elif isinstance(member, list):
            members.extend(member)
    return strings
