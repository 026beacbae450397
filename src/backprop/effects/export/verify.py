"""What was written, read again and compared with what was planned; the values by another way than they were made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from backprop.effects.export.tensors import Array, SourceFiles, decode, read_tensor
from backprop.effects.probe.weight_files import WeightsDamaged, read_header, read_weights
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.merge import LowRank, MergeEntry
from backprop.plan.export.plan import Check
from backprop.plan.export.shards import Shard
from backprop.plan.export.sources import ITEM_BYTES

Row = npt.NDArray[np.float64]
_ROUNDING = {"bfloat16": 2**-8, "float16": 2**-11, "float32": 2**-24, "float64": 2**-24}
"""Half the distance of neighbouring numbers, relative to the smaller; arithmetic for float64 is float32 too."""
_SUMMING = 2**-19
"""What summing B·A in float32 may add, relative to the largest element of a row."""
_SMALLEST = {"float16": 2**-25}
"""Half the distance of the numbers next to zero, where that is not beyond all weights."""


def check_written_weights(shards: tuple[Shard, ...], directory: Path) -> Check:
    """Every file is found, and has just the planned tensors with their shapes, types and places.

    Raises RUNTIME_MERGE_EXPORT_FAILED.
    """
    planned = {
        e.name: (shard.file, e.dtype, e.shape, begin, e.num_bytes) for shard in shards for e, begin in shard.tensors
    }
    try:
        weights = read_weights(directory)
        files = weights.files if weights else ()
        found = {
            t.name: (file.name, t.dtype, t.shape, t.begin, t.num_bytes) for file in files for t in read_header(file)
        }
    except (WeightsDamaged, OSError) as damage:
        raise _failed(directory, f"it is damaged: {damage}") from damage
    if found != planned:
        differing = sorted(name for name in {*found, *planned} if found.get(name) != planned.get(name))
        raise _failed(directory, f"{differing[0]} is {found.get(differing[0])} for {planned.get(differing[0])}")
    return Check("tensors, shapes and types", f"{len(planned)} as planned")


def check_written_values(shards: tuple[Shard, ...], directory: Path) -> Check:
    """The first, middle and last row of every tensor against W + scale · B·A in float64 from the sources.

    Raises RUNTIME_MERGE_EXPORT_FAILED for a row that is off by more than the rounding of its type. Embeddings with
    DoRA, whose norms run over all rows, are left out.
    """
    with SourceFiles() as files:
        off = [
            _off(files, entry, directory / shard.file, begin, row, expected)
            for shard in shards
            for entry, begin in shard.tensors
            if is_sampled(entry)
            for row, expected in expected_rows(files, entry)
        ]
    return Check("values of sampled rows", f"{len(off):,} rows, off by {max(off, default=0):.2f} of a rounding at most")


def is_sampled(entry: MergeEntry) -> bool:
    """Whether rows of a tensor can be computed alone; those of an embedding with DoRA need all others."""
    update = entry.update
    return entry.dtype in _ROUNDING and not (update and update.magnitude and update.is_transposed)


def _off(files: SourceFiles, entry: MergeEntry, path: Path, begin: int, row: int, expected: Row) -> float:
    """The largest deviation in a row that was written, as a share of what rounding may do."""
    row_bytes = entry.num_bytes // (entry.shape[0] if entry.shape else 1)
    raw = files.read(str(path), begin + row * row_bytes, row_bytes)
    off = float(np.abs(decode(raw, entry.dtype) - expected).max(initial=0.0))
    largest = float(np.abs(expected).max(initial=0.0))
    allowed = (_ROUNDING[entry.dtype] + _SUMMING) * largest + _SMALLEST.get(entry.dtype, 0.0)
    if not off <= allowed:
        raise _failed(path, f"row {row} of {entry.name} is off by {off:.3g}")
    return off / allowed if allowed else 0.0


def expected_rows(files: SourceFiles, entry: MergeEntry) -> Iterator[tuple[int, Row]]:
    """The first, a middle and the last row of a merged tensor with its number, from the sources in float64."""
    source = entry.source
    num_rows = source.shape[0] if source.shape else 1
    row_bytes = source.size // max(1, num_rows) * ITEM_BYTES[source.dtype]
    factors = (read_tensor(files, entry.update.a), read_tensor(files, entry.update.b)) if entry.update else None
    # The one in the middle itself begins a head, and stays where it is when the rows of heads are permuted.
    middle = min(num_rows // 2 + 1, num_rows - 1)
    for row in sorted({0, middle, num_rows - 1} if num_rows else ()):
        stored = decode(files.read(source.file, source.begin + row * row_bytes, row_bytes), source.dtype)
        values = stored.astype(np.float64)
        if entry.update is not None and factors is not None:
            values = _updated(files, entry.update, factors, row, values)
        yield row, values


def _updated(files: SourceFiles, update: LowRank, factors: tuple[Array, Array], row: int, values: Row) -> Row:
    a, b = factors
    if update.is_transposed:
        return values + update.scale * (b.astype(np.float64) @ a[:, row].astype(np.float64))
    values = values + update.scale * (b[row].astype(np.float64) @ a.astype(np.float64))
    if update.magnitude is not None:
        values *= read_tensor(files, update.magnitude).reshape(-1)[row] / np.linalg.norm(values)
    return values


def _failed(directory: Path, what: str) -> BackpropError:
    message = f"The merged model was not written as planned: {what}."
    return BackpropError(Problem("RUNTIME_MERGE_EXPORT_FAILED", message, where=str(directory)))
