"""Writes GGUF files: a header by the gguf package, then every tensor in one pass, read, merged and quantized in blocks.

Blocks are worked on by several threads and written where they belong, so that memory holds a few of them however large
the model is, and nothing is written twice.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO

import attrs
import gguf
import numpy as np
from threadpoolctl import threadpool_limits

from backprop.effects.export.quantizers import Array, Bytes, Quantizer
from backprop.effects.export.tensors import MergedTensor, Scratch, SourceFiles, check_base_rows, is_finite, read_tensor
from backprop.effects.files.atomic import replacing
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.gguf.adapter import LoraPlan, LoraTensor
from backprop.plan.export.gguf.ggml import GgmlType
from backprop.plan.export.gguf.metadata import Entry, Kind
from backprop.plan.export.gguf.names import Change
from backprop.plan.export.gguf.plan import ALIGNMENT, GgufPlan, TensorPlan
from backprop.plan.export.merge import MergeEntry, MergePlan

_BLOCK_ITEMS = 2**18
"""Elements that are worked on at once: a megabyte of float32, which stays in a core's cache."""
_TASK_ITEMS = 2**23
"""Elements that one thread takes at a time."""
Progress = Callable[[int, int], None]
"""(elements done, elements in all)"""


def write_gguf(
    plan: GgufPlan,
    merge: MergePlan,
    target: Path,
    *,
    quantizer: Quantizer,
    num_threads: int,
    progress: Progress = lambda _done, _all: None,
) -> None:
    """Write the planned file of a merged model to ``target``, whole or not at all.

    Raises INPUT_MODEL_INVALID for a tensor of the base that is not finite, RUNTIME_GGUF_EXPORT_FAILED for sums that are
    not, DEP_MODEL_LOAD_FAILED for a source that cannot be read, and what :mod:`backprop.effects.files.atomic` raises.
    """
    entries = {entry.name: entry for entry in merge.entries}
    with SourceFiles() as files, replacing(target) as stream:
        begin = _write_head(stream, plan.architecture, plan.metadata, plan.tensors)
        stream.truncate(begin + plan.data_bytes)
        writer = _Writer(stream, begin, quantizer, plan.heads)
        tasks = _tasks(plan, entries, files)
        total = sum(int(np.prod(tensor.shape)) for tensor in plan.tensors)
        done = 0
        for items in _in_parallel(tasks, writer.write, num_threads):
            done += items
            progress(done, total)


def write_gguf_lora(plan: LoraPlan, target: Path) -> None:
    """Write a planned adapter file to ``target``, whole or not at all, in float32. Raises as :func:`write_gguf`."""
    layout = plan.layout
    with SourceFiles() as files, replacing(target) as stream:
        begin = _write_head(stream, plan.architecture, plan.metadata, layout.tensors)
        stream.truncate(begin + layout.data_bytes)
        for tensor, offset in zip(plan.tensors, layout.offsets(), strict=True):
            values = _lora_values(files, tensor, plan.heads)
            stream.seek(begin + offset)
            stream.write(values.tobytes())


def _lora_values(files: SourceFiles, tensor: LoraTensor, heads: tuple[int, int]) -> Array:
    values = read_tensor(files, tensor.source) * np.float32(tensor.factor)
    if not is_finite(np.ascontiguousarray(values).view(np.uint8).reshape(-1), "float32"):
        raise _not_finite(tensor.source.name)
    return changed(values, tensor.change, _head_rows(tensor.change, values.shape[0], heads))


def _write_head(stream: IO[bytes], architecture: str, entries: Sequence[Entry], tensors: Sequence[TensorPlan]) -> int:
    """Everything before the tensors' data; where the data begin."""
    # The writer opens the name by itself: this is the file that ``stream`` has open, still empty.
    writer = gguf.GGUFWriter(stream.name, architecture)
    for entry in entries:
        if entry.key != "general.architecture":  # which the writer put first
            _add(writer, entry)
    for tensor in tensors:
        number = gguf.GGMLQuantizationType(tensor.type.number)
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.num_bytes, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    end: int = writer.fout[0].tell()
    writer.close()
    return -(-end // ALIGNMENT) * ALIGNMENT


_ELEMENTS = {
    Kind.STRINGS: gguf.GGUFValueType.STRING,
    Kind.FLOAT32S: gguf.GGUFValueType.FLOAT32,
    Kind.INT32S: gguf.GGUFValueType.INT32,
}
_SCALARS = {
    Kind.UINT32: gguf.GGUFValueType.UINT32,
    Kind.FLOAT32: gguf.GGUFValueType.FLOAT32,
    Kind.BOOL: gguf.GGUFValueType.BOOL,
    Kind.STRING: gguf.GGUFValueType.STRING,
}


def _add(writer: gguf.GGUFWriter, entry: Entry) -> None:
    if entry.kind in _SCALARS:
        writer.add_key_value(entry.key, entry.value, _SCALARS[entry.kind])
    elif entry.value:  # the format has no empty arrays
        writer.add_key_value(entry.key, entry.value, gguf.GGUFValueType.ARRAY, _ELEMENTS[entry.kind])


class _Shared:
    """A merged tensor that several tasks take rows of; A and B are read by the first."""

    def __init__(self, files: SourceFiles, entry: MergeEntry) -> None:
        self._lock = threading.Lock()
        self._make = functools.cache(lambda: MergedTensor(files, entry))

    def get(self) -> MergedTensor:
        """The tensor."""
        with self._lock:
            return self._make()


@attrs.frozen(eq=False)
class _Task:
    """Some rows of a tensor of the file."""

    tensor: TensorPlan
    offset: int
    """Of the tensor, from the beginning of the data."""
    source: _Shared | None
    start: int
    stop: int


def _tasks(plan: GgufPlan, entries: dict[str, MergeEntry], files: SourceFiles) -> Iterator[_Task]:
    for tensor, offset in zip(plan.tensors, plan.offsets(), strict=True):
        rows = tensor.shape[0]
        shared = _Shared(files, entries[tensor.source]) if tensor.source is not None else None
        step = _row_step(_TASK_ITEMS, tensor, plan.heads)
        for start in range(0, rows, step):
            yield _Task(tensor, offset, shared, start, min(start + step, rows))


def _row_step(items: int, tensor: TensorPlan, heads: tuple[int, int]) -> int:
    """Rows of about so many elements; of a tensor that is permuted, whole heads."""
    unit = _head_rows(tensor.change, tensor.shape[0], heads)
    row = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    return max(1, items // row // unit) * unit


def _head_rows(change: Change, rows: int, heads: tuple[int, int]) -> int:
    match change:
        case Change.PERMUTE_QUERY:
            return rows // heads[0]
        case Change.PERMUTE_KEY:
            return rows // heads[1]
        case Change.NONE | Change.ADD_ONE:
            return 1


@attrs.frozen(eq=False)
class _Writer:
    """Makes the bytes of tasks and puts them where they belong."""

    stream: IO[bytes]
    begin: int
    quantizer: Quantizer
    heads: tuple[int, int]
    scratch: Scratch = attrs.field(factory=Scratch)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def write(self, task: _Task) -> int:
        """Do one task; the number of its elements."""
        tensor = task.tensor
        step = _row_step(_BLOCK_ITEMS, tensor, self.heads)
        row_items = tensor.shape[-1] if len(tensor.shape) > 1 else 1
        row_bytes = tensor.type.row_bytes(row_items)
        for start in range(task.start, task.stop, step):
            stop = min(start + step, task.stop)
            made = self._make(task, start, stop)
            with self._lock:
                self.stream.seek(self.begin + task.offset + start * row_bytes)
                self.stream.write(made.data)
        return (task.stop - task.start) * row_items

    def _make(self, task: _Task, start: int, stop: int) -> Bytes:
        tensor = task.tensor
        if task.source is None:
            return np.array(tensor.values[start:stop], np.float32).view(np.uint8)
        merged = task.source.get()
        values = merged.rows(start, stop, scratch=self.scratch)
        if not is_finite(values.view(np.uint8).reshape(-1), "float32", scratch=self.scratch):
            check_base_rows(merged, start, stop)
            raise _not_finite(str(tensor.source))
        values = changed(values, tensor.change, _head_rows(tensor.change, tensor.shape[0], self.heads))
        made = self.quantizer.quantize(np.ascontiguousarray(values), tensor.type)
        if tensor.type is GgmlType.F16 and not is_finite(made.reshape(-1), "float16"):
            raise _too_large(str(tensor.source))
        return made


def changed(values: Array, change: Change, head_rows: int) -> Array:
    """Whole heads of rows, or other rows, as the file holds them; (rows, …) -> the same shape."""
    match change:
        case Change.NONE:
            return values
        case Change.ADD_ONE:
            return values + np.float32(1)
        case Change.PERMUTE_QUERY | Change.PERMUTE_KEY:
            # transformers turns element i of a head with element i + half, llama.cpp 2i with 2i + 1.
            halves = values.reshape(-1, 2, head_rows // 2, *values.shape[1:])
            return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _in_parallel(tasks: Iterator[_Task], do: Callable[[_Task], int], num_threads: int) -> Iterator[int]:
    """What each task gives, as they end; a few more are begun than there are threads, so that none waits."""
    # The matrix product's own threads would only take turns with these.
    with ThreadPoolExecutor(num_threads, thread_name_prefix="gguf") as pool, threadpool_limits(1, user_api="blas"):
        running: set[Future[int]] = set()
        try:
            for task in tasks:
                running.add(pool.submit(do, task))
                if len(running) > 2 * num_threads:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            yield from (future.result() for future in running)
        finally:
            for future in running:
                future.cancel()


def _not_finite(name: str) -> BackpropError:
    message = f"{name} holds numbers that are not finite; nothing was written."
    return BackpropError(Problem("RUNTIME_GGUF_EXPORT_FAILED", message))


def _too_large(name: str) -> BackpropError:
    message = f"{name} holds numbers too large for 16-bit floating point; nothing was written."
    hint = "Export with --quantization q8_0."
    return BackpropError(Problem("RUNTIME_GGUF_EXPORT_FAILED", message, hint=hint))
