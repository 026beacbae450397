"""A short piece of a row's text, to recognise it by in a message."""

from __future__ import annotations

_LONGEST = 60


def excerpt(text: str) -> str:
    """The beginning of a text as one line of at most 60 characters, printable."""
    line = " ".join(text.lstrip()[: 4 * _LONGEST].split())
    return printable(line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…")


def printable(line: str) -> str:
    """The line with U+FFFD for what a terminal would obey or could not write: escapes, halves of surrogate pairs."""
    return line if line.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in line)
