"""Looking at a model: a local directory, the Hub and its cache, or the built-in table of architectures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs

from backprop.effects.files.json_file import read_object
from backprop.effects.probe.weight_files import (
    SAFETENSORS,
    SAFETENSORS_INDEX,
    TORCH,
    StoredWeights,
    WeightsDamaged,
    WeightsIncomplete,
    read_weights,
)
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.settings.kinds import model_name
from backprop.plan.settings.nearest import nearest


def observe_model(name: str) -> ModelFacts | Absent:
    """The model's shape; Absent with INPUT_MODEL_NOT_FOUND, INPUT_AUTH_REQUIRED, HUB_UNREACHABLE, … and why."""
    return _observe(name, needs_weights=True)


def observe_shape(name: str) -> ModelFacts | Absent:
    """As :func:`observe_model`, but a directory needs no weights: its configuration is enough to count by."""
    return _observe(name, needs_weights=False)


def _observe(name: str, *, needs_weights: bool) -> ModelFacts | Absent:
    name = model_name(name)
    try:
        path = Path(name or "(empty name)").expanduser()
        if path.is_dir():
            return _from_directory(path.resolve(), needs_weights=needs_weights)
        if path.is_file():
            return _instead_of_a_directory(path)
        if path.is_absolute() or name.startswith((".", "~")) or "\\" in name or name.count("/") > 1 or not name:
            return _absent("INPUT_MODEL_NOT_FOUND", f"There is no directory {path}.{_beside(path)}")
    except (OSError, RuntimeError) as error:
        # A name that the system cannot look up: too long, or with the home of somebody who does not exist.
        return _absent("INPUT_MODEL_NOT_FOUND", f"{name[:200]} is not a directory: {error.args[-1]}.")
    return _from_hub(name)


def _instead_of_a_directory(path: Path) -> Absent:
    if path.suffix.lower() == ".gguf":
        message = f"{path} is a GGUF file, which is made for running, not for training."
        return _absent("INPUT_VALIDATION_FAILED", message, _ORIGINAL)
    message = f"{path} is a file; a model is given by its directory or Hub name."
    hint = f"Give its directory: --model {path.parent}" if (path.parent / "config.json").is_file() else ""
    return _absent("INPUT_VALIDATION_FAILED", message, hint)


_ORIGINAL = "Give the model that it was made from, by its directory or Hub name."


def _beside(path: Path) -> str:
    beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    return f" Did you mean {path.parent / close}?" if close else ""


def _from_directory(directory: Path, *, needs_weights: bool) -> ModelFacts | Absent:
    if not (directory / "config.json").is_file():
        return _absent(*_instead_of_a_model(directory))
    try:
        config = _object(directory / "config.json")
        shape = facts_from_config(config, name=str(directory), source=ModelSource.DIRECTORY, directory=str(directory))
    except (ValueError, OSError) as wrong:
        return _absent("INPUT_MODEL_INVALID", f"The model in {directory} cannot be used: {wrong}.")
    try:
        facts = _facts(config, directory, name=str(directory), source=ModelSource.DIRECTORY)
        if facts.weights_bytes is None and needs_weights:
            looked_for = f"{SAFETENSORS}, {SAFETENSORS_INDEX} or {TORCH}"
            return _absent("DEP_MODEL_LOAD_FAILED", f"{directory} has no weights: there is no {looked_for}.")
        return facts
    except (WeightsDamaged, OSError) as damage:
        if not needs_weights:
            return shape
        return _absent("DEP_MODEL_LOAD_FAILED", f"The model in {directory} cannot be used: {damage}.")


def _instead_of_a_model(directory: Path) -> tuple[str, str, str]:
    """Code, message and hint for a directory without config.json, by what it holds."""
    if (directory / "adapter_config.json").is_file():
        base = _recorded_base(directory)
        hint = f"Train on its base: --model {base}." if base else "Give the model that it was trained on."
        of = f" of {base}" if base else ""
        return "INPUT_VALIDATION_FAILED", f"{directory} is an adapter{of}, not a model.", hint
    if any(directory.glob("*.gguf")):
        message = f"{directory} holds only GGUF files, which are made for running, not for training."
        return "INPUT_VALIDATION_FAILED", message, _ORIGINAL
    return "INPUT_MODEL_NOT_FOUND", f"{directory} is not a model: it has no config.json.", ""


def _recorded_base(directory: Path) -> str:
    try:
        return str(_object(directory / "adapter_config.json").get("base_model_name_or_path") or "")
    except (ValueError, OSError):
        return ""


def _from_hub(name: str) -> ModelFacts | Absent:
    # What speaks to the Hub takes longer to load than a model of this machine takes to look at.
    from backprop.effects.probe.hub import fetch_description

    try:
        found = fetch_description(name)
    except BackpropError as error:
        return _from_table(name, error.problems[0])
    source = ModelSource.HUB_CACHE if found.was_cached else ModelSource.HUB
    try:
        config = _object(found.directory / "config.json")
        return _facts(
            config,
            found.directory,
            name=name,
            source=source,
            commit=found.commit,
            num_parameters=None if "quantization_config" in config else found.num_parameters,
            weights_dtype=found.weights_dtype,
        )
    except ValueError as wrong:
        return _absent("INPUT_MODEL_INVALID", f"The model {name} cannot be used: {wrong}.")
    except (WeightsDamaged, OSError) as damage:
        return _absent("DEP_MODEL_LOAD_FAILED", f"The model {name} cannot be used: {damage}.")


def _from_table(name: str, problem: Problem) -> ModelFacts | Absent:
    """The shape that the table knows when the Hub cannot tell; else the Hub's problem, with the nearest known name."""
    if problem.code in ("HUB_UNREACHABLE", "HUB_RESPONSE_UNKNOWN", "INPUT_AUTH_REQUIRED") and name in ARCHITECTURES:
        shape = facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.TABLE)
        return attrs.evolve(shape, files_absent=Absent(problem))
    if problem.code == "HUB_UNREACHABLE" and not problem.hint:
        problem = attrs.evolve(problem, hint=_OFFLINE)
    close = nearest(name, ARCHITECTURES)
    if close is None or close == name or problem.code == "INPUT_AUTH_REQUIRED":
        return Absent(problem)
    return _absent(problem.code, f"{problem.message} Did you mean {close}?", problem.hint)


_OFFLINE = "Check the connection, or give a local directory; `backprop info --models` lists what is known offline."


def _facts(
    config: Mapping[str, object],
    directory: Path,
    *,
    name: str,
    source: ModelSource,
    commit: str | None = None,
    num_parameters: int | None = None,
    weights_dtype: str | None = None,
) -> ModelFacts:
    shape = facts_from_config(config, name=name, source=source)
    weights = _weights(directory, source)
    if shape.tie_word_embeddings and num_parameters == shape.num_parameters + shape.vocab_size * shape.hidden_size:
        # The Hub counts what is stored, and some repositories store the tied head a second time.
        num_parameters = shape.num_parameters
    # Packed tensors have neither the shapes nor the count of the weights they stand for.
    seen = None if shape.is_quantized else weights
    return facts_from_config(
        config,
        name=name,
        source=source,
        directory=str(directory),
        commit=commit,
        linear_layers=seen.linear_layers() if seen else None,
        num_parameters=seen.num_parameters(tied=shape.tie_word_embeddings) if seen else num_parameters,
        weights_bytes=weights.num_bytes if weights else None,
        weights_dtype=(seen.dtype if seen else None) or weights_dtype,
        licence=_licence(directory),
    )


_HEAD_BYTES = 65536
_LICENCE = re.compile(r"^license(?P<name>_name)?:[ \t]*(?P<value>\S.*?)[ \t]*$", re.MULTILINE)


def _licence(directory: Path) -> str:
    """What the metadata at the head of the model's card says; empty without any."""
    try:
        with (directory / "README.md").open(encoding="utf-8", errors="replace") as card:
            before, _, rest = card.read(_HEAD_BYTES).partition("---\n")
    except OSError:
        return ""
    head, end, _ = rest.partition("\n---")
    found = {match["name"] or "": match["value"].strip("'\"") for match in _LICENCE.finditer(head)}
    if before.strip() or not end:
        return ""
    # "other" is the Hub's word for a licence of its own, whose name stands beside it.
    licence = found.get("", "")
    return found.get("_name", licence) if licence == "other" else licence


def _weights(directory: Path, source: ModelSource) -> StoredWeights | None:
    try:
        return read_weights(directory)
    except WeightsIncomplete:
        if source is ModelSource.DIRECTORY:
            raise
        # A snapshot of the cache that has some of the weights is completed when they are needed.
        return None


def _object(path: Path) -> Mapping[str, object]:
    try:
        return read_object(path)
    except ValueError as wrong:
        raise ValueError(f"{path.name} is {wrong}") from wrong


def _absent(code: str, message: str, hint: str = "") -> Absent:
    return Absent(Problem(code, message, where="--model", hint=hint))
