"""``backprop ollama shelf`` for a person: one line an adapter."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.cli.views.ollama_list import models_table
from backprop.plan.export.ollama_models import OllamaShelfReport


def show(report: OllamaShelfReport, style: Style) -> str:
    """The table, or how to put something there."""
    if report.adapters:
        return models_table(report.adapters, style)
    base = printable(report.base)
    how = f"backprop export ADAPTER --format ollama-adapter --base-model {base} --adapter-tag TAG"
    return f"No adapters on {base}.\n{style.dim(f'Put one there: {how}')}"
