"""One export as planned, and what each writer hands back; the formats share both."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.decision import Problem
from backprop.plan.export.merge import MergePlan
from backprop.plan.export.sources import AdapterFacts, BaseShape
from backprop.plan.settings.verbs.export import ExportFormat, Quantization


class Needed(enum.Enum):
    """What of an adapter's base a format is made from."""

    NOTHING = "nothing"
    SHAPE = "its configuration"
    WEIGHTS = "its weights"


@attrs.frozen
class ExportPlan:
    """All that a writer needs; of adapter and merge at least one is there.

    A format is two functions, ``check(plan) -> tuple[Problem, ...]``, pure and before any work, and
    ``write(plan, out, *, emit) -> Exported``, where ``out`` is ``output_dir``; what it writes is whole or not there.
    """

    format: ExportFormat
    output_dir: str
    name: str
    """A file name without its ending, safe on every system and in Ollama."""
    adapter: AdapterFacts | None
    merge: MergePlan | None
    """None for formats that do not need the base's weights."""
    quantization: Quantization
    verify: bool
    model_card: str | None
    """The text of README.md."""
    loss_image: str = attrs.field(default="", kw_only=True)
    """SVG that the card shows, beside it; empty when it shows none."""
    base_model: str | None = None
    """--base-model"""
    adapter_tag: str = ""
    """--adapter-tag, else the name of the directory that was given, as Ollama takes it."""
    shape: BaseShape | None = None
    """The adapter's base, for a format that needs no more of it than its configuration."""
    llama_cpp_path: str | None = None
    warnings: tuple[Problem, ...] = ()

    @property
    def source(self) -> str:
        """The directory of the adapter, or of the model that was trained as a whole."""
        return self.directories[0]

    @property
    def directories(self) -> tuple[str, ...]:
        """Every directory that is read."""
        adapter = (self.adapter.directory,) if self.adapter else ()
        return (*adapter, *((self.merge.base.directory,) if self.merge else ()))

    @property
    def base_name(self) -> str | None:
        """The base as it was named; for a whole model its directory."""
        if self.merge is not None:
            return self.merge.base.name
        if self.shape is not None:
            return self.shape.name
        return self.adapter.base_name if self.adapter else None

    @property
    def gguf_name(self) -> str:
        """The name of the GGUF file that is written; empty for the formats that write none."""
        ending = {ExportFormat.GGUF: self.quantization.value, ExportFormat.OLLAMA_ADAPTER: "lora"}.get(self.format)
        return f"{self.name}-{ending}.gguf" if ending else ""

    @property
    def source_bytes(self) -> int:
        """Of the tensors in the types that they have on the disk."""
        if self.merge is not None:
            return sum(entry.num_bytes for entry in self.merge.entries)
        return sum(tensor.facts.num_bytes for tensor in self.adapter.tensors) if self.adapter else 0


@attrs.frozen
class ExportedFile:
    """A file that was written."""

    path: str
    num_bytes: int


@attrs.frozen
class Check:
    """One proof of an export: what was compared, and what came of it."""

    name: str
    result: str


@attrs.frozen
class Exported:
    """What a writer made."""

    files: tuple[ExportedFile, ...]
    checks: tuple[Check, ...] = ()
    """Empty with --no-verify."""
    warnings: tuple[Problem, ...] = ()
    untied: bool = False
    """The head and the embedding, one tensor in the base, are two."""
