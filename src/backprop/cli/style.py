"""How text looks on a terminal: colour, aligned tables, wrapping, sparklines. Text in, text out; nothing is printed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import attrs

NARROWEST, WIDEST = 40, 120
"""Columns of text on a terminal, however small or large; COLUMNS can say more."""
UNWRAPPED = 10**6
"""A file or a pipe has no columns: whatever reads it wraps by itself, or searches by lines."""
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-~=+*#"


class Terminal(Protocol):
    """What is asked of an output stream."""

    def isatty(self) -> bool:
        """Whether a person looks at it."""


def printable(text: str) -> str:
    """``text`` with control characters written out, so that data cannot move the cursor or ring the bell."""
    return "".join(f"\\x{ord(c):02x}" if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs")


def visible_width(text: str) -> int:
    """Columns that ``text`` takes on a terminal; colours take none, wide characters two."""
    bare = _ESCAPE.sub("", text)
    if bare.isascii():
        return len(bare)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in bare)


@attrs.frozen
class Style:
    """How to write for one output stream."""

    colour: bool = False
    width: int = 100
    """Columns that a line may take."""
    unicode: bool = True
    """Whether the stream's encoding has block characters."""

    def bold(self, text: str) -> str:
        """For titles."""
        return self._paint("1", text)

    def dim(self, text: str) -> str:
        """For what matters less."""
        return self._paint("2", text)

    def red(self, text: str) -> str:
        """For errors."""
        return self._paint("31", text)

    def green(self, text: str) -> str:
        """For what went well."""
        return self._paint("32", text)

    def yellow(self, text: str) -> str:
        """For warnings."""
        return self._paint("33", text)

    def cyan(self, text: str) -> str:
        """For names to type or to look up."""
        return self._paint("36", text)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def wrap(self, text: str, *, indent: int = 0, width: int | None = None) -> str:
        """``text`` broken between words into lines of at most ``width`` columns; later lines are indented too."""
        lines = _wrapped(text, max(1, (width or self.width) - indent))
        return "\n".join(" " * indent + line for line in lines)

    def table(
        self, rows: Iterable[Sequence[str]], *, header: Sequence[str] = (), right: Iterable[int] = (), indent: int = 0
    ) -> str:
        """Columns two blanks apart; those in ``right`` are aligned to the right, the last one wraps to the width."""
        body = [list(row) for row in rows]
        every = ([list(header)] if header else []) + body
        if not every:
            return ""
        num_columns = max(len(row) for row in every)
        every = [row + [""] * (num_columns - len(row)) for row in every]
        widths = [max(visible_width(row[i]) for row in every) for i in range(num_columns)]
        taken = indent + sum(w + 2 for w in widths[:-1])
        widths[-1] = max(min(widths[-1], self.width - taken), min(widths[-1], 20))
        lines: list[str] = []
        for number, row in enumerate(every):
            painted = [self.bold(cell) for cell in row] if header and number == 0 else row
            lines.extend(_table_row(painted, widths, right=frozenset(right), indent=indent))
        return "\n".join(lines)

    def pairs(self, pairs: Mapping[str, str] | Iterable[tuple[str, str]], *, indent: int = 0) -> str:
        """Names on the left, values on the right, aligned; values wrap."""
        items = pairs.items() if isinstance(pairs, Mapping) else pairs
        return self.table([(self.dim(name), value) for name, value in items], indent=indent)

    def sparkline(self, values: Sequence[float], *, width: int = 40) -> str:
        """The course of ``values`` in one line, each column the mean of its share of them; "" for no values."""
        finite = [v for v in values if v == v and abs(v) != float("inf")]
        if not finite:
            return ""
        num = min(width, len(finite))
        bounds = [len(finite) * i // num for i in range(num + 1)]
        means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(bounds)]
        low, span = min(means), (max(means) - min(means)) or 1.0
        bars = _BARS if self.unicode else _ASCII_BARS
        return "".join(bars[min(len(bars) - 1, int((m - low) / span * len(bars)))] for m in means)


def style_for(stream: Terminal, *, environ: Mapping[str, str], columns: int, encoding: str) -> Style:
    """The style for a stream. NO_COLOR turns colour off, FORCE_COLOR turns it on, else a terminal decides.

    Lines are broken for a terminal alone.
    """
    if environ.get("NO_COLOR"):
        colour = False
    elif environ.get("FORCE_COLOR", "0") != "0":
        colour = True
    else:
        colour = stream.isatty() and environ.get("TERM") != "dumb"
    widest = columns if environ.get("COLUMNS", "").isdigit() else WIDEST
    width = max(NARROWEST, min(columns, widest)) if stream.isatty() else UNWRAPPED
    return Style(colour=colour, width=width, unicode=encoding.lower().replace("-", "").startswith("utf"))


def _table_row(row: Sequence[str], widths: Sequence[int], *, right: frozenset[int], indent: int) -> list[str]:
    cells = [[cell] for cell in row[:-1]] + [_wrapped(row[-1], widths[-1])]
    lines = []
    for i in range(max(len(c) for c in cells)):
        padded = [
            _padded(cell[i] if i < len(cell) else "", widths[column], right=column in right)
            for column, cell in enumerate(cells)
        ]
        lines.append((" " * indent + "  ".join(padded)).rstrip())
    return lines


def _padded(text: str, width: int, *, right: bool) -> str:
    blanks = " " * (width - visible_width(text))
    return blanks + text if right else text + blanks


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` columns where words allow; a colour around the whole is put around each line."""
    painted = re.fullmatch(r"(\x1b\[[0-9;]+m)([^\x1b]*)\x1b\[0m", text, flags=re.DOTALL)
    if painted:
        return [f"{painted[1]}{line}\x1b[0m" for line in _wrapped(painted[2], width)]
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            candidate = f"{line} {word}" if line else word
            if line and visible_width(candidate) > width:
                lines.append(line)
                candidate = word
            line = candidate
        lines.append(line)
    return lines
