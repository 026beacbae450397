"""Where the rows of a data set stand that could be read, by their numbers."""

from __future__ import annotations

import bisect
from array import array
from pathlib import Path

from backprop.effects.files.rows import RawRow, place_of


def pack_place(packed: array[int], row: RawRow) -> None:
    """Add the place of a row, as blocks send them: an ``array("q")`` of lines and numbers in turn."""
    packed.append(row.line)
    packed.append(row.row or 0)


class RowPlaces:
    """Places in the order of the files; 16 bytes a row."""

    def __init__(self) -> None:
        self._packed = array("q")
        self._paths: list[Path] = []
        self._starts: list[int] = []
        """Of each file the number of its first row that could be read."""

    def __len__(self) -> int:
        return len(self._packed) // 2

    def begin(self, path: Path) -> None:
        """The rows that follow stand in this file."""
        if not self._paths or self._paths[-1] != path:
            self._paths.append(path)
            self._starts.append(len(self))

    def extend(self, packed: bytes) -> None:
        """Add the rows of a block."""
        self._packed.frombytes(packed)

    def where(self, row: int) -> str:
        """``file:line`` of a row, with its number where a line may hold several."""
        line, number = self._packed[2 * row : 2 * row + 2]
        return place_of(str(self._paths[bisect.bisect(self._starts, row) - 1]), line, number or None)
