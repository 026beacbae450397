"""``backprop ollama rm`` for a person."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.plan.export.ollama_models import OllamaRmReport


def show(report: OllamaRmReport, style: Style) -> str:
    """What was removed."""
    return f"Removed {style.bold(printable(report.name))}."
