"""Words for a value that is not what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def kind_name(value: Any) -> str:
    """What sort of value this is, in the words of JSON."""
    return _NAMES.get(type(value), f"a {type(value).__name__}")


def described_key(row: Mapping[str, Any], key: str) -> str:
    """What stands under a key: ``"messages" is missing``, ``"messages" is null``, ``"messages" is a number``."""
    return f'"{key}" is {kind_name(row[key])}' if key in row else f'"{key}" is missing'
