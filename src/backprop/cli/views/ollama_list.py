"""``backprop ollama list`` for a person: one line a model."""

from __future__ import annotations

from collections.abc import Sequence

from backprop.cli.style import Style, printable
from backprop.plan.export.ollama_models import OllamaListReport, OllamaModel


def show(report: OllamaListReport, style: Style) -> str:
    """The table, in the order of the server."""
    return models_table(report.models, style) or f"Ollama at {report.host} has no models."


def models_table(models: Sequence[OllamaModel], style: Style) -> str:
    """Name, size, family and when each was changed; "" for none."""
    if not models:
        return ""
    rows = [
        (
            style.cyan(printable(m.name)),
            size(m.size_bytes),
            *map(printable, (m.family, m.quantization, m.modified_at[:10])),
        )
        for m in models
    ]
    return style.table(rows, header=("name", "size", "family", "type", "changed"), right=(1,))


def size(num_bytes: int) -> str:
    """In the units that Ollama counts in, thousands."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
