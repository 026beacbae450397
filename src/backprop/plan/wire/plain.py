"""Values of the core as plain JSON data, one way. It agrees with the strict converter and loads faster."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

_EVENTS = "backprop.plan.events"
"""Its classes form a tagged union; named, not imported, because a command that lists runs needs none of them."""


def plain_data(value: Any) -> Any:
    """``value`` as dicts, lists, strings, numbers, booleans and None; an event carries its name under ``event``."""
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {plain_data(k): plain_data(v) for k, v in value.items()}
    if isinstance(value, (tuple, list, set, frozenset)):
        return [plain_data(v) for v in value]
    assert attrs.has(type(value)), f"{type(value)} is not a value of the core"
    data = {field.name: plain_data(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return {"event": type(value).__name__, **data} if type(value).__module__ == _EVENTS else data
