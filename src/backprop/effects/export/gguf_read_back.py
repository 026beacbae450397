"""A GGUF file read back: its header against the plan, and its values against those that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from backprop.effects.export.tensors import SourceFiles
from backprop.effects.export.verify import Row, expected_rows, is_sampled
from backprop.effects.probe.gguf_file import Damaged, GgufHeader, read_gguf
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.gguf.ggml import GgmlType
from backprop.plan.export.gguf.metadata import Entry, Kind
from backprop.plan.export.gguf.names import Change
from backprop.plan.export.gguf.plan import GgufPlan, TensorPlan
from backprop.plan.export.merge import MergePlan
from backprop.plan.export.plan import Check

_MOST_OFF = {
    GgmlType.F32: 1e-5,
    GgmlType.F16: 1e-3,
    GgmlType.Q8_0: 0.03,
    GgmlType.Q6_K: 0.08,
    GgmlType.Q5_K: 0.15,
    GgmlType.Q5_1: 0.2,
    GgmlType.Q5_0: 0.2,
    GgmlType.Q4_K: 0.3,
    GgmlType.Q4_0: 0.4,
    GgmlType.Q3_K: 0.7,
    GgmlType.Q2_K: 1.0,
}
"""Norm of a row's error over the norm of the row, for the worst that rounding does to blocks with one large value;
weights of models show half of it. A row in the place of another is off by about 1.4."""
_SMALLEST = 2.0**-24
"""Of float16, in which values and the scales of blocks end."""


def check_header(plan: GgufPlan, path: Path) -> Check:
    """Every key, tensor, shape, type and place in the file is the planned one. Raises RUNTIME_GGUF_EXPORT_FAILED."""
    header = _header(path)
    for entry in plan.metadata:
        if not _same(header.metadata.get(entry.key), entry):
            raise _failed(path, f"{entry.key} is not what was planned")
    found = {name: (t.shape[::-1], t.type_number, t.offset) for name, t in header.tensors.items()}
    planned = {t.name: (t.shape, t.type.number, offset) for t, offset in zip(plan.tensors, plan.offsets(), strict=True)}
    if found != planned:
        name = sorted(name for name in {*found, *planned} if found.get(name) != planned.get(name))[0]
        raise _failed(path, f"{name} is {found.get(name)} for {planned.get(name)}")
    if path.stat().st_size != header.data_begin + plan.data_bytes:
        raise _failed(path, f"it has {path.stat().st_size} bytes for {header.data_begin + plan.data_bytes}")
    return Check("metadata and tensors", f"{len(plan.metadata)} keys and {len(planned)} tensors as planned")


def _same(found: Any, entry: Entry) -> bool:
    match entry.kind:
        case Kind.FLOAT32 | Kind.FLOAT32S:
            return found is not None and np.array_equal(np.float32(found), np.asarray(entry.value, np.float32))
        case Kind.STRINGS | Kind.INT32S | Kind.UINT32 | Kind.BOOL | Kind.STRING:
            return bool(found == entry.value)


def check_values(plan: GgufPlan, merge: MergePlan, path: Path) -> Check:
    """The first, a middle and the last row of every tensor, dequantized by the gguf package in numpy.

    ``path`` may hold other types than ``plan`` says, as after llama-quantize. Raises RUNTIME_GGUF_EXPORT_FAILED.
    """
    header = _header(path)
    entries = {entry.name: entry for entry in merge.entries}
    num_rows, worst = 0, 0.0
    with SourceFiles() as files:
        for tensor in plan.tensors:
            entry = entries.get(tensor.source or "")
            if entry is None or not is_sampled(entry):
                continue
            for row, expected in expected_rows(files, entry):
                found, kind = _row(files, path, header, tensor.name, _row_in_file(tensor, row, plan.heads))
                wanted = expected + 1 if tensor.change is Change.ADD_ONE else expected
                allowed = _MOST_OFF[kind] * np.linalg.norm(wanted) + _SMALLEST * wanted.size
                share = float(np.linalg.norm(found - wanted) / allowed)
                if not share <= 1:
                    raise _failed(path, f"row {row} of {entry.name} has other values in {tensor.name}")
                num_rows, worst = num_rows + 1, max(worst, share)
    return Check("values of sampled rows", f"{num_rows:,} rows, off by {worst:.2f} of what their types may be at most")


def _header(path: Path) -> GgufHeader:
    try:
        return read_gguf(path)
    except (Damaged, OSError) as damage:
        raise _failed(path, f"it cannot be read back: {damage}") from damage


def _row(files: SourceFiles, path: Path, header: GgufHeader, name: str, row: int) -> tuple[Row, GgmlType]:
    """A row as the file holds it, in float64, and its type."""
    tensor = header.tensors[name]
    kind = next(kind for kind in GgmlType if kind.number == tensor.type_number)
    num_bytes = kind.row_bytes(tensor.shape[0] if len(tensor.shape) > 1 else 1)
    raw = files.read(str(path), header.data_begin + tensor.offset + row * num_bytes, num_bytes)
    return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind.number)).astype(np.float64), kind


def _row_in_file(tensor: TensorPlan, row: int, heads: tuple[int, int]) -> int:
    """Where a row stands: element i of a head goes to 2i, element i + half to 2i + 1."""
    if tensor.change not in (Change.PERMUTE_QUERY, Change.PERMUTE_KEY):
        return row
    length = tensor.shape[0] // heads[tensor.change is Change.PERMUTE_KEY]
    head, within = divmod(row, length)
    half, i = divmod(within, length // 2)
    return head * length + 2 * i + half


def _failed(path: Path, what: str) -> BackpropError:
    message = f"{path.name} was not written as planned: {what}."
    return BackpropError(Problem("RUNTIME_GGUF_EXPORT_FAILED", message))
