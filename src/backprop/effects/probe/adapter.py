"""What an export is made from, looked at: an adapter directory and its base, every tensor by its file's header."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backprop.effects.files.json_file import read_object
from backprop.effects.probe.weight_files import WeightsDamaged, read_header, read_weights
from backprop.plan.decision import Problem
from backprop.plan.export.sources import (
    ITEM_BYTES,
    AdapterFacts,
    BaseFacts,
    TensorFacts,
    adapter_facts,
    adapter_problem,
)
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model_files import CONFIG_FILES, LICENCE_FILES, TOKENIZER_FILES

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def observe_adapter(directory: str | Path) -> AdapterFacts | Absent:
    """The adapter in a PEFT directory; Absent carries INPUT_ADAPTER_INVALID. No tensor is read."""
    place = Path(directory)
    weights = place / ADAPTER_WEIGHTS
    try:
        config = read_object(place / ADAPTER_CONFIG)
        if not weights.is_file():
            return Absent(adapter_problem(str(place), f"has no weights: {ADAPTER_WEIGHTS} is missing"))
        return adapter_facts(str(place), config, _tensors(weights))
    except OSError as error:
        return Absent(adapter_problem(str(place), f"cannot be read: {error.filename}: {error.strerror}"))
    except WeightsDamaged as damage:
        return Absent(adapter_problem(str(place), f"is damaged: {damage}"))
    except ValueError as wrong:
        return Absent(adapter_problem(str(place), str(wrong)))


def observe_base(directory: str | Path, *, name: str | None = None, commit: str | None = None) -> BaseFacts | Absent:
    """The model in a directory, named ``name``; Absent carries INPUT_MODEL_INVALID or DEP_MODEL_LOAD_FAILED.

    Every weight file that the index names must be there and as long as its header says. No tensor is read.
    """
    place = Path(directory)
    name = name or str(place)
    try:
        config = read_object(place / "config.json")
    except (OSError, ValueError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) else f"it is {wrong}"
        return _absent("INPUT_MODEL_INVALID", f"{place / 'config.json'} cannot be read: {reason}.")
    try:
        weights = read_weights(place)
        if weights is None or weights.files[0].suffix != ".safetensors":
            found = "none" if weights is None else weights.files[0].name
            message = f"{name} cannot be exported: it has no safetensors weights (found {found} in {place})."
            return _absent("DEP_MODEL_LOAD_FAILED", message)
        tensors = tuple(tensor for file in weights.files for tensor in _tensors(file))
    except (WeightsDamaged, OSError) as damage:
        return _absent("DEP_MODEL_LOAD_FAILED", f"{name} cannot be exported: {damage}.")
    return BaseFacts(name, str(place), config, tensors, tuple(_other_files(place, config)), commit)


def _other_files(directory: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """What belongs to a model beside its weights; everything else in its directory is left alone."""
    named = (*CONFIG_FILES, *TOKENIZER_FILES, *LICENCE_FILES)
    yield from (name for name in named if (directory / name).is_file())
    if config.get("auto_map"):  # the model brings code of its own
        yield from sorted(path.name for path in directory.glob("*.py"))


def _tensors(path: Path) -> tuple[TensorFacts, ...]:
    """The tensors of a file in the order of their data. Raises ``WeightsDamaged``."""
    return tuple(sorted(_checked(path), key=lambda tensor: tensor.begin))


def _checked(path: Path) -> Iterator[TensorFacts]:
    for tensor in read_header(path):
        item = ITEM_BYTES.get(tensor.dtype)
        if item is not None and tensor.num_bytes != tensor.size * item:
            shape = " × ".join(map(str, tensor.shape))
            raise WeightsDamaged(f"{tensor.name} in {path} is {shape} {tensor.dtype} in {tensor.num_bytes} bytes")
        yield TensorFacts(tensor.name, tensor.dtype, tensor.shape, str(path), tensor.begin, tensor.num_bytes)


def _absent(code: str, message: str) -> Absent:
    return Absent(Problem(code, message, where="--base"))
