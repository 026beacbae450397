"""An adapter's way to a GGUF file for Ollama: as ``backprop export --format gguf`` makes it."""

from __future__ import annotations

from pathlib import Path

from backprop.plan.decision import errors_among
from backprop.plan.errors import BackpropError
from backprop.plan.export.report import ExportReport
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings, Quantization
from backprop.workflows import export
from backprop.workflows.request import Emit, Request


def gguf_of_adapter(path: Path, *, emit: Emit) -> ExportReport:
    """Merge and quantize to q4_k_m; the report names the file. Raises ``BackpropError`` as the export refuses."""
    settings = ExportSettings(path=str(path), format=ExportFormat.GGUF, quantization=Quantization.Q4_K_M)
    outcome = export.run(Request(settings, emit=emit))
    problems = errors_among(outcome.problems)
    if problems:
        raise BackpropError(*problems)
    report: ExportReport = outcome.report
    return report
