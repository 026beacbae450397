"""What ``backprop export`` reports."""

from __future__ import annotations

import attrs

from backprop.plan.export.plan import Check, ExportedFile
from backprop.plan.settings.verbs.export import ExportFormat


@attrs.frozen
class ExportReport:
    """An export that is done: where it stands, what was proved, and where it went besides."""

    format: ExportFormat
    source: str
    """The directory of the adapter or the model."""
    base: str | None
    output: str
    files: tuple[ExportedFile, ...]
    num_bytes: int
    seconds: float
    checks: tuple[Check, ...]
    """Empty with --no-verify."""
    untied: bool
    """Head and embedding, one tensor in the base, are two now; ``tie_word_embeddings`` is false."""
    ollama_name: str | None = None
    """What it is called in Ollama, where it was registered."""
    ollama_replaced: bool = False
    """Another model had the name in Ollama before."""
    pushed_to: str | None = None
    """The address on the Hub, where it was pushed."""
