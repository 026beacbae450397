"""A short piece of a row's text, to recognise it by in a message."""

from __future__ import annotations

_LONGEST = 60


def excerpt(text: str) -> str:
    """The beginning of a text as one line of at most 60 characters."""
    line = " ".join(text.lstrip()[: 4 * _LONGEST].split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
