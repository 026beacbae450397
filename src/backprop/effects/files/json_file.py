"""Reading a file that holds one JSON object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises ``ValueError`` with words to stand after "is" for anything else, ``OSError`` for a file that is missing or
    cannot be read.
    """
    try:
        data = json.loads(path.read_bytes())
    except RecursionError as deep:
        raise ValueError("nested too deeply") from deep
    except ValueError as wrong:  # not JSON, not text, or an integer of thousands of digits
        raise ValueError(f"not JSON: {wrong}") from wrong
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    return data
