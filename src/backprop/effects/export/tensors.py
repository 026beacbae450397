"""Tensors out of safetensors files as numpy arrays, and merged with an adapter; a few rows at a time or whole.

Files are read into buffers, not mapped: the pages of a map would count as this process's memory. bfloat16 is handled
as its bits; the arithmetic is float32.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.merge import LowRank, MergeEntry
from backprop.plan.export.sources import ITEM_BYTES, AdapterFacts, TensorFacts

Array = npt.NDArray[np.float32]
Bits = npt.NDArray[np.uint8]
BLOCK_BYTES = 2**18
"""Of float32 at once, where nothing is kept from block to block: what the allocator reuses without asking the system
for new pages, which at twice the size costs as much as the arithmetic."""
_STORED = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
_EXPONENTS: Mapping[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "float32": (np.uint32, 0x7F800000),
    "float16": (np.uint16, 0x7C00),
    "bfloat16": (np.uint16, 0x7F80),
}


class Scratch(threading.local):
    """Memory for intermediate values, kept from block to block, which spares new pages; every thread has its own.

    What is computed in it stands until the same thread computes the next.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Bits] = {}

    def take(self, use: str, size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array of ``size`` elements with whatever stands in it; the next of the same ``use`` takes its place."""
        num_bytes = size * np.dtype(dtype).itemsize
        buffer = self._buffers.get(use)
        if buffer is None or buffer.size < num_bytes:
            buffer = self._buffers[use] = np.empty(num_bytes, np.uint8)
        return buffer[:num_bytes].view(dtype)


class SourceFiles:
    """Files that are read from, each opened once a thread; any number of threads may read. Use it with ``with``."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._opened: list[io.FileIO] = []

    def __enter__(self) -> SourceFiles:
        return self

    def __exit__(self, *_: object) -> None:
        while self._opened:
            self._opened.pop().close()

    def read(self, file: str, begin: int, num_bytes: int, *, scratch: Scratch | None = None) -> Bits:
        """Bytes of a file, in an array of their own or in ``scratch``.

        Raises DEP_MODEL_LOAD_FAILED when it is shorter, or cannot be read.
        """
        buffer = (scratch or Scratch()).take("raw", num_bytes, np.uint8)
        view = buffer.data
        try:
            stream = self._stream(file)
            stream.seek(begin)
            while view:
                count = stream.readinto(view)
                if not count:
                    raise _unreadable(file, "it is shorter than when it was looked at")
                view = view[count:]
        except OSError as error:
            raise _unreadable(file, error.strerror or str(error)) from error
        return buffer

    def _stream(self, file: str) -> io.FileIO:
        streams: dict[str, io.FileIO] = self._local.__dict__
        if file not in streams:
            streams[file] = io.FileIO(file)
            self._opened.append(streams[file])
        return streams[file]


def _unreadable(file: str, why: str) -> BackpropError:
    return BackpropError(Problem("DEP_MODEL_LOAD_FAILED", f"{file} cannot be read: {why}.", where=file))


def decode(raw: Bits, dtype: str, *, scratch: Scratch | None = None) -> Array:
    """Stored bytes as float32, flat; exact for all types but float64."""
    stored = raw.view(_STORED[dtype])
    if dtype != "bfloat16":
        return stored.astype(np.float32, copy=False)
    bits = (scratch or Scratch()).take("decoded", stored.size, np.uint32)
    bits[...] = stored
    bits <<= 16
    return bits.view(np.float32)


def encode(values: Array, dtype: str, *, scratch: Scratch | None = None) -> npt.NDArray[np.generic]:
    """float32 in a stored type, rounded to nearest, ties to even, as torch does it. ``values`` may be overwritten.

    What is too large becomes an infinity. Of NaN only those are kept whose low half is not full, as arithmetic makes.
    """
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(_STORED[dtype], copy=False)
    bits = np.ascontiguousarray(values).view(np.uint32).reshape(-1)
    scratch = scratch or Scratch()
    odd = np.right_shift(bits, 16, out=scratch.take("spare", bits.size, np.uint32))
    odd &= 1
    odd += 0x7FFF
    bits += odd
    bits >>= 16
    stored = scratch.take("encoded", bits.size, np.uint16)
    stored[...] = bits
    return stored.reshape(values.shape)


def is_finite(raw: npt.NDArray[np.generic], dtype: str, *, scratch: Scratch | None = None) -> bool:
    """No element is NaN or infinite, judged by the exponents; whole numbers always are."""
    if dtype == "float64":
        return bool(np.isfinite(raw.view(np.float64)).all())
    if dtype not in _EXPONENTS:
        return True
    kind, exponent = _EXPONENTS[dtype]
    bits: npt.NDArray[Any] = raw.view(kind).reshape(-1)
    exponents = (scratch or Scratch()).take("exponents", bits.size, kind)
    return not bits.size or bool(np.bitwise_and(bits, kind(exponent), out=exponents).max() < exponent)


def read_tensor(files: SourceFiles, tensor: TensorFacts) -> Array:
    """A whole tensor as float32 in its shape. Raises DEP_MODEL_LOAD_FAILED."""
    return decode(files.read(tensor.file, tensor.begin, tensor.num_bytes), tensor.dtype).reshape(tensor.shape)


class MergedTensor:
    """One tensor of the merged model, to be had in blocks of rows; A and B are read when it is made.

    Rows are along the first axis as it is stored. A tensor of no axis is one row.
    """

    def __init__(self, files: SourceFiles, entry: MergeEntry) -> None:
        self.entry = entry
        self.files = files
        self.num_rows = entry.shape[0] if entry.shape else 1
        self._row_items = entry.source.size // self.num_rows if self.num_rows else 0
        self._factors = _factors(files, entry.update) if entry.update else None
        self._scales = self._magnitudes(entry.update) if entry.update and entry.update.magnitude else None

    def rows(self, start: int, stop: int, *, scratch: Scratch | None = None) -> Array:
        """Rows ``start`` to ``stop`` (excluded) in float32: (stop - start, everything else), the update added."""
        values = self._updated(start, stop, scratch)
        if self._scales is None:
            return values
        update = self.entry.update
        assert update is not None
        if update.is_transposed:
            values *= self._scales
        else:
            values *= self._scales[start:stop, None]
        return values

    def whole(self) -> Array:
        """The tensor in its shape."""
        return self.rows(0, self.num_rows).reshape(self.entry.shape)

    def blocks(
        self, num_bytes: int = BLOCK_BYTES, *, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, int]]:
        """Ranges of the rows from ``start`` to ``stop``, about ``num_bytes`` of float32 each, a row at least."""
        end = self.num_rows if stop is None else stop
        step = max(1, num_bytes // max(1, 4 * self._row_items))
        return ((begin, min(begin + step, end)) for begin in range(start, end, step))

    def _updated(self, start: int, stop: int, scratch: Scratch | None) -> Array:
        source, scratch = self.entry.source, scratch or Scratch()
        row_bytes, shape = self._row_items * ITEM_BYTES[source.dtype], (stop - start, self._row_items)
        begin = source.begin + start * row_bytes
        raw = self.files.read(source.file, begin, (stop - start) * row_bytes, scratch=scratch)
        values = decode(raw, source.dtype, scratch=scratch).reshape(shape)
        if self._factors is not None:
            left, right = self._factors
            product = scratch.take("spare", values.size, np.float32).reshape(shape)
            with np.errstate(over="ignore", invalid="ignore"):
                values += np.matmul(left[start:stop], right, out=product)
        return values

    def _magnitudes(self, update: LowRank) -> Array:
        """DoRA: the magnitude of each of W's rows over the norm of W + scale · B·A."""
        assert update.magnitude is not None
        wanted = read_tensor(self.files, update.magnitude).reshape(-1)
        squares, scratch = np.zeros(wanted.size, np.float64), Scratch()
        for start, stop in self.blocks():
            block = self._updated(start, stop, scratch)
            if update.is_transposed:
                squares += np.einsum("ij,ij->j", block, block, dtype=np.float64)
            else:
                squares[start:stop] = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):  # a row of zeros shows as what is not finite
            return (wanted / np.sqrt(squares)).astype(np.float32)


def _factors(files: SourceFiles, update: LowRank) -> tuple[Array, Array]:
    """Two matrices whose product is the update as the file holds W, the scale in the smaller of them."""
    a, b = read_tensor(files, update.a), read_tensor(files, update.b)
    left, right = (a.T, b.T) if update.is_transposed else (b, a)
    with np.errstate(over="ignore"):  # what is not finite is told by the tensor's name
        scaled = np.ascontiguousarray(left * np.float32(update.scale))
    return scaled, np.ascontiguousarray(right)


def merged_tensor(files: SourceFiles, entry: MergeEntry) -> Array:
    """A tensor of the merged model as float32, W + scale · B·A with DoRA's magnitudes; its shape is the entry's."""
    return MergedTensor(files, entry).whole()


def check_base_rows(merged: MergedTensor, start: int, stop: int) -> None:
    """Raises INPUT_MODEL_INVALID when rows of the base's own tensor hold NaN or infinities."""
    source = merged.entry.source
    row_bytes = source.num_bytes // merged.num_rows
    raw = merged.files.read(source.file, source.begin + start * row_bytes, (stop - start) * row_bytes)
    if not is_finite(raw, source.dtype):
        raise broken_source(source)


def broken_source(source: TensorFacts) -> BackpropError:
    """INPUT_MODEL_INVALID for a tensor of the base that is not finite."""
    message = f"{source.name} in {source.file} holds numbers that are not finite."
    return BackpropError(Problem("INPUT_MODEL_INVALID", message, where=source.file, hint="Fetch the model again."))


def check_adapter_finite(adapter: AdapterFacts) -> None:
    """Raises INPUT_ADAPTER_INVALID naming the first tensors that hold NaN or infinities, DEP_MODEL_LOAD_FAILED."""
    tensors = tuple(tensor.facts for tensor in adapter.tensors)
    with SourceFiles() as files:
        broken = [t.name for t in tensors if not is_finite(files.read(t.file, t.begin, t.num_bytes), t.dtype)]
    if broken:
        more = f" and {len(broken) - 1} more tensors" if len(broken) > 1 else ""
        message = f"The adapter in {adapter.directory} holds numbers that are not finite, in {broken[0]}{more}."
        raise BackpropError(Problem("INPUT_ADAPTER_INVALID", message, where="PATH", hint="Train it again."))
