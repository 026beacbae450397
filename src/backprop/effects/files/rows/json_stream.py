"""JSON text read as far as the next value needs it, in memory bounded by the longest value."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from backprop.effects.files.rows.json_line import text_around
from backprop.effects.files.rows.lines import HEAD_BYTES, LONGEST_LINE, check_text
from backprop.effects.files.rows.raw_row import SAVE_AS_UTF8
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_CHUNK_BYTES = 1 << 18
_BLANKS = " \t\r\n"
_LONGEST_TOKEN = 20
"""Characters from where a mistake is reported to where the text was cut, if the cut is the mistake; strings aside."""


class TooLong(Exception):
    """A value does not end within ``LONGEST_LINE``."""


class JsonStream:
    """A place in a JSON text."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.line = 1
        """The line of the place, from 1."""
        self.position = 0
        """Characters before the place."""
        self._path, self._stream = path, stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._column = 1
        self._is_end = False
        self._read(_CHUNK_BYTES, is_first=True)

    def skip_blanks(self) -> str:
        """Go to the next character that is no blank and return it; empty at the end."""
        while True:
            rest = self._text[self._at : self._at + 64]
            blanks = len(rest) - len(rest.lstrip(_BLANKS))
            self.skip(blanks)
            if blanks < len(rest):
                return rest[blanks]
            if self._at == len(self._text) and not self._more():
                return ""

    def skip(self, length: int) -> None:
        """Go forward within what was read."""
        end = self._at + length
        breaks = self._text.count("\n", self._at, end)
        self.line += breaks
        self._column = end - self._text.rfind("\n", self._at, end) if breaks else self._column + length
        self.position += length
        self._at = end

    def value(self, decode: Callable[[str, int], tuple[Any, int]]) -> Any:
        """The value that begins here, and go to its end. Raises what ``decode`` raises, and ``TooLong``."""
        while True:
            try:
                value, end = decode(self._text, self._at)
                if end - self._at > LONGEST_LINE:
                    raise TooLong
                if end < len(self._text) or self._is_end:
                    self.skip(end - self._at)
                    return value
            except json.JSONDecodeError as wrong:
                if self._is_end or not self._may_be_cut(wrong):
                    raise
            if len(self._text) - self._at > LONGEST_LINE:
                raise TooLong
            self._more()

    def place_of(self, wrong: json.JSONDecodeError) -> tuple[int, int, str]:
        """(line, column, the text around) of a mistake that ``decode`` found."""
        breaks = self._text.count("\n", self._at, wrong.pos)
        column = wrong.pos - self._text.rfind("\n", 0, wrong.pos) if breaks else self._column + wrong.pos - self._at
        return self.line + breaks, column, text_around(self._text, wrong.pos)

    def ahead(self) -> str:
        """The text that follows, its beginning."""
        return text_around(self._text[self._at : self._at + 256], 0)

    def _may_be_cut(self, wrong: json.JSONDecodeError) -> bool:
        """Whether more text could undo the mistake."""
        return wrong.msg.startswith("Unterminated") or wrong.pos > len(self._text) - _LONGEST_TOKEN

    def _more(self) -> bool:
        """Read on, twice as much when a value is long; False at the end."""
        self._text, self._at = self._text[self._at :], 0
        if not self._is_end:
            self._read(max(_CHUNK_BYTES, min(len(self._text), LONGEST_LINE + 1 - len(self._text))))
        return self._at < len(self._text)

    def _read(self, num_bytes: int, *, is_first: bool = False) -> None:
        data = self._stream.read(num_bytes)
        if is_first:
            check_text(self._path, data[:HEAD_BYTES])
        self._is_end = not data
        try:
            self._text += self._decoder.decode(data, final=self._is_end)
        except UnicodeDecodeError as wrong:
            # The decoder puts before the data what was left of the last.
            breaks = self._text.count("\n", self._at) + wrong.object.count(b"\n", 0, wrong.start)
            where = f"{self._path}:{self.line + breaks}"
            message = f"{where} is not UTF-8 text."
            problem = Problem("INPUT_DATASET_PARSE_FAILED", message, where=where, hint=SAVE_AS_UTF8)
            raise BackpropError(problem) from wrong
