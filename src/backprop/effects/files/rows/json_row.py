"""A row as a line of JSON, whatever the file that it came from can hold."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any


def json_row(value: Any) -> bytes:
    """The line, its end included, in UTF-8; every JSON reader takes it.

    NaN and the infinities, which JSON has not, become null, as they are when they are read; dates and times their ISO
    text, other values that JSON has not their ``str``.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_text)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_text)
    return text.encode() + b"\n"


def _text(value: Any) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return value
