"""A short piece of a row's text, to recognise it by in a message."""

from __future__ import annotations

_LONGEST = 60


def excerpt(text: str) -> str:
    """The beginning of a text as one line of at most 60 characters.

    What a terminal would obey or could not write, such as an escape or half of a surrogate pair, is shown as U+FFFD.
    """
    line = " ".join(text.lstrip()[: 4 * _LONGEST].split())
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    return line if line.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in line)
