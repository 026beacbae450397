"""The key-value pairs at the head of a GGUF file, each with the type that readers of it expect."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import attrs


class Kind(enum.Enum):
    """Types of values that are written; readers refuse a key whose value has another."""

    UINT32 = "uint32"
    FLOAT32 = "float32"
    BOOL = "bool"
    STRING = "string"
    STRINGS = "array of strings"
    FLOAT32S = "array of float32"
    INT32S = "array of int32"


Value = int | float | bool | str | tuple[str, ...] | tuple[float, ...] | tuple[int, ...]


@attrs.frozen
class Entry:
    """One pair."""

    key: str
    kind: Kind
    value: Value


def whole(key: str, value: int) -> Entry:
    """A count or an id."""
    return Entry(key, Kind.UINT32, value)


def real(key: str, value: float) -> Entry:
    """A number in single precision."""
    return Entry(key, Kind.FLOAT32, float(value))


def flag(key: str, value: bool) -> Entry:
    """Yes or no."""
    return Entry(key, Kind.BOOL, value)


def text(key: str, value: str) -> Entry:
    """A string."""
    return Entry(key, Kind.STRING, value)


def find(entries: Sequence[Entry], key: str) -> Value | None:
    """The value of a key; None without it."""
    return next((entry.value for entry in entries if entry.key == key), None)
