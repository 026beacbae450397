"""Writing the tensors of a merged model, several at a time, a few rows of each in memory."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import attrs
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from backprop.effects.export.tensors import (
    MergedTensor,
    Scratch,
    SourceFiles,
    broken_source,
    check_base_rows,
    encode,
    is_finite,
)
from backprop.effects.processes.cpus import num_cpus
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.merge import MergeEntry
from backprop.plan.export.shards import Shard

Told = Callable[[int, int], None]
"""Bytes written so far, and bytes in all."""
PIECE_BYTES = 2**25
"""Of a tensor as it is written: what one thread does in one go."""

_BLOCK_BYTES = 2**20
"""Of float32 at once: with memory that is kept, fewer calls save more time than a core's cache does."""
_SYNCED_BYTES = 2**27


@attrs.frozen
class _Piece:
    """Bytes of a tensor that are copied, or rows of it that are merged."""

    entry: MergeEntry
    path: str
    begin: int
    """Where the tensor begins in the file that is written."""
    start: int
    stop: int
    """Bytes of the tensor for a copy, else rows."""
    num_bytes: int


def write_weights(shards: tuple[Shard, ...], directory: Path, *, tell: Told, workers: int | None = None) -> None:
    """Write the files of ``shards`` in ``directory``; memory is bounded by a few blocks and an adapter pair a thread.

    Raises INPUT_MODEL_INVALID for a base tensor that is not finite, RUNTIME_MERGE_EXPORT_FAILED for a merged one,
    DEP_MODEL_LOAD_FAILED for a source that cannot be read, ``OSError`` for a target that cannot be written.
    """
    for shard in shards:
        with (directory / shard.file).open("xb") as file:
            file.write(shard.header)
            file.truncate(shard.num_bytes)
    pieces = [piece for shard in shards for piece in _pieces(shard, directory)]
    total, done, synced = sum(piece.num_bytes for piece in pieces), 0, 0
    # Every core has a thread of ours: those of the matrix product would only take turns with them.
    with SourceFiles() as sources, _Targets() as targets, threadpool_limits(1, user_api="blas"):
        pool, scratch = ThreadPoolExecutor(workers or num_cpus()), Scratch()
        try:
            futures = {pool.submit(_write, piece, sources, targets, scratch): piece for piece in pieces}
            for future in as_completed(futures):
                future.result()
                done += futures[future].num_bytes
                tell(done, total)
                if done - synced >= _SYNCED_BYTES:
                    _sync(futures[future].path)
                    synced = done
        finally:
            pool.shutdown(cancel_futures=True)


def _sync(path: str) -> None:
    """Let the disk write while the next tensors are merged, instead of all at once when they are done."""
    with Path(path).open("rb+") as file:
        os.fsync(file.fileno())


def _pieces(shard: Shard, directory: Path) -> Iterator[_Piece]:
    for entry, begin in shard.tensors:
        path = str(directory / shard.file)
        if entry.is_copy:
            for start in range(0, entry.num_bytes, PIECE_BYTES):
                stop = min(start + PIECE_BYTES, entry.num_bytes)
                yield _Piece(entry, path, begin, start, stop, stop - start)
            continue
        rows = entry.shape[0] if entry.shape else 1
        row_bytes = entry.num_bytes // rows if rows else 0
        # The norms of DoRA are taken over the whole tensor, once.
        has_norms = entry.update is not None and entry.update.magnitude is not None
        step = rows if has_norms else max(1, PIECE_BYTES // max(1, row_bytes))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            yield _Piece(entry, path, begin, start, stop, (stop - start) * row_bytes)


def _write(piece: _Piece, sources: SourceFiles, targets: _Targets, scratch: Scratch) -> None:
    if piece.entry.is_copy:
        _copy(piece, sources, targets, scratch)
        return
    entry = piece.entry
    merged = MergedTensor(sources, entry)
    row_bytes = piece.num_bytes // (piece.stop - piece.start)
    for start, stop in merged.blocks(_BLOCK_BYTES, start=piece.start, stop=piece.stop):
        stored = encode(merged.rows(start, stop, scratch=scratch), entry.dtype, scratch=scratch)
        if not is_finite(stored, entry.dtype, scratch=scratch):
            check_base_rows(merged, start, stop)
            raise _overflown(entry, start)
        targets.write(piece.path, piece.begin + start * row_bytes, stored)


def _copy(piece: _Piece, sources: SourceFiles, targets: _Targets, scratch: Scratch) -> None:
    source = piece.entry.source
    # A block ends with an element, whatever its size.
    for start in range(piece.start, piece.stop, _BLOCK_BYTES):
        num_bytes = min(_BLOCK_BYTES, piece.stop - start)
        raw = sources.read(source.file, source.begin + start, num_bytes, scratch=scratch)
        if not is_finite(raw, source.dtype, scratch=scratch):
            raise broken_source(source)
        targets.write(piece.path, piece.begin + start, raw)


def _overflown(entry: MergeEntry, row: int) -> BackpropError:
    message = f"{entry.name} is no longer finite in {entry.dtype} with the adapter in it, from row {row}."
    return BackpropError(Problem("RUNTIME_MERGE_EXPORT_FAILED", message, where=entry.source.file))


class _Targets:
    """Files that are written to by any number of threads, each at its own places."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._opened: list[io.FileIO] = []

    def __enter__(self) -> _Targets:
        return self

    def __exit__(self, *_: object) -> None:
        while self._opened:
            self._opened.pop().close()

    def write(self, path: str, begin: int, values: npt.NDArray[np.generic]) -> None:
        streams: dict[str, io.FileIO] = self._local.__dict__
        if path not in streams:
            streams[path] = io.FileIO(path, "r+b")
            self._opened.append(streams[path])
        stream = streams[path]
        stream.seek(begin)
        view = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        while view:
            view = view[stream.write(view) :]
