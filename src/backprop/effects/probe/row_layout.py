"""The layout of a data set, told from its first rows as files hold them; every verb tells it here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from backprop.effects.files.rows import RawRow, Stamp, read_rows
from backprop.plan.data.layout import ROWS_TO_TELL, Detection, detect_layout

ROWS_TO_READ = 1000
"""Rows among which those are looked for that tell the layout."""


def tell_layout(rows: Iterable[RawRow], *, text_column: str) -> Detection:
    """The layout that the first rows tell, broken ones passed over; reads no further than it must."""
    readable = (row.value for row in itertools.islice(rows, ROWS_TO_READ) if row.problem is None)
    return detect_layout(itertools.islice(readable, ROWS_TO_TELL), text_column=text_column)


def stamped_rows(paths: tuple[Path, ...], stamps: tuple[Stamp, ...]) -> Iterator[RawRow]:
    """The rows of files in order. Raises INPUT_DATASET_CHANGED when a file is no longer that of its stamp."""
    return itertools.chain.from_iterable(
        read_rows(path, expected=stamp) for path, stamp in zip(paths, stamps, strict=True)
    )
