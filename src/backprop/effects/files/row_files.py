"""Rows written out as they stand, into several files at once that are there whole or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from backprop.effects.files.atomic import replacing_all
from backprop.effects.files.rows import Block, written_rows
from backprop.plan.data.dividing import Mask
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError


def write_rows(blocks: Iterable[Block], sides: Sequence[tuple[Path, Mask]]) -> None:
    """Into each file the rows that are true in its mask, (all rows of the blocks,).

    Raises INPUT_DATASET_CHANGED when there are not as many rows, and what writing raises.
    """
    with replacing_all([path for path, _ in sides]) as streams:
        copy_rows(blocks, [(stream, chosen) for stream, (_, chosen) in zip(streams, sides, strict=True)])


def copy_rows(blocks: Iterable[Block], sides: Sequence[tuple[IO[bytes], Mask]]) -> None:
    """As :func:`write_rows`, into streams."""
    num_rows = len(sides[0][1])
    at = 0
    for block in blocks:
        lines = list(written_rows(block))
        for stream, chosen in sides:
            stream.writelines(itertools.compress(lines, chosen[at : at + len(lines)].tolist()))
        at += len(lines)
    if at != num_rows:
        message = f"The data set had {num_rows:,} rows, and then {at:,}."
        raise BackpropError(Problem("INPUT_DATASET_CHANGED", message))
