"""What a model directory's weight files hold, read from their headers: names, shapes and types, no tensor."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from backprop.effects.files.json_file import read_object
from backprop.plan.facts.model import LinearLayer

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
TORCH = "pytorch_model.bin"
TORCH_INDEX = "pytorch_model.bin.index.json"

_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_IN_A_LAYER = re.compile(r"(?:.*\.)?layers\.(?P<layer>\d+)\.(?:.*\.)?(?P<name>[A-Za-z]\w*)\.weight")
_FORWARD_ORDER = (
    "qkv_proj",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_up_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)
_NOT_DECODER = ("vision", "visual", "audio", "encoder.", "mtp.")
"""Towers of other senses, and layers that predict further tokens, which transformers does not load."""


class WeightsDamaged(Exception):
    """The weight files are incomplete or not what their names say; the message is a sentence about which."""


class WeightsIncomplete(WeightsDamaged):
    """Some of the weight files that an index names are not there."""


@attrs.frozen
class StoredTensor:
    """A tensor as a header declares it."""

    name: str
    dtype: str
    """``bfloat16``, ``float32``, …"""
    shape: tuple[int, ...]
    num_bytes: int
    begin: int
    """Where its data begin, in bytes from the start of the file."""

    @property
    def size(self) -> int:
        """Number of its elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count


@attrs.frozen
class StoredWeights:
    """All weight files of a model directory."""

    files: tuple[Path, ...]
    num_bytes: int
    """Size of the files."""
    tensors: tuple[StoredTensor, ...]
    """Empty for pickled files, whose contents cannot be read without running them."""

    def num_parameters(self, *, tied: bool) -> int | None:
        """Elements of every tensor, a tied head counted once; None when the tensors are unknown."""
        head = "lm_head.weight" if tied and any(t.name.endswith("embed_tokens.weight") for t in self.tensors) else ""
        return sum(tensor.size for tensor in self.tensors if tensor.name != head) or None

    @property
    def dtype(self) -> str | None:
        """The type that most bytes are stored in."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors:
            sizes[tensor.dtype] += tensor.num_bytes
        return sizes.most_common(1)[0][0] if sizes else None

    def linear_layers(self) -> tuple[LinearLayer, ...] | None:
        """The kinds of linear layers in the decoder layers, in the order of the forward pass; None when unknown."""
        shapes: dict[str, tuple[int, ...]] = {}
        found: defaultdict[str, set[str]] = defaultdict(set)
        for tensor in self.tensors:
            match = _IN_A_LAYER.fullmatch(tensor.name)
            if match and len(tensor.shape) == 2 and not any(part in tensor.name for part in _NOT_DECODER):
                shapes.setdefault(match["name"], tensor.shape)
                found[match["name"]].add(match["layer"])
        num_layers = len(set().union(*found.values()))
        known = {name: place for place, name in enumerate(_FORWARD_ORDER)}
        return (
            tuple(
                LinearLayer(name, shape[1], shape[0], some=None if len(found[name]) == num_layers else len(found[name]))
                for name, shape in sorted(shapes.items(), key=lambda item: known.get(item[0], len(known)))
            )
            or None
        )


def read_weights(directory: Path) -> StoredWeights | None:
    """The weights that stand in ``directory``; None when there are none.

    Raises ``WeightsDamaged``, and of it ``WeightsIncomplete`` when files that the index names are missing.
    """
    files = _weight_files(directory)
    if not files:
        return None
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise WeightsIncomplete(f"{len(missing)} of {len(files)} weight files are missing in {directory}: {missing[0]}")
    tensors = tuple(t for file in files if file.suffix == ".safetensors" for t in read_header(file))
    return StoredWeights(files, sum(file.stat().st_size for file in files), tensors)


def read_header(path: Path) -> tuple[StoredTensor, ...]:
    """The tensors of one safetensors file: 8 bytes of length, JSON of that length, then the data.

    Raises ``WeightsDamaged`` when the header is not one, or the file is shorter or longer than it says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_MAX_HEADER_BYTES, size - 8):
            raise WeightsDamaged(f"{path} is not a safetensors file, or was cut off")
        raw = file.read(length)
    try:
        entries = {name: entry for name, entry in json.loads(raw).items() if name != "__metadata__"}
        tensors = tuple(_tensor(name, entry, data_begin=8 + length) for name, entry in entries.items())
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as damage:
        raise WeightsDamaged(f"the header of {path} cannot be read: {type(damage).__name__}") from damage
    if size != 8 + length + end:
        raise WeightsDamaged(f"{path} has {size} bytes where its header tells of {8 + length + end}")
    return tensors


def _tensor(name: str, entry: Mapping[str, Any], *, data_begin: int) -> StoredTensor:
    begin, end = entry["data_offsets"]
    dtype = _DTYPES.get(entry["dtype"], str(entry["dtype"]).lower())
    return StoredTensor(name, dtype, tuple(int(n) for n in entry["shape"]), end - begin, data_begin + begin)


def _weight_files(directory: Path) -> tuple[Path, ...]:
    for single, index in ((SAFETENSORS, SAFETENSORS_INDEX), (TORCH, TORCH_INDEX)):
        if (directory / single).is_file():
            return (directory / single,)
        if (directory / index).is_file():
            return tuple(directory / name for name in _shards(directory / index))
    return ()


def _shards(index: Path) -> Iterable[str]:
    try:
        names = set(read_object(index)["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as damage:
        raise WeightsDamaged(f"{index} cannot be read: {type(damage).__name__}") from damage
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise WeightsDamaged(f"{index} names no weight files beside it")
    return sorted(names)
