"""What Ollama's server says of its models, and what the commands say of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from backprop.plan.decision import Problem
from backprop.plan.export.gguf_file import GgufFile, check_adapter
from backprop.plan.export.modelfile import UnfinishedValue, read_instructions


@attrs.frozen
class OllamaModel:
    """A line of ``ollama list``."""

    name: str
    size_bytes: int
    modified_at: str
    digest: str
    family: str = ""
    quantization: str = ""


@attrs.frozen
class ShownModel:
    """What the server says of one model."""

    name: str
    architecture: str
    num_layers: int | None
    template: str
    adapters: tuple[str, ...]
    tensor_names: frozenset[str] | None = None
    """None when the server does not list them."""


def model_from(data: Mapping[str, Any]) -> OllamaModel:
    """A member of ``models`` in the answer to GET /api/tags."""
    details = data.get("details")
    details = details if isinstance(details, Mapping) else {}
    return OllamaModel(
        name=str(data.get("name") or data.get("model") or ""),
        size_bytes=int(data.get("size") or 0),
        modified_at=str(data.get("modified_at") or ""),
        digest=str(data.get("digest") or ""),
        family=str(details.get("family") or ""),
        quantization=str(details.get("quantization_level") or ""),
    )


def shown_from(data: Mapping[str, Any], *, name: str) -> ShownModel:
    """The answer to POST /api/show. That a model has an adapter stands in its Modelfile alone."""
    info = data.get("model_info")
    info = info if isinstance(info, Mapping) else {}
    architecture = str(info.get("general.architecture") or "")
    layers, tensors = info.get(f"{architecture}.block_count"), data.get("tensors")
    names = [each.get("name") for each in tensors if isinstance(each, Mapping)] if isinstance(tensors, list) else []
    return ShownModel(
        name=name,
        architecture=architecture,
        num_layers=layers if isinstance(layers, int) else None,
        template=str(data.get("template") or ""),
        adapters=_adapters(str(data.get("modelfile") or "")),
        tensor_names=frozenset(str(each) for each in names) or None,
    )


def _adapters(modelfile: str) -> tuple[str, ...]:
    found = []
    try:
        for instruction in read_instructions(modelfile):
            if instruction.name == "ADAPTER":
                found.append(instruction.value)
    except UnfinishedValue:
        pass  # the server's own text; what stood before the end counts
    return tuple(found)


def check_adapter_fits_shown(adapter: GgufFile, base: ShownModel) -> tuple[Problem, ...]:
    """Why ``adapter`` was not trained on a model that only the server has, as far as the server tells."""
    problems = check_adapter(adapter)
    if problems:
        return problems
    why = next(_misfits(adapter, base), None)
    if why is None:
        return ()
    return (
        Problem(
            "INPUT_VALIDATION_FAILED",
            f"The adapter in {adapter.path} does not fit {base.name}: {why}.",
            where="--base-model",
            hint="Give the base that the adapter was trained on with --base-model.",
        ),
    )


def _misfits(adapter: GgufFile, base: ShownModel) -> Iterator[str]:
    if base.adapters:
        yield "it has an adapter itself, which would be replaced"
    if base.architecture and base.architecture != adapter.architecture:
        yield f"the adapter is one of a {adapter.architecture} model, and this is a {base.architecture} model"
    targets = {name.rpartition(".")[0] for name in adapter.tensors}
    if base.tensor_names is not None and (missing := sorted(targets - base.tensor_names)):
        yield f"it has no {missing[0]}"
    layers = {int(parts[1]) for name in targets if (parts := name.split("."))[0] == "blk" and parts[1].isdigit()}
    if base.num_layers is not None and layers and max(layers) >= base.num_layers:
        yield f"the adapter changes layer {max(layers)}, and the model has {base.num_layers} layers"


@attrs.frozen
class OllamaListReport:
    """The models of the server."""

    host: str
    models: tuple[OllamaModel, ...]


@attrs.frozen
class OllamaShelfReport:
    """The adapters on one base."""

    host: str
    base: str
    adapters: tuple[OllamaModel, ...]


@attrs.frozen
class OllamaRmReport:
    """What was removed."""

    host: str
    name: str


@attrs.frozen
class OllamaRegisterReport:
    """A model that stands in the server now."""

    host: str
    name: str
    path: str
    base: str | None
    """The model of the server's that it builds on; None when it brings its own weights."""
    adapter: bool
    replaced: bool
    """A model of this name stood there before."""
    uploaded_bytes: int
    """0 when the server had the files already."""
    stop: tuple[str, ...]
    template: str | None
    """Go source; None when the model has none."""
