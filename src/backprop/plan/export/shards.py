"""The files of a merged model: headers of its safetensors files, their index, its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from backprop.plan.export.merge import MergeEntry, MergePlan

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPE_CODES: Mapping[str, str] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
"""What a safetensors header calls the types."""


@attrs.frozen
class Shard:
    """One weight file: its header, and where each tensor begins, in bytes from the start of the file."""

    file: str
    header: bytes
    """The length, the JSON, and blanks up to a multiple of 8 bytes."""
    tensors: tuple[tuple[MergeEntry, int], ...]
    num_bytes: int


def plan_shards(entries: tuple[MergeEntry, ...]) -> tuple[Shard, ...]:
    """The weight files, each with the tensors that the base had in the file of that name, in their order."""
    by_file: dict[str, list[MergeEntry]] = {}
    for entry in entries:
        by_file.setdefault(entry.file, []).append(entry)
    return tuple(_shard(file, inside) for file, inside in by_file.items())


def _shard(file: str, entries: list[MergeEntry]) -> Shard:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begins, end = [], 0
    for entry in entries:
        begins.append(end)
        end += entry.num_bytes
        code = DTYPE_CODES.get(entry.dtype, entry.dtype.upper())
        header[entry.name] = {"dtype": code, "shape": list(entry.shape), "data_offsets": [begins[-1], end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    raw = len(text).to_bytes(8, "little") + text
    return Shard(
        file, raw, tuple((e, len(raw) + begin) for e, begin in zip(entries, begins, strict=True)), len(raw) + end
    )


def index_text(shards: tuple[Shard, ...]) -> str | None:
    """``model.safetensors.index.json``; None for a single file that is found by its name."""
    if [shard.file for shard in shards] == [SINGLE]:
        return None
    where = {entry.name: shard.file for shard in shards for entry, _ in shard.tensors}
    total = sum(entry.num_bytes for shard in shards for entry, _ in shard.tensors)
    return json.dumps({"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}, indent=2) + "\n"


def config_text(plan: MergePlan) -> str | None:
    """``config.json`` where it differs from the base's: the tie is undone. None when the base's file is right."""
    if not plan.is_untied:
        return None
    config = {**plan.base.config, "tie_word_embeddings": False}
    inner = config.get("text_config")
    if isinstance(inner, Mapping) and "tie_word_embeddings" in inner:
        config["text_config"] = {**inner, "tie_word_embeddings": False}
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"
