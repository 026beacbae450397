"""The header of a GGUF file, read without the tensors: little-endian, versions 2 and 3.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.gguf.ggml import GgmlType
from backprop.plan.export.gguf_file import GgufFile, GgufTensor

MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_TOKENS, _TOKEN_TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_KEPT = frozenset({_TOKENS, _TOKEN_TYPES})
"""Of the arrays these two alone are held: vocabularies and merges are long."""
_SPECIAL = frozenset({3, 4})
"""Token types: control, user-defined."""
_LONGEST_TEXT = 64 * 2**20
_BLOCKS = {kind.number: (kind.block_size, kind.block_bytes) for kind in GgmlType} | {3: (32, 20), 30: (1, 2)}
"""Elements and bytes of a block by the number of the type; those that are missing are not checked for their size.

Beside those that are written Q4_1 and BF16."""


class Damaged(ValueError):
    """The file is not a whole GGUF file; the text says why."""


def is_gguf(path: Path) -> bool:
    """Whether the file begins as GGUF files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def observe_gguf(path: Path) -> GgufFile:
    """The header of the file at ``path``.

    Raises ``BackpropError`` with INPUT_VALIDATION_FAILED when it cannot be read, is none or is cut off.
    """
    try:
        header = read_gguf(path, keep=_KEPT.__contains__)
    except (OSError, Damaged) as wrong:
        reason = (wrong.strerror or str(wrong)) if isinstance(wrong, OSError) else str(wrong)
        message, hint = f"{path} cannot be used: {reason}.", "Name a GGUF file that is whole."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where=str(path), hint=hint)) from wrong
    tokens, types = header.metadata.get(_TOKENS) or (), header.metadata.get(_TOKEN_TYPES) or ()
    special = {i: tokens[i] for i, kind in enumerate(types[: len(tokens)]) if kind in _SPECIAL}
    named = [header.metadata.get(f"tokenizer.ggml.{which}_token_id") for which in ("bos", "eos")]
    by_id = {**special, **{i: tokens[i] for i in named if isinstance(i, int) and 0 <= i < len(tokens)}}
    scalars = {key: value for key, value in header.metadata.items() if value is not None and key not in _KEPT}
    return GgufFile(str(path), scalars, tuple(special.values()), by_id, header.tensors)


@attrs.frozen
class GgufHeader:
    """All that stands before the data of a file."""

    metadata: Mapping[str, Any]
    """Arrays are tuples, or None where they were not kept."""
    tensors: Mapping[str, GgufTensor]
    data_begin: int
    """In bytes from the start of the file."""


def read_gguf(path: Path, *, keep: Callable[[str], bool] = lambda _key: True) -> GgufHeader:
    """The header of the file at ``path``, with those arrays that ``keep`` asks for.

    Raises ``OSError``, and :class:`Damaged` for a file that is none or is cut off.
    """
    with path.open("rb") as file:
        return _read(file, size=path.stat().st_size, keep=keep)


@attrs.define
class _Reader:
    """Values one after the other. Raises :class:`Damaged` at the file's end."""

    file: IO[bytes]
    size: int

    def bytes(self, length: int) -> bytes:
        """The next ``length`` bytes."""
        if length > self.size - self.file.tell():
            raise Damaged("it is cut off")
        return self.file.read(length)

    def number(self, form: str) -> Any:
        """One number."""
        return struct.unpack(f"<{form}", self.bytes(struct.calcsize(form)))[0]

    def text(self) -> str:
        """A string; what is not UTF-8 in it is replaced, as tokens of single bytes may be."""
        length = self.number("Q")
        if length > _LONGEST_TEXT:
            raise Damaged("it is damaged: a text of its header has no end")
        return self.bytes(length).decode("utf-8", "replace")

    def value(self, kind: int, *, keep: bool = True) -> Any:
        """A value of the kind; of arrays None unless they are kept."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array(keep=keep)
        raise Damaged(f"its header has values of the unknown kind {kind}")

    def _array(self, *, keep: bool) -> Any:
        kind, count = self.number("I"), self.number("Q")
        if count > self.size:
            raise Damaged("it is damaged: an array of its header has no end")
        if kind in _SCALARS:
            form = _SCALARS[kind]
            data = self.bytes(struct.calcsize(form) * count)
            return struct.unpack(f"<{count}{form}", data) if keep else None
        read: Callable[[], Any] = self.text if kind == _STRING else (lambda: self.value(kind, keep=False))
        values = [read() for _ in range(count)]
        return tuple(values) if keep else None


def _read(file: IO[bytes], *, size: int, keep: Callable[[str], bool]) -> GgufHeader:
    reader = _Reader(file, size)
    if size < len(MAGIC) or reader.bytes(len(MAGIC)) != MAGIC:
        raise Damaged("it is not a GGUF file")
    version = reader.number("I")
    if version not in (2, 3):
        raise Damaged(f"it is GGUF version {version}, and versions 2 and 3 can be read")
    num_tensors, num_values = reader.number("Q"), reader.number("Q")
    metadata: dict[str, Any] = {}
    for _ in range(num_values):
        key, kind = reader.text(), reader.number("I")
        metadata[key] = reader.value(kind, keep=keep(key))
    tensors = dict(_tensor(reader) for _ in range(num_tensors))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise Damaged("it is damaged: its alignment is no number")
    begin = -(-file.tell() // alignment) * alignment
    _check_whole(tensors, begin=begin, size=size)
    return GgufHeader(metadata, tensors, begin)


def _tensor(reader: _Reader) -> tuple[str, GgufTensor]:
    name, num_dimensions = reader.text(), reader.number("I")
    if num_dimensions > 8:
        raise Damaged(f"it is damaged: {name} has {num_dimensions} dimensions")
    shape = tuple(reader.number("Q") for _ in range(num_dimensions))
    return name, GgufTensor(shape, reader.number("I"), reader.number("Q"))


def _check_whole(tensors: dict[str, GgufTensor], *, begin: int, size: int) -> None:
    for name, tensor in tensors.items():
        count = 1
        for length in tensor.shape:
            count *= length
        per_block, block_bytes = _BLOCKS.get(tensor.type_number, (1, 0))
        if begin + tensor.offset + count // per_block * block_bytes > size:
            raise Damaged(f"it is cut off: {name} ends behind the end of the file")
