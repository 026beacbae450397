"""A GGUF file as planned: its metadata, and each tensor with its name, shape, type and the source of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from backprop.plan.decision import Problem, Refused, warning
from backprop.plan.export.gguf.architectures import Architecture, architecture_of, names_of_families
from backprop.plan.export.gguf.ggml import GgmlType
from backprop.plan.export.gguf.hyperparameters import (
    Hyperparameters,
    hyperparameter_entries,
    obstacles,
    read_hyperparameters,
    unused_window,
)
from backprop.plan.export.gguf.metadata import Entry, text, whole
from backprop.plan.export.gguf.mix import RECIPES, MixFacts, type_of
from backprop.plan.export.gguf.names import Change, Place, expected_modules, is_ignored, module_place, place_of
from backprop.plan.export.gguf.rope import rope_factors
from backprop.plan.export.gguf.vocabulary import TokenizerSource, vocabulary_entries
from backprop.plan.settings.verbs.export import Quantization

ALIGNMENT = 32
"""Tensors begin at multiples of this, in bytes."""
UNSUPPORTED = "INPUT_EXPORT_UNSUPPORTED"
CONVERTER_HINT = (
    "Set BACKPROPAGATE_LLAMA_CPP_PATH to a clone of llama.cpp, whose own converter is then used, "
    "or export with --format merged."
)
_QUANTIZATION_VERSION = 2
_NUM_NAMED = 3
_EMBEDDING = "model.embed_tokens.weight"
_HEAD = "lm_head.weight"


@attrs.frozen
class Stored:
    """A tensor of the merged model."""

    name: str
    shape: tuple[int, ...]


@attrs.frozen
class TensorPlan:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]
    """The last axis is the row; the file lists the axes the other way round."""
    type: GgmlType
    source: str | None
    """The tensor of the merged model that it is made from; None when ``values`` holds it."""
    change: Change = Change.NONE
    values: tuple[float, ...] = ()

    @property
    def num_bytes(self) -> int:
        """In the file, without what fills up to the next tensor."""
        return self.type.num_bytes(self.shape)


@attrs.frozen
class GgufPlan:
    """The whole file."""

    architecture: str
    metadata: tuple[Entry, ...] = attrs.field(repr=False)
    tensors: tuple[TensorPlan, ...]
    heads: tuple[int, int]
    """(query heads, key heads), by which rows are permuted."""
    warnings: tuple[Problem, ...] = ()

    @property
    def data_bytes(self) -> int:
        """All tensors with what lies between them."""
        return sum(map(_padded, self.tensors))

    def offsets(self) -> tuple[int, ...]:
        """Where each tensor begins, from the first one's beginning."""
        places, end = [], 0
        for tensor in self.tensors:
            places.append(end)
            end += _padded(tensor)
        return tuple(places)


def _padded(tensor: TensorPlan) -> int:
    return -(-tensor.num_bytes // ALIGNMENT) * ALIGNMENT


def plan_gguf(
    config: Mapping[str, Any],
    tensors: Sequence[Stored],
    tokenizer: TokenizerSource,
    *,
    name: str,
    is_tied: bool,
    quantization: Quantization,
    has_k_quants: bool = True,
) -> GgufPlan | Refused:
    """Decide the file of a model with this ``config.json`` and these tensors, or say all that stands against it.

    ``name`` is for people; llama.cpp treats the tokens of models that are named phi-3 as theirs. Without
    ``has_k_quants`` an output head gets 8 bits where it would get a K-quant's 6.
    """
    architecture = architecture_of(str(config.get("model_type")))
    if architecture is None:
        return Refused((_unknown_family(str(config.get("model_type"))),))
    try:
        model = read_hyperparameters(config, architecture)
    except ValueError as damage:
        return Refused((Problem("INPUT_MODEL_INVALID", f"{name}: {damage}"),))
    placed, problems = _place(tensors, architecture, model, is_tied=is_tied)
    problems += [_unsupported(f"{name} cannot be written to GGUF. {sentence}") for sentence in obstacles(model)]
    rows = next((t.shape[0] for t in tensors if _full_name(t.name) == _EMBEDDING and t.shape), 0)
    try:
        vocabulary = vocabulary_entries(tokenizer, num_rows=rows, config=config)
    except ValueError as sentence:
        vocabulary = ()
        problems.append(_unsupported(f"{name} cannot be written to GGUF. {sentence}"))
    if problems:
        return Refused(tuple(problems))
    facts = MixFacts(
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        num_kv_heads=model.num_kv_heads,
        architecture=architecture.name,
        is_tied=not any(place.name == "output.weight" for place, _ in placed),
        has_k_quants=has_k_quants,
    )
    planned = [
        TensorPlan(
            place.name, stored.shape, type_of(place.name, stored.shape, quantization, facts), stored.name, place.change
        )
        for place, stored in placed
    ]
    return GgufPlan(
        architecture=architecture.name,
        metadata=(*_general(architecture, name, quantization), *hyperparameter_entries(model), *vocabulary),
        tensors=(*_factors(model), *planned),
        heads=(model.num_heads, model.num_kv_heads),
        warnings=tuple(_warnings(model, name)),
    )


def check_family(model_type: str) -> Problem | None:
    """Why models of a family cannot be exported to GGUF by ourselves; None when they can."""
    return _unknown_family(model_type) if architecture_of(model_type) is None else None


def _unknown_family(model_type: str) -> Problem:
    return _unsupported(
        f"Models of the family {model_type} cannot be written to GGUF by backprop, which knows {names_of_families()}."
    )


def _unsupported(message: str) -> Problem:
    return Problem(UNSUPPORTED, message, where="--format gguf", hint=CONVERTER_HINT)


def _general(architecture: Architecture, name: str, quantization: Quantization) -> Iterator[Entry]:
    recipe = RECIPES[quantization]
    yield text("general.architecture", architecture.name)
    yield text("general.type", "model")
    yield text("general.name", name)
    yield whole("general.file_type", recipe.file_type)
    if recipe.base.is_quantized:
        yield whole("general.quantization_version", _QUANTIZATION_VERSION)


def _full_name(name: str) -> str:
    """A checkpoint of a bare model lacks ``model.``."""
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"


def _place(
    tensors: Sequence[Stored], architecture: Architecture, model: Hyperparameters, *, is_tied: bool
) -> tuple[list[tuple[Place, Stored]], list[Problem]]:
    """Each tensor with its place, in the order of the model; and what has none, or is missing."""
    placed: list[tuple[Place, Stored]] = []
    problems: list[Problem] = []
    strange: list[str] = []
    for stored in tensors:
        name = _full_name(stored.name)
        if is_ignored(name) or (is_tied and name == _HEAD):
            continue
        place = place_of(name, architecture)
        if place is None:
            strange.append(stored.name)
            continue
        placed.append((place, stored))
    if strange:
        problems.append(_unsupported(f"{architecture.name} has no place for {_some(strange)}."))
    names = {place.name for place, _ in placed}
    missing = [
        module
        for module in expected_modules(architecture, model.num_layers)
        if f"{module_place(module, architecture)}.weight" not in names
    ]
    if missing:
        problems.append(Problem("INPUT_MODEL_INVALID", f"The model lacks the weights of {_some(missing)}."))
    return [*placed, *_output(placed, architecture, problems)], problems


def _output(
    placed: Sequence[tuple[Place, Stored]], architecture: Architecture, problems: list[Problem]
) -> Iterator[tuple[Place, Stored]]:
    """A head that repeats the embedding, where the family's code asks for one."""
    has_output = any(place.name == "output.weight" for place, _ in placed)
    if has_output and not architecture.takes_output:
        problems.append(_unsupported(f"{architecture.name} has no head besides its embedding, and this model has."))
    if not has_output and architecture.needs_output:
        yield from ((Place("output.weight"), stored) for place, stored in placed if place.name == "token_embd.weight")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


def _factors(model: Hyperparameters) -> Iterator[TensorPlan]:
    for name, values in rope_factors(model.rope, model.rope_dimension).items():
        yield TensorPlan(name, (len(values),), GgmlType.F32, None, values=values)


def _warnings(model: Hyperparameters, name: str) -> Iterator[Problem]:
    window = unused_window(model)
    if window is not None:
        message = (
            f"{name} attends to the last {window:,} tokens; llama.cpp has no such window for "
            f"{model.architecture.name}, so answers differ in longer conversations."
        )
        yield warning(UNSUPPORTED, message, where="--format gguf", hint=f"Run it with a context of {window:,} tokens.")
